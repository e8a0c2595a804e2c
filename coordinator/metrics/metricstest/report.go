// Package metricstest holds a report for tests of what the coordinator's metrics show.
package metricstest

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Report is of a cluster of two nodes, one of which was rolled back.
func Report() metrics.Report {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	condition := func(kind string, status metav1.ConditionStatus, because string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: because, LastTransitionTime: metav1.NewTime(at.Add(-10 * time.Minute))}
	}
	nodes := []metrics.Node{
		{
			Summary:    wire.NodeSummary{Name: "cp1", Phase: wire.PhaseRolledBack, Reason: reason.CrashLooping, Revision: "b", AppliedRevision: "a", HasPermit: true},
			Conditions: []metav1.Condition{condition(reason.AuditFlowing, metav1.ConditionFalse, reason.SinkUnreachable)},
			Apiserver:  wire.ApiserverStatus{Restarts: 3, LastUnavailable: metav1.Duration{Duration: 15500 * time.Millisecond}},
		},
		{
			Summary:    wire.NodeSummary{Name: "cp2", Phase: wire.PhaseApplied, Reason: reason.Live, Revision: "b", AppliedRevision: "b"},
			UpToDate:   true,
			Conditions: []metav1.Condition{condition(reason.AuditFlowing, metav1.ConditionTrue, reason.Delivered)},
		},
	}
	return metrics.Report{
		At: at, Enabled: true, Nodes: nodes,
		Status: wire.ClusterStatus{
			Distribution: wire.DistributionStatus{Name: "kubeadm", KubernetesVersion: "v1.34.4"}, Strategy: wire.StrategyStaticPod, Backend: "webhook",
			Sink: "http://192.0.2.10:7765/k8s_audit", Nodes: []wire.NodeSummary{nodes[0].Summary, nodes[1].Summary},
			Conditions: []metav1.Condition{condition(reason.Ready, metav1.ConditionFalse, reason.NodeFailed), condition(reason.Stalled, metav1.ConditionTrue, reason.NodeFailed)},
		},
	}
}
