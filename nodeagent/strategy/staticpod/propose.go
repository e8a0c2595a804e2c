package staticpod

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Input is what a change is made of.
type Input struct {
	Manifest    Manifest
	Plan        *wire.Plan
	Credentials strategy.Credentials
	// Version is the running apiserver's.
	Version *version.Version
	// Live is what we have put into the manifest before; nil for nothing.
	Live *txn.Live
	// Strays are edits of ours that may be in it too.
	Strays []txn.Stray
	// Repair marks a repair, so that no two of them give the same manifest: see [RepairMark].
	Repair string
}

// Propose computes the change that makes the manifest what the plan wants, with everything checked that can be checked
// without touching the host. Where the manifest holds an edit of ours already, the new one is made from the content without
// it, so that one record leads back to the original however often the plan changes.
func Propose(in Input) (*txn.Change, *strategy.Refusal) {
	revision := strategy.EffectiveRevision(in.Plan.Revision, in.Credentials)
	files, refusal := strategy.Render(in.Plan, in.Credentials, in.Version)
	if refusal != nil {
		return nil, refusal
	}
	original, refusal := withoutOurs(in.Manifest, in.Live, in.Strays)
	if refusal != nil {
		return nil, refusal
	}
	m, err := apiserver.ParseManifest(original)
	if err != nil {
		return nil, notUnderstood(in.Manifest.Path, err)
	}
	want, refusal := settle(in, m, revision)
	if refusal != nil {
		return nil, refusal
	}
	intent := want.intent(revision)
	if in.Repair != "" {
		intent.Annotations[wire.AnnotationRepair] = in.Repair
	}
	edited, record, err := apiserver.Edit(original, intent)
	if err != nil {
		return nil, notUnderstood(in.Manifest.Path, err)
	}
	if contains(in.Manifest.Data, want.intent(revision)) && !mixed(in.Manifest.Data, revision, in.Strays) {
		// Everything is there; that others have moved it around is no reason to restart an apiserver.
		edited = in.Manifest.Data
	}
	encoded, err := json.Marshal(record)
	if err != nil {
		return nil, refuse(reason.ManifestNotUnderstood, "encode the record of the edit: %v", err)
	}
	base, err := apiserver.ParseManifest(in.Manifest.Data)
	if err != nil {
		return nil, notUnderstood(in.Manifest.Path, err)
	}
	return &txn.Change{
		Kind: txn.KindApply, Flags: want.Flags, Front: front(base), Revision: revision, PlanRevision: in.Plan.Revision, Manifest: in.Manifest.Path,
		Base: in.Manifest.Data, New: edited, BaseRevision: base.Revision(),
		Dir: apiserver.RevisionDir(revision), Files: files.List(revision, want.PolicyOurs, strategy.UsualPlaces()), Owner: owner(original), LogBytes: want.logBytes(),
		Record: encoded, Effects: want.effects(in, m), ReadyTimeout: strategy.ReadyTimeout(in.Plan),
		Audited: want.PolicyOurs && in.Plan.Desired.Canary != "", Rehearse: rehearse(in.Plan), Handover: handover(in.Plan), Drain: in.Plan.Drain.Duration,
	}, nil
}

// contains reports whether a manifest already has everything that is intended.
func contains(manifest []byte, intent apiserver.Intent) bool {
	_, change, err := apiserver.Edit(manifest, intent)
	return err == nil && change.Empty()
}

// mixed reports whether a manifest names the directory of an edit that is not the wanted one: it would be removed one day, and
// the pod not be started again.
func mixed(manifest []byte, revision string, strays []txn.Stray) bool {
	return slices.ContainsFunc(strays, func(s txn.Stray) bool {
		return s.Revision != revision && bytes.Contains(manifest, []byte(apiserver.RevisionDir(s.Revision)))
	})
}

// withoutOurs is the manifest's content before our edits, with what others have changed since. Each of our records leads back to
// the original: the one that the manifest's annotation speaks of first, which fits byte for byte where nobody else has edited;
// what the others speak of is left only where somebody has mixed two versions of the manifest.
func withoutOurs(m Manifest, live *txn.Live, strays []txn.Stray) ([]byte, *strategy.Refusal) {
	data := m.Data
	for _, encoded := range records(m.Revision(), live, strays) {
		var record apiserver.Change
		if err := json.Unmarshal(encoded, &record); err != nil {
			return nil, refuse(reason.ManifestNotUnderstood, "the record of an edit of ours of %s cannot be read: %v", m.Path, err)
		}
		adoptMark(&record, data)
		var err error
		if data, _, err = apiserver.Revert(data, record); err != nil {
			return nil, notUnderstood(m.Path, err)
		}
	}
	return data, nil
}

// records are those of all edits that may be in a manifest with this revision annotation, in the order in which they are taken out.
func records(revision string, live *txn.Live, strays []txn.Stray) []json.RawMessage {
	all := slices.Clone(strays)
	if live != nil && len(live.Record) > 0 {
		all = slices.Insert(all, 0, txn.Stray{Revision: live.Revision, Record: live.Record})
	}
	slices.Reverse(all)
	var first, rest []json.RawMessage
	for _, s := range all {
		if s.Revision == revision {
			first = append(first, s.Record)
		} else {
			rest = append(rest, s.Record)
		}
	}
	return append(first, rest...)
}

// owner is who the apiserver runs as, where its manifest says that it is not root.
func owner(manifest []byte) *hostfs.Owner {
	type security struct {
		RunAsUser  *int64 `json:"runAsUser"`
		RunAsGroup *int64 `json:"runAsGroup"`
	}
	var pod struct {
		Spec struct {
			SecurityContext security `json:"securityContext"`
			Containers      []struct {
				Name            string   `json:"name"`
				SecurityContext security `json:"securityContext"`
			} `json:"containers"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &pod); err != nil {
		return nil
	}
	user, group := pod.Spec.SecurityContext.RunAsUser, pod.Spec.SecurityContext.RunAsGroup
	for _, c := range pod.Spec.Containers {
		if len(pod.Spec.Containers) == 1 || c.Name == "kube-apiserver" {
			user = cmp.Or(c.SecurityContext.RunAsUser, user)
			group = cmp.Or(c.SecurityContext.RunAsGroup, group)
		}
	}
	if user == nil || *user == 0 {
		return nil
	}
	out := &hostfs.Owner{UID: int(*user)}
	if group != nil {
		out.GID = int(*group)
	}
	return out
}
