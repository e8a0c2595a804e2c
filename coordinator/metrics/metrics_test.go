package metrics_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/coordinator/metrics/metricstest"
	gathered "k8s-audit-enabler.io/internal/metricstest"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func TestACoordinatorThatDoesNotLeadSaysNothingOfTheCluster(t *testing.T) {
	t.Parallel()
	for series := range gathered.Gather(t, metrics.New()) {
		if !strings.HasPrefix(series, "k8s_audit_enabler_build_info{") {
			t.Error(series)
		}
	}
}

func TestWhatTheStatusSaysIsShown(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	m.Observe(metricstest.Report())
	got := gathered.Gather(t, m)
	for series, want := range map[string]float64{
		`distribution_info{backend="webhook",distribution="kubeadm",kubernetes_version="v1.34.4",strategy="static-pod"}`: 1,
		`condition{condition="Ready",status="true"}`:          0,
		`condition{condition="Ready",status="false"}`:         1,
		`condition{condition="Stalled",status="true"}`:        1,
		`condition{condition="Progressing",status="unknown"}`: 1,
		`reason_info{reason="NodeFailed"}`:                    1,
		`enabled`:                                             1,
		`paused`:                                              0,
		`nodes`:                                               2,
		`permits`:                                             1,
		`sink_known`:                                          1,
		`reconciled_timestamp_seconds`:                        1767225600,
		`node_phase{node="cp1",phase="RolledBack"}`:           1,
		`node_phase{node="cp1",phase="Applied"}`:              0,
		`node_phase{node="cp2",phase="Applied"}`:              1,
		`node_reason_info{node="cp1",reason="CrashLooping"}`:  1,
		`node_condition{condition="AuditFlowing",node="cp1",status="false"}`: 1,
		`node_condition{condition="AuditFlowing",node="cp2",status="true"}`:  1,
		`node_condition{condition="Applied",node="cp2",status="unknown"}`:    1,
		`node_up_to_date{node="cp1"}`:                                        0,
		`node_up_to_date{node="cp2"}`:                                        1,
		`node_permit{node="cp1"}`:                                            1,
		`node_permit{node="cp2"}`:                                            0,
		`node_restarts_total{node="cp1"}`:                                    3,
		`node_unavailable_seconds{node="cp1"}`:                               15.5,
		`node_delivery_changed_timestamp_seconds{node="cp1"}`:                1767225000,
	} {
		if value, ok := got["k8s_audit_enabler_"+series]; !ok || value != want {
			t.Errorf("%s = %v (there: %v), want %v", series, value, ok, want)
		}
	}
}

func TestNoLabelGrowsWithWhatAnAgentSays(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	m.Observe(metrics.Report{Nodes: []metrics.Node{{
		Summary:    wire.NodeSummary{Name: "cp1", Phase: "Invented\xff", Reason: "invented"},
		Conditions: []metav1.Condition{{Type: "Invented", Status: "invented", Reason: "x"}, {Type: reason.AuditFlowing, Status: "invented", LastTransitionTime: metav1.NewTime(time.Unix(1, 0))}},
	}}})
	got := gathered.Gather(t, m)
	for series := range got {
		if strings.Contains(strings.ToLower(series), "invented") {
			t.Error(series)
		}
	}
	if got[`k8s_audit_enabler_node_reason_info{node="cp1",reason="Other"}`] != 1 || got[`k8s_audit_enabler_node_condition{condition="AuditFlowing",node="cp1",status="unknown"}`] != 1 {
		t.Errorf("%v", got)
	}
}

// TestEveryMetricIsShown holds that what the table of metrics describes is collected, all of it.
func TestEveryMetricIsShown(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	m.Observe(metricstest.Report())
	shown := gathered.Names(t, m)
	for _, name := range gathered.Described(m) {
		if !shown[name] {
			t.Errorf("%s is described and not shown", name)
		}
	}
}
