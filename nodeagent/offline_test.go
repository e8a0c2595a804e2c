package nodeagent

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/preview"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// offline is what is computed from a copy of a node's file.
func offline(t *testing.T, p *wire.Plan, running, text string) *txn.Change {
	t.Helper()
	copied := preview.Copy{}
	if text != "" {
		copied.Data = []byte(text)
	}
	change, refusal := preview.Offline(p, version.MustParseGeneric(running), copied)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return change
}

func TestWhatIsPlannedOfflineIsWhatTheAgentDecides(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		strategy       wire.Strategy
		version        string
		unit, programs string
		file           string
	}{
		"k3s":            {wire.StrategyDropIn, "v1.34.4", "k3s.service", "k3s server", "write-kubeconfig-mode: '0644'\nkube-apiserver-arg: [v=2]\n"},
		"k3s, no file":   {wire.StrategyDropIn, "v1.34.4", "k3s.service", "k3s server", ""},
		"rke2":           {wire.StrategyDropIn, "v1.30.1", "rke2-server.service", "rke2 server", "profile: cis\n"},
		"k0s":            {wire.StrategyConfigFile, "v1.34.4", "k0scontroller.service", "k0s controller", "apiVersion: k0s.k0sproject.io/v1beta1\nspec:\n  api:\n    port: 6443 # theirs\n"},
		"openshift-3":    {wire.StrategyConfigFile, "v1.11.0", "", "", "apiVersion: v1\nkind: MasterConfig\nauditConfig: {}\nservingInfo:\n  bindAddress: 0.0.0.0:8443\n"},
		"minishift":      {wire.StrategyConfigFile, "v1.11.0", "", "", "apiVersion: v1\nkind: MasterConfig\nkubernetesMasterConfig:\n  apiServerArguments: null\n"},
		argsfile.Name:    {wire.StrategyArgsFile, "v1.34.4", argsfile.Unit, "kubelite", "--secure-port=16443\n# theirs\n"},
		"kubeadm, alone": {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
		"kind":           {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
		"kubespray":      {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
		"cluster-api":    {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
		"minikube":       {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
		"kops":           {wire.StrategyStaticPod, "v1.34.4", "", "", string(kubeadmManifest(t))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			distribution, _, _ := strings.Cut(name, ",")
			p := testPlan(t, func(p *wire.Plan) {
				p.Strategy, p.Distribution, p.KubernetesVersion = c.strategy, distribution, c.version
				if c.version == "v1.11.0" {
					p.Desired.Policy = strings.Replace(p.Desired.Policy, "audit.k8s.io/v1\n", "audit.k8s.io/v1beta1\n", 1)
				}
			})
			n := newNode(t)
			if err := os.Remove(filepath.Join(n.root, manifestPath)); err != nil {
				t.Fatal(err)
			}
			if c.file != "" {
				n.put(preview.UsualPath(distribution), c.file)
			}
			n.file, n.manifest, n.version = "/etc/machine-id", n.get("/etc/machine-id"), c.version
			a, _ := n.agent()
			a.observer.programs = func() []string { return []string{c.programs} }
			a.observer.services = units{c.unit: {State: systemd.State{Active: "active"}}}
			s := decide(p, a.observer.observe(t.Context(), p, nil), &txn.Journal{})
			if s.action != actChange {
				t.Fatalf("step %+v", s)
			}
			s.change.Fence = 0 // of the permit, which nobody has offline
			if diff := cmp.Diff(s.change, offline(t, p, c.version, c.file)); diff != "" {
				t.Errorf("the agent's change and the one that is planned offline (-agent +offline):\n%s", diff)
			}
		})
	}
}

func TestWhatIsPlannedOfflineIsOnTheHostAfterwards(t *testing.T) {
	t.Parallel()
	for form, running := range map[string]string{"": "v1.34.4", "kops-1.11-shell": "v1.11.10", "kops-1.20-args": "v1.20.15", "kops-1.26-go-runner": "v1.26.15"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n, distribution := newNode(t), "kubeadm"
				original := n.get(manifestPath)
				if form != "" {
					n, original = kopsNode(t, form, running)
					distribution = "kops"
				}
				p := testPlan(t, func(p *wire.Plan) {
					p.Distribution, p.KubernetesVersion = distribution, running
					if strings.HasPrefix(running, "v1.11.") {
						p.Desired.Policy = strings.Replace(p.Desired.Policy, "audit.k8s.io/v1\n", "audit.k8s.io/v1beta1\n", 1)
					}
				})
				defer n.start()()
				n.say(p)
				time.Sleep(time.Minute)
				n.wants(wire.PhaseApplied, reason.Live)
				change := offline(t, p, running, original)
				written := map[string]string{change.Manifest: n.get(change.Manifest)}
				planned := map[string]string{change.Manifest: string(change.New)}
				for _, f := range change.Files {
					written[f.Path], planned[f.Path] = n.get(f.Path), string(f.Data)
				}
				if diff := cmp.Diff(written, planned); diff != "" || len(planned) != 3 {
					t.Errorf("on the host and planned offline (-host +offline):\n%s", diff)
				}
			})
		})
	}
}

func TestAChangeThatWaitsIsForeseen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		defer n.start()()
		n.say(noPermit(testPlan(t, nil)))
		time.Sleep(time.Minute)
		s := n.wants(wire.PhasePending, reason.WaitingForPermit)
		if n.get(manifestPath) != original || n.exists(txn.DataDir) || n.exists(txn.StateDir) {
			t.Error("to foresee a change, something was written")
		}
		change := offline(t, testPlan(t, nil), "v1.34.4", original)
		if diff := cmp.Diff(preview.Guarded(change, nil), s.Preview); diff != "" || len(s.Preview.Files) != 3 {
			t.Errorf("foreseen (-offline +agent):\n%s", diff)
		}
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseApplied, reason.Live); s.Preview != nil {
			t.Errorf("nothing waits any more, and %+v is foreseen", s.Preview)
		}

		n.say(noPermit(testPlan(t, func(p *wire.Plan) { p.Desired.Policy = strings.Replace(p.Desired.Policy, "Metadata", "Request", 1) })))
		time.Sleep(time.Minute)
		s = n.wants(wire.PhasePending, reason.WaitingForPermit)
		policy := s.Preview.Files[len(s.Preview.Files)-1]
		if path.Base(policy.Path) != "audit-policy.yaml" || !strings.Contains(policy.Diff, "-- level: Metadata\n+- level: Request\n") {
			t.Errorf("the policy that changes is foreseen as %+v", policy)
		}
		n.say(noPermit(testPlan(t, disabled)))
		time.Sleep(time.Minute)
		if s = n.status(); s.Preview == nil || s.Preview.Revision != "" || !strings.Contains(s.Preview.Files[0].Diff, "-    - --audit-policy-file=") {
			t.Errorf("the removal is foreseen as %+v", s.Preview)
		}
	})
}
