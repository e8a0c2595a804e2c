package strategy

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Names of the files in a revision's directory, and of the log.
const (
	PolicyFile  = "audit-policy.yaml"
	WebhookFile = "webhook-config.yaml"
	LogFile     = apiserver.LogDir + "/" + logName
	logName     = "k8s_audit_events.log"
)

// Places are where the revisions' files and the log lie: one directory, as the host has it and as the apiserver sees it.
type Places struct{ Host, Apiserver string }

// UsualPlaces are those of an apiserver that sees the host's paths.
func UsualPlaces() Places { return Places{Host: apiserver.AuditDir, Apiserver: apiserver.AuditDir} }

// Dir is a revision's directory on the host.
func (at Places) Dir(revision string) string { return path.Join(at.Host, revision) }

// onHost is a path that the apiserver sees. What stands beside our directory there stands beside it on the host.
func (at Places) onHost(name string) string {
	if rest, ok := strings.CutPrefix(name, path.Dir(at.Apiserver)+"/"); ok {
		return path.Join(path.Dir(at.Host), rest)
	}
	return name
}

const (
	// defaultReadyTimeout is used where a plan has none.
	defaultReadyTimeout = 5 * time.Minute
	// secretMode: the kubeconfig may hold credentials, and the policy tells what is not watched.
	secretMode fs.FileMode = 0o600
)

// ReadyTimeout is how long a plan gives a changed apiserver.
func ReadyTimeout(p *wire.Plan) time.Duration {
	return cmp.Or(p.ReadyTimeout.Duration, defaultReadyTimeout)
}

// Desired are all flags that a plan asks for, those with the files of a revision included, as they are best read.
func Desired(p *wire.Plan, revision string, at Places) []wire.Flag {
	flags := []wire.Flag{
		{Name: auditflag.PolicyFile, Value: path.Join(at.Apiserver, revision, PolicyFile)},
		{Name: auditflag.LogPath, Value: path.Join(at.Apiserver, path.Base(apiserver.LogDir), logName)},
	}
	if p.Desired.Backend == wire.BackendDynamic {
		flags = append(flags, wire.Flag{Name: auditflag.Dynamic, Value: "true"})
	} else {
		flags = append(flags, wire.Flag{Name: auditflag.WebhookConfigFile, Value: path.Join(at.Apiserver, revision, WebhookFile)})
	}
	return inOrder(append(flags, p.Desired.Flags...))
}

// Entries are the keys of shared flags that a plan asks for. No plan names them: what else these flags switch on is not for us.
func Entries(p *wire.Plan) []wire.Flag {
	if p.Desired.Backend != wire.BackendDynamic {
		return nil
	}
	var out []wire.Flag
	for _, f := range auditflag.DynamicEntries() {
		out = append(out, wire.Flag{Name: f.Name, Value: f.Value})
	}
	return out
}

// List are the files of a revision: the policy only where it is the plan's.
func (r Rendered) List(revision string, policy bool, at Places) []txn.File {
	var files []txn.File
	if r.webhook != nil {
		files = append(files, txn.File{Path: path.Join(at.Dir(revision), WebhookFile), Data: r.webhook, Mode: secretMode})
	}
	if policy {
		files = append(files, txn.File{Path: path.Join(at.Dir(revision), PolicyFile), Data: r.policy, Mode: secretMode})
	}
	return files
}

// Rendered are the contents of a revision's files; there is no webhook where an AuditSink says where the events go.
type Rendered struct{ policy, webhook []byte }

// Render checks and renders the files that a plan asks for. Nothing in an error repeats a credential.
func Render(p *wire.Plan, c Credentials, running *version.Version) (Rendered, *Refusal) {
	if running == nil {
		return Rendered{}, Refuse(reason.ApiserverUnhealthy, "the apiserver does not tell its version")
	}
	policy := []byte(p.Desired.Policy)
	if _, err := auditpolicy.Validate(policy, running); err != nil {
		return Rendered{}, Refuse(reason.PolicyInvalid, "the plan's audit policy: %v", err)
	}
	for _, f := range p.Desired.Flags {
		spec, ok := auditflag.Lookup(f.Name)
		switch {
		case !ok || !strings.HasPrefix(f.Name, "audit-"):
			return Rendered{}, Refuse(reason.PlanInvalid, "the plan asks for --%s, which is no audit flag", f.Name)
		case spec.Path, f.Name == auditflag.Dynamic && spec.In(running):
			return Rendered{}, Refuse(reason.PlanInvalid, "the plan asks for --%s, which the agent sets itself", f.Name)
		case !spec.In(running):
			return Rendered{}, Refuse(reason.VersionMismatch, "kube-apiserver %s does not know --%s of the plan", running, f.Name)
		}
		if err := checkValue(f, spec, running); err != nil {
			return Rendered{}, Refuse(reason.PlanInvalid, "the plan asks for %v", err)
		}
	}
	switch p.Desired.Backend {
	case "":
	case wire.BackendDynamic:
		if !auditflag.Known(auditflag.Dynamic, running) {
			return Rendered{}, Refuse(reason.VersionMismatch, "kube-apiserver %s has no dynamic backend", running)
		}
		return Rendered{policy: policy}, nil
	default:
		return Rendered{}, Refuse(reason.PlanInvalid, "the plan asks for the backend %q, which does not exist", p.Desired.Backend)
	}
	webhook, refusal := Webhook(p, c, running)
	return Rendered{policy: policy, webhook: webhook}, refusal
}

// Webhook checks and renders the webhook's kubeconfig alone.
func Webhook(p *wire.Plan, c Credentials, running *version.Version) ([]byte, *Refusal) {
	w := p.Desired.Webhook
	sink := webhookconfig.Sink{
		URL: w.URL, ServerName: w.ServerName, InsecureSkipVerify: w.InsecureSkipVerify, CAData: []byte(w.CABundle),
		BearerToken:    strings.TrimSpace(string(c.token)),
		ClientCertData: c.cert, ClientKeyData: c.key,
	}
	if len(sink.CAData) == 0 {
		sink.CAData = c.ca
	}
	var text []byte
	err := sink.Validate(running)
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
		return nil, Refuse(reason.CredentialsMissing, "Secret %q cannot be used: %v", w.CredentialsSecret, err)
	}
	return nil, Refuse(reason.SinkInvalid, "the plan's sink: %v", err)
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

// LogSize is how large the log may grow with the given flags, in bytes: the file that is written and the rotated ones.
func LogSize(flags []wire.Flag) int64 {
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
