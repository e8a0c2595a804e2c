package coordinator

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// addServer adds a node whose apiserver shows no pod, because a service has it in itself.
func (s *scene) addServer(name, version string) {
	s.t.Helper()
	s.create(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{detect.LabelControlPlane: "true"}},
		Status: corev1.NodeStatus{
			NodeInfo:   corev1.NodeSystemInfo{MachineID: "machine-" + name, KubeletVersion: version},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	})
}

func (s *scene) setNodeReady(name string, ready corev1.ConditionStatus) {
	s.t.Helper()
	n := s.node(name)
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	if err := s.api.Status().Update(s.t.Context(), n); err != nil {
		s.t.Fatal(err)
	}
}

func TestServersWithoutAnApiserversPodAreJudgedByTheirNode(t *testing.T) {
	t.Parallel()
	for distribution, c := range map[string]struct {
		kubelet, version string
		strategy         wire.Strategy
	}{
		detect.K3s: {"v1.30.2+k3s1", "v1.30.2", wire.StrategyDropIn},
		detect.K0s: {"v1.31.1+k0s", "v1.31.1", wire.StrategyConfigFile},
	} {
		t.Run(distribution, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.addServer("a", c.kubelet)
			s.addServer("b", c.kubelet)
			s.serve("10.43.0.20")
			s.configure(intent())
			s.expect("false WaitingForAgent")
			for _, name := range []string{"a", "b"} {
				p := s.plan(name)
				if p == nil || p.Distribution != distribution || p.Strategy != c.strategy || p.KubernetesVersion != c.version {
					t.Fatalf("plan of %s: %+v", name, p)
				}
				s.say(name, wire.PhasePending)
			}
			s.setNodeReady("b", corev1.ConditionFalse)
			s.expect("false WaitingForHealth")
			s.setNodeReady("b", corev1.ConditionUnknown)
			s.expect("false WaitingForHealth")
			if s.plan("a").Permit != nil || s.plan("b").Permit != nil {
				t.Error("a permit was given while a node is not ready")
			}
			s.setNodeReady("b", corev1.ConditionTrue)
			s.expect("false NodeChanging")
			s.say("a", wire.PhaseApplied)
			s.expect("false Settling")

			// Disabled, a node is reverted in the way in which it was enabled.
			s.configure(intent(func(config *wire.Config) { config.Enabled = false }))
			s.reconcile()
			if p := s.plan("a"); p.Strategy != c.strategy || p.Distribution != distribution || p.Desired.Enabled {
				t.Errorf("the way back: %+v", p)
			}
		})
	}
}
