package nodeagent

import (
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/strategy/configfile"
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
		return dropIns{}
	case wire.StrategyConfigFile:
		return configFiles{}
	case wire.StrategyArgsFile:
		return argsFiles{}
	}
	return nil
}

// revisionIn is the revision that a file says it is of.
func revisionIn(m staticpod.Manifest, live *txn.Live) string {
	switch _, added := dropin.ByUnit(live.Unit); {
	case live.Unit == "":
		return m.Revision()
	case added:
		return dropin.RevisionOf(m.Data)
	case live.Unit == argsfile.Unit:
		return argsfile.RevisionOf(m.Data)
	default:
		return configfile.RevisionOf(m.Data)
	}
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

// dropIns is a file of ours among those that a service reads.
type dropIns struct{}

func (dropIns) owns(live *txn.Live) *staticpod.Refusal {
	if live == nil {
		return nil
	}
	if _, ok := dropin.ByUnit(live.Unit); !ok {
		return foreign(live)
	}
	return nil
}

func (dropIns) propose(p *wire.Plan, seen observation, running *version.Version, _ *txn.Journal, _ bool) (*txn.Change, *staticpod.Refusal) {
	return seen.settings.Propose(p, seen.credentials, running)
}

func (dropIns) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal) {
	return seen.settings.ProposeRevert(p, j.Live), nil
}

// traces never lead to a repair without a permit: whoever changes our file restarts nothing.
func (dropIns) traces(seen observation, _ *txn.Journal) (staticpod.Traces, *staticpod.Refusal) {
	t := staticpod.Traces{Lost: "was changed by somebody else"}
	if seen.manifest.Data == nil {
		t.Lost = "was removed by somebody else"
	}
	return t, nil
}

func (dropIns) overridden(seen observation) *staticpod.Refusal { return seen.settings.Overridden() }

// configFiles is the one file that a service reads.
type configFiles struct{}

func (configFiles) owns(live *txn.Live) *staticpod.Refusal {
	if live == nil {
		return nil
	}
	if _, ok := configfile.ByUnit(live.Unit); !ok {
		return foreign(live)
	}
	return nil
}

func (configFiles) propose(p *wire.Plan, seen observation, running *version.Version, j *txn.Journal, _ bool) (*txn.Change, *staticpod.Refusal) {
	return seen.config.Propose(configfile.Input{Plan: p, Credentials: seen.credentials, Version: running, Live: j.Live, Strays: j.Strays})
}

func (configFiles) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal) {
	return seen.config.ProposeRevert(configfile.Input{Plan: p, Live: j.Live, Strays: j.Strays})
}

// traces never lead to a repair without a permit: whoever changes the file restarts nothing.
func (configFiles) traces(observation, *txn.Journal) (staticpod.Traces, *staticpod.Refusal) {
	return staticpod.Traces{Lost: "was changed by somebody else"}, nil
}

func (configFiles) overridden(observation) *staticpod.Refusal { return nil }

// argsFiles is the file of flags that a service reads.
type argsFiles struct{}

func (argsFiles) owns(live *txn.Live) *staticpod.Refusal {
	if live != nil && live.Unit != argsfile.Unit {
		return foreign(live)
	}
	return nil
}

func (argsFiles) propose(p *wire.Plan, seen observation, running *version.Version, _ *txn.Journal, _ bool) (*txn.Change, *staticpod.Refusal) {
	return seen.flags.Propose(p, seen.credentials, running)
}

func (argsFiles) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *staticpod.Refusal) {
	return seen.flags.ProposeRevert(p, j.Live), nil
}

// traces never lead to a repair without a permit: whoever changes the file restarts nothing.
func (argsFiles) traces(observation, *txn.Journal) (staticpod.Traces, *staticpod.Refusal) {
	return staticpod.Traces{Lost: "was changed by somebody else"}, nil
}

func (argsFiles) overridden(observation) *staticpod.Refusal { return nil }
