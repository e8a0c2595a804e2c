package nodeagent

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestNothingIsWrittenToAHostOfAnotherDistribution(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		defer n.start()()
		kops := func(p *wire.Plan) { p.Distribution = "kops" }
		n.say(testPlan(t, kops))
		time.Sleep(time.Minute)
		s := n.wants(wire.PhaseRefused, reason.DistributionMismatch)
		if n.get(manifestPath) != original || n.exists(txn.DataDir) || n.exists(txn.StateDir) || !strings.Contains(s.Message, "kube-apiserver.yaml, and kops writes") {
			t.Errorf("status %+v", s)
		}
		n.say(testPlan(t, nil)) // the right answer
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)

		n.put("/etc/os-release", "ID=talos\n")
		n.overwrite(original)
		time.Sleep(2 * time.Minute)
		n.wants(wire.PhaseApplied, reason.Live) // that was found right a moment ago, and repaired at once
		n.say(testPlan(t, func(p *wire.Plan) { p.Desired.Flags = nil }))
		time.Sleep(2 * time.Minute)
		n.wants(wire.PhaseRefused, reason.DistributionMismatch)
		n.say(testPlan(t, disabled))
		time.Sleep(2 * time.Minute)
		if n.wants(wire.PhaseReverted, reason.Removed); n.get(manifestPath) != original {
			t.Errorf("a revert was kept up:\n%s", n.get(manifestPath))
		}
	})
}

func TestARepairHoldsToWhatWasFoundLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n, stop := audited(t)
		defer stop()
		n.put("/etc/os-release", "ID=talos\n")
		time.Sleep(2 * time.Minute) // a round has seen it
		n.overwrite(string(kubeadmManifest(t)))
		time.Sleep(2 * time.Minute)
		if n.wants(wire.PhaseRefused, reason.DistributionMismatch); n.get(manifestPath) != string(kubeadmManifest(t)) {
			t.Error("the manifest was repaired")
		}
	})
}
