package dropin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// OldestMinor is the first minor version of Kubernetes 1.x whose RKE2 and k3s read config.yaml.d and append to lists.
const OldestMinor = 21

// Propose computes the change that makes our file what the plan wants, with everything checked that can be checked without touching
// the host.
func (s Settings) Propose(p *wire.Plan, c strategy.Credentials, running *version.Version) (*txn.Change, *strategy.Refusal) {
	if running != nil && running.Minor() < OldestMinor {
		return nil, strategy.Refuse(reason.VersionMismatch, "%s %s reads no %s.d; upgrade it, or write the audit flags into its configuration yourself",
			s.Product.Name, running, s.Product.config)
	}
	if txn.Mode(p.Rehearse) == txn.ModeAlways {
		return nil, strategy.Refuse(reason.RehearsalNotPossible, "%s starts its apiserver itself, so that there can be no second one beside it; set rollout.rehearse to auto or never", s.Product.Name)
	}
	revision := strategy.EffectiveRevision(p.Revision, c)
	files, refusal := strategy.Render(p, c, running)
	if refusal != nil {
		return nil, refusal
	}
	if s.Data != nil && s.Revision() == "" {
		return nil, strategy.Refuse(reason.ManifestConflict, "%s is there, and k8s-audit-enabler has not written it; remove or rename it", s.Path)
	}
	if refusal := s.Overridden(); refusal != nil {
		return nil, refusal
	}
	d, refusal := s.settle(p, revision)
	if refusal != nil {
		return nil, refusal
	}
	text, err := render(revision, d.Flags)
	if err != nil {
		return nil, strategy.Refuse(reason.PlanInvalid, "%v", err)
	}
	change := &txn.Change{
		Kind: txn.KindApply, Flags: d.Flags, Revision: revision, PlanRevision: p.Revision, Manifest: s.Path, Unit: s.Product.Unit,
		Base: s.Data, New: text, BaseRevision: s.Revision(), Dir: apiserver.RevisionDir(revision), Files: files.List(revision, d.PolicyOurs, strategy.UsualPlaces()),
		Record: json.RawMessage(`{}`), Effects: strategy.Effects(p, d, s.existing(), running, strategy.UsualPlaces()), ReadyTimeout: strategy.ReadyTimeout(p),
		Audited: d.PolicyOurs && p.Desired.Canary != "",
	}
	if d.LogOurs {
		change.LogBytes = strategy.LogSize(d.Flags)
	}
	return change, nil
}

// Overridden refuses where a setting of somebody else would replace ours, or does already.
func (s Settings) Overridden() *strategy.Refusal {
	if s.overridden == "" {
		return nil
	}
	return strategy.Refuse(reason.SettingsOverridden,
		"%s sets %s, which replaces the arguments that %s appends; write it there as %s+, or move it into %s", s.overridden, keyArgs, s.Path, keyArgs, s.Product.config)
}

// settle decides flag by flag.
func (s Settings) settle(p *wire.Plan, revision string) (apiserver.Decision, *strategy.Refusal) {
	d, refusal := strategy.Decide(s.Product.Name, s.Product.Name, s.existing(), p, revision, strategy.UsualPlaces())
	if refusal != nil {
		return d, refusal
	}
	for _, f := range d.Flags {
		if value, there := s.later.Lookup(f.Name); there && value != f.Value {
			return d, strategy.Refuse(reason.SettingsOverridden, "a file that is read after %s sets --%s=%s, which would win; take it out, or rename that file so that it is read before",
				s.Path, f.Name, value)
		}
	}
	return d, nil
}

const firstWords = "# Written by k8s-audit-enabler, revision "

var firstLine = regexp.MustCompile(`^` + firstWords + `(r[0-9a-f]{12}(-[0-9a-f]{8})?);`)

// render is our file's content.
func render(revision string, flags []wire.Flag) ([]byte, error) {
	var args []string
	for _, f := range flags {
		args = append(args, f.Name+"="+f.Value)
	}
	body, err := yaml.Marshal(map[string][]string{keyArgs + "+": args})
	if err != nil {
		return nil, fmt.Errorf("encode arguments: %w", err)
	}
	return append([]byte(firstWords+revision+"; it is removed when the audit log is disabled again.\n"), body...), nil
}

// Revision is what our file says, empty where it is not there or not ours.
func (s Settings) Revision() string { return RevisionOf(s.Data) }

// RevisionOf is what a file of ours says.
func RevisionOf(data []byte) string {
	if found := firstLine.FindSubmatch(bytes.TrimSpace(data)); found != nil {
		return string(found[1])
	}
	return ""
}

// ProposeRevert computes the change that removes our file. A nil change means that there is nothing of ours. Where somebody else has
// removed it, what runs may have been started with it.
func (s Settings) ProposeRevert(p *wire.Plan, live *txn.Live) *txn.Change {
	if ours := s.Revision() != "" || s.Data == nil && live != nil; !ours {
		return nil
	}
	return &txn.Change{
		Kind: txn.KindRevert, PlanRevision: p.Revision, Manifest: s.Path, Unit: s.Product.Unit, Base: s.Data,
		BaseRevision: s.Revision(), ReadyTimeout: strategy.ReadyTimeout(p),
	}
}
