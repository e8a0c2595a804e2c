package staticpod

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Names of the files in a revision's directory, and of the log.
const (
	PolicyFile  = "audit-policy.yaml"
	WebhookFile = "webhook-config.yaml"
	LogFile     = apiserver.LogDir + "/k8s_audit_events.log"
)

const (
	// defaultReadyTimeout is used where a plan has none.
	defaultReadyTimeout = 5 * time.Minute
	// secretMode: the kubeconfig may hold credentials, and the policy tells what is not watched.
	secretMode fs.FileMode = 0o600
)

// Input is what a change is made of.
type Input struct {
	Manifest    Manifest
	Plan        *wire.Plan
	Credentials Credentials
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
func Propose(in Input) (*txn.Change, *Refusal) {
	revision := EffectiveRevision(in.Plan.Revision, in.Credentials)
	files, refusal := render(in)
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
		Kind: txn.KindApply, Front: front(base), Revision: revision, PlanRevision: in.Plan.Revision, Manifest: in.Manifest.Path,
		Base: in.Manifest.Data, New: edited, BaseRevision: base.Revision(),
		Dir: apiserver.RevisionDir(revision), Files: want.files(files), Owner: owner(original), LogBytes: want.logBytes(),
		Record: encoded, Effects: want.effects(in, m), ReadyTimeout: cmp.Or(in.Plan.ReadyTimeout.Duration, defaultReadyTimeout),
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
func withoutOurs(m Manifest, live *txn.Live, strays []txn.Stray) ([]byte, *Refusal) {
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

// rendered are the contents of a revision's files.
type rendered struct{ policy, webhook []byte }

// render checks and renders the files. Nothing in an error repeats a credential.
func render(in Input) (rendered, *Refusal) {
	if in.Version == nil {
		return rendered{}, refuse(reason.ApiserverUnhealthy, "the apiserver does not tell its version")
	}
	policy := []byte(in.Plan.Desired.Policy)
	if _, err := auditpolicy.Validate(policy, in.Version); err != nil {
		return rendered{}, refuse(reason.PolicyInvalid, "the plan's audit policy: %v", err)
	}
	for _, f := range in.Plan.Desired.Flags {
		spec, ok := auditflag.Lookup(f.Name)
		switch {
		case !ok || !strings.HasPrefix(f.Name, "audit-"):
			return rendered{}, refuse(reason.PlanInvalid, "the plan asks for --%s, which is no audit flag", f.Name)
		case spec.Path:
			return rendered{}, refuse(reason.PlanInvalid, "the plan asks for --%s, which the agent sets itself", f.Name)
		case !spec.In(in.Version):
			return rendered{}, refuse(reason.VersionMismatch, "kube-apiserver %s does not know --%s of the plan", in.Version, f.Name)
		}
		if err := checkValue(f, spec, in.Version); err != nil {
			return rendered{}, refuse(reason.PlanInvalid, "the plan asks for %v", err)
		}
	}
	webhook, refusal := renderWebhook(in)
	return rendered{policy: policy, webhook: webhook}, refusal
}

func renderWebhook(in Input) ([]byte, *Refusal) {
	w := in.Plan.Desired.Webhook
	sink := webhookconfig.Sink{
		URL: w.URL, ServerName: w.ServerName, InsecureSkipVerify: w.InsecureSkipVerify, CAData: []byte(w.CABundle),
		BearerToken:    strings.TrimSpace(string(in.Credentials.token)),
		ClientCertData: in.Credentials.cert, ClientKeyData: in.Credentials.key,
	}
	if len(sink.CAData) == 0 {
		sink.CAData = in.Credentials.ca
	}
	var text []byte
	err := sink.Validate(in.Version)
	if err == nil {
		text, err = webhookconfig.Render(sink)
	}
	if err == nil {
		_, err = webhookconfig.Parse(text)
	}
	if err == nil {
		return text, nil
	}
	var setting *webhookconfig.SettingError
	if errors.As(err, &setting) && w.CredentialsSecret != "" && setting.Setting != "URL" {
		return nil, refuse(reason.CredentialsMissing, "Secret %q cannot be used: %v", w.CredentialsSecret, err)
	}
	return nil, refuse(reason.SinkInvalid, "the plan's sink: %v", err)
}

// inOrder sorts flags as they are best read: the policy, the log, the webhook.
func inOrder(flags []wire.Flag) []wire.Flag {
	place := map[string]int{}
	for i, s := range auditflag.Specs() {
		place[s.Name] = i
	}
	flags = slices.Clone(flags)
	slices.SortStableFunc(flags, func(a, b wire.Flag) int { return cmp.Compare(place[a.Name], place[b.Name]) })
	return flags
}

// logSize is how large the log may grow with the given flags, in bytes: the file that is written and the rotated ones.
func logSize(flags []wire.Flag) int64 {
	value := func(name string, otherwise int64) int64 {
		for _, f := range flags {
			if f.Name != name {
				continue
			}
			if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && n > 0 {
				return n
			}
		}
		return otherwise
	}
	// Unlimited backups are counted as ten: somebody wants them, and nobody can reserve endless space.
	return value(auditflag.LogMaxSize, 100) * (value(auditflag.LogMaxBackup, 10) + 1) << 20
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

func inDir(revision, name string) string { return path.Join(apiserver.RevisionDir(revision), name) }
