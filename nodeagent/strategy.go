package nodeagent

import (
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// strategy is what differs from one way of configuring an apiserver to the other in a decision. It is pure.
type strategy interface {
	// owns refuses where what is live was made in another way.
	owns(live *txn.Live) *staticpod.Refusal
	// propose returns the change that the plan asks for. drifted: the live revision is to be put back.
	propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, drifted bool) (*txn.Change, *staticpod.Refusal)
	// proposeRevert returns nil where nothing of ours is there.
	proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal)
	// traces are what a file that is not the committed one still tells.
	traces(seen observation, j *txn.Journal) (staticpod.Traces, *staticpod.Refusal)
	// overridden says what of others makes a file of no effect that is as it was committed; nil for nothing.
	overridden(seen observation) *staticpod.Refusal
}

// strategies returns the one of a plan, nil for one that is not known.
func strategies(name wire.Strategy) strategy {
	switch name {
	case wire.StrategyStaticPod:
		return staticPods{}
	case wire.StrategyDropIn:
		return serviceFiles{mine: func(unit string) bool { _, ok := dropin.ByUnit(unit); return ok }}
	case wire.StrategyArgsFile:
		return serviceFiles{mine: func(unit string) bool { return unit == argsfile.Unit }}
	}
	return nil
}

// revisionIn is the revision that a file says it is of.
func revisionIn(m staticpod.Manifest, live *txn.Live) string {
	switch live.Unit {
	case "":
		return m.Revision()
	case argsfile.Unit:
		return argsfile.RevisionOf(m.Data)
	}
	return dropin.RevisionOf(m.Data)
}

func foreign(live *txn.Live) *staticpod.Refusal {
	return refusal(reason.PlanInvalid, "revision %s is live in %s, which the plan's strategy does not know; disable the audit log, and enable it again", live.Revision, live.Manifest)
}

// staticPods is the manifest of a static pod, which a kubelet acts upon.
type staticPods struct{}

func (staticPods) owns(live *txn.Live) *staticpod.Refusal {
	if live != nil && live.Unit != "" {
		return foreign(live)
	}
	return nil
}

func (staticPods) propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, drifted bool) (*txn.Change, *staticpod.Refusal) {
	in := staticpod.Input{Manifest: seen.manifest, Plan: p, Credentials: seen.credentials, Version: running, Live: j.Live, Strays: j.Strays}
	if drifted {
		in.Repair = staticpod.RepairMark(seen.manifest, j.Live)
	}
	return staticpod.Propose(in)
}

func (staticPods) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal) {
	return staticpod.ProposeRevert(seen.manifest, p, j.Live, j.Strays...)
}

func (staticPods) traces(seen observation, j *txn.Journal) (staticpod.Traces, *staticpod.Refusal) {
	return staticpod.TracesIn(seen.manifest, j.Live, j.Strays...)
}

func (staticPods) overridden(observation) *staticpod.Refusal { return nil }

// serviceFiles is a file that a service reads, which is restarted: one of ours alone, or lines of ours in one of others.
type serviceFiles struct {
	// mine reports whether a service is one of those that are configured in this way.
	mine func(unit string) bool
}

func (s serviceFiles) owns(live *txn.Live) *staticpod.Refusal {
	if live != nil && !s.mine(live.Unit) {
		return foreign(live)
	}
	return nil
}

func (serviceFiles) propose(p *wire.Plan, seen observation, running *version.Version, _ *txn.Journal, _ bool) (*txn.Change, *staticpod.Refusal) {
	return seen.settings.Propose(p, seen.credentials, running)
}

func (serviceFiles) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal) {
	return seen.settings.ProposeRevert(p, j.Live), nil
}

// traces never lead to a repair without a permit: whoever changes such a file restarts nothing.
func (serviceFiles) traces(seen observation, _ *txn.Journal) (staticpod.Traces, *staticpod.Refusal) {
	t := staticpod.Traces{Lost: "was changed by somebody else"}
	if seen.manifest.Data == nil {
		t.Lost = "was removed by somebody else"
	}
	return t, nil
}

func (serviceFiles) overridden(seen observation) *staticpod.Refusal {
	return seen.settings.Overridden()
}
