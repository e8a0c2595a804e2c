package coordinator

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/retry"

	"k8s-audit-enabler.io/coordinator"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
)

const (
	sinkNamespace = "sysdig-agent"
	sinkName      = "sysdig-agent"
	sinkPort      = 7765
)

// cluster is a server with what kubeadm, Helm and kubelets would have put there.
type cluster struct {
	*server
}

func newCluster(t *testing.T, nodes ...string) *cluster {
	t.Helper()
	return furnish(t, startServer(t), nodes...)
}

// furnish puts there what belongs to a cluster.
func furnish(t *testing.T, s *server, nodes ...string) *cluster {
	t.Helper()
	c := prepare(t, s)
	apiserver.GrantPermissions(t, c.admin, "sink.credentialsSecret="+credentialsSecret)
	for _, name := range nodes {
		c.addNode(t, name)
	}
	return c
}

// prepare makes what is there before anything is installed.
func prepare(t *testing.T, s *server) *cluster {
	t.Helper()
	c := &cluster{s}
	for _, name := range []string{namespace, sinkNamespace} {
		must(t)(c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	}
	must(t)(c.admin.CoreV1().ConfigMaps("kube-system").Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeadm-config"},
		Data:       map[string]string{"ClusterConfiguration": "certificatesDir: /etc/kubernetes/pki\n"},
	}, metav1.CreateOptions{}))
	return c
}

func must(t *testing.T) func(any, error) {
	t.Helper()
	return func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// credentialsSecret is the one Secret that the chart lets agents read.
const credentialsSecret = "receiver-token"

// addNode adds a control-plane node with its apiserver's mirror pod, ready.
func (c *cluster) addNode(t *testing.T, name string) {
	t.Helper()
	ctx := t.Context()
	node, err := c.admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": ""}}}, metav1.CreateOptions{})
	must(t)(node, err)
	node.Status.NodeInfo = corev1.NodeSystemInfo{MachineID: "machine-" + name, SystemUUID: "system-" + name, OSImage: "Linux", KubeletVersion: "v1.34.4"}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	must(t)(c.admin.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}))
	pod, err := c.admin.CoreV1().Pods("kube-system").Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "kube-apiserver-" + name, Labels: map[string]string{"component": "kube-apiserver"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		},
		Spec: corev1.PodSpec{
			NodeName: name, HostNetwork: true,
			Containers: []corev1.Container{{Name: "kube-apiserver", Image: "registry.k8s.io/kube-apiserver:" + apiserver.Version(), Command: []string{"kube-apiserver"}}},
		},
	}, metav1.CreateOptions{})
	must(t)(pod, err)
	c.setReady(t, name, true)
}

func (c *cluster) setReady(t *testing.T, node string, ready bool) {
	t.Helper()
	pods := c.admin.CoreV1().Pods("kube-system")
	pod, err := pods.Get(t.Context(), "kube-apiserver-"+node, metav1.GetOptions{})
	must(t)(pod, err)
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	must(t)(pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}))
}

func (c *cluster) removeNode(t *testing.T, name string) {
	t.Helper()
	zero := int64(0)
	now := metav1.DeleteOptions{GracePeriodSeconds: &zero}
	if err := c.admin.CoreV1().Pods("kube-system").Delete(t.Context(), "kube-apiserver-"+name, now); err != nil {
		t.Fatal(err)
	}
	if err := c.admin.CoreV1().Nodes().Delete(t.Context(), name, now); err != nil {
		t.Fatal(err)
	}
}

// serveSink makes the sink's Service with an address, in place of the one that is there.
func (c *cluster) serveSink(t *testing.T, ip string) {
	t.Helper()
	c.removeSink(t)
	must(t)(c.admin.CoreV1().Services(sinkNamespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: sinkName},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: sinkPort}}},
	}, metav1.CreateOptions{}))
}

func (c *cluster) removeSink(t *testing.T) {
	t.Helper()
	_ = c.admin.CoreV1().Services(sinkNamespace).Delete(t.Context(), sinkName, metav1.DeleteOptions{})
}

// defaults is a configuration as the chart's, with short waits.
func defaults() *wire.Config {
	return &wire.Config{
		Release: "k8s-audit-enabler", Enabled: true, Distribution: "auto", Backend: "auto",
		Sink:    wire.Sink{Service: &wire.ServiceSink{Namespace: sinkNamespace, Name: sinkName, Port: intstr.FromInt32(sinkPort), Path: "/k8s_audit", Scheme: "http"}},
		Policy:  wire.PolicyChoice{Preset: "recommended"},
		Log:     wire.LogSettings{MaxBackup: 1, MaxSizeMB: 10},
		Webhook: wire.WebhookSettings{BatchMaxWait: metav1.Duration{Duration: 5 * time.Second}},
		Rollout: wire.RolloutSettings{
			ReadyTimeout: metav1.Duration{Duration: time.Minute}, Settle: metav1.Duration{Duration: 300 * time.Millisecond}, SinkDebounce: metav1.Duration{Duration: time.Second},
		},
		Existing: wire.ExistingSettings{Policy: wire.ExistingAuto, Log: wire.ExistingAuto, Webhook: wire.ExistingRefuse},
	}
}

// configure writes the configuration, as Helm does.
func (c *cluster) configure(t *testing.T, config *wire.Config) {
	t.Helper()
	data, err := wire.Encode(wire.KindConfig, config)
	must(t)(data, err)
	maps := c.admin.CoreV1().ConfigMaps(namespace)
	must(t)(nil, retry.RetryOnConflict(retry.DefaultRetry, func() error { // see nudge
		object, err := maps.Get(t.Context(), wire.ConfigName, metav1.GetOptions{})
		if err != nil {
			_, err = maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: wire.ConfigName}, Data: data}, metav1.CreateOptions{})
			return err
		}
		object.Data = data
		_, err = maps.Update(t.Context(), object, metav1.UpdateOptions{})
		return err
	}))
}

// startCoordinator runs the coordinator until the test ends or the returned function is called.
func (c *cluster) startCoordinator(t *testing.T, leaderElect bool) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log, err := logging.New(t.Output(), logging.Options{Format: logging.FormatText, Level: "info"})
	must(t)(log, err)
	go func() {
		done <- coordinator.Run(ctx, coordinator.Options{
			Namespace: namespace, PodName: "coordinator-0", MetricsAddress: "0", ProbeAddress: "0", LeaderElect: leaderElect,
		}, c.config(coordinatorToken), log)
	}()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("coordinator: %v", err)
			}
		case <-time.After(40 * time.Second):
			t.Error("the coordinator does not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// await asks until the answer is yes.
func await(t *testing.T, what string, yes func() (bool, string)) {
	t.Helper()
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		ok, detail := yes()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, patience, detail)
		}
	}
}

// awaitReason waits for the cluster status to give a reason.
func (c *cluster) awaitReason(t *testing.T, reason string) {
	t.Helper()
	await(t, "reason "+reason, func() (bool, string) {
		object, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.ClusterStatusName, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return object.Data[wire.FlatReason] == reason, fmt.Sprintf("%s: %s", object.Data[wire.FlatReason], object.Data[wire.FlatMessage])
	})
}

func (c *cluster) plan(t *testing.T, node string) *wire.Plan {
	t.Helper()
	object, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.PlanName(node), metav1.GetOptions{})
	must(t)(object, err)
	var p wire.Plan
	if err := wire.Decode(object.Data, wire.KindPlan, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func (c *cluster) patchNode(t *testing.T, name, patch string) {
	t.Helper()
	must(t)(c.admin.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}))
}
