package fileonly

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const (
	pod = `{"kind":"Pod","metadata":{"namespace":"openshift-kube-apiserver"},"spec":{"volumes":[
		{"name":"resource-dir","hostPath":{"path":"/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7"}},
		{"name":"cert-dir","hostPath":{"path":"/etc/kubernetes/static-pod-resources/kube-apiserver-certs"}},
		{"name":"audit-dir","hostPath":{"path":"/var/log/kube-apiserver"}}]}}`
	config = "/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7/configmaps/config/config.yaml"
	log    = "/var/log/kube-apiserver/audit.log"
)

func planned(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return strategytest.Plan(t, wire.StrategyFile, "openshift-4", func(p *wire.Plan) {
		p.KubernetesVersion = "v1.27.6"
		p.Desired = wire.Desired{Enabled: true, Webhook: wire.Webhook{URL: "https://192.0.2.9:7765/k8s_audit", CredentialsSecret: "sink"}}
		if change != nil {
			change(p)
		}
	})
}

func read(t *testing.T, files map[string]string) Settings {
	t.Helper()
	s, refusal := Read(strategytest.Host(t, files))
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s
}

func TestTheFileHasAllThatTheApiserverNeedsAndItsNameIsThatOfItsContent(t *testing.T) {
	t.Parallel()
	s := read(t, map[string]string{operatorManifest: pod, log: ""})
	seen := map[string]bool{}
	for _, token := range []string{"one", "two"} {
		p := planned(t, nil)
		c, refusal := s.Propose(p, strategy.CredentialsFrom(map[string][]byte{"token": []byte(token)}))
		if refusal != nil {
			t.Fatal(refusal)
		}
		if revision, ours := wire.WebhookFileRevision(c.Manifest); !ours || revision != c.Revision || seen[c.Manifest] || c.Base != nil || c.Unit != Unit || len(c.Files) > 0 {
			t.Errorf("change %+v", c)
		}
		seen[c.Manifest] = true
		sink, err := webhookconfig.Parse(c.New)
		if err != nil || sink.URL != p.Desired.Webhook.URL || sink.BearerToken != token {
			t.Errorf("the file says %q, %v", sink.URL, err)
		}
		if c.Effects.PolicyOurs || !strings.Contains(c.Effects.Kept, "spec.audit") {
			t.Errorf("effects %+v", c.Effects)
		}
	}
}

func TestWhatIsNotProposed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files  map[string]string
		change func(*wire.Plan)
		want   string
	}{
		"a master that joins, before its first manifest": {nil, nil, ""},
		"a manifest that mounts no such directory":       {map[string]string{operatorManifest: `{"kind":"Pod"}`}, nil, reason.ManifestNotUnderstood},
		"a policy, which is the operator's":              {nil, func(p *wire.Plan) { p.Desired.Policy = "x" }, reason.PlanInvalid},
		"a flag, which is the operator's":                {nil, func(p *wire.Plan) { p.Desired.Flags = []wire.Flag{{Name: "v", Value: "9"}} }, reason.PlanInvalid},
		"AuditSinks":                                     {nil, func(p *wire.Plan) { p.Desired.Backend = wire.BackendDynamic }, reason.PlanInvalid},
		"a version that is none":                         {nil, func(p *wire.Plan) { p.KubernetesVersion = "x" }, reason.PlanInvalid},
		"an address that is none":                        {nil, func(p *wire.Plan) { p.Desired.Webhook.URL = "x" }, reason.SinkInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, refusal := read(t, tt.files).Propose(planned(t, tt.change), strategy.Credentials{})
			got := ""
			if refusal != nil {
				got = refusal.Reason
			}
			if got != tt.want || (c == nil) != (tt.want != "") {
				t.Errorf("%v, %v, want %q", c, refusal, tt.want)
			}
		})
	}
	if _, refusal := Read(strategytest.Host(t, map[string]string{operatorManifest: "{"})); refusal == nil || refusal.Reason != reason.ManifestNotUnderstood {
		t.Errorf("a manifest that cannot be read: %v", refusal)
	}
}

func TestWhichFileIsRemovedWhen(t *testing.T) {
	t.Parallel()
	first, second := wire.WebhookFile("r0123456789ab"), wire.WebhookFile("rba9876543210-00112233")
	both := map[string]string{operatorManifest: pod, first: "1", second: "2", log: "", "/var/log/kube-apiserver/k8s-audit-enabler-mine.yaml": "theirs"}
	with := func(config0 string) map[string]string {
		out := map[string]string{config: config0}
		for name, text := range both {
			out[name] = text
		}
		return out
	}
	live := &txn.Live{Manifest: second, Unit: Unit}
	for name, tt := range map[string]struct {
		files map[string]string
		told  string
		// revert is what a revert begins with, or why there is none; stale what goes without one.
		revert, stale string
	}{
		"nothing of ours":                         {map[string]string{operatorManifest: pod, log: ""}, second, "", ""},
		"nobody is told yet":                      {both, "", second, ""},
		"everybody is told of the live one":       {both, second, second, first},
		"everybody is told of another":            {both, first, second, ""},
		"this apiserver is told of the live one":  {with("audit-webhook-config-file: [" + second + "]"), second, reason.FileInUse, first},
		"this apiserver is told of the other yet": {with("audit-webhook-config-file: [" + first + "]"), second, reason.FileInUse, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := read(t, tt.files)
			c, refusal := s.ProposeRevert(planned(t, func(p *wire.Plan) { p.Desired = wire.Desired{} }), live)
			got := ""
			switch {
			case refusal != nil:
				got = refusal.Reason
			case c != nil:
				got = c.Manifest
			}
			if got != tt.revert {
				t.Errorf("a revert: %q, want %q", got, tt.revert)
			}
			p := planned(t, nil)
			p.Told = tt.told
			if got := strings.Join(s.Stale(p, live), " "); got != tt.stale {
				t.Errorf("stale: %q, want %q", got, tt.stale)
			}
		})
	}
}

func TestAHostWithoutAnyOfItIsRead(t *testing.T) {
	t.Parallel()
	s, refusal := Read(hostfs.Files{})
	if refusal != nil || s.ManifestPath() != "" || len(s.Files) > 0 {
		t.Errorf("%+v, %v", s, refusal)
	}
}
