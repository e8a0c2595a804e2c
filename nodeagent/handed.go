package nodeagent

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// handed is a file that somebody else tells the apiserver of.
type handed struct{}

func (handed) owns(live *txn.Live) *strategy.Refusal { return only(fileonly.Unit, live) }

func (handed) propose(p *wire.Plan, seen observation, _ *version.Version, _ *txn.Journal, _ bool) (*txn.Change, *strategy.Refusal) {
	return seen.handed.Propose(p, seen.credentials)
}

func (handed) proposeRevert(p *wire.Plan, seen observation, j *txn.Journal) (*txn.Change, *strategy.Refusal) {
	return seen.handed.ProposeRevert(p, j.Live)
}

func (handed) traces(seen observation, _ *txn.Journal) (staticpod.Traces, *strategy.Refusal) {
	return lost(seen), nil
}

func (handed) overridden(observation) *strategy.Refusal { return nil }

// findHanded looks at our files, of which the live one takes the place of a manifest.
func (o *observer) findHanded(seen *observation, live *txn.Live) {
	seen.handed, seen.refusal = fileonly.Read(o.host)
	if live != nil {
		seen.manifest = staticpod.Manifest{Path: live.Manifest, Data: seen.handed.Files[live.Manifest]}
	}
	if o.listens != nil {
		o.listens("", fileonly.Port)
	}
}

// tidy is the step that removes our files of which nobody is told any more; nil where there are none.
func tidy(p *wire.Plan, seen observation, l *txn.Live) *step {
	stale := seen.handed.Stale(p, l)
	if len(stale) == 0 {
		return nil
	}
	s := live(l)
	s.action, s.message = actTidy, s.message+fmt.Sprintf("; %s goes, of which no apiserver is told any more", strings.Join(stale, ", "))
	return &s
}

// handedVersion is the plan's: what runs does not matter to the file, and may be down for want of it.
func handedVersion(p *wire.Plan) (*version.Version, *step) {
	v, err := version.ParseGeneric(p.KubernetesVersion)
	if err != nil {
		s := refused(refusal(reason.PlanInvalid, "the plan is for Kubernetes %q: %v", p.KubernetesVersion, err))
		return nil, &s
	}
	return v, nil
}
