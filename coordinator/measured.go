package coordinator

import (
	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/internal/wire"
)

// measured is the cluster's status, with what only the agents' own statuses say of their nodes.
func measured(w *world, out outcome) metrics.Report {
	r := metrics.Report{At: w.now, Status: out.status}
	if w.config != nil {
		r.Enabled, r.Paused = w.config.Enabled, w.config.Paused
	}
	for i, summary := range out.status.Nodes {
		n := metrics.Node{Summary: summary}
		if i >= len(out.plans) { // a master of an operator's, which has no agent
			n.UpToDate = summary.Phase == wire.PhaseApplied || summary.Phase == wire.PhaseReverted
			r.Nodes = append(r.Nodes, n)
			continue
		}
		if p := out.plans[i]; believable(w, p) != nil {
			status := believable(w, p)
			n.Conditions, n.Apiserver = status.Conditions, status.Apiserver
			n.UpToDate = upToDate(p, status) && summary.Phase == status.Phase // an operator may have more to do there
		}
		r.Nodes = append(r.Nodes, n)
	}
	return r
}

// upToDate reports whether a node is as its plan wants it.
func upToDate(p *wire.Plan, status *wire.NodeStatus) bool {
	if p.Desired.Enabled {
		return status.Phase == wire.PhaseApplied && status.AppliedRevision == p.Revision
	}
	return status.Phase == wire.PhaseReverted && status.PlanRevision == p.Revision
}
