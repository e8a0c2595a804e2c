// Package metrics shows what the coordinator reports in the cluster's status as metrics, so that alerts and dashboards rest on the very
// words that people read there. It says the same of the nodes, from what their agents report: agents serve no metrics of their own.
//
// It promises that no label grows with what an agent says: conditions, phases and reasons are those that are known here.
package metrics

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Report is what there is to show at one moment.
type Report struct {
	At              time.Time
	Enabled, Paused bool
	Status          wire.ClusterStatus
	// Nodes are those of Status, in its order, with what only their agents know.
	Nodes []Node
}

// Node is one control-plane node.
type Node struct {
	Summary wire.NodeSummary
	// UpToDate: what is live is what the node's plan wants, which may be nothing.
	UpToDate   bool
	Conditions []metav1.Condition
	Apiserver  wire.ApiserverStatus
}

// Metrics is a collector that shows the last report. Make it with [New].
type Metrics struct {
	descs map[string]*prometheus.Desc

	mu sync.Mutex
	// last is nil until there is one: a coordinator that does not lead says nothing of the cluster.
	last *Report
}

// New makes the collector, without a report.
func New() *Metrics {
	m := &Metrics{descs: map[string]*prometheus.Desc{}}
	for _, f := range families() {
		m.descs[f.name] = f.desc()
	}
	return m
}

// Observe replaces the report before.
func (m *Metrics) Observe(r Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = &r
}

// Describe is that of a collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		to <- d
	}
}

// Collect is that of a collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	m.mu.Lock()
	last := m.last
	m.mu.Unlock()
	show := func(name string, value float64, labels ...string) {
		for i := range labels {
			labels[i] = strings.ToValidUTF8(labels[i], "")
		}
		to <- prometheus.MustNewConstMetric(m.descs[name], kind(name), value, labels...)
	}
	show("build_info", 1, buildinfo.Version())
	if last == nil {
		return
	}
	last.cluster(show)
	for i := range last.Nodes {
		last.Nodes[i].show(show)
	}
}

// show sends one value of a metric, with the values of its labels in the order of [families].
type show func(name string, value float64, labels ...string)

func (r *Report) cluster(show show) {
	s := &r.Status
	show("distribution_info", 1, s.Distribution.Name, s.Distribution.KubernetesVersion, string(s.Strategy), s.Backend)
	for _, kind := range []string{reason.Ready, reason.Progressing, reason.Stalled, reason.AuditFlowing} {
		showCondition(s.Conditions, kind, func(value float64, status string) { show("condition", value, kind, status) })
	}
	because := ""
	if ready := meta.FindStatusCondition(s.Conditions, reason.Ready); ready != nil {
		because = ready.Reason
	}
	show("reason_info", 1, known(because))
	permits := 0
	for i := range s.Nodes {
		if s.Nodes[i].HasPermit {
			permits++
		}
	}
	show("permits", float64(permits))
	show("nodes", float64(len(s.Nodes)))
	show("enabled", number(r.Enabled))
	show("paused", number(r.Paused))
	show("sink_known", number(s.Sink != ""))
	show("reconciled_timestamp_seconds", float64(r.At.UnixMilli())/1000)
}

func (n *Node) show(show show) {
	s := &n.Summary
	for _, phase := range phases() {
		show("node_phase", number(s.Phase == phase), s.Name, string(phase))
	}
	show("node_reason_info", 1, s.Name, known(s.Reason))
	for _, kind := range []string{reason.PreflightPassed, reason.Applied, reason.PolicyOurs, reason.AuditFlowing} {
		showCondition(n.Conditions, kind, func(value float64, status string) { show("node_condition", value, s.Name, kind, status) })
	}
	show("node_up_to_date", number(n.UpToDate), s.Name)
	show("node_permit", number(s.HasPermit), s.Name)
	show("node_restarts_total", float64(n.Apiserver.Restarts), s.Name)
	show("node_unavailable_seconds", n.Apiserver.LastUnavailable.Seconds(), s.Name)
	if c := meta.FindStatusCondition(n.Conditions, reason.AuditFlowing); c != nil && !c.LastTransitionTime.IsZero() {
		show("node_delivery_changed_timestamp_seconds", float64(c.LastTransitionTime.Unix()), s.Name)
	}
}

// showCondition shows each status that a condition can have, and 1 for the one that it has. One that is not there is unknown.
func showCondition(list []metav1.Condition, kind string, show func(value float64, status string)) {
	is := metav1.ConditionUnknown
	if c := meta.FindStatusCondition(list, kind); c != nil && (c.Status == metav1.ConditionTrue || c.Status == metav1.ConditionFalse) {
		is = c.Status
	}
	for _, status := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} {
		show(number(is == status), strings.ToLower(string(status)))
	}
}

func phases() []wire.Phase {
	return []wire.Phase{
		wire.PhasePending, wire.PhaseApplying, wire.PhaseVerifying, wire.PhaseApplied, wire.PhaseReverted, wire.PhaseRolledBack, wire.PhaseRefused, wire.PhaseFailed,
	}
}

// known is a reason, or a word for all others.
func known(because string) string {
	if reason.Known(because) {
		return because
	}
	return "Other"
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
