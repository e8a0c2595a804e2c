package staticpod

import (
	"bytes"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// ProposeRevert computes the change that takes our settings out of the manifest. A nil change means that there is nothing
// of ours in it.
func ProposeRevert(m Manifest, plan *wire.Plan, live *txn.Live, strays ...txn.Stray) (*txn.Change, *strategy.Refusal) {
	original, refusal := withoutOurs(m, live, strays)
	if refusal != nil {
		return nil, refusal
	}
	current, err := apiserver.ParseManifest(m.Data)
	if err != nil {
		return nil, notUnderstood(m.Path, err)
	}
	reverted, err := apiserver.ParseManifest(original)
	if err != nil {
		return nil, notUnderstood(m.Path, err)
	}
	if left := reverted.Revision(); left != "" {
		return nil, refuse(reason.ManifestNotUnderstood,
			"%s carries revision %s of ours, but this host has no record of that edit; take our settings out by hand (the backups are in %s/backup)", m.Path, left, txn.StateDir)
	}
	if bytes.Equal(original, m.Data) {
		return nil, nil
	}
	return &txn.Change{
		Kind: txn.KindRevert, Front: front(current), PlanRevision: plan.Revision, Manifest: m.Path, Base: m.Data, New: original,
		BaseRevision: current.Revision(), ReadyTimeout: strategy.ReadyTimeout(plan),
		Owner: owner(original), Rehearse: rehearseRevert(plan), Handover: handover(plan), Drain: plan.Drain.Duration,
	}, nil
}

// rehearse is what a plan asks of a rehearsal. A plan that does not speak of it asks for none.
func rehearse(p *wire.Plan) txn.Mode {
	switch mode := txn.Mode(p.Rehearse); mode {
	case txn.ModeAuto, txn.ModeAlways:
		return mode
	default:
		return txn.ModeNever
	}
}

// rehearseRevert never demands a rehearsal: a host that cannot rehearse must be able to get rid of us.
func rehearseRevert(p *wire.Plan) txn.Mode {
	if mode := rehearse(p); mode != txn.ModeAlways {
		return mode
	}
	return txn.ModeAuto
}

// handover is what a plan asks of a handover.
func handover(p *wire.Plan) txn.Mode {
	if p.Handover == wire.HandoverAuto {
		return txn.ModeAuto
	}
	return txn.ModeNever
}

// Revision is what a manifest's revision annotation says, empty where it has none or is not a manifest.
func (m Manifest) Revision() string {
	parsed, err := apiserver.ParseManifest(m.Data)
	if err != nil {
		return ""
	}
	return parsed.Revision()
}
