package container

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Propose computes the change that makes the container what the plan wants, with everything checked that can be checked without touching
// the host.
func (s Settings) Propose(p *wire.Plan, c strategy.Credentials, running *version.Version) (*txn.Change, *strategy.Refusal) {
	switch {
	case running != nil && running.Minor() < OldestMinor:
		return nil, strategy.Refuse(reason.VersionMismatch, "RKE with Kubernetes %s is not supported; upgrade it, or set services.kube-api in cluster.yml yourself", running)
	case txn.Mode(p.Rehearse) == txn.ModeAlways:
		return nil, strategy.Refuse(reason.RehearsalNotPossible, "with RKE the apiserver is a container of its own, beside which no second one is tried; set rollout.rehearse to auto or never")
	case s.image != "":
		return nil, strategy.Refuse(reason.ManifestNotUnderstood, "container %s cannot be created anew as it is: %s; run rke up first", Name, s.image)
	case s.network() != "host":
		return nil, strategy.Refuse(reason.ManifestNotUnderstood, "container %s is in network %q, and RKE puts it into the host's", Name, s.network())
	}
	revision := strategy.EffectiveRevision(p.Revision, c)
	files, refusal := strategy.Render(p, c, running)
	if refusal != nil {
		return nil, refusal
	}
	at, binds := s.places()
	d, refusal := strategy.Decide("container "+Name, s.origin(), s.args, p, revision, at)
	if refusal != nil {
		return nil, refusal
	}
	text, err := Wanted{Revision: revision, Dir: at.Dir(revision), From: s.current.ID, form: s.was.with(d.Flags, binds...), Was: s.was}.encode()
	if err != nil {
		return nil, strategy.Refuse(reason.PlanInvalid, "%v", err)
	}
	if w, _ := decode(s.File); w != nil && s.InForce() { // the container that it was made from is gone, and that is as it shall be
		same := Wanted{Revision: revision, Dir: at.Dir(revision), From: w.From, form: s.was.with(d.Flags, binds...), Was: s.was}
		if again, err := same.encode(); err == nil && string(again) == string(s.File) {
			text = again
		}
	}
	change := &txn.Change{
		Kind: txn.KindApply, Flags: d.Flags, Revision: revision, PlanRevision: p.Revision, Manifest: File, Unit: Unit,
		Base: s.File, New: text, BaseRevision: s.Revision(), Dir: at.Dir(revision), Files: files.List(revision, d.PolicyOurs, at),
		Record: json.RawMessage(`{}`), Effects: strategy.Effects(p, d, s.args, running, at), ReadyTimeout: strategy.ReadyTimeout(p),
		Audited: d.PolicyOurs && p.Desired.Canary != "",
	}
	if !d.LogOurs && change.Effects.LogPath != "" {
		change.Effects.LogPath = s.was.onHost(d.Log)
	}
	if d.LogOurs {
		change.LogBytes = strategy.LogSize(d.Flags)
	}
	return change, nil
}

// origin is whose defaults the audit settings may be. Where cluster.yml gives the policy, nothing is a default.
func (s Settings) origin() string {
	if s.defaultPolicy {
		return Distribution
	}
	return ""
}

// network is the container's; empty where it does not say.
func (s Settings) network() string {
	var mode string
	if json.Unmarshal(s.current.HostConfig["NetworkMode"], &mode) != nil {
		return ""
	}
	return mode
}

// ProposeRevert computes the change that takes ours out of the container. A nil change means that there is nothing of ours in it.
func (s Settings) ProposeRevert(p *wire.Plan) *txn.Change {
	if !isOurs(s.current) {
		return nil
	}
	return &txn.Change{
		Kind: txn.KindRevert, PlanRevision: p.Revision, Manifest: File, Unit: Unit, Base: s.File,
		BaseRevision: s.Revision(), ReadyTimeout: strategy.ReadyTimeout(p),
	}
}
