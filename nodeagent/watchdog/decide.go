package watchdog

import (
	"fmt"
	"slices"
	"time"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// Patience with an agent that is away.
const (
	// graceUnswapped is for a change that has not touched the running apiserver.
	graceUnswapped = 2 * time.Minute
	// graceCrashed is for an agent that may be about to see by itself that the new apiserver has ended twice.
	graceCrashed = 10 * time.Second
	// graceRollback is for an agent that had begun to go back.
	graceRollback = 45 * time.Second
	// margin is added to the time that the new apiserver has to become ready.
	margin = time.Minute
	// maxExits are those after which an apiserver will not come up.
	maxExits = 2
)

// Sight is what the watchdog sees.
type Sight struct {
	// Entry is the open transaction.
	Entry *txn.Entry
	// BootID and Uptime are of this boot.
	BootID string
	Uptime time.Duration
	// Instances are the apiservers on this node, none where nobody can be asked.
	Instances []txn.Instance
}

// Verdict is what is to be done, and why.
type Verdict struct {
	// Expire: the transaction is taken back now.
	Expire  bool
	Because string
	// Crashed is the new apiserver, where it will not come up.
	Crashed *txn.Instance
}

// Decide says whether an open transaction whose agent holds no lock is to be taken back. It is pure.
func Decide(s Sight) Verdict {
	away := s.away()
	switch s.Entry.State {
	case txn.StateSwapped:
		if i := s.crashed(); i != nil && away >= graceCrashed {
			return Verdict{Expire: true, Because: fmt.Sprintf("the new apiserver has exited %d times", i.Exits), Crashed: i}
		}
		return after(away, s.Entry.ReadyTimeout+margin, "after the swap")
	case txn.StateRollingBack:
		return after(away, graceRollback, "while it rolled back")
	default:
		return after(away, graceUnswapped, "before the swap")
	}
}

func after(away, patience time.Duration, when string) Verdict {
	if away < patience {
		return Verdict{Because: fmt.Sprintf("the agent has been away for %s %s; it has %s", away.Round(time.Second), when, patience)}
	}
	return Verdict{Expire: true, Because: fmt.Sprintf("the agent has been away for %s %s", away.Round(time.Second), when)}
}

// away is how long nothing has been written down, counted by the kernel's clock: since the boot where that is a later one.
func (s Sight) away() time.Duration {
	if s.Entry.BootID != s.BootID || s.Entry.Uptime > s.Uptime {
		return s.Uptime
	}
	return s.Uptime - s.Entry.Uptime
}

// crashed is the new apiserver, where it has exited too often.
func (s Sight) crashed() *txn.Instance {
	for _, i := range s.Instances {
		if (i.Revision == s.Entry.Revision || i.Opaque) && !slices.Contains(s.Entry.Before, i.ID) && i.Exits >= maxExits {
			return &i
		}
	}
	return nil
}
