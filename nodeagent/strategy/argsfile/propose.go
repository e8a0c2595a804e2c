package argsfile

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Propose computes the change that puts into the file what the plan wants, with everything checked that can be checked without touching
// the host.
func (s Settings) Propose(p *wire.Plan, c strategy.Credentials, running *version.Version) (*txn.Change, *strategy.Refusal) {
	switch {
	case running != nil && running.Minor() < OldestMinor:
		return nil, strategy.Refuse(reason.VersionMismatch, "the apiserver of MicroK8s %s is a service of its own; upgrade it, or add the audit flags to %s yourself", running, Path)
	case txn.Mode(p.Rehearse) == txn.ModeAlways:
		return nil, strategy.Refuse(reason.RehearsalNotPossible, "MicroK8s starts its apiserver itself, so that there can be no second one beside it; set rollout.rehearse to auto or never")
	}
	revision := strategy.EffectiveRevision(p.Revision, c)
	files, refusal := strategy.Render(p, c, running)
	if refusal != nil {
		return nil, refusal
	}
	d, refusal := strategy.Decide(Path, Name, s.args, p, revision, s.places())
	if refusal != nil {
		return nil, refusal
	}
	if name, value := s.outdone(d.Flags); name != "" {
		return nil, strategy.Refuse(reason.SettingsOverridden, "%s has --%s=%s behind the lines of k8s-audit-enabler, and the last one wins; take it out", Path, name, value)
	}
	change := &txn.Change{
		Kind: txn.KindApply, Flags: d.Flags, Revision: revision, PlanRevision: p.Revision, Manifest: Path, Unit: Unit,
		Base: s.Data, New: s.with(revision, d.Flags), BaseRevision: s.ours.revision, Dir: s.places().Dir(revision), Files: files.List(revision, d.PolicyOurs, s.places()),
		Record: json.RawMessage(`{}`), Effects: strategy.Effects(p, d, s.args, running, s.places()), ReadyTimeout: strategy.ReadyTimeout(p),
		Audited: d.PolicyOurs && p.Desired.Canary != "",
	}
	if d.LogOurs {
		change.LogBytes = strategy.LogSize(d.Flags)
	}
	return change, nil
}

// places are where the files lie: in a directory that all releases of the snap share, where it may read no other.
func (s Settings) places() strategy.Places {
	if s.confined {
		return strategy.Places{Host: snapCommon + "/k8s_audit", Apiserver: snapCommon + "/k8s_audit"}
	}
	return strategy.UsualPlaces()
}

// outdone is the first flag that has another value behind ours.
func (s Settings) outdone(flags []wire.Flag) (name, value string) {
	for _, f := range flags {
		if value, there := s.later.Lookup(f.Name); there && value != f.Value {
			return f.Name, value
		}
	}
	return "", ""
}

// ProposeRevert computes the change that takes our lines out. A nil change means that there is nothing of ours. Where somebody else has
// taken them out, what runs may have been started with them.
func (s Settings) ProposeRevert(p *wire.Plan, live *txn.Live) *txn.Change {
	if s.ours.revision == "" && live == nil {
		return nil
	}
	return &txn.Change{
		Kind: txn.KindRevert, PlanRevision: p.Revision, Manifest: Path, Unit: Unit, Base: s.Data, New: s.without(),
		BaseRevision: s.ours.revision, ReadyTimeout: strategy.ReadyTimeout(p),
	}
}
