package chart

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/utils/ptr"
)

func TestCoordinator_IsUnprivileged(t *testing.T) {
	t.Parallel()
	pod := one[*appsv1.Deployment](t, render(t), coordinatorName).Spec.Template.Spec
	wantPod := &corev1.PodSecurityContext{
		RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if diff := cmp.Diff(wantPod, pod.SecurityContext); diff != "" {
		t.Errorf("pod's security context (-want +got):\n%s", diff)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.Volumes) != 0 {
		t.Errorf("the pod reaches the host: network %t, processes %t, IPC %t, volumes %v", pod.HostNetwork, pod.HostPID, pod.HostIPC, pod.Volumes)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Fatalf("%d containers and %d init containers, want one and none", len(pod.Containers), len(pod.InitContainers))
	}
	wantContainer := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false), ReadOnlyRootFilesystem: ptr.To(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if diff := cmp.Diff(wantContainer, pod.Containers[0].SecurityContext); diff != "" {
		t.Errorf("container's security context (-want +got):\n%s", diff)
	}
}

func TestAgent_MountsTheHostOnce(t *testing.T) {
	t.Parallel()
	set := one[*appsv1.DaemonSet](t, render(t), agentName)
	pod := set.Spec.Template.Spec
	wantVolumes := []corev1.Volume{{
		Name:         "host",
		VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/", Type: ptr.To(corev1.HostPathDirectory)}},
	}}
	if diff := cmp.Diff(wantVolumes, pod.Volumes); diff != "" {
		t.Errorf("volumes (-want +got):\n%s", diff)
	}
	wantMounts := []corev1.VolumeMount{{Name: "host", MountPath: "/host", MountPropagation: ptr.To(corev1.MountPropagationHostToContainer)}}
	if diff := cmp.Diff(wantMounts, pod.Containers[0].VolumeMounts); diff != "" {
		t.Errorf("mounts (-want +got):\n%s", diff)
	}
	if len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
		t.Errorf("%d containers and %d init containers, want one and none", len(pod.Containers), len(pod.InitContainers))
	}
	wantSelector := map[string]string{"k8s-audit-enabler.io/node-agent": "true", "kubernetes.io/os": "linux"}
	if diff := cmp.Diff(wantSelector, pod.NodeSelector); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

// TestPods_CarryOnlyWhatTheySelect: the chart's version among a pod's labels would restart every agent for nothing.
func TestPods_CarryOnlyWhatTheySelect(t *testing.T) {
	t.Parallel()
	text := render(t)
	agent, coordinator := one[*appsv1.DaemonSet](t, text, agentName).Spec, one[*appsv1.Deployment](t, text, coordinatorName).Spec
	if diff := cmp.Diff(agent.Selector.MatchLabels, agent.Template.Labels) + cmp.Diff(coordinator.Selector.MatchLabels, coordinator.Template.Labels); diff != "" {
		t.Errorf("labels of the pods (-selector +pod):\n%s", diff)
	}
}

func TestPods_PullWithTheSecretsNamed(t *testing.T) {
	t.Parallel()
	text := render(t, "image.pullSecrets={a,b}")
	want := []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}}
	agent, coordinator := one[*appsv1.DaemonSet](t, text, agentName).Spec.Template.Spec, one[*appsv1.Deployment](t, text, coordinatorName).Spec.Template.Spec
	if diff := cmp.Diff(want, agent.ImagePullSecrets) + cmp.Diff(want, coordinator.ImagePullSecrets); diff != "" {
		t.Errorf("pull secrets (-want +got):\n%s", diff)
	}
}

func TestAgent_UsesAnExistingPriorityClass(t *testing.T) {
	t.Parallel()
	text := render(t, "priorityClass.create=false", "priorityClass.name=system-node-critical")
	if classes := only[*schedulingv1.PriorityClass](objects(t, text)); len(classes) != 0 {
		t.Errorf("%d priority classes are created", len(classes))
	}
	if got := one[*appsv1.DaemonSet](t, text, agentName).Spec.Template.Spec.PriorityClassName; got != "system-node-critical" {
		t.Errorf("agent's class %q, want the existing one", got)
	}
}
