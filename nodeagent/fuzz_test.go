package nodeagent

import (
	"path"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// ownDir is a revision's directory.
var ownDir = regexp.MustCompile(`^/var/lib/k8s_audit/r[0-9a-f]{12}(-[0-9a-f]{8})?$`)

// FuzzPlan: a plan is untrusted. Whatever it says, the agent does not panic, and a change that comes of it writes into the
// revision's own directory and the manifest that was found, mounts nothing else of the host, and sets audit flags only.
func FuzzPlan(f *testing.F) {
	for _, change := range []func(*wire.Plan){
		nil, disabled,
		func(p *wire.Plan) { p.Desired.Webhook.CredentialsSecret = "../../secret" },
		func(p *wire.Plan) { p.Desired.Flags = []wire.Flag{{Name: "audit-log-path", Value: "/etc/passwd"}} },
		func(p *wire.Plan) {
			p.Desired.Flags = []wire.Flag{{Name: "audit-policy-file", Value: "../../etc/shadow"}}
		},
		func(p *wire.Plan) { p.Desired.Flags = []wire.Flag{{Name: "audit_webhook-config-file", Value: "/x"}} },
		func(p *wire.Plan) { p.Desired.Flags = []wire.Flag{{Name: "--tls-private-key-file", Value: "/x"}} },
		func(p *wire.Plan) {
			p.Desired.Flags = []wire.Flag{{Name: "audit-log-format", Value: "json\n    - --v=9"}}
		},
		func(p *wire.Plan) { p.Desired.Canary = "a\nb: c" },
		func(p *wire.Plan) { p.Desired.Webhook.URL = "file:///etc/shadow" },
		func(p *wire.Plan) {
			p.Desired.Existing = wire.ExistingSettings{Policy: "replace", Log: "replace", Webhook: "replace"}
		},
		func(p *wire.Plan) { p.Distribution, p.KubernetesVersion = "../kubeadm", "v1.34.99999999999999999999" },
	} {
		text, err := wire.EncodeText(wire.KindPlan, testPlan(f, change))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "", true)
		f.Add(text, "token", false)
	}
	f.Add([]byte("apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: Plan\nrevision: ../../../etc\nstrategy: static-pod\n"), "", false)
	manifest := kubeadmManifest(f)
	mounted := hostPaths(f, manifest)
	f.Fuzz(func(t *testing.T, text []byte, token string, sign bool) {
		var p wire.Plan
		if wire.DecodeText(text, wire.KindPlan, &p) != nil {
			return
		}
		if sign { // the revision is a hash of what the plan wants, not a signature: who forges a plan computes it
			revision, err := p.ComputeRevision()
			if err != nil {
				return
			}
			p.Revision = revision
			p.Permit = &wire.Permit{HolderUID: p.Node.UID, Revision: revision, Fence: 1}
		}
		seen := seenHost(manifest)
		seen.machine = p.Node
		if token != "" {
			seen.credentials = strategy.CredentialsFrom(map[string][]byte{"token": []byte(token)})
		}
		for _, j := range []*txn.Journal{{}, {Live: &txn.Live{Revision: "r0123456789ab", PlanRevision: p.Revision, Manifest: manifestPath}}} {
			s := decide(&p, seen, j)
			if len(token) > 15 && strings.Contains(s.message, token) && !strings.Contains(string(text), token) {
				t.Errorf("the message holds the token: %s", s.message)
			}
			if s.change != nil {
				checkContained(t, s.change, mounted)
			}
		}
	})
}

func checkContained(t *testing.T, c *txn.Change, mounted map[string]bool) {
	t.Helper()
	if c.Manifest != manifestPath {
		t.Errorf("manifest %q", c.Manifest)
	}
	if c.Kind == txn.KindRevert {
		if c.Dir != "" || len(c.Files) != 0 {
			t.Errorf("a revert writes %q, %v", c.Dir, c.Files)
		}
		return
	}
	if !ownDir.MatchString(c.Dir) {
		t.Errorf("directory %q", c.Dir)
	}
	for _, file := range c.Files {
		if base := path.Base(file.Path); path.Dir(file.Path) != c.Dir || base != strategy.PolicyFile && base != strategy.WebhookFile || file.Mode != 0o600 {
			t.Errorf("file %q, mode %v", file.Path, file.Mode)
		}
	}
	for name := range hostPaths(t, c.New) {
		if !mounted[name] && name != c.Dir && name != txn.LogDir {
			t.Errorf("%q of the host is mounted", name)
		}
	}
	had := lines(c.Base)
	for line := range lines(c.New) {
		if text := strings.TrimSpace(line); !had[line] && strings.HasPrefix(text, "- --") && !strings.HasPrefix(text, "- --audit-") {
			t.Errorf("another flag: %s", line)
		}
	}
}

func lines(text []byte) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		set[line] = true
	}
	return set
}

// hostPaths are what a manifest mounts of the host.
func hostPaths(t testing.TB, manifest []byte) map[string]bool {
	t.Helper()
	var pod struct {
		Spec struct {
			Volumes []struct {
				HostPath *struct {
					Path string `json:"path"`
				} `json:"hostPath"`
			} `json:"volumes"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(manifest, &pod); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			paths[v.HostPath.Path] = true
		}
	}
	return paths
}
