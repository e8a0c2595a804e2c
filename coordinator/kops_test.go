package coordinator

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// addKopsNode adds a control-plane node as kops makes it: the apiserver's pod has no label but k8s-app, and a health check runs beside it.
func (s *scene) addKopsNode(name string) {
	s.t.Helper()
	s.create(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{
			detect.LabelControlPlane: "", "kops.k8s.io/kops-controller-pki": "", "kops.k8s.io/instancegroup": "control-plane-a",
		}},
		Spec:   corev1.NodeSpec{ProviderID: "aws:///eu-west-1a/i-0123"},
		Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{MachineID: "machine-" + name}},
	})
	s.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: "kube-apiserver-" + name, Labels: map[string]string{"k8s-app": "kube-apiserver"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		},
		Spec: corev1.PodSpec{NodeName: name, Containers: []corev1.Container{
			{Name: "kube-apiserver", Image: "registry.k8s.io/kube-apiserver:v1.26.15@sha256:0f6a5a6c", Command: []string{"/go-runner"}},
			{Name: "healthcheck", Image: "registry.k8s.io/kops/kube-apiserver-healthcheck:1.26.6"},
		}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	})
}

func (s *scene) setReady(node string, ready corev1.ConditionStatus) {
	s.t.Helper()
	var pod corev1.Pod
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: systemNamespace, Name: "kube-apiserver-" + node}, &pod); err != nil {
		s.t.Fatal(err)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if err := s.api.Status().Update(s.t.Context(), &pod); err != nil {
		s.t.Fatal(err)
	}
}

func TestApiserversOfKopsAreFoundAndJudgedByTheirOwnLabel(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.addKopsNode("a")
	s.addKopsNode("b")
	s.serve("100.64.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	for _, name := range []string{"a", "b"} {
		p := s.plan(name)
		if p == nil || p.Distribution != detect.Kops || p.Strategy != wire.StrategyStaticPod || p.KubernetesVersion != "v1.26.15" {
			t.Fatalf("plan of %s: %+v", name, p)
		}
		s.say(name, wire.PhasePending)
	}
	s.setReady("b", corev1.ConditionFalse)
	s.expect("false WaitingForHealth")
	if s.plan("a").Permit != nil || s.plan("b").Permit != nil {
		t.Error("a permit was given while an apiserver is not ready")
	}
	s.setReady("b", corev1.ConditionTrue)
	s.expect("false NodeChanging")
	s.say("a", wire.PhaseApplied)
	s.expect("false Settling")
}
