package configfile

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/strategytest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const config = "/etc/k0s/k0s.yaml"

// plain is what `k0s config create` writes, shortened.
const plain = `apiVersion: k0s.k0sproject.io/v1beta1
kind: ClusterConfig
metadata:
  name: k0s
spec:
  api:
    address: 192.0.2.10
    k0sApiPort: 9443
    port: 6443 # as everywhere
    sans:
    - 192.0.2.10
  storage:
    type: etcd
`

func read(t *testing.T, files map[string]string, command ...string) (Settings, *strategy.Refusal) {
	t.Helper()
	p, ok := ByName("k0s")
	if !ok {
		t.Fatal("k0s is not known")
	}
	return Read(strategytest.Host(t, files), p, command)
}

func mustRead(t *testing.T, text string) Settings {
	t.Helper()
	s, refusal := read(t, map[string]string{config: text})
	if refusal != nil {
		t.Fatal(refusal)
	}
	return s
}

func plan(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return strategytest.Plan(t, wire.StrategyConfigFile, "k0s", change)
}

func input(p *wire.Plan) Input {
	return Input{Plan: p, Version: version.MustParseGeneric("v1.34.4+k0s")}
}

const ours = `
    extraArgs:
      audit-policy-file: /var/lib/k8s_audit/REV/audit-policy.yaml
      audit-log-path: /var/lib/k8s_audit/log/k8s_audit_events.log
      audit-log-maxbackup: "1"
      audit-webhook-config-file: /var/lib/k8s_audit/REV/webhook-config.yaml
      audit-webhook-batch-max-wait: "5s"`

func TestTheFlagsAreSetAndTakenBackByteByByte(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, after string }{
		"no arguments": {plain, strings.Replace(plain, "\n    - 192.0.2.10\n  storage", "\n    - 192.0.2.10"+ours+"\n  storage", 1)},
		"arguments of other kinds": {
			"spec:\n  api:\n    extraArgs:\n      v: \"2\" # loud\n",
			"spec:\n  api:" + strings.Replace(ours, "extraArgs:", "extraArgs:\n      v: \"2\" # loud", 1) + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustRead(t, c.before)
			change, refusal := s.Propose(input(plan(t, nil)))
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(c.after, strings.ReplaceAll(string(change.New), change.Revision, "REV")); diff != "" {
				t.Errorf("the file (-want +got):\n%s", diff)
			}
			if change.Unit != "k0scontroller.service" || change.Manifest != config || len(change.Files) != 2 || change.LogBytes == 0 {
				t.Errorf("change %+v", change)
			}
			s = mustRead(t, string(change.New))
			back, refusal := s.ProposeRevert(Input{Plan: plan(t, nil), Live: strategytest.Committed(change)})
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(c.before, string(back.New)); diff != "" {
				t.Errorf("taken back (-before +after):\n%s", diff)
			}
			again, refusal := s.Propose(Input{Plan: plan(t, nil), Version: input(nil).Version, Live: strategytest.Committed(change)})
			if refusal != nil || string(again.New) != string(again.Base) {
				t.Errorf("a second time: %v\n%s", refusal, apiserver.Diff(again.Base, again.New))
			}
		})
	}
}

func TestAnotherPlanIsMadeFromTheFileAsItWas(t *testing.T) {
	t.Parallel()
	s := mustRead(t, plain)
	first, refusal := s.Propose(input(plan(t, nil)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	other := plan(t, func(p *wire.Plan) { p.Desired.Flags = p.Desired.Flags[:1] })
	s = mustRead(t, "# somebody was here\n"+string(first.New))
	in := input(other)
	in.Live = strategytest.Committed(first)
	second, refusal := s.Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if text := string(second.New); strings.Contains(text, "batch-max-wait") || strings.Contains(text, first.Revision) || !strings.HasPrefix(text, "# somebody was here\n") {
		t.Errorf("the second change:\n%s", text)
	}
	if second.BaseRevision != first.Revision || RevisionOf(second.New) != second.Revision {
		t.Errorf("from %q to %q", second.BaseRevision, RevisionOf(second.New))
	}
	in.Live = strategytest.Committed(second)
	s = mustRead(t, string(second.New))
	back, refusal := s.ProposeRevert(in)
	if refusal != nil || string(back.New) != "# somebody was here\n"+plain {
		t.Errorf("%v\n%s", refusal, back.New)
	}
}

func TestAnEditThatWasNotCommittedIsTakenOutToo(t *testing.T) {
	t.Parallel()
	s := mustRead(t, plain)
	first, refusal := s.Propose(input(plan(t, nil)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	s = mustRead(t, string(first.New)+"# and somebody edited it in that moment\n")
	back, refusal := s.ProposeRevert(Input{Plan: plan(t, nil), Strays: []txn.Stray{{Revision: first.Revision, Record: first.Record}}})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if want := plain + "# and somebody edited it in that moment\n"; string(back.New) != want {
		t.Errorf("%s", apiserver.Diff([]byte(want), back.New))
	}
}

func TestWhatOthersHaveSetIsKeptOrRefused(t *testing.T) {
	t.Parallel()
	own := "spec:\n  api:\n    extraArgs:\n      audit-policy-file: /etc/k0s/mine.yaml\n      audit-log-path: /var/log/mine.log\n"
	change, refusal := mustRead(t, own).Propose(input(plan(t, nil)))
	if refusal != nil {
		t.Fatal(refusal)
	}
	if change.Effects.PolicyOurs || change.Effects.LogPath != "/var/log/mine.log" || len(change.Files) != 1 ||
		change.Effects.Kept != "the audit policy /etc/k0s/mine.yaml that was there is kept; the audit log /var/log/mine.log that was there is kept" {
		t.Errorf("effects %+v", change.Effects)
	}
	other := "spec: {api: {extraArgs: {audit-webhook-config-file: /etc/k0s/w.yaml}}}\n"
	if _, refusal := mustRead(t, other).Propose(input(plan(t, nil))); refusal == nil || refusal.Reason != reason.WebhookNotOurs {
		t.Errorf("somebody else's webhook: %v", refusal)
	}
	replaced := plan(t, func(p *wire.Plan) { p.Desired.Existing.Webhook = "replace" })
	change, refusal = mustRead(t, other).Propose(input(replaced))
	if refusal != nil {
		t.Fatal(refusal)
	}
	back, refusal := mustRead(t, string(change.New)).ProposeRevert(Input{Plan: replaced, Live: strategytest.Committed(change)})
	if refusal != nil || string(back.New) != other {
		t.Errorf("%v\n%s", refusal, back.New)
	}
}

func TestWhatCannotBeDoneSafelyIsRefused(t *testing.T) {
	t.Parallel()
	ask := func(text string, change func(*wire.Plan)) *strategy.Refusal {
		s, refusal := read(t, map[string]string{config: text})
		if refusal == nil {
			_, refusal = s.Propose(input(plan(t, change)))
		}
		return refusal
	}
	for name, c := range map[string]struct {
		refusal *strategy.Refusal
		want    string
	}{
		"a file that is no YAML":            {ask("spec: [\n", nil), reason.ManifestNotUnderstood},
		"arguments that are a list":         {ask("spec: {api: {extraArgs: [a]}}\n", nil), reason.ManifestNotUnderstood},
		"an argument that is a list":        {ask("spec: {api: {extraArgs: {v: [1]}}}\n", nil), reason.ManifestNotUnderstood},
		"settings that are written once":    {ask("x: &a {}\nspec: {api: *a}\n", nil), reason.ManifestNotUnderstood},
		"a rehearsal":                       {ask(plain, func(p *wire.Plan) { p.Rehearse = "always" }), reason.RehearsalNotPossible},
		"a policy that is none":             {ask(plain, func(p *wire.Plan) { p.Desired.Policy = "nonsense" }), reason.PolicyInvalid},
		"a flag that is none of auditing's": {ask(plain, func(p *wire.Plan) { p.Desired.Flags = []wire.Flag{{Name: "v", Value: "9"}} }), reason.PlanInvalid},
	} {
		if c.refusal == nil || c.refusal.Reason != c.want {
			t.Errorf("%s: %v, want %s", name, c.refusal, c.want)
		}
	}
	if _, refusal := read(t, nil); refusal == nil || refusal.Reason != reason.ManifestNotFound || !strings.Contains(refusal.Message, "k0s config create") {
		t.Errorf("no file: %v", refusal)
	}
	lost := "spec: {api: {extraArgs: {audit-policy-file: /var/lib/k8s_audit/r0123456789ab/audit-policy.yaml}}}\n"
	if _, refusal := mustRead(t, lost).ProposeRevert(Input{Plan: plan(t, nil)}); refusal == nil || refusal.Reason != reason.ManifestConflict {
		t.Errorf("ours without a record: %v", refusal)
	}
	if change, refusal := mustRead(t, plain).ProposeRevert(Input{Plan: plan(t, nil)}); change != nil || refusal != nil {
		t.Errorf("nothing of ours: %v, %v", change, refusal)
	}
}

func TestTheFileIsTheOneThatTheServiceIsToldToRead(t *testing.T) {
	t.Parallel()
	for want, command := range map[string][]string{
		"/etc/k0s/k0s.yaml":   {"k0s", "controller", "--enable-worker"},
		"/srv/k0s/first.yaml": {"k0s", "controller", "--config=/srv/k0s/../k0s/first.yaml"},
		"/srv/k0s.yaml":       {"k0s", "controller", "-c", "/srv/k0s.yaml", "--single"},
	} {
		if got := Products()[0].file(command); got != want {
			t.Errorf("%q: %s, want %s", command, got, want)
		}
	}
}

func TestTheFilesBelongToTheUserThatTheApiserverRunsAs(t *testing.T) {
	t.Parallel()
	s, refusal := read(t, map[string]string{
		config: plain, "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\nkube-apiserver:x:471:470::/:/sbin/nologin\n",
	})
	if refusal != nil || s.owner == nil || *s.owner != (hostfs.Owner{UID: 471, GID: 470}) {
		t.Errorf("owner %v (%v)", s.owner, refusal)
	}
	if s := mustRead(t, plain); s.owner != nil {
		t.Errorf("without such a user: %v", s.owner)
	}
	if bind, port := s.Listen(); bind != "0.0.0.0" || port != "6443" {
		t.Errorf("listens at %q %q", bind, port)
	}
}

// FuzzRead: whatever a file holds, what can be changed can be taken back byte for byte, and is not ours before.
func FuzzRead(f *testing.F) {
	for _, text := range []string{plain, "spec: {api: {extraArgs: {v: 2}}}\n", "{}\n", "spec:\n  api:\n    port: 7443\n    extraArgs:\n"} {
		f.Add([]byte(text))
	}
	p := &wire.Plan{
		Node: wire.NodeIdentity{Name: "cp1"}, Strategy: wire.StrategyConfigFile, Distribution: "k0s",
		Desired: wire.Desired{Enabled: true, Policy: "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: None\n", Webhook: wire.Webhook{URL: "http://10.96.0.20/k8s_audit"}},
	}
	revision, err := p.ComputeRevision()
	if err != nil {
		f.Fatal(err)
	}
	p.Revision = revision
	f.Fuzz(func(t *testing.T, data []byte) {
		s := Settings{Product: Products()[0], Path: config, Data: data}
		change, refusal := s.Propose(input(p))
		if refusal != nil || RevisionOf(data) != "" {
			return
		}
		var record apiserver.SettingsChange
		if err := json.Unmarshal(change.Record, &record); err != nil {
			t.Fatal(err)
		}
		back, kept, err := apiserver.RevertSettings(change.New, record)
		if err != nil || len(kept) > 0 || !slices.Equal(back, data) {
			t.Fatalf("%v, kept %q\n%s", err, kept, apiserver.Diff(data, back))
		}
	})
}
