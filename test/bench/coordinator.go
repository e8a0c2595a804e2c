package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"k8s-audit-enabler.io/test/e2e/stage"
)

// coordinatorProgram is the coordinator's process name.
const coordinatorProgram = "coordinator"

// Crowd is the size of the cluster that the coordinator's memory is measured with.
type Crowd struct {
	// Nodes is how many there are in all, ControlPlanes how many of them.
	Nodes, ControlPlanes int
}

// Coordinator puts so many nodes into the API that the cluster looks large, gives the coordinator time to take them in,
// and returns its memory. The nodes have no machine behind them, and stay: the cluster is of no use afterwards.
func Coordinator(ctx context.Context, s *stage.Stage, c Crowd, d time.Duration, say func(string, ...any)) ([]Figure, error) {
	alone, err := coordinatorResident()
	if err != nil {
		return nil, err
	}
	at := time.Now()
	if err := c.create(ctx, s.Client); err != nil {
		return nil, err
	}
	say("%d nodes made in %.0f s", c.Nodes, time.Since(at).Seconds())
	var most int64
	var now []float64
	for end := time.Now().Add(d); time.Now().Before(end); {
		resident, err := coordinatorResident()
		if err != nil {
			return nil, err
		}
		most = max(most, resident)
		now = append(now, float64(resident)/mebi)
		if err := sleep(ctx, time.Second); err != nil {
			return nil, err
		}
	}
	return []Figure{{
		What: fmt.Sprintf("coordinator: resident memory with %d nodes, %d of them control planes", c.Nodes, c.ControlPlanes), Value: Median(now), Goal: 64, Unit: "MiB",
		Detail: fmt.Sprintf("over %s; most %.1f, with the cluster alone %.1f", d, float64(most)/mebi, float64(alone)/mebi),
	}}, nil
}

// coordinatorResident is the memory of the only coordinator on this machine.
func coordinatorResident() (int64, error) {
	pid, err := stage.PIDOf(coordinatorProgram)
	if err != nil {
		return 0, err
	}
	return stage.ResidentBytes(pid)
}

// create makes the nodes, and the mirror Pods of the control planes' apiservers.
func (c Crowd) create(ctx context.Context, client kubernetes.Interface) error {
	const workers = 16
	work := make(chan int)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range work {
				if errs[w] == nil {
					errs[w] = c.createNode(ctx, client, i)
				}
			}
		})
	}
	for i := range c.Nodes {
		work <- i
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}

func (c Crowd) createNode(ctx context.Context, client kubernetes.Interface, i int) error {
	name := fmt.Sprintf("crowd-%04d", i)
	labels := map[string]string{"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": fmt.Sprintf("zone-%d", i%3)}
	if i < c.ControlPlanes {
		labels["node-role.kubernetes.io/control-plane"] = ""
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: map[string]string{"node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true"}},
		Spec:       corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", 128+i/256, i%256), Taints: []corev1.Taint{{Key: "crowd", Effect: corev1.TaintEffectNoExecute}}},
	}
	made, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make node: %w", err)
	}
	made.Status = nodeStatus(i)
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("make node's status: %w", err)
	}
	if i >= c.ControlPlanes {
		return nil
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "kube-apiserver-" + name, Namespace: metav1.NamespaceSystem, Labels: map[string]string{"component": "kube-apiserver", "tier": "control-plane"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "crowd", "kubernetes.io/config.source": "file", "kubernetes.io/config.hash": "crowd"},
		},
		Spec: corev1.PodSpec{
			NodeName: name, HostNetwork: true, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "kube-apiserver", Image: "registry.k8s.io/kube-apiserver:" + nodeStatus(i).NodeInfo.KubeletVersion, Command: []string{"kube-apiserver", "--secure-port=6443"}}},
		},
	}
	if _, err := client.CoreV1().Pods(metav1.NamespaceSystem).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make mirror pod: %w", err)
	}
	return nil
}

// imagesOnNode is how many images a busy node lists in its status, most of which the kubelet cuts off at 50.
const imagesOnNode = 50

// nodeStatus is as large as a busy node's.
func nodeStatus(i int) corev1.NodeStatus {
	now := metav1.Now()
	status := corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.100.%d.%d", i/250, 1+i%250)}},
		NodeInfo: corev1.NodeSystemInfo{
			MachineID: fmt.Sprintf("%032x", i+1), SystemUUID: fmt.Sprintf("00000000-0000-0000-0000-%012x", i+1), BootID: fmt.Sprintf("%032x", i+1), KernelVersion: "6.12.0", OSImage: "Linux",
			ContainerRuntimeVersion: "containerd://2.0.0", KubeletVersion: "v1.34.4", OperatingSystem: "linux", Architecture: "amd64",
		},
	}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletHasEnough", Message: "kubelet has enough of it"})
	}
	status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletReady", Message: "kubelet is posting ready status"})
	for n := range imagesOnNode {
		status.Images = append(status.Images, corev1.ContainerImage{Names: []string{fmt.Sprintf("registry.example.org/team-%d/service-%d@sha256:%064x", n%7, n, n), fmt.Sprintf("registry.example.org/team-%d/service-%d:v%d", n%7, n, i%9)}, SizeBytes: 100 << 20})
	}
	return status
}
