package dropin

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// host is a host's files by path.
type host map[string]string

func product(t *testing.T, name string) Product {
	t.Helper()
	p, ok := ByName(name)
	if !ok {
		t.Fatalf("no product %q", name)
	}
	return p
}

func read(t *testing.T, name string, h host, command ...string) Settings {
	t.Helper()
	s, refusal := Read(strategytest.Host(t, h), product(t, name), Command{Args: command})
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s
}

func plan(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return strategytest.Plan(t, wire.StrategyDropIn, "k3s", change)
}

var running = version.MustParseGeneric("v1.34.4+k3s1")

// arguments are those that a proposed file appends, without the directory of their revision.
func arguments(t *testing.T, c *txn.Change) []string {
	t.Helper()
	var file map[string][]string
	if err := yaml.UnmarshalStrict(c.New, &file); err != nil {
		t.Fatal(err)
	}
	if len(file) != 1 || file["kube-apiserver-arg+"] == nil {
		t.Fatalf("the file holds %v, want the appended arguments alone", file)
	}
	var out []string
	for _, a := range file["kube-apiserver-arg+"] {
		out = append(out, strings.ReplaceAll(a, c.Revision, "REV"))
	}
	return out
}

var all = []string{
	"audit-policy-file=/var/lib/k8s_audit/REV/audit-policy.yaml", "audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log",
	"audit-log-maxbackup=1", "audit-webhook-config-file=/var/lib/k8s_audit/REV/webhook-config.yaml", "audit-webhook-batch-max-wait=5s",
}

func TestOurFileAppendsWhatIsNotThere(t *testing.T) {
	t.Parallel()
	webhook := all[3:]
	for name, c := range map[string]struct {
		product string
		host    host
		want    []string
		ours    bool
		log     string
	}{
		"k3s without any configuration": {product: "k3s", want: all, ours: true, log: strategy.LogFile},
		"k3s with arguments of other kinds": {
			product: "k3s", host: host{"/etc/rancher/k3s/config.yaml": "write-kubeconfig-mode: \"0644\"\nkube-apiserver-arg:\n- v=2\n"}, want: all, ours: true, log: strategy.LogFile,
		},
		"k3s with the user's policy and log": {
			product: "k3s",
			host:    host{"/etc/rancher/k3s/config.yaml": "kube-apiserver-arg: [\"audit-policy-file=/etc/p.yaml\", \"audit-log-path=/var/log/a.log\"]\n"},
			want:    webhook, log: "/var/log/a.log",
		},
		"a policy of the user's that a later file has taken back": {
			product: "k3s",
			host: host{
				"/etc/rancher/k3s/config.yaml":            "kube-apiserver-arg: [audit-policy-file=/etc/p.yaml]\n",
				"/etc/rancher/k3s/config.yaml.d/10-a.yml": "kube-apiserver-arg: v=4\n",
			},
			want: all, ours: true, log: strategy.LogFile,
		},
		"a user's policy in a drop-in that appends": {
			product: "k3s",
			host: host{
				"/etc/rancher/k3s/config.yaml":             "kube-apiserver-arg: v=2\n",
				"/etc/rancher/k3s/config.yaml.d/10-a.yaml": "kube-apiserver-arg+: audit-policy-file=/etc/p.yaml\n",
				"/etc/rancher/k3s/config.yaml.d/11-no":     "kube-apiserver-arg: not read\n",
			},
			want: webhook,
		},
		"RKE2 with the policy of its CIS profile, which logs nothing": {
			product: "rke2",
			host: host{
				"/etc/rancher/rke2/config.yaml":                   "profile: cis\n",
				"/etc/rancher/rke2/audit-policy.yaml":             "apiVersion: audit.k8s.io/v1\nkind: Policy\nmetadata: {}\nrules:\n- level: None\n",
				"/etc/rancher/rke2/config.yaml.d/50-rancher.yaml": "{\"tls-san\": [\"a\"]}\n",
			},
			want: []string{all[0], all[3], all[4]}, ours: true, log: "/var/lib/rancher/rke2/server/logs/audit.log",
		},
		"RKE2 with a policy that the user has put there": {
			product: "rke2",
			host: host{
				"/etc/rancher/rke2/config.yaml":       "profile: cis\n",
				"/etc/rancher/rke2/audit-policy.yaml": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
			},
			want: webhook, log: "/var/lib/rancher/rke2/server/logs/audit.log",
		},
		"RKE2 with audit-policy-file and another data directory": {
			product: "rke2",
			host: host{
				"/etc/rancher/rke2/config.yaml": "audit-policy-file: /etc/p.yaml\ndata-dir: /data\n",
				"/etc/p.yaml":                   "rules:\n- level: Request\n",
			},
			want: webhook, log: "/data/server/logs/audit.log",
		},
		"k3s knows no audit-policy-file": {
			product: "k3s", host: host{"/etc/rancher/k3s/config.yaml": "audit-policy-file: /etc/p.yaml\n"}, want: all, ours: true, log: strategy.LogFile,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, refusal := read(t, c.product, c.host).Propose(plan(t, nil), strategy.Credentials{}, running)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(c.want, arguments(t, change)); diff != "" {
				t.Error(diff)
			}
			if change.Effects.PolicyOurs != c.ours || change.Effects.LogPath != c.log || change.Base != nil {
				t.Errorf("effects %+v, base %q", change.Effects, change.Base)
			}
			if policy := slices.ContainsFunc(change.Files, func(f txn.File) bool { return strings.HasSuffix(f.Path, strategy.PolicyFile) }); policy != c.ours {
				t.Errorf("the policy is written: %v", policy)
			}
		})
	}
}

func TestWhatWouldReplaceOursIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host    host
		command []string
		reason  string
		says    string
	}{
		"a later file that sets the list": {
			host:   host{"/etc/rancher/k3s/config.yaml.d/95-b.yaml": "kube-apiserver-arg: v=2\n"},
			reason: reason.SettingsOverridden, says: "95-b.yaml sets kube-apiserver-arg",
		},
		"a later file that appends another policy": {
			host:   host{"/etc/rancher/k3s/config.yaml.d/95-b.yaml": "kube-apiserver-arg+: audit-webhook-batch-max-wait=9s\n"},
			reason: reason.SettingsOverridden, says: "--audit-webhook-batch-max-wait=9s",
		},
		"the command line": {
			command: []string{"/usr/local/bin/k3s", "server", "--kube-apiserver-arg=v=2"},
			reason:  reason.SettingsOverridden, says: "the command line of k3s.service",
		},
		"somebody else's webhook": {
			host:   host{"/etc/rancher/k3s/config.yaml": "kube-apiserver-arg: audit-webhook-config-file=/etc/w.yaml\n"},
			reason: reason.WebhookNotOurs, says: "/etc/w.yaml",
		},
		"a file of our name that is not ours": {
			host:   host{"/etc/rancher/k3s/config.yaml.d/" + FileName: "debug: true\n"},
			reason: reason.ManifestConflict, says: FileName,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, refusal := read(t, "k3s", c.host, c.command...).Propose(plan(t, nil), strategy.Credentials{}, running)
			if refusal == nil {
				t.Fatalf("proposed %s", change.New)
			}
			if refusal.Reason != c.reason || !strings.Contains(refusal.Message, c.says) {
				t.Errorf("refused with %s, want %s and %q", refusal, c.reason, c.says)
			}
		})
	}
}

func TestAVersionThatReadsNoSuchFileAndARehearsalAreRefused(t *testing.T) {
	t.Parallel()
	s := read(t, "rke2", nil)
	if _, refusal := s.Propose(plan(t, nil), strategy.Credentials{}, version.MustParseGeneric("v1.20.15+rke2r1")); refusal == nil || refusal.Reason != reason.VersionMismatch {
		t.Errorf("1.20: %v", refusal)
	}
	always := plan(t, func(p *wire.Plan) { p.Rehearse = wire.RehearseAlways })
	if _, refusal := s.Propose(always, strategy.Credentials{}, running); refusal == nil || refusal.Reason != reason.RehearsalNotPossible {
		t.Errorf("a rehearsal: %v", refusal)
	}
}

func TestAConfigurationThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host    host
		command []string
	}{
		"not YAML":                          {host: host{"/etc/rancher/k3s/config.yaml": "a: [\n"}},
		"the file of --config is not there": {command: []string{"k3s", "server", "--config", "/etc/mine.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, refusal := Read(strategytest.Host(t, c.host), product(t, "k3s"), Command{Args: c.command})
			if refusal == nil || refusal.Reason != reason.ManifestNotUnderstood {
				t.Errorf("refusal %v", refusal)
			}
		})
	}
}

func TestTheConfigurationIsWhereTheServiceIsToldThatItIs(t *testing.T) {
	t.Parallel()
	h := host{"/etc/mine.yaml": "https-listen-port: 7443\nbind-address: 192.0.2.1\n"}
	for name, c := range map[string]Command{
		"by a flag":            {Args: []string{"k3s", "server", "--config", "/etc/mine.yaml"}},
		"by a short flag":      {Args: []string{"k3s", "server", "-c=/etc/mine.yaml"}},
		"by the environment":   {Environment: []string{"K3S_CONFIG_FILE=/etc/mine.yaml"}},
		"with the port by CLI": {Args: []string{"k3s", "server", "-c", "/etc/mine.yaml", "--https-listen-port=7443"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, refusal := Read(strategytest.Host(t, h), product(t, "k3s"), c)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if bind, port := s.Listen(); s.Path != "/etc/mine.yaml.d/"+FileName || bind != "192.0.2.1" || port != "7443" {
				t.Errorf("file %s, listens at %s:%s", s.Path, bind, port)
			}
		})
	}
}

func TestTheWayBackIsTheFilesAbsence(t *testing.T) {
	t.Parallel()
	p := plan(t, nil)
	change, refusal := read(t, "k3s", nil).Propose(p, strategy.Credentials{}, running)
	if refusal != nil {
		t.Fatal(refusal)
	}
	after := host{change.Manifest: string(change.New)}
	s := read(t, "k3s", after)
	if s.Revision() != change.Revision {
		t.Errorf("the file says revision %q, want %q", s.Revision(), change.Revision)
	}
	again, refusal := s.Propose(p, strategy.Credentials{}, running)
	if refusal != nil || string(again.New) != string(again.Base) {
		t.Errorf("proposed again, it is another file: %v", refusal)
	}
	back := s.ProposeRevert(p, &txn.Live{Revision: change.Revision, Unit: change.Unit})
	if back == nil || back.New != nil || string(back.Base) != string(change.New) || back.Unit != "k3s.service" || back.BaseRevision != change.Revision {
		t.Errorf("revert %+v", back)
	}
	if none := read(t, "k3s", nil).ProposeRevert(p, nil); none != nil {
		t.Errorf("a host without us is reverted: %+v", none)
	}
	if theirs := read(t, "k3s", host{change.Manifest: "debug: true\n"}).ProposeRevert(p, nil); theirs != nil {
		t.Errorf("somebody else's file is removed: %+v", theirs)
	}
	if gone := read(t, "k3s", nil).ProposeRevert(p, &txn.Live{Revision: change.Revision}); gone == nil || gone.Base != nil {
		t.Errorf("what still runs with a file that somebody removed is not restarted: %+v", gone)
	}
}
