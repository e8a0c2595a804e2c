package watchdog

import (
	"testing"
	"time"

	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestAChangeIsTakenBackOnceItsAgentHasBeenAwayForTooLong(t *testing.T) {
	t.Parallel()
	entry := func(state txn.State) *txn.Entry {
		return &txn.Entry{
			State: state, Revision: "r2", BaseRevision: "r1", Before: []string{"old"}, ReadyTimeout: 5 * time.Minute,
			BootID: "this", Uptime: time.Hour,
		}
	}
	crashing := []txn.Instance{{ID: "new", Revision: "r2", Exits: 2}}
	cases := map[string]struct {
		sight  Sight
		expire bool
	}{
		"the agent may come back":                             {Sight{Entry: entry(txn.StateSwapped), Uptime: time.Hour + 5*time.Minute}, false},
		"but not for ever":                                    {Sight{Entry: entry(txn.StateSwapped), Uptime: time.Hour + 6*time.Minute}, true},
		"an apiserver that crashes is not waited for":         {Sight{Entry: entry(txn.StateSwapped), Uptime: time.Hour + 10*time.Second, Instances: crashing}, true},
		"unless the agent may be just about to see it":        {Sight{Entry: entry(txn.StateSwapped), Uptime: time.Hour + 9*time.Second, Instances: crashing}, false},
		"the old apiserver's exits are not the new one's":     {Sight{Entry: entry(txn.StateSwapped), Uptime: time.Hour + time.Minute, Instances: []txn.Instance{{ID: "old", Revision: "r2", Exits: 9}, {ID: "older", Revision: "r1", Exits: 9}}}, false},
		"after a reboot the time counts from the boot":        {Sight{Entry: entry(txn.StateSwapped), BootID: "next", Uptime: 5 * time.Minute}, false},
		"and ends as well":                                    {Sight{Entry: entry(txn.StateSwapped), BootID: "next", Uptime: 6 * time.Minute}, true},
		"after a reboot a crash is a crash":                   {Sight{Entry: entry(txn.StateSwapped), BootID: "next", Uptime: time.Minute, Instances: crashing}, true},
		"a rollback that was begun is completed soon":         {Sight{Entry: entry(txn.StateRollingBack), Uptime: time.Hour + 45*time.Second}, true},
		"a rehearsal without an agent is cleaned up":          {Sight{Entry: entry(txn.StateRehearsing), Uptime: time.Hour + 2*time.Minute}, true},
		"but left alone for a while":                          {Sight{Entry: entry(txn.StateRehearsing), Uptime: time.Hour + time.Minute}, false},
		"a journal without an uptime counts from the boot on": {Sight{Entry: &txn.Entry{State: txn.StateSwapped, BootID: "this"}, Uptime: time.Hour}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.sight.BootID == "" {
				c.sight.BootID = "this"
			}
			if got := Decide(c.sight); got.Expire != c.expire || got.Because == "" {
				t.Errorf("verdict %+v, want expire %v", got, c.expire)
			}
		})
	}
}
