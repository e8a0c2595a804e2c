package configfile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
)

// master is what there is of a master-config.yaml for a product.
func master(t *testing.T, name, text string) Settings {
	t.Helper()
	p, ok := ByName(name)
	if !ok {
		t.Fatalf("%s is not known", name)
	}
	s := Settings{Product: p, Path: p.config, Data: []byte(text)}
	var err error
	if s.told, err = p.form.read(s.Data); err != nil {
		t.Fatal(err)
	}
	return s
}

func masterPlan(t *testing.T, change func(*wire.Plan)) Input {
	t.Helper()
	p := plan(t, func(p *wire.Plan) {
		p.Desired.Policy = "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules:\n- level: Metadata\n"
		p.Desired.Flags = append(p.Desired.Flags, wire.Flag{Name: "audit-log-maxsize", Value: "10"})
		if change != nil {
			change(p)
		}
	})
	return Input{Plan: p, Version: version.MustParseGeneric("v1.11.0+d4cacc0")}
}

func TestAuditConfigOfOpenShift(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: v1\nkind: MasterConfig\nservingInfo:\n  bindAddress: 0.0.0.0:8443\n"
	policy := []string{"policyFile: /etc/origin/master/k8s_audit/REV/audit-policy.yaml"}
	log := []string{"auditFilePath: /etc/origin/master/k8s_audit/log/k8s_audit_events.log", "logFormat: json", "maximumRetainedFiles: 1", "maximumFileSizeMegabytes: 10"}
	webhook := []string{"webHookKubeConfig: /etc/origin/master/k8s_audit/REV/webhook-config.yaml", "webHookMode: batch"}
	all := slices.Concat([]string{"enabled: true"}, policy, log, webhook)
	for name, c := range map[string]struct {
		before string
		change func(*wire.Plan)
		holds  []string
		ours   bool
		log    string
	}{
		"none":         {head, nil, all, true, "/etc/origin/master/k8s_audit/log/k8s_audit_events.log"},
		"switched off": {head + "auditConfig:\n  enabled: false\n  auditFilePath: ''\n", nil, all, true, "/etc/origin/master/k8s_audit/log/k8s_audit_events.log"},
		"the user's policy and log": {
			head + "auditConfig:\n  enabled: true\n  policyFile: mine.yaml\n  auditFilePath: /var/lib/origin/mine.log\n", nil,
			append([]string{"policyFile: mine.yaml", "auditFilePath: /var/lib/origin/mine.log"}, webhook...), false, "/var/lib/origin/mine.log",
		},
		"a policy in the file, replaced": {
			head + "auditConfig:\n  enabled: true\n  policyConfiguration:\n    kind: Policy\n    rules: []\n",
			func(p *wire.Plan) { p.Desired.Existing.Policy = "replace" }, append([]string{"policyConfiguration: null"}, all...), true,
			"/etc/origin/master/k8s_audit/log/k8s_audit_events.log",
		},
		"a log without a policy, replaced": {
			head + "auditConfig:\n  enabled: true\n  auditFilePath: /var/lib/origin/mine.log\n",
			func(p *wire.Plan) { p.Desired.Existing.Policy = "replace" }, slices.Concat(policy, webhook, []string{"auditFilePath: /var/lib/origin/mine.log"}), true, "/var/lib/origin/mine.log",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, in := master(t, "openshift-3", c.before), masterPlan(t, c.change)
			change, refusal := s.Propose(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			text := strings.ReplaceAll(string(change.New), change.Revision, "REV")
			for _, line := range c.holds {
				if !strings.Contains(text, "\n  "+line+"\n") {
					t.Errorf("without %q:\n%s", line, text)
				}
			}
			if change.Effects.PolicyOurs != c.ours || change.Effects.LogPath != c.log || change.Dir != "/etc/origin/master/k8s_audit/"+change.Revision || change.Unit != MasterRestart {
				t.Errorf("change %+v", change)
			}
			if !strings.HasSuffix(change.Effects.Kept, "has no word for --audit-webhook-batch-max-wait, which is left out") {
				t.Errorf("kept: %s", change.Effects.Kept)
			}
			in.Live = strategytest.Committed(change)
			back, refusal := master(t, "openshift-3", string(change.New)).ProposeRevert(in)
			if refusal != nil || string(back.New) != c.before {
				t.Errorf("taken back: %v\n%s", refusal, apiserver.Diff([]byte(c.before), back.New))
			}
			if bind, port := s.Listen(); bind != "0.0.0.0" || port != "8443" {
				t.Errorf("listens at %q %q", bind, port)
			}
		})
	}
	for name, c := range map[string]struct{ text, want string }{
		"somebody else's webhook":          {head + "auditConfig: {enabled: true, policyFile: a, webHookKubeConfig: b}\n", reason.WebhookNotOurs},
		"a log without a policy":           {head + "auditConfig: {enabled: true, auditFilePath: a}\n", reason.ManifestConflict},
		"a policy that is written nowhere": {head + "auditConfig: &a {enabled: false}\nother: *a\n", reason.ManifestNotUnderstood},
	} {
		if _, refusal := master(t, "openshift-3", c.text).Propose(masterPlan(t, nil)); refusal == nil || refusal.Reason != c.want {
			t.Errorf("%s: %v, want %s", name, refusal, c.want)
		}
	}
}

func TestArgumentListsOfMinishift(t *testing.T) {
	t.Parallel()
	const before = "apiVersion: v1\nauditConfig:\n  enabled: false\nkind: MasterConfig\nkubernetesMasterConfig:\n  apiServerArguments:\n    audit-log-path:\n    - /etc/origin/master/mine.log\n"
	s, in := master(t, "minishift", before), masterPlan(t, nil)
	change, refusal := s.Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	const want = before + `    audit-policy-file:
    - /etc/origin/master/k8s_audit/REV/audit-policy.yaml
    audit-webhook-config-file:
    - /etc/origin/master/k8s_audit/REV/webhook-config.yaml
    audit-webhook-batch-max-wait:
    - "5s"
`
	if diff := cmp.Diff(want, strings.ReplaceAll(string(change.New), change.Revision, "REV")); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	const host = "/var/lib/minishift/base/kube-apiserver/"
	if change.Dir != host+"k8s_audit/"+change.Revision || change.Effects.LogPath != host+"mine.log" || !strings.HasPrefix(change.Files[0].Path, change.Dir+"/") {
		t.Errorf("on the host: %s, log %s, files %s", change.Dir, change.Effects.LogPath, change.Files[0].Path)
	}
	in.Live = strategytest.Committed(change)
	back, refusal := master(t, "minishift", string(change.New)).ProposeRevert(in)
	if refusal != nil || string(back.New) != before {
		t.Errorf("taken back: %v\n%s", refusal, apiserver.Diff([]byte(before), back.New))
	}
}
