package container

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/docker/dockertest"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestContainerGoldens(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"rke-1.20", "rke-1.13-flatcar", "rke-no-etc"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineWith(t, name)
			before, _ := e.Described(Name)
			c := propose(t, e, nil, nil)
			recreate(t, e, c.New)
			after, _ := e.Described(Name)
			golden := filepath.Join("testdata", name+".diff")
			text := strings.ReplaceAll(apiserver.Diff(before, normal(after, c.Revision)), txn.Hash(c.New), "HASH")
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Error(diff)
			}
			settle(t, e)
			recreate(t, e, nil)
			if back, _ := e.Described(Name); string(back) != string(before) {
				t.Errorf("reverted, it is another container (-before +after):\n%s", apiserver.Diff(before, back))
			}
		})
	}
}

func TestFilesLieWhereTheContainerSeesThemAnyhow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		dir, log string
		binds    int
	}{
		"rke-1.20":         {dir: "/etc/kubernetes/k8s-audit-enabler", log: "/var/log/kube-audit/audit-log.json"},
		"rke-1.13-flatcar": {dir: "/opt/rke/etc/kubernetes/k8s-audit-enabler", log: "/opt/rke/etc/kubernetes/k8s-audit-enabler/log/k8s_audit_events.log"},
		"rke-no-etc":       {dir: "/var/lib/k8s_audit", log: "/var/lib/k8s_audit/log/k8s_audit_events.log", binds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineWith(t, name)
			change := propose(t, e, nil, nil)
			was, err := formOf(e.Named(Name))
			if err != nil {
				t.Fatal(err)
			}
			w, err := decode(change.New)
			if err != nil {
				t.Fatal(err)
			}
			if change.Dir != c.dir+"/"+change.Revision || change.Effects.LogPath != c.log || len(w.Binds)-len(was.Binds) != c.binds || w.Dir != change.Dir {
				t.Errorf("directory %s, log %s, binds %q", change.Dir, change.Effects.LogPath, w.Binds)
			}
			if change.LogBytes > 0 == (name == "rke-1.20") {
				t.Errorf("space for a log of ours: %d", change.LogBytes)
			}
		})
	}
}

func TestWhatClusterYAMLGivesIsKept(t *testing.T) {
	t.Parallel()
	e := engineWith(t, "rke-1.20")
	s := read(t, e, nil, map[string]string{policyOfRKE: "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Request\n  resources:\n  - group: \"\"\n"})
	change, refusal := s.Propose(plan(t, nil), strategy.Credentials{}, running)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if change.Effects.PolicyOurs || !strings.Contains(change.Effects.Kept, policyOfRKE) || strings.Contains(string(change.New), change.Revision+"/"+strategy.PolicyFile) {
		t.Errorf("effects %+v", change.Effects)
	}
	if ours := propose(t, e, nil, nil); !ours.Effects.PolicyOurs {
		t.Error("RKE's own policy is kept")
	}
}

func TestTheSamePlanIsNoChangeAndRKEsNewContainerIsOne(t *testing.T) {
	t.Parallel()
	e, file := enabled(t)
	s := read(t, e, file, nil)
	again := propose(t, e, file, nil)
	if !s.InForce() || string(again.New) != string(again.Base) || s.Revision() != again.Revision {
		t.Errorf("in force %v, proposed again:\n%s", s.InForce(), cmp.Diff(string(again.Base), string(again.New)))
	}
	other := engineWith(t, "rke-1.20")
	other.Replace(Name, "theirs")
	s = read(t, other, file, nil)
	anew := propose(t, other, file, nil)
	if s.InForce() || string(anew.New) == string(anew.Base) || anew.BaseRevision != "" || anew.Revision != again.Revision {
		t.Errorf("in force %v, change %+v", s.InForce(), anew)
	}
	if s.ProposeRevert(plan(t, nil)) != nil {
		t.Error("a container without anything of ours is reverted")
	}
	back := read(t, e, file, nil).ProposeRevert(plan(t, nil))
	if back == nil || back.New != nil || back.BaseRevision != again.Revision || back.Unit != Unit {
		t.Errorf("revert %+v", back)
	}
}

func TestWhatCannotBeDoneIsRefused(t *testing.T) {
	t.Parallel()
	set := func(of map[string]json.RawMessage, key, value string) { of[key] = json.RawMessage(value) }
	for name, c := range map[string]struct {
		engine       func(*dockertest.Engine)
		change       func(*wire.Plan)
		version      string
		reason, says string
	}{
		"an image of that name that is another one": {
			engine: func(e *dockertest.Engine) { e.Images["rancher/hyperkube:v1.20.5-rancher1"] = "sha256:3" }, reason: reason.ManifestNotUnderstood, says: "another image",
		},
		"an image that is gone": {engine: func(e *dockertest.Engine) { e.Images = nil }, reason: reason.ManifestNotUnderstood, says: "rke up"},
		"a network of its own": {
			engine: func(e *dockertest.Engine) { set(e.Named(Name).HostConfig, "NetworkMode", `"bridge"`) }, reason: reason.ManifestNotUnderstood, says: "bridge",
		},
		"a version before 1.13": {version: "v1.12.10", reason: reason.VersionMismatch, says: "cluster.yml"},
		"a rehearsal":           {change: func(p *wire.Plan) { p.Rehearse = wire.RehearseAlways }, reason: reason.RehearsalNotPossible, says: "rollout.rehearse"},
		"somebody else's webhook": {
			engine: func(e *dockertest.Engine) {
				set(e.Named(Name).Config, "Cmd", `["--audit-webhook-config-file=/etc/w.yaml"]`)
			}, reason: reason.WebhookNotOurs, says: "/etc/w.yaml",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineWith(t, "rke-1.20")
			if c.engine != nil {
				c.engine(e)
			}
			v := running
			if c.version != "" {
				v = version.MustParseGeneric(c.version)
			}
			change, refusal := read(t, e, nil, nil).Propose(plan(t, c.change), strategy.Credentials{}, v)
			if refusal == nil {
				t.Fatalf("proposed %s", change.New)
			}
			if refusal.Reason != c.reason || !strings.Contains(refusal.Message, c.says) {
				t.Errorf("refused with %s, want %s and %q", refusal, c.reason, c.says)
			}
		})
	}
}

func TestAHostWithoutTheContainerIsSaidToBe(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil  func(*dockertest.Engine)
		reason string
	}{
		"no container": {func(e *dockertest.Engine) { clear(e.Containers) }, reason.ManifestNotFound},
		"a container that is started by a shell": {
			func(e *dockertest.Engine) {
				e.Named(Name).Config["Entrypoint"] = json.RawMessage(`["/bin/sh","-c","hyperkube apiserver"]`)
			}, reason.ManifestNotUnderstood,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := engineWith(t, "rke-1.20")
			c.spoil(e)
			if _, refusal := Read(t.Context(), strategytest.Host(t, nil), e); refusal == nil || refusal.Reason != c.reason {
				t.Errorf("refusal %v, want %s", refusal, c.reason)
			}
		})
	}
	if s := read(t, engineWith(t, "rke-1.20"), nil, nil); !s.OfRKE || s.Leftover {
		t.Errorf("settings %+v", s)
	}
	e := engineWith(t, "rke-1.20")
	e.Named(Name).Config["Labels"] = json.RawMessage(`null`)
	if s := read(t, e, nil, nil); s.OfRKE {
		t.Error("a container without RKE's label is taken for RKE's")
	}
}

var _ interface {
	Engine
	Images
} = (*docker.Client)(nil)

func TestAChangeIsShownByWhatItDoesToTheContainer(t *testing.T) {
	t.Parallel()
	e := engineWith(t, "rke-1.20")
	first := propose(t, e, nil, nil)
	lines := func(c *txn.Change) []string {
		before, after := Shown(c)
		var changed []string
		for line := range strings.Lines(apiserver.Diff(before, normal(after, c.Revision))) {
			if line[0] == '+' && !strings.HasPrefix(line, "+++") {
				changed = append(changed, strings.TrimSpace(line))
			}
		}
		return changed
	}
	want := []string{
		"+--audit-policy-file=/etc/kubernetes/k8s-audit-enabler/REVISION/audit-policy.yaml",
		"+--audit-webhook-config-file=/etc/kubernetes/k8s-audit-enabler/REVISION/webhook-config.yaml", "+--audit-webhook-batch-max-wait=5s",
	}
	if diff := cmp.Diff(want, lines(first)); diff != "" {
		t.Error(diff)
	}
	recreate(t, e, first.New)
	settle(t, e)
	back := read(t, e, first.New, nil).ProposeRevert(plan(t, nil))
	if before, after := Shown(back); strings.Contains(string(after), "k8s-audit-enabler") || !strings.Contains(string(before), first.Revision) {
		t.Errorf("the way back:\n%s", after)
	}
}
