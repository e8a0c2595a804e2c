package configfile

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Input is what a change is made from, beside the file.
type Input struct {
	Plan        *wire.Plan
	Credentials strategy.Credentials
	// Version is the running apiserver's; nil where it is not known.
	Version *version.Version
	// Live is what was committed, nil for nothing, and Strays are edits of ours that may be in the file although they were not.
	Live   *txn.Live
	Strays []txn.Stray
}

// Propose computes the change that gives the file what the plan wants, with everything checked that can be checked without touching
// the host. The change is empty, its New equal to its Base, where the file is so already.
func (s Settings) Propose(in Input) (*txn.Change, *strategy.Refusal) {
	p := in.Plan
	if txn.Mode(p.Rehearse) == txn.ModeAlways {
		return nil, strategy.Refuse(reason.RehearsalNotPossible, "%s starts its apiserver itself, so that there can be no second one beside it; set rollout.rehearse to auto or never", s.Product.Name)
	}
	revision := strategy.EffectiveRevision(p.Revision, in.Credentials)
	files, refusal := strategy.Render(p, in.Credentials, in.Version)
	if refusal != nil {
		return nil, refusal
	}
	original, _, refusal := s.original(in.Live, in.Strays)
	if refusal != nil {
		return nil, refusal
	}
	others, err := s.Product.form.read(original)
	if err != nil {
		return nil, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", s.Path, err)
	}
	d, refusal := strategy.Decide(s.Path, s.Product.Name, others.args, p, revision, s.Product.At)
	if refusal != nil {
		return nil, refusal
	}
	if policy, _ := others.args.Lookup(apiserver.FlagPolicy); policy == basicPolicy && !d.PolicyOurs {
		return nil, strategy.Refuse(reason.ManifestConflict,
			"%s has auditConfig on without a policy, and without one nothing can be sent to a webhook; set existing.policy to replace to have ours, or write a policyFile there", s.Path)
	}
	text, record, left, err := s.Product.form.edit(s.Data, original, others, d.Flags)
	if err != nil {
		return nil, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", s.Path, err)
	}
	change := &txn.Change{
		Kind: txn.KindApply, Flags: d.Flags, Revision: revision, PlanRevision: p.Revision, Manifest: s.Path, Unit: s.Product.Unit,
		Base: s.Data, New: text, BaseRevision: RevisionOf(s.Data), Dir: s.Product.At.Dir(revision), Files: files.List(revision, d.PolicyOurs, s.Product.At),
		Owner: s.owner, Record: record, Effects: strategy.Effects(p, d, others.args, in.Version, s.Product.At), ReadyTimeout: strategy.ReadyTimeout(p),
		Audited: d.PolicyOurs && p.Desired.Canary != "",
	}
	if len(left) > 0 {
		change.Effects.Kept = strings.TrimPrefix(change.Effects.Kept+"; "+s.Path+" has no word for "+strings.Join(left, ", ")+", which is left out", "; ")
	}
	if d.LogOurs {
		change.LogBytes = strategy.LogSize(d.Flags)
	}
	return change, nil
}

// ProposeRevert computes the change that takes ours out of the file. A nil change means that there is nothing of ours.
func (s Settings) ProposeRevert(in Input) (*txn.Change, *strategy.Refusal) {
	original, kept, refusal := s.original(in.Live, in.Strays)
	if refusal != nil {
		return nil, refusal
	}
	if RevisionOf(original) != "" {
		return nil, strategy.Refuse(reason.ManifestConflict,
			"%s names a directory of ours, and nothing on this host says what stood there before; take the audit settings out of it by hand, and restart %s", s.Path, s.Product.Unit)
	}
	if string(original) == string(s.Data) && in.Live == nil {
		return nil, nil //nolint:nilnil // nothing of ours, and nothing wrong
	}
	return &txn.Change{
		Kind: txn.KindRevert, PlanRevision: in.Plan.Revision, Manifest: s.Path, Unit: s.Product.Unit, Base: s.Data, New: original,
		BaseRevision: RevisionOf(s.Data), Note: strings.Join(kept, "; "), ReadyTimeout: strategy.ReadyTimeout(in.Plan),
	}, nil
}

// original is the file without what is ours, and what of it somebody else has changed, which stays.
func (s Settings) original(live *txn.Live, strays []txn.Stray) (data []byte, kept []string, refusal *strategy.Refusal) {
	var records []json.RawMessage
	for _, stray := range strays {
		records = append(records, stray.Record)
	}
	if live != nil {
		records = append(records, live.Record)
	}
	data = s.Data
	for _, record := range slices.Backward(records) {
		var notes []string
		var err error
		if data, notes, err = s.Product.form.revert(data, record); err != nil {
			return nil, nil, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", s.Path, err)
		}
		kept = append(kept, notes...)
	}
	return data, kept, nil
}

// ourDirectory is a revision's in any of the places.
var ourDirectory = regexp.MustCompile(`/k8s_audit/(r[0-9a-f]{12}(?:-[0-9a-f]{8})?)/`)

// RevisionOf is the revision whose files a configuration names, empty for none of ours.
func RevisionOf(data []byte) string {
	if found := ourDirectory.FindSubmatch(data); found != nil {
		return string(found[1])
	}
	return ""
}
