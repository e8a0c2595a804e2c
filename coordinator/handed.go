package coordinator

import (
	"cmp"
	"slices"
	"strings"

	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// hand has the operator told of the file that the plans put on every master, once it is there.
func (d *draft) hand(w *world) *plan.Refusal {
	d.strategy = wire.StrategyOperator
	if w.operator == nil {
		return operatorNotFound(w)
	}
	flags, refusal := plan.WebhookFlags(w.config, d.distribution.KubernetesVersion)
	if refusal != nil {
		return refusal
	}
	arguments, waitsFor := openshift4.Handed(masters(w, d.plans), flags, w.operator.Operator)
	if len(arguments) == 0 { // no master gets a file of which nobody could be told
		if _, err := openshift4.Decide(openshift4.Webhook(wire.WebhookFile(newestRevision(d.plans)), flags), w.owner(), w.operator.Operator); err != nil {
			return &plan.Refusal{Reason: reason.OverridesConflict, Message: err.Error()}
		}
	}
	decision, err := openshift4.Decide(arguments, w.owner(), w.operator.Operator)
	if err != nil {
		return &plan.Refusal{Reason: reason.OverridesConflict, Message: err.Error()}
	}
	d.operated = &operated{Decision: decision, webhook: true, waitsFor: waitsFor}
	for _, p := range d.plans {
		p.Told = told(w, p, d.operated)
	}
	return nil
}

func operatorNotFound(w *world) *plan.Refusal {
	return &plan.Refusal{Reason: reason.OperatorNotFound, Message: cmp.Or(w.operatorProblem, "the operator of the apiservers cannot be read") +
		"; let Helm upgrade the release, which grants it where backend asks for it: as it was before, where the operator was told something, or write backend auto"}
}

// masters are the planned ones with the files that their agents have put there, where that is as planned now.
func masters(w *world, plans []*wire.Plan) []openshift4.Master {
	var out []openshift4.Master
	for _, p := range plans {
		m := openshift4.Master{Name: p.Node.Name}
		if s := believable(w, p); s != nil && p.Desired.Enabled && upToDate(p, s) && s.PlanRevision == p.Revision {
			m.File = fileOf(p, s)
		}
		out = append(out, m)
	}
	return out
}

// fileOf is what an agent says is there, empty for what is no file of the plan's: its revision, and behind it perhaps that of credentials,
// which nobody but agents knows.
func fileOf(p *wire.Plan, s *wire.NodeStatus) string {
	revision, _ := wire.WebhookFileRevision(s.WebhookFile)
	if of, _, _ := strings.Cut(revision, "-"); of != p.Revision {
		return ""
	}
	return s.WebhookFile
}

// told is the file with which every apiserver runs. Once they do, they do in each later revision of the operator's, until it is told another.
func told(w *world, p *wire.Plan, o *operated) string {
	file := w.operator.Note.File()
	before := w.plans[p.Node.Name]
	if !o.Ours || o.Change || o.State != openshift4.Done && (before == nil || before.Told != file) {
		return ""
	}
	return file
}

// leaveFiles keeps the files on the masters as long as an apiserver may be told of one: it would not start again without.
func (d *draft) leaveFiles(w *world) *plan.Refusal {
	goes := func(p *wire.Plan) bool { return p.Strategy == wire.StrategyFile && !p.Desired.Enabled }
	switch {
	case !slices.ContainsFunc(d.plans, goes):
		return nil
	case w.operator == nil:
		return operatorNotFound(w)
	case d.operated != nil && !d.operated.over():
		for i, p := range d.plans {
			if before := w.plans[p.Node.Name]; goes(p) && before != nil && before.Strategy == wire.StrategyFile {
				bare := *before
				bare.Permit = nil
				d.plans[i] = &bare
			}
		}
	case w.operator.Names() != "":
		return &plan.Refusal{Reason: reason.OverridesConflict, Message: "the apiservers are told of " + w.operator.Names() +
			", and the annotation that says whose that is is gone; take audit-webhook-* out of the operator's overrides, and the files go from the masters then"}
	}
	return nil
}

// onto lays what the operator has made of each master over what its agent says of the file, which comes first.
func (o *operated) onto(nodes, found []wire.NodeSummary) []wire.NodeSummary {
	for _, master := range found {
		i := slices.IndexFunc(nodes, func(n wire.NodeSummary) bool { return n.Name == master.Name })
		switch {
		case i < 0:
			nodes = append(nodes, master)
		case nodes[i].Phase != wire.PhaseApplied || o.webhook && !o.Ours:
		case master.Phase == wire.PhaseApplied:
			nodes[i].Message += "; the operator has brought it to revision " + master.Revision
		default:
			nodes[i].Phase, nodes[i].Reason = master.Phase, master.Reason
			if master.Phase == wire.PhaseReverted { // the file is still there
				nodes[i].Phase, nodes[i].Reason = wire.PhasePending, reason.OperatorRolling
			}
			nodes[i].Message = cmp.Or(master.Message, "the operator has brought it to revision "+master.Revision) + "; " + nodes[i].Message
		}
	}
	return nodes
}

// waits is the verdict while the webhook's file is not on every master; none while the rollout of the files says more.
func (o *operated) waits(decision rollout.Decision) (v *verdict, waiting bool) {
	switch {
	case o.waitsFor == "" || o.State == openshift4.Failed && o.Ours || o.Held != "":
		return nil, false
	case finished(decision):
		return &verdict{progressing: true, reason: reason.OperatorRolling, message: o.waitsFor}, true
	}
	return nil, true
}
