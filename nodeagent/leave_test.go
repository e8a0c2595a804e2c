package nodeagent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// TestAReleaseThatWasDeletedWithoutARevertStrandsNoNode: its files stay on the host and its apiserver goes on working. The next
// release takes it over without a restart, and can take our settings out.
func TestAReleaseThatWasDeletedWithoutARevertStrandsNoNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		original := n.get(manifestPath)
		stop := n.start()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
		stop()
		restarts := n.restarts()

		defer n.start()()
		n.say(noPermit(testPlan(t, nil)))
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseApplied, reason.Live); n.restarts() != restarts || s.Fence != 5 {
			t.Errorf("%d restarts, fence %d: the next coordinator would give a permit that is too old", n.restarts()-restarts, s.Fence)
		}
		n.say(testPlan(t, disabled))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseReverted, reason.Removed)
		if n.get(manifestPath) != original || n.exists(txn.DataDir) || n.exists(txn.StateDir) {
			t.Errorf("original %v, data %v, state %v", n.get(manifestPath) == original, n.exists(txn.DataDir), n.exists(txn.StateDir))
		}
	})
}

func TestARevertedNodeKeepsItsCountersAndCanBeEnabledAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		n.say(testPlan(t, disabled))
		time.Sleep(10 * time.Minute)
		if s := n.wants(wire.PhaseReverted, reason.Removed); s.Fence != 6 || s.Apiserver.Restarts != 2 {
			t.Errorf("fence %d, restarts %d", s.Fence, s.Apiserver.Restarts)
		}
		old := testPlan(t, nil)
		old.Permit.Fence = 4
		n.sayLate(old, old)
		time.Sleep(time.Minute)
		n.wants(wire.PhasePending, reason.WaitingForPermit)
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		n.wants(wire.PhaseApplied, reason.Live)
	})
}

func TestFilesThatCannotBeRemovedAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		host, faults := hostfstest.New(n.root)
		n.host = host
		defer n.start()()
		n.say(testPlan(t, nil))
		time.Sleep(time.Minute)
		faults.FailWhen(func(s hostfstest.Step) error {
			if s.Op == "Unlink" && strings.HasSuffix(s.Name, "journal.json") {
				return errors.Join(unix.EROFS)
			}
			return nil
		})
		n.say(testPlan(t, disabled))
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseReverted, reason.Removed); !strings.Contains(s.Message, "left on the host") {
			t.Errorf("message %q", s.Message)
		}
		faults.FailWhen(nil)
		time.Sleep(time.Minute)
		if s := n.wants(wire.PhaseReverted, reason.Removed); n.exists(txn.StateDir) || strings.Contains(s.Message, "left on the host") {
			t.Errorf("message %q, state there: %v", s.Message, n.exists(txn.StateDir))
		}
	})
}
