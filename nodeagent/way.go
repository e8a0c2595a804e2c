package nodeagent

import (
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/strategy/program"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// way is what differs from one way of configuring an apiserver to the other in a decision. It is pure.
type way interface {
	// owns refuses where what is live was made in another way.
	owns(live *txn.Live) *strategy.Refusal
	// propose returns the change that the plan asks for. drifted: the live revision is to be put back.
	propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, drifted bool) (*txn.Change, *strategy.Refusal)
	// proposeRevert returns nil where nothing of ours is there.
	proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *strategy.Refusal)
	// traces are what a file that is not the committed one still tells.
	traces(seen observation, j *txn.Journal) (staticpod.Traces, *strategy.Refusal)
	// overridden says what of others makes a file of no effect that is as it was committed; nil for nothing.
	overridden(seen observation) *strategy.Refusal
}

// wayOf returns the one of a plan, nil for one that is not known.
func wayOf(name wire.Strategy) way {
	switch name {
	case wire.StrategyStaticPod:
		return staticPods{}
	case wire.StrategyDropIn, wire.StrategyConfigFile, wire.StrategyArgsFile:
		return programs{name}
	case wire.StrategyContainer:
		return containers{}
	case wire.StrategyFile:
		return handed{}
	}
	return nil
}

// revisionIn is the revision that a file says it is of.
func revisionIn(m staticpod.Manifest, live *txn.Live) string {
	p, known := program.ByUnit(live.Unit)
	switch {
	case live.Unit == container.Unit:
		return container.RevisionOf(m.Data)
	case live.Unit == fileonly.Unit:
		if txn.Hash(m.Data) != live.ManifestHash {
			return ""
		}
		return live.Revision
	case known:
		return p.RevisionOf(m.Data)
	default:
		return m.Revision()
	}
}

func foreign(live *txn.Live) *strategy.Refusal {
	return refusal(reason.PlanInvalid, "revision %s is live in %s, which the plan's strategy does not know; disable the audit log, and enable it again", live.Revision, live.Manifest)
}

// only refuses what is live of any other unit.
func only(unit string, live *txn.Live) *strategy.Refusal {
	if live != nil && live.Unit != unit {
		return foreign(live)
	}
	return nil
}

// staticPods is the manifest of a static pod, which a kubelet acts upon.
type staticPods struct{}

func (staticPods) owns(live *txn.Live) *strategy.Refusal {
	if live != nil && live.Unit != "" {
		return foreign(live)
	}
	return nil
}

func (staticPods) propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, drifted bool) (*txn.Change, *strategy.Refusal) {
	in := staticpod.Input{Manifest: seen.manifest, Plan: p, Credentials: seen.credentials, Version: running, Live: j.Live, Strays: j.Strays}
	if drifted {
		in.Repair = staticpod.RepairMark(seen.manifest, j.Live)
	}
	return staticpod.Propose(in)
}

func (staticPods) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *strategy.Refusal) {
	return staticpod.ProposeRevert(seen.manifest, p, j.Live, j.Strays...)
}

func (staticPods) traces(seen observation, j *txn.Journal) (staticpod.Traces, *strategy.Refusal) {
	return staticpod.TracesIn(seen.manifest, j.Live, j.Strays...)
}

func (staticPods) overridden(observation) *strategy.Refusal { return nil }

// programs is the file from which a program starts an apiserver.
type programs struct{ strategy wire.Strategy }

func (w programs) owns(live *txn.Live) *strategy.Refusal {
	if live == nil {
		return nil
	}
	if p, ok := program.ByUnit(live.Unit); !ok || p.Strategy != w.strategy {
		return foreign(live)
	}
	return nil
}

func (programs) propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, _ bool) (*txn.Change, *strategy.Refusal) {
	return seen.settings.Propose(program.Input{Plan: p, Credentials: seen.credentials, Version: running, Live: j.Live, Strays: j.Strays})
}

func (programs) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *strategy.Refusal) {
	return seen.settings.ProposeRevert(program.Input{Plan: p, Live: j.Live, Strays: j.Strays})
}

// traces never lead to a repair without a permit: whoever changes the file restarts nothing.
func (programs) traces(seen observation, _ *txn.Journal) (staticpod.Traces, *strategy.Refusal) {
	return lost(seen), nil
}

// lost says of a file that was as a whole what became of it.
func lost(seen observation) staticpod.Traces {
	t := staticpod.Traces{Lost: "was changed by somebody else"}
	if seen.manifest.Data == nil {
		t.Lost = "was removed by somebody else"
	}
	return t
}

func (programs) overridden(seen observation) *strategy.Refusal { return seen.settings.Overridden() }
