package nodeagent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/distribution"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const (
	operatorsManifest = "/etc/kubernetes/manifests/kube-apiserver-pod.yaml"
	operatorsConfig   = "/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7/configmaps/config/config.yaml"
)

// newOpenShift4Master is a node whose apiserver the operator of OpenShift 4 has installed.
func newOpenShift4Master(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	if err := os.Remove(filepath.Join(n.root, manifestPath)); err != nil {
		t.Fatal(err)
	}
	n.file = operatorsManifest
	n.put(operatorsManifest, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"kube-apiserver","namespace":"openshift-kube-apiserver"},"spec":{
		"containers":[{"name":"kube-apiserver","image":"x","command":["hyperkube","kube-apiserver","--openshift-config=/etc/kubernetes/static-pod-resources/configmaps/config/config.yaml"]}],
		"volumes":[{"name":"resource-dir","hostPath":{"path":"/etc/kubernetes/static-pod-resources/kube-apiserver-pod-7"}},{"name":"audit-dir","hostPath":{"path":"/var/log/kube-apiserver"}}]}}`)
	n.put(operatorsConfig, "apiServerArguments: {}\n")
	n.put("/var/log/kube-apiserver/audit.log", "")
	n.manifest = n.get(operatorsManifest)
	return n
}

func filePlan(t *testing.T, url string, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	return testPlan(t, func(p *wire.Plan) {
		p.Distribution, p.Strategy = distribution.OpenShift4, wire.StrategyFile
		p.Desired = wire.Desired{Enabled: true, Webhook: wire.Webhook{URL: url}}
		if change != nil {
			change(p)
		}
	})
}

// files are those of ours beside the operator's log.
func (n *node) ourFiles() (out []string) {
	entries, err := hostfs.New(n.root).ReadDir(wire.WebhookFileDir)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name != "audit.log" {
			out = append(out, wire.WebhookFileDir+"/"+e.Name)
		}
	}
	return out
}

func (n *node) has(files ...string) {
	n.t.Helper()
	if got := n.ourFiles(); strings.Join(got, " ") != strings.Join(files, " ") {
		n.t.Errorf("the files are %v, want %v", got, files)
	}
}

func TestAFileIsPutThereAndHealedAndReplacedAndRemovedWithoutAnyRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newOpenShift4Master(t)
		defer n.start()()
		p := filePlan(t, "http://192.0.2.9:7765/k8s_audit", nil)
		first := wire.WebhookFile(p.Revision)
		n.say(noPermit(p))
		time.Sleep(time.Minute)
		n.wants(wire.PhasePending, reason.WaitingForPermit)
		n.has()

		p = filePlan(t, "http://192.0.2.9:7765/k8s_audit", nil)
		n.say(p)
		time.Sleep(time.Minute)
		s := n.wants(wire.PhaseApplied, reason.Live)
		n.has(first)
		if s.WebhookFile != first || s.AppliedRevision != p.Revision || s.Apiserver.Restarts != 0 || !strings.Contains(n.get(first), "http://192.0.2.9:7765/k8s_audit") {
			t.Errorf("status %+v, file %s", s, n.get(first))
		}
		whole := n.get(first)

		for name, spoil := range map[string]func() error{
			"removed": func() error { return os.Remove(filepath.Join(n.root, first)) },
			"altered": func() error { return os.WriteFile(filepath.Join(n.root, first), []byte("x"), 0o600) },
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			if n.get(first) != whole {
				t.Errorf("%s, and not written again", name)
			}
			n.wants(wire.PhaseApplied, reason.Live)
		}

		next := filePlan(t, "http://192.0.2.10:7765/k8s_audit", nil)
		next.Told = first
		second := wire.WebhookFile(next.Revision)
		n.say(next)
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseApplied, reason.Live); s.WebhookFile != second || len(n.ourFiles()) != 2 {
			t.Errorf("status %+v, files %v", s, n.ourFiles())
		}
		next.Told = second
		n.say(noPermit(next))
		time.Sleep(time.Minute)
		n.has(second)

		n.put(operatorsConfig, `apiServerArguments: {audit-webhook-config-file: ["`+second+`"]}`)
		off := filePlan(t, "", disabled)
		n.say(off)
		time.Sleep(time.Minute)
		n.wants(wire.PhaseRefused, reason.FileInUse)
		n.has(second)
		n.put(operatorsConfig, "apiServerArguments: {}\n")
		n.say(off)
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseReverted, reason.Removed); s.WebhookFile != "" {
			t.Errorf("status %+v", s)
		}
		n.has()
		if n.exists(hostfs.StateDir) || n.restarts() != 0 {
			t.Errorf("%d restarts; the journal is left: %v", n.restarts(), n.exists(hostfs.StateDir))
		}
	})
}

func TestAnApiserverThatIsDownForWantOfTheFileGetsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newOpenShift4Master(t)
		p := filePlan(t, "http://192.0.2.9:7765/k8s_audit", nil)
		n.breaks = func(string) bool { return !n.exists(wire.WebhookFile(p.Revision)) }
		defer n.start()()
		n.say(p)
		time.Sleep(time.Minute)
		n.has(wire.WebhookFile(p.Revision))
		n.wants(wire.PhaseApplied, reason.Live)
	})
}

func TestTheCredentialsAreInTheFileAlone(t *testing.T) {
	t.Parallel()
	const token, second = "top-secret-token-4713", "top-secret-token-4714"
	synctest.Test(t, func(t *testing.T) {
		n := newOpenShift4Master(t)
		var log page
		n.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		n.secret = map[string][]byte{"token": []byte(token)}
		defer n.start()()
		plan := func() *wire.Plan {
			return filePlan(t, "https://192.0.2.9:7765/", func(p *wire.Plan) { p.Desired.Webhook.CredentialsSecret = "sink" })
		}
		n.say(noPermit(plan())) // the change is foreseen in the status
		time.Sleep(time.Minute)
		n.say(plan())
		time.Sleep(time.Minute)
		first := n.wants(wire.PhaseApplied, reason.Live).WebhookFile
		n.has(first)
		n.do(func() { n.secret = map[string][]byte{"token": []byte(second)} })
		time.Sleep(10 * time.Minute)
		n.say(plan())
		time.Sleep(time.Minute)
		s := n.wants(wire.PhaseApplied, reason.Live)
		if s.WebhookFile == first || !strings.Contains(n.get(s.WebhookFile), second) || !strings.Contains(n.get(first), token) {
			t.Errorf("other credentials are in %s, as the first were in %s", s.WebhookFile, first)
		}
		for _, text := range []string{token, second} {
			if found := holders(t, n.root, text); len(found) != 1 || filepath.Dir(found[0]) != wire.WebhookFileDir {
				t.Errorf("the credentials are in %v", found)
			}
			for _, s := range n.all() {
				if said, err := wire.EncodeText(wire.KindNodeStatus, &s); err != nil || strings.Contains(string(said), text) {
					t.Errorf("a status holds a credential: %s, %v", said, err)
				}
			}
			if strings.Contains(log.String(), text) {
				t.Error("the log holds a credential")
			}
		}
		n.say(filePlan(t, "", disabled))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseReverted, reason.Removed)
		if found := append(holders(t, n.root, token), holders(t, n.root, second)...); len(found) > 0 {
			t.Errorf("the credentials are left in %v", found)
		}
	})
}

func TestAHostThatIsNoMasterOfOpenShift4GetsNoFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		n.say(filePlan(t, "http://192.0.2.9:7765/k8s_audit", nil))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseRefused, reason.DistributionMismatch)
		if n.exists(wire.WebhookFileDir) {
			t.Error("something was written")
		}
	})
}
