package coordinator

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/metricstest"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// measures checks series, whose names are without their prefix.
func (s *scene) measures(want map[string]float64) {
	s.t.Helper()
	got := metricstest.Gather(s.t, s.r.Metrics)
	for series, value := range want {
		if is, ok := got["k8s_audit_enabler_"+series]; !ok || is != value {
			s.t.Errorf("%s = %v (there: %v), want %v", series, is, ok, value)
		}
	}
}

func TestMetricsSayWhatTheStatusSays(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	s.configure(intent())
	s.expect("false WaitingForAgent")
	s.measures(map[string]float64{
		`condition{condition="Ready",status="false"}`: 1, `reason_info{reason="WaitingForAgent"}`: 1, "nodes": 2, "permits": 0, "enabled": 1, "sink_known": 1,
		`distribution_info{backend="webhook",distribution="kubeadm",kubernetes_version="v1.34.4",strategy="static-pod"}`: 1,
		`node_phase{node="cp1",phase="Pending"}`: 1, `node_up_to_date{node="cp1"}`: 0, `node_condition{condition="AuditFlowing",node="cp1",status="unknown"}`: 1,
	})
	s.say("cp1", wire.PhasePending)
	s.say("cp2", wire.PhasePending)
	s.expect("false NodeChanging")
	s.measures(map[string]float64{"permits": 1, `node_permit{node="cp1"}`: 1, `node_permit{node="cp2"}`: 0})
	flowing := func(n *wire.NodeStatus) {
		n.Conditions = []metav1.Condition{{Type: reason.AuditFlowing, Status: metav1.ConditionTrue, Reason: reason.Delivered, LastTransitionTime: metav1.NewTime(s.now)}}
		n.Apiserver.Restarts = 2
	}
	s.say("cp1", wire.PhaseApplied, flowing)
	s.say("cp2", wire.PhaseApplied, flowing)
	s.expect("true Complete")
	s.measures(map[string]float64{
		`condition{condition="Ready",status="true"}`: 1, `reason_info{reason="Complete"}`: 1, `condition{condition="AuditFlowing",status="true"}`: 1, "permits": 0,
		`node_up_to_date{node="cp1"}`: 1, `node_restarts_total{node="cp2"}`: 2, `node_condition{condition="AuditFlowing",node="cp1",status="true"}`: 1,
		"reconciled_timestamp_seconds": float64(s.now.Unix()),
	})
	// A plan that changes is not what is live, and neither is another machine's status the node's.
	s.configure(intent(func(c *wire.Config) { c.Log.MaxBackup, c.Paused = 7, true }))
	s.expect("false Paused")
	s.measures(map[string]float64{"paused": 1, `node_up_to_date{node="cp1"}`: 0})
	s.say("cp2", wire.PhaseApplied, func(n *wire.NodeStatus) { n.Node.UID = "another"; n.Apiserver.Restarts = 9 })
	s.reconcile()
	s.measures(map[string]float64{`node_restarts_total{node="cp2"}`: 0, `node_phase{node="cp2",phase="Pending"}`: 1})
}

func TestANodeThatIsRevertedAsItsPlanWantsIsUpToDate(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	s.configure(intent(func(c *wire.Config) { c.Enabled = false }))
	s.reconcile()
	s.measures(map[string]float64{"enabled": 0, `node_up_to_date{node="cp1"}`: 0})
	s.say("cp1", wire.PhaseReverted)
	s.reconcile()
	s.measures(map[string]float64{`node_up_to_date{node="cp1"}`: 1, `node_phase{node="cp1",phase="Reverted"}`: 1})
}
