package staticpod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const manifestPath = "/etc/kubernetes/manifests/kube-apiserver.yaml"

func kubeadm(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/kubeadm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func plan(t *testing.T, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	p := &wire.Plan{
		Node: wire.NodeIdentity{Name: "cp1", UID: "u1", MachineID: "m1"}, Strategy: wire.StrategyStaticPod,
		Distribution: "kubeadm", KubernetesVersion: "v1.34.4",
		Desired: wire.Desired{
			Enabled: true,
			Policy:  "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
			Webhook: wire.Webhook{URL: "http://10.96.0.20:7765/k8s_audit"},
			Flags: []wire.Flag{
				{Name: "audit-webhook-batch-max-wait", Value: "5s"},
				{Name: "audit-log-maxbackup", Value: "1"},
				{Name: "audit-log-maxsize", Value: "10"},
			},
		},
		ReadyTimeout: metav1.Duration{Duration: 4 * time.Minute},
	}
	if change != nil {
		change(p)
	}
	var err error
	if p.Revision, err = p.ComputeRevision(); err != nil {
		t.Fatal(err)
	}
	return p
}

func input(t *testing.T, manifest []byte, change func(*wire.Plan)) Input {
	t.Helper()
	return Input{
		Manifest: Manifest{Path: manifestPath, Data: manifest}, Plan: plan(t, change), Version: version.MustParseGeneric("v1.34.4"),
	}
}

// liveAfter is what the journal says once a change is committed.
func liveAfter(c *txn.Change) *txn.Live {
	return &txn.Live{
		Revision: c.Revision, PlanRevision: c.PlanRevision, Manifest: c.Manifest, ManifestHash: txn.Hash(c.New), Dir: c.Dir,
		Record: c.Record, Effects: c.Effects,
	}
}

func TestProposeAddsWhatThePlanWants(t *testing.T) {
	t.Parallel()
	in := input(t, kubeadm(t), nil)
	c, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	dir := "/var/lib/k8s_audit/" + in.Plan.Revision
	m, err := apiserver.ParseManifest(c.New)
	if err != nil {
		t.Fatal(err)
	}
	var flags []string
	for _, a := range m.Args() {
		if strings.HasPrefix(a.Name, "audit-") {
			flags = append(flags, a.Name+"="+a.Value)
		}
	}
	want := []string{
		"audit-policy-file=" + dir + "/audit-policy.yaml",
		"audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log",
		"audit-log-maxbackup=1",
		"audit-log-maxsize=10",
		"audit-webhook-config-file=" + dir + "/webhook-config.yaml",
		"audit-webhook-batch-max-wait=5s",
	}
	if diff := cmp.Diff(want, flags); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
	if m.Revision() != in.Plan.Revision || c.Dir != dir || c.BaseRevision != "" || c.Kind != txn.KindApply {
		t.Errorf("revision %q, dir %q, base revision %q, kind %q", m.Revision(), c.Dir, c.BaseRevision, c.Kind)
	}
	if c.LogBytes != 20<<20 || c.ReadyTimeout != 4*time.Minute || c.Owner != nil {
		t.Errorf("log of %d bytes, timeout %s, owner %v", c.LogBytes, c.ReadyTimeout, c.Owner)
	}
	if !c.Effects.PolicyOurs || c.Effects.LogPath != strategy.LogFile || c.Effects.Kept != "" {
		t.Errorf("effects %+v", c.Effects)
	}
	var names []string
	for _, f := range c.Files {
		names = append(names, fmt.Sprintf("%s %v", f.Path, f.Mode))
	}
	if diff := cmp.Diff([]string{dir + "/webhook-config.yaml -rw-------", dir + "/audit-policy.yaml -rw-------"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTheRoadBackIsTheOriginalHoweverOftenThePlanChanged(t *testing.T) {
	t.Parallel()
	original := kubeadm(t)
	manifest := original
	var live *txn.Live
	for i, sink := range []string{"10.96.0.20", "10.96.0.21", "10.96.0.22"} {
		in := input(t, manifest, func(p *wire.Plan) { p.Desired.Webhook.URL = "http://" + sink + ":7765/" })
		in.Live = live
		c, refusal := Propose(in)
		if refusal != nil {
			t.Fatalf("change %d: %v", i, refusal)
		}
		if bytes.Count(c.New, []byte("audit-policy-file")) != 1 {
			t.Fatalf("change %d:\n%s", i, c.New)
		}
		manifest, live = c.New, liveAfter(c)
	}
	off := plan(t, func(p *wire.Plan) { p.Desired = wire.Desired{} })
	c, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: manifest}, off, live)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(string(original), string(c.New)); diff != "" {
		t.Errorf("not the original (-want +got):\n%s", diff)
	}
	if c.Kind != txn.KindRevert || c.BaseRevision != live.Revision || c.Revision != "" {
		t.Errorf("change %+v", c)
	}
}

// A manifest that somebody edited in the very moment of a change holds that change, which was not committed.
func TestAnEditThatWasNotCommittedIsTakenOutAllTheSame(t *testing.T) {
	t.Parallel()
	theirs := func(manifest []byte) []byte {
		return bytes.Replace(manifest, []byte("    - --allow"), []byte("    - --goaway-chance=0.002\n    - --allow"), 1)
	}
	sink := func(ip string) func(*wire.Plan) {
		return func(p *wire.Plan) { p.Desired.Webhook.URL = "http://" + ip + ":7765/" }
	}
	propose := func(in Input) *txn.Change {
		t.Helper()
		c, refusal := Propose(in)
		if refusal != nil {
			t.Fatal(refusal)
		}
		return c
	}
	want := string(theirs(kubeadm(t)))
	back := func(t *testing.T, manifest []byte, live *txn.Live, strays ...txn.Stray) {
		t.Helper()
		c, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: manifest}, plan(t, func(p *wire.Plan) { p.Desired = wire.Desired{} }), live, strays...)
		if refusal != nil {
			t.Fatal(refusal)
		}
		if diff := cmp.Diff(want, string(c.New)); diff != "" {
			t.Errorf("not the original with their edit (-want +got):\n%s", diff)
		}
	}
	first := propose(input(t, kubeadm(t), sink("10.96.0.20")))
	in := input(t, first.New, sink("10.96.0.21"))
	in.Live = liveAfter(first)
	second := propose(in)
	strays := []txn.Stray{{Revision: second.Revision, Record: second.Record}}
	again := func(t *testing.T, manifest []byte, ip string) *txn.Change {
		t.Helper()
		in := input(t, manifest, sink(ip))
		in.Live, in.Strays = liveAfter(first), strays
		return propose(in)
	}

	t.Run("wanted once more, it is adopted as it is, and the way back is known", func(t *testing.T) {
		t.Parallel()
		c := again(t, theirs(second.New), "10.96.0.21")
		if !bytes.Equal(c.New, c.Base) {
			t.Errorf("would change (-base +new):\n%s", cmp.Diff(string(c.Base), string(c.New)))
		}
		back(t, c.New, liveAfter(c))
	})
	t.Run("another one replaces it whole", func(t *testing.T) {
		t.Parallel()
		c := again(t, theirs(second.New), "10.96.0.22")
		for _, dir := range []string{first.Dir, second.Dir} {
			if bytes.Contains(c.New, []byte(dir)) {
				t.Errorf("%s is still there:\n%s", dir, c.New)
			}
		}
		back(t, c.New, liveAfter(c))
	})
	t.Run("the one from before it, put back by somebody, is known byte for byte", func(t *testing.T) {
		t.Parallel()
		c, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: first.New}, plan(t, func(p *wire.Plan) { p.Desired = wire.Desired{} }), liveAfter(first), strays...)
		if refusal != nil || !bytes.Equal(c.New, kubeadm(t)) {
			t.Errorf("refusal %v, change %+v", refusal, c)
		}
	})
	t.Run("reverted", func(t *testing.T) {
		t.Parallel()
		back(t, theirs(second.New), liveAfter(first), strays...)
	})
	t.Run("reverted where nothing was ever committed", func(t *testing.T) {
		t.Parallel()
		back(t, theirs(first.New), nil, txn.Stray{Revision: first.Revision, Record: first.Record})
	})
	t.Run("one of two versions that somebody has mixed does not stay", func(t *testing.T) {
		t.Parallel()
		unknown := input(t, theirs(first.New), sink("10.96.0.21"))
		both := propose(unknown) // by one who knew nothing of the first
		if !bytes.Contains(both.New, []byte(first.Dir)) || !bytes.Contains(both.New, []byte(second.Dir)) {
			t.Fatalf("not mixed:\n%s", both.New)
		}
		in := input(t, both.New, sink("10.96.0.21"))
		in.Live, in.Strays = liveAfter(both), []txn.Stray{{Revision: first.Revision, Record: first.Record}}
		c := propose(in)
		if bytes.Contains(c.New, []byte(first.Dir)) {
			t.Errorf("%s is still there:\n%s", first.Dir, c.New)
		}
		back(t, c.New, liveAfter(c))
	})
}

func TestProposeOfWhatIsThereChangesNothing(t *testing.T) {
	t.Parallel()
	in := input(t, kubeadm(t), nil)
	first, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	size, before := []byte("    - --audit-log-maxsize=10\n"), []byte("    - --allow-privileged=true\n")
	moved := bytes.Replace(bytes.Replace(first.New, size, nil, 1), before, append(slices.Clone(size), before...), 1)
	tests := map[string]struct {
		manifest []byte
		live     *txn.Live
	}{
		"with a flag moved by somebody else":   {moved, liveAfter(first)},
		"with its record":                      {first.New, liveAfter(first)},
		"without a record":                     {first.New, nil},
		"after somebody else's harmless edits": {bytes.Replace(first.New, []byte("# the default, said aloud"), []byte("# yes"), 1), liveAfter(first)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(t, tt.manifest, nil)
			in.Live = tt.live
			c, refusal := Propose(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if !bytes.Equal(c.New, c.Base) {
				t.Errorf("would change (-base +new):\n%s", cmp.Diff(string(c.Base), string(c.New)))
			}
		})
	}
}

func TestARewrittenManifestGetsOurSettingsAgain(t *testing.T) {
	t.Parallel()
	in := input(t, kubeadm(t), nil)
	first, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	lost := bytes.Replace(first.New, []byte("    - --audit-log-maxsize=10\n"), nil, 1)
	tests := map[string][]byte{
		"as kubeadm writes it":        kubeadm(t),
		"a flag of ours taken out":    lost,
		"another flag value by them":  bytes.Replace(first.New, []byte("maxsize=10"), []byte("maxsize=99"), 1),
		"rewritten with another flag": bytes.Replace(kubeadm(t), []byte("    - --allow"), []byte("    - --profiling=false\n    - --allow"), 1),
	}
	for name, manifest := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(t, manifest, nil)
			in.Live = liveAfter(first)
			c, refusal := Propose(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			m, err := apiserver.ParseManifest(c.New)
			if err != nil {
				t.Fatal(err)
			}
			size, _ := m.Args().Lookup("audit-log-maxsize")
			if bytes.Equal(c.New, c.Base) || m.Revision() != in.Plan.Revision || size == "" {
				t.Errorf("revision %q, maxsize %q in:\n%s", m.Revision(), size, c.New)
			}
		})
	}
}

func withFlag(name, value string) func(*wire.Plan) {
	return func(p *wire.Plan) { p.Desired.Flags = append(p.Desired.Flags, wire.Flag{Name: name, Value: value}) }
}

func TestProposeRefusesWhatWouldStopAnApiserver(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		plan        func(*wire.Plan)
		manifest    func([]byte) []byte
		credentials map[string][]byte
		reason      string
		says        string
	}{
		"a policy with a misspelt field": {
			plan:   func(p *wire.Plan) { p.Desired.Policy += "  verb: [get]\n" },
			reason: reason.PolicyInvalid, says: "line 5",
		},
		"a flag of a later version": {
			plan:   withFlag("audit-dynamic-configuration", "true"),
			reason: reason.VersionMismatch, says: "audit-dynamic-configuration",
		},
		"an AuditSink where there are none any more": {
			plan:   dynamic,
			reason: reason.VersionMismatch, says: "no dynamic backend",
		},
		"a backend that does not exist": {
			plan:   func(p *wire.Plan) { p.Desired.Backend = "carrier-pigeon" },
			reason: reason.PlanInvalid, says: "carrier-pigeon",
		},
		"a flag that is not about auditing": {
			plan:   withFlag("anonymous-auth", "true"),
			reason: reason.PlanInvalid, says: "no audit flag",
		},
		"a batch of a negative size":          {plan: withFlag("audit-webhook-batch-max-size", "-5"), reason: reason.PlanInvalid, says: "a number"},
		"a batch of size zero":                {plan: withFlag("audit-webhook-batch-max-size", "0"), reason: reason.PlanInvalid, says: "above zero"},
		"a wait that is no duration":          {plan: withFlag("audit-webhook-initial-backoff", "5"), reason: reason.PlanInvalid, says: "5s"},
		"a switch that is neither on nor off": {plan: withFlag("audit-webhook-truncate-enabled", "yes"), reason: reason.PlanInvalid, says: "true or false"},
		"a webhook that requests wait for":    {plan: withFlag("audit-webhook-mode", "blocking-strict"), reason: reason.PlanInvalid, says: "batch"},
		"a path that the agent must choose": {
			plan:   withFlag("audit-log-path", "/etc/shadow"),
			reason: reason.PlanInvalid, says: "audit-log-path",
		},
		"a sink that an apiserver cannot resolve": {
			plan:   func(p *wire.Plan) { p.Desired.Webhook.URL = "http://agent.agent.svc:7765/" },
			reason: reason.SinkInvalid, says: "Service",
		},
		"credentials that cannot be used": {
			plan: func(p *wire.Plan) {
				p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9/", CredentialsSecret: "sink"}
			},
			credentials: map[string][]byte{"tls.crt": []byte("not PEM")},
			reason:      reason.CredentialsMissing, says: "sink",
		},
		"somebody else's webhook": {
			manifest: func(m []byte) []byte {
				return bytes.Replace(m, []byte("    - --allow"), []byte("    - --audit-webhook-config-file=/etc/theirs.yaml\n    - --allow"), 1)
			},
			reason: reason.WebhookNotOurs, says: "/etc/theirs.yaml",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest := kubeadm(t)
			if tt.manifest != nil {
				manifest = tt.manifest(manifest)
			}
			in := input(t, manifest, tt.plan)
			in.Credentials = strategy.CredentialsFrom(tt.credentials)
			c, refusal := Propose(in)
			if refusal == nil {
				t.Fatalf("not refused: %s", c.New)
			}
			if refusal.Reason != tt.reason || !strings.Contains(refusal.Message, tt.says) {
				t.Errorf("refusal %+v, want %s with %q", refusal, tt.reason, tt.says)
			}
		})
	}
}

func TestTheUsersPolicyAndLogAreKept(t *testing.T) {
	t.Parallel()
	manifest := bytes.Replace(kubeadm(t), []byte("    - --allow"), []byte(
		"    - --audit-policy-file=/etc/kubernetes/pki/policy.yaml\n    - --audit-log-path=/etc/kubernetes/pki/audit.log\n    - --allow"), 1)
	in := input(t, manifest, nil)
	c, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	m, err := apiserver.ParseManifest(c.New)
	if err != nil {
		t.Fatal(err)
	}
	policy, _ := m.Args().Lookup("audit-policy-file")
	webhook, _ := m.Args().Lookup("audit-webhook-config-file")
	if policy != "/etc/kubernetes/pki/policy.yaml" || !strings.HasPrefix(webhook, c.Dir) {
		t.Errorf("policy %q, webhook %q", policy, webhook)
	}
	if len(c.Files) != 1 || c.LogBytes != 0 || c.Effects.PolicyOurs {
		t.Errorf("files %d, log bytes %d, effects %+v", len(c.Files), c.LogBytes, c.Effects)
	}
	if c.Effects.LogPath != "/etc/kubernetes/pki/audit.log" || !strings.Contains(c.Effects.Kept, "policy.yaml") {
		t.Errorf("effects %+v", c.Effects)
	}
}

func TestAnApiserverThatIsNotRootOwnsItsFiles(t *testing.T) {
	t.Parallel()
	for name, where := range map[string]string{"the pod's": "  hostNetwork: true\n", "the container's": "    name: kube-apiserver\n    volumeMounts"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			indent := where[:len(where)-len(strings.TrimLeft(where, " "))]
			text := indent + "securityContext:\n" + indent + "  runAsUser: 1001\n" + indent + "  runAsGroup: 1002\n" + where
			in := input(t, bytes.Replace(kubeadm(t), []byte(where), []byte(text), 1), nil)
			c, refusal := Propose(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			if diff := cmp.Diff(&hostfs.Owner{UID: 1001, GID: 1002}, c.Owner); diff != "" {
				t.Errorf("owner (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCredentialsMakeAnotherRevisionAndDoNotLeak(t *testing.T) {
	t.Parallel()
	one, two := strategy.CredentialsFrom(map[string][]byte{"token": []byte("hunter2")}), strategy.CredentialsFrom(map[string][]byte{"token": []byte("hunter3")})
	a, b, none := strategy.EffectiveRevision("r0123456789ab", one), strategy.EffectiveRevision("r0123456789ab", two), strategy.EffectiveRevision("r0123456789ab", strategy.Credentials{})
	if a == b || none != "r0123456789ab" || !strings.HasPrefix(a, none+"-") {
		t.Errorf("revisions %q, %q, %q", a, b, none)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", one, one, one, one.LogValue()); strings.Contains(text, "hunter") {
		t.Errorf("credentials print as %s", text)
	}
	in := input(t, kubeadm(t), func(p *wire.Plan) {
		p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9/", CredentialsSecret: "sink"}
	})
	in.Credentials = one
	c, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	i := slices.IndexFunc(c.Files, func(f txn.File) bool { return strings.HasSuffix(f.Path, strategy.WebhookFile) })
	if i < 0 || !bytes.Contains(c.Files[i].Data, []byte("hunter2")) || bytes.Contains(c.New, []byte("hunter2")) || bytes.Contains(c.Record, []byte("hunter2")) {
		t.Error("the token belongs into the webhook kubeconfig and nowhere else")
	}
}

func TestARevertWithoutARecordIsRefused(t *testing.T) {
	t.Parallel()
	c, refusal := Propose(input(t, kubeadm(t), nil))
	if refusal != nil {
		t.Fatal(refusal)
	}
	off := plan(t, func(p *wire.Plan) { p.Desired = wire.Desired{} })
	if _, refusal = ProposeRevert(Manifest{Path: manifestPath, Data: c.New}, off, nil); refusal == nil || refusal.Reason != reason.ManifestNotUnderstood {
		t.Errorf("refusal %+v", refusal)
	}
	if c, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: kubeadm(t)}, off, nil); c != nil || refusal != nil {
		t.Errorf("a manifest without anything of ours: %+v, %v", c, refusal)
	}
}

func TestABrokenRecordIsRefused(t *testing.T) {
	t.Parallel()
	in := input(t, kubeadm(t), nil)
	in.Live = &txn.Live{Record: json.RawMessage(`[]`)}
	if _, refusal := Propose(in); refusal == nil {
		t.Error("not refused")
	}
}

func TestDirectoriesAreThoseOfTheManifest(t *testing.T) {
	t.Parallel()
	if txn.DataDir != apiserver.AuditDir || txn.LogDir != apiserver.LogDir {
		t.Errorf("txn writes to %s and %s, the manifest mounts %s and %s", txn.DataDir, txn.LogDir, apiserver.AuditDir, apiserver.LogDir)
	}
}

// rehearsed is the manifest of a second apiserver that runs beside the first for a moment.
func rehearsed(t *testing.T) string {
	t.Helper()
	text, err := apiserver.Rehearse(kubeadm(t), apiserver.RehearsalOptions{Mark: "r1.1", Port: apiserver.FirstRehearsalPort})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHowAChangeIsMadeIsThePlansToSay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		rehearse, handover                     string
		wantRehearse, wantRevert, wantHandover txn.Mode
	}{
		"a plan of an older coordinator asks for neither": {"", "", txn.ModeNever, txn.ModeNever, txn.ModeNever},
		"auto": {wire.RehearseAuto, wire.HandoverAuto, txn.ModeAuto, txn.ModeAuto, txn.ModeAuto},
		"always, but not for the way back, and off": {wire.RehearseAlways, wire.HandoverOff, txn.ModeAlways, txn.ModeAuto, txn.ModeNever},
		"never":                      {wire.RehearseNever, wire.HandoverAuto, txn.ModeNever, txn.ModeNever, txn.ModeAuto},
		"what nobody knows is never": {"perhaps", "perhaps", txn.ModeNever, txn.ModeNever, txn.ModeNever},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := input(t, kubeadm(t), func(p *wire.Plan) { p.Rehearse, p.Handover, p.Desired.Canary = tt.rehearse, tt.handover, "agent" })
			apply, refusal := Propose(in)
			if refusal != nil {
				t.Fatal(refusal)
			}
			revert, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: apply.New}, in.Plan, liveAfter(apply))
			if refusal != nil {
				t.Fatal(refusal)
			}
			if apply.Rehearse != tt.wantRehearse || revert.Rehearse != tt.wantRevert {
				t.Errorf("rehearse: apply %q, revert %q", apply.Rehearse, revert.Rehearse)
			}
			if apply.Handover != tt.wantHandover || revert.Handover != tt.wantHandover {
				t.Errorf("handover: apply %q, revert %q", apply.Handover, revert.Handover)
			}
			if !apply.Audited || revert.Audited {
				t.Errorf("audited: apply %v, revert %v", apply.Audited, revert.Audited)
			}
			in.Plan.Desired.Canary = ""
			if c, _ := Propose(in); c == nil || c.Audited {
				t.Error("a policy without a canary is said to log it")
			}
		})
	}
}

func TestFindManifest(t *testing.T) {
	t.Parallel()
	etcd := "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd}\nspec:\n  containers:\n  - {name: etcd, image: etcd, command: [etcd]}\n"
	tests := map[string]struct {
		files  map[string]string
		want   string
		reason string
		says   string
	}{
		"beside the other components": {
			files: map[string]string{"etcd.yaml": etcd, "kube-apiserver.yaml": string(kubeadm(t))}, want: "kube-apiserver.yaml",
		},
		"a rehearsal beside it is not it": {
			files: map[string]string{"kube-apiserver.yaml": string(kubeadm(t)), "kube-apiserver-rehearsal.yaml": rehearsed(t)}, want: "kube-apiserver.yaml",
		},
		"a rehearsal alone is none": {
			files: map[string]string{"kube-apiserver.yaml": rehearsed(t)}, reason: reason.ManifestNotFound, says: "no kube-apiserver manifest",
		},
		"under any name": {
			files: map[string]string{"api.manifest": string(kubeadm(t)), "zz": "no: pod"}, want: "api.manifest",
		},
		"dot-files are not looked at": {
			files:  map[string]string{".kube-apiserver.yaml": string(kubeadm(t)), "etcd.yaml": etcd},
			reason: reason.ManifestNotFound, says: "no kube-apiserver manifest",
		},
		"two of them": {
			files:  map[string]string{"kube-apiserver.yaml": string(kubeadm(t)), "kube-apiserver.yaml.bak": string(kubeadm(t))},
			reason: reason.ManifestNotUnderstood, says: "kube-apiserver.yaml.bak",
		},
		"one that does not parse": {
			files:  map[string]string{"kube-apiserver.yaml": "a: b: c\n", "etcd.yaml": etcd},
			reason: reason.ManifestNotUnderstood, says: "does not parse",
		},
		"one without an apiserver container": {
			files:  map[string]string{"kube-apiserver.yaml": etcd},
			reason: reason.ManifestNotUnderstood, says: "no kube-apiserver container",
		},
		"a link to another directory": {
			files:  map[string]string{"kube-apiserver.yaml": "->/srv/api.yaml"},
			reason: reason.ManifestNotUnderstood, says: "symbolic link to /srv/api.yaml",
		},
		"a link by dots": {
			files:  map[string]string{"kube-apiserver.yaml": "->../../../srv/api.yaml"},
			reason: reason.ManifestNotUnderstood, says: "symbolic link to /srv/api.yaml",
		},
		"a link beside another manifest": {
			files:  map[string]string{"kube-apiserver.yaml": string(kubeadm(t)), "other.yaml": "->/srv/api.yaml"},
			reason: reason.ManifestNotUnderstood, says: "other.yaml",
		},
		"a link to nothing is nothing": {
			files: map[string]string{"kube-apiserver.yaml": string(kubeadm(t)), "other.yaml": "->/srv/none.yaml"}, want: "kube-apiserver.yaml",
		},
		"a link in the same directory": {
			files: map[string]string{"kube-apiserver.yaml": "->.current", ".current": string(kubeadm(t))}, want: "kube-apiserver.yaml",
		},
		"nothing but something broken": {
			files:  map[string]string{"other.yaml": "a: b: c\n"},
			reason: reason.ManifestNotFound, says: "other.yaml",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			dir := filepath.Join(root, "/etc/kubernetes/manifests")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Mkdir(filepath.Join(root, "srv"), 0o755), os.WriteFile(filepath.Join(root, "srv/api.yaml"), kubeadm(t), 0o600)); err != nil {
				t.Fatal(err)
			}
			for file, text := range tt.files {
				err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600)
				if target, ok := strings.CutPrefix(text, "->"); ok {
					err = errors.Join(os.Remove(filepath.Join(dir, file)), os.Symlink(target, filepath.Join(dir, file)))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			m, refusal := FindManifest(hostfs.New(root), "/etc/kubernetes/manifests")
			switch {
			case tt.reason != "":
				if refusal == nil || refusal.Reason != tt.reason || !strings.Contains(refusal.Message, tt.says) {
					t.Errorf("refusal %+v, want %s with %q", refusal, tt.reason, tt.says)
				}
			case refusal != nil:
				t.Error(refusal)
			case m.Path != "/etc/kubernetes/manifests/"+tt.want:
				t.Errorf("found %q, want %q", m.Path, tt.want)
			}
		})
	}
}

func TestALogPathIsTranslatedToTheHosts(t *testing.T) {
	t.Parallel()
	manifest := bytes.ReplaceAll(kubeadm(t), []byte("mountPath: /etc/kubernetes/pki"), []byte("mountPath: /logs"))
	for file, want := range map[string]string{
		"/logs/audit.log":  "/etc/kubernetes/pki/audit.log",
		"/logsaudit.log":   "",
		"-":                "",
		"/elsewhere/a.log": "",
	} {
		if got := onHost(manifest, file); got != want {
			t.Errorf("%s is %q on the host, want %q", file, got, want)
		}
	}
}

// dynamic has an AuditSink say where the events go.
func dynamic(p *wire.Plan) {
	p.Desired.Backend, p.Desired.Webhook, p.EventsTo = wire.BackendDynamic, wire.Webhook{}, "http://10.96.0.9:8443/"
	p.Desired.Flags = p.Desired.Flags[1:]
}

func TestWithAnAuditSinkTheManifestHoldsNoAddress(t *testing.T) {
	t.Parallel()
	in := input(t, bytes.Replace(kubeadm(t), []byte("    - --allow"), []byte("    - --feature-gates=A=true\n    - --allow"), 1), dynamic)
	in.Version = version.MustParseGeneric("v1.17.5")
	c, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	for _, want := range []string{
		"--feature-gates=A=true,DynamicAuditing=true\n", "--runtime-config=auditregistration.k8s.io/v1alpha1=true\n", "--audit-dynamic-configuration=true\n",
		"--audit-policy-file=", "--audit-log-path=",
	} {
		if !bytes.Contains(c.New, []byte("    - "+want)) {
			t.Errorf("the manifest lacks %s", want)
		}
	}
	if bytes.Contains(c.New, []byte("webhook")) || len(c.Files) != 1 || c.Effects.SinkURL != "" {
		t.Errorf("%d files, sink %q, and:\n%s", len(c.Files), c.Effects.SinkURL, c.New)
	}
	moved := plan(t, func(p *wire.Plan) { dynamic(p); p.EventsTo = "http://10.96.0.10:8443/" })
	if moved.Revision != in.Plan.Revision {
		t.Error("an AuditSink that moves makes another revision")
	}
	live := liveAfter(c)
	edited := Manifest{Path: manifestPath, Data: bytes.Replace(c.New, []byte("A=true,DynamicAuditing=true"), []byte("A=true,DynamicAuditing=true,B=true"), 1)}
	traces, refusal := TracesIn(edited, live)
	if refusal != nil || len(traces.Missing) > 0 {
		t.Errorf("somebody else's gate in our flag is taken for a loss: %v %v", traces.Missing, refusal)
	}
	back, refusal := ProposeRevert(edited, in.Plan, live)
	if refusal != nil {
		t.Fatal(refusal)
	}
	want := bytes.Replace(in.Manifest.Data, []byte("A=true"), []byte("A=true,B=true"), 1)
	if diff := cmp.Diff(string(want), string(back.New)); diff != "" {
		t.Errorf("reverted (-want +got):\n%s", diff)
	}
}
