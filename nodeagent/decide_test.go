package nodeagent

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const manifestPath = "/etc/kubernetes/manifests/kube-apiserver.yaml"

func kubeadmManifest(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("strategy/staticpod/testdata/kubeadm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testPlan is an enablement with a permit.
func testPlan(t testing.TB, change func(*wire.Plan)) *wire.Plan {
	t.Helper()
	p := &wire.Plan{
		Node:     wire.NodeIdentity{Name: "cp1", UID: "u1", MachineID: "abc123", SystemUUID: "AAAA-bbbb"},
		Strategy: wire.StrategyStaticPod, Distribution: "kubeadm", KubernetesVersion: "v1.34.4",
		Desired: wire.Desired{
			Enabled: true,
			Policy:  "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
			Webhook: wire.Webhook{URL: "http://10.96.0.20:7765/k8s_audit"},
			Flags:   []wire.Flag{{Name: "audit-log-maxbackup", Value: "1"}, {Name: "audit-log-maxsize", Value: "10"}},
			Canary:  "system:serviceaccount:audit:agent",
		},
		ReadyTimeout: metav1.Duration{Duration: 2 * time.Minute},
	}
	if change != nil {
		change(p)
	}
	revision, err := p.ComputeRevision()
	if err != nil {
		t.Fatal(err)
	}
	p.Revision = revision
	if p.Permit == nil {
		p.Permit = &wire.Permit{HolderUID: "u1", Fence: 5, Revision: revision}
	}
	return p
}

func noPermit(p *wire.Plan) *wire.Plan {
	p.Permit = nil
	return p
}

// otherImage is what an upgrade to the next patch makes of a manifest.
func otherImage(manifest []byte) []byte {
	return bytes.ReplaceAll(manifest, []byte("kube-apiserver:v1.34.4"), []byte("kube-apiserver:v1.34.5"))
}

func disabled(p *wire.Plan) { p.Desired = wire.Desired{} }

// seenHost is the host that testPlan is for, before anything was done.
func seenHost(manifest []byte) observation {
	return observation{
		machine:  wire.NodeIdentity{MachineID: "ABC123", SystemUUID: "aaaa-BBBB"},
		manifest: staticpod.Manifest{Path: manifestPath, Data: manifest}, filesIntact: true, version: "v1.34.4",
	}
}

// enabled is the manifest and the journal after testPlan was carried out.
func enabled(t *testing.T, p *wire.Plan, c strategy.Credentials) ([]byte, *txn.Journal) {
	t.Helper()
	change, refusal := staticpod.Propose(staticpod.Input{
		Manifest: staticpod.Manifest{Path: manifestPath, Data: kubeadmManifest(t)}, Plan: p, Credentials: c, Version: version.MustParseGeneric("v1.34.4"),
	})
	if refusal != nil {
		t.Fatal(refusal)
	}
	return change.New, &txn.Journal{Fence: 5, Live: &txn.Live{
		Revision: change.Revision, PlanRevision: p.Revision, Manifest: manifestPath, ManifestHash: txn.Hash(change.New),
		Record: change.Record, Effects: change.Effects,
	}}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	secret := func(p *wire.Plan) {
		p.Desired.Webhook = wire.Webhook{URL: "https://192.0.2.9/", CredentialsSecret: "sink"}
	}
	token := func(text string) strategy.Credentials {
		return strategy.CredentialsFrom(map[string][]byte{"token": []byte(text)})
	}
	type world struct {
		plan    *wire.Plan
		seen    observation
		journal *txn.Journal
	}
	tests := map[string]struct {
		world  func(t *testing.T) world
		action action
		phase  wire.Phase
		reason string
		says   string
	}{
		"a fresh node without a permit waits": {
			func(t *testing.T) world {
				t.Helper()
				return world{noPermit(testPlan(t, nil)), seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "waits for this node's turn",
		},
		"a fresh node with a permit is changed": {
			func(t *testing.T) world {
				t.Helper()
				return world{testPlan(t, nil), seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"a host of another distribution is not touched": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.mismatch = refusal(reason.DistributionMismatch, "it is Talos")
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.DistributionMismatch, "Talos",
		},
		"that it is another one is said before that it has no manifest": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(nil)
				seen.refusal, seen.mismatch = staticpod.NotFound("none"), refusal(reason.DistributionMismatch, "it is RKE2")
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.DistributionMismatch, "RKE2",
		},
		"what is live stays live, whatever the host looks like now": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(manifest)
				seen.mismatch = refusal(reason.DistributionMismatch, "it is RKE2")
				return world{p, seen, j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"but it is not repaired on a host that looks like another's": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(kubeadmManifest(t))
				seen.mismatch = refusal(reason.DistributionMismatch, "it is RKE2")
				return world{p, seen, j}
			}, actNothing, wire.PhaseRefused, reason.DistributionMismatch, "RKE2",
		},
		"a permit for another revision is none": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				p.Permit.Revision = "r000000000000"
				return world{p, seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "another node or revision",
		},
		"a permit for another node is none": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				p.Permit.HolderUID = "u2"
				return world{p, seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "another node or revision",
		},
		"a permit older than one that was acted on is none": {
			func(t *testing.T) world {
				t.Helper()
				return world{testPlan(t, nil), seenHost(kubeadmManifest(t)), &txn.Journal{Fence: 6}}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "older than permit 6",
		},
		"an open transaction comes first": {
			func(t *testing.T) world {
				t.Helper()
				return world{testPlan(t, nil), seenHost(kubeadmManifest(t)), &txn.Journal{Open: &txn.Entry{}}}
			}, actRecover, wire.PhaseVerifying, reason.AwaitingApiserver, "",
		},
		"a plan for another machine": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.machine.MachineID = "other"
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.WrongMachine, "other",
		},
		"a plan for another machine with the same cloned ID": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.machine.SystemUUID = "cccc"
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.WrongMachine, "cccc",
		},
		"a host whose system UUID cannot be read is judged by its machine ID": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.machine.SystemUUID = ""
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"a plan that names no machine": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, func(p *wire.Plan) { p.Node.MachineID = "" })
				seen := seenHost(kubeadmManifest(t))
				seen.machine.MachineID = ""
				return world{p, seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.PlanInvalid, "which machine",
		},
		"a plan whose revision is not its content's": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				p.Desired.Policy += "# changed on the way\n"
				return world{p, seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.PlanInvalid, "not that of its content",
		},
		"a strategy that is not known": {
			func(t *testing.T) world {
				t.Helper()
				return world{testPlan(t, func(p *wire.Plan) { p.Strategy = "magic" }), seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.PlanInvalid, "magic",
		},
		"no manifest": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(nil)
				seen.refusal = staticpod.NotFound("no kube-apiserver manifest")
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.ManifestNotFound, "no kube-apiserver",
		},
		"a policy that would stop the apiserver": {
			func(t *testing.T) world {
				t.Helper()
				return world{testPlan(t, func(p *wire.Plan) { p.Desired.Policy = "kind: Policy" }), seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.PolicyInvalid, "line 1",
		},
		"an apiserver of another minor version": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.version = "v1.35.0"
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.VersionMismatch, "v1.35.0",
		},
		"an apiserver of another patch version": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.version = "v1.34.9+vendor.1"
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"an apiserver that does not answer": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.version = ""
				return world{testPlan(t, nil), seen, &txn.Journal{}}
			}, actNothing, wire.PhasePending, reason.ApiserverUnhealthy, "version",
		},
		"a node that is as it shall be": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				return world{p, seenHost(manifest), j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"a node that is as it shall be stays so while its apiserver is away": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(manifest)
				seen.version = ""
				return world{p, seen, j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"somebody else's harmless edit of the manifest": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				return world{p, seenHost(bytes.Replace(manifest, []byte("# the default, said aloud"), nil, 1)), j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"a rewritten manifest without a permit": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(kubeadmManifest(t)), j}
			}, actRepair, wire.PhasePending, reason.Drifted, "regenerated without our settings",
		},
		"a rewritten manifest while the apiserver is away": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(kubeadmManifest(t))
				seen.version = ""
				return world{noPermit(p), seen, j}
			}, actRepair, wire.PhasePending, reason.Drifted, "",
		},
		"a rewritten manifest after an enablement that did not say its version": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				j.Live.Effects.Image = ""
				return world{noPermit(p), seenHost(kubeadmManifest(t)), j}
			}, actNothing, wire.PhasePending, reason.Drifted, "rewritten by somebody else; revision",
		},
		"a rewritten manifest that could not be repaired before": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				j.Failed = failed(p, reason.CrashLooping, 0).Failed
				j.Failed.BaseHash = "another content's"
				return world{noPermit(p), seenHost(kubeadmManifest(t)), j}
			}, actNothing, wire.PhasePending, reason.Drifted, "waits for this node's turn",
		},
		"a manifest rewritten for another version, without a permit": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(otherImage(kubeadmManifest(t))), j}
			}, actNothing, wire.PhasePending, reason.Drifted, "by an upgrade from kube-apiserver:v1.34.4 to kube-apiserver:v1.34.5; revision",
		},
		"a manifest rewritten for another version, with a permit": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				return world{p, seenHost(otherImage(kubeadmManifest(t))), j}
			}, actChange, wire.PhasePending, reason.Drifted, "",
		},
		"an upgrade that is not complete, with a permit": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(otherImage(kubeadmManifest(t)))
				seen.unsettled, seen.version = "kubeadm upgrade is at work", ""
				return world{p, seen, j}
			}, actNothing, wire.PhasePending, reason.UpgradeRunning, "kubeadm upgrade is at work",
		},
		"an upgrade that kept our settings": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(otherImage(manifest)), j}
			}, actAdopt, wire.PhaseApplied, reason.Live, "",
		},
		"a manifest rewritten with somebody else's audit settings": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				theirs := bytes.Replace(kubeadmManifest(t), []byte("    - kube-apiserver\n"), []byte("    - kube-apiserver\n    - --audit-log-path=/var/log/theirs.log\n"), 1)
				return world{noPermit(p), seenHost(theirs), j}
			}, actNothing, wire.PhasePending, reason.Drifted, "--audit-log-path=/var/log/theirs.log",
		},
		"an edit beside our settings needs nothing": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(append(manifest, "# mine\n"...)), j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"a manifest that was moved away": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(nil)
				seen.refusal = staticpod.NotFound("none")
				return world{p, seen, j}
			}, actNothing, wire.PhaseRefused, reason.ManifestNotFound, "theirs to put back",
		},
		"a manifest that is rewritten again and again": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				_, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(kubeadmManifest(t))
				seen.now = time.Now()
				for range mayRepair {
					seen.struggle = seen.struggle.after(seen.now)
				}
				return world{p, seen, j}
			}, actNothing, wire.PhaseRefused, reason.FightingOver, "last it was regenerated without our settings",
		},
		"a flag of ours taken out": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(bytes.Replace(manifest, []byte("    - --audit-log-maxsize=10\n"), nil, 1)), j}
			}, actRepair, wire.PhasePending, reason.Drifted, "--audit-log-maxsize of ours gone or changed",
		},
		"a file of ours removed is written again without a permit": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, j := enabled(t, p, strategy.Credentials{})
				seen := seenHost(manifest)
				seen.filesIntact = false
				return world{noPermit(p), seen, j}
			}, actAdopt, wire.PhaseApplied, reason.Live, "",
		},
		"a journal that was lost": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				manifest, _ := enabled(t, p, strategy.Credentials{})
				return world{noPermit(p), seenHost(manifest), &txn.Journal{}}
			}, actAdopt, wire.PhaseApplied, reason.Live, "",
		},
		"a changed plan": {
			func(t *testing.T) world {
				t.Helper()
				manifest, j := enabled(t, testPlan(t, nil), strategy.Credentials{})
				p := testPlan(t, func(p *wire.Plan) { p.Desired.Webhook.URL = "http://10.96.0.21:7765/" })
				return world{noPermit(p), seenHost(manifest), j}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"changed credentials": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, secret)
				manifest, j := enabled(t, p, token("old"))
				seen := seenHost(manifest)
				seen.credentials = token("new")
				return world{noPermit(p), seen, j}
			}, actNothing, wire.PhasePending, reason.CredentialsChanged, "",
		},
		"credentials that cannot be read any more change nothing": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, secret)
				manifest, j := enabled(t, p, token("old"))
				seen := seenHost(manifest)
				seen.credentialsErr = errors.New("not found")
				return world{p, seen, j}
			}, actNothing, wire.PhaseApplied, reason.Live, "",
		},
		"credentials that never could be read": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(kubeadmManifest(t))
				seen.credentialsErr = errors.New("not found")
				return world{testPlan(t, secret), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseRefused, reason.CredentialsMissing, "not found",
		},
		"a rewritten manifest and no credentials": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, secret)
				_, j := enabled(t, p, token("old"))
				seen := seenHost(kubeadmManifest(t))
				seen.credentialsErr = errors.New("not found")
				return world{p, seen, j}
			}, actNothing, wire.PhasePending, reason.CredentialsMissing, "not found",
		},
		"a revision that crashed is not tried again": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				return world{p, seenHost(kubeadmManifest(t)), failed(p, reason.CrashLooping, 0)}
			}, actNothing, wire.PhaseRolledBack, reason.CrashLooping, "because",
		},
		"a revision that was too slow is not tried again with the same time": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				return world{p, seenHost(kubeadmManifest(t)), failed(p, reason.NotReady, 2*time.Minute)}
			}, actNothing, wire.PhaseRolledBack, reason.NotReady, "because",
		},
		"a revision that was too slow is tried again with more time": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				return world{p, seenHost(kubeadmManifest(t)), failed(p, reason.NotReady, time.Minute)}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"another revision supersedes one that crashed": {
			func(t *testing.T) world {
				t.Helper()
				p := testPlan(t, nil)
				j := failed(p, reason.CrashLooping, 0)
				j.Failed.Revision = "r000000000000"
				return world{p, seenHost(kubeadmManifest(t)), j}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"disabled, and nothing of ours is there": {
			func(t *testing.T) world {
				t.Helper()
				return world{noPermit(testPlan(t, disabled)), seenHost(kubeadmManifest(t)), &txn.Journal{}}
			}, actNothing, wire.PhaseReverted, reason.Removed, "",
		},
		"disabled, and our settings wait to be taken out": {
			func(t *testing.T) world {
				t.Helper()
				manifest, j := enabled(t, testPlan(t, nil), strategy.Credentials{})
				return world{noPermit(testPlan(t, disabled)), seenHost(manifest), j}
			}, actNothing, wire.PhasePending, reason.WaitingForPermit, "removal",
		},
		"disabled, with a permit": {
			func(t *testing.T) world {
				t.Helper()
				manifest, j := enabled(t, testPlan(t, nil), strategy.Credentials{})
				return world{testPlan(t, disabled), seenHost(manifest), j}
			}, actChange, wire.PhasePending, reason.WaitingForPermit, "",
		},
		"disabled, and somebody has taken our settings out": {
			func(t *testing.T) world {
				t.Helper()
				_, j := enabled(t, testPlan(t, nil), strategy.Credentials{})
				return world{noPermit(testPlan(t, disabled)), seenHost(kubeadmManifest(t)), j}
			}, actForget, wire.PhaseReverted, reason.Removed, "",
		},
		"disabled on a node without a manifest": {
			func(t *testing.T) world {
				t.Helper()
				seen := seenHost(nil)
				seen.refusal = staticpod.NotFound("none")
				return world{testPlan(t, disabled), seen, &txn.Journal{}}
			}, actNothing, wire.PhaseReverted, reason.Removed, "",
		},
		"a removal that did not work is not tried again": {
			func(t *testing.T) world {
				t.Helper()
				manifest, j := enabled(t, testPlan(t, nil), strategy.Credentials{})
				j.Failed = &txn.Failure{Fault: txn.Fault{Reason: reason.CrashLooping, Message: "because"}}
				return world{testPlan(t, disabled), seenHost(manifest), j}
			}, actNothing, wire.PhaseRolledBack, reason.CrashLooping, "could not be taken out",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := tt.world(t)
			got := decide(w.plan, w.seen, w.journal)
			if got.action != tt.action || got.phase != tt.phase || got.reason != tt.reason || !strings.Contains(got.message, tt.says) {
				t.Errorf("%s: %s/%s %q\nwant %s: %s/%s with %q", got.action, got.phase, got.reason, got.message, tt.action, tt.phase, tt.reason, tt.says)
			}
			if got.action == actChange && got.change.Fence != 5 {
				t.Errorf("the change has fence %d, want the permit's", got.change.Fence)
			}
		})
	}
}

// failed is a journal that remembers that a plan was taken back.
func failed(p *wire.Plan, why string, had time.Duration) *txn.Journal {
	return &txn.Journal{Failed: &txn.Failure{
		Fault: txn.Fault{Reason: why, Message: "because"}, Revision: p.Revision, PlanRevision: p.Revision, ReadyTimeout: had,
	}}
}

func TestRetriesBecomeRare(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for n := 1; n < 40; n++ {
		d := retryAfter(n)
		if d < last || d < 15*time.Second || d > 30*time.Minute {
			t.Errorf("after %d failures: %s, before %s", n, d, last)
		}
		last = d
	}
}

// TestTheMachineIsCompared: a plan is for one machine, by both IDs that a Node tells, as far as the host tells them.
func TestTheMachineIsCompared(t *testing.T) {
	t.Parallel()
	const (
		uuid    = "5C241F42-A87F-FA60-6AF6-A46351CED0EB"
		swapped = "421f245c-7fa8-60fa-6af6-a46351ced0eb"
	)
	for name, tt := range map[string]struct {
		want, have wire.NodeIdentity
		reason     string
	}{
		"the same":                        {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, ""},
		"in another case":                 {wire.NodeIdentity{MachineID: "ABC", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: strings.ToLower(uuid)}, ""},
		"in the other byte order":         {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: swapped}, ""},
		"in the other byte order, back":   {wire.NodeIdentity{MachineID: "abc", SystemUUID: swapped}, wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, ""},
		"another UUID with the same end":  {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: "5C241F42-7FA8-FA60-6AF6-A46351CED0EB"}, reason.WrongMachine},
		"another UUID":                    {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: "5C241F42-A87F-FA60-6AF6-A46351CED0EC"}, reason.WrongMachine},
		"what is no UUID":                 {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc", SystemUUID: "none"}, reason.WrongMachine},
		"what is no UUID, twice the same": {wire.NodeIdentity{MachineID: "abc", SystemUUID: "ec2-1"}, wire.NodeIdentity{MachineID: "abc", SystemUUID: "EC2-1"}, ""},
		"fields of odd lengths":           {wire.NodeIdentity{MachineID: "abc", SystemUUID: "é2345678-1-2-3-4"}, wire.NodeIdentity{MachineID: "abc", SystemUUID: "12345678-é-é-3-4"}, reason.WrongMachine},
		"another machine ID":              {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abd", SystemUUID: uuid}, reason.WrongMachine},
		"no machine ID on the host":       {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{SystemUUID: uuid}, reason.WrongMachine},
		"no machine ID in the plan":       {wire.NodeIdentity{SystemUUID: uuid}, wire.NodeIdentity{SystemUUID: uuid}, reason.PlanInvalid},
		"no UUID in the plan":             {wire.NodeIdentity{MachineID: "abc"}, wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, ""},
		"no UUID on the host":             {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{MachineID: "abc"}, ""},
		"a host that tells nothing":       {wire.NodeIdentity{MachineID: "abc", SystemUUID: uuid}, wire.NodeIdentity{}, reason.WrongMachine},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if r := checkMachine(tt.want, tt.have); r != nil {
				got = r.Reason
			}
			if got != tt.reason {
				t.Errorf("reason %q, want %q", got, tt.reason)
			}
		})
	}
}
