package txn

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

func TestWhatNobodyCompletesIsTakenBack(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		// dies is the state after which the agent is gone.
		dies    State
		behaves behaviour
		crashed bool
		result  Result
		reason  string
	}{
		"before anything was swapped":             {dies: StateFilesWritten, result: ResultAborted, reason: reason.WaitingForPermit},
		"during a rehearsal":                      {dies: StateRehearsed, result: ResultAborted, reason: reason.WaitingForPermit},
		"after the swap":                          {dies: StateSwapped, result: ResultRolledBack, reason: reason.NotCommitted},
		"after the swap to one that crashes":      {dies: StateSwapped, behaves: crashes, crashed: true, result: ResultRolledBack, reason: reason.CrashLooping},
		"while it rolled back, for its own cause": {dies: StateRollingBack, behaves: crashes, result: ResultRolledBack, reason: reason.CrashLooping},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)] = c.behaves
				s := &stages{w: w}
				r := s.runner()
				r.Progress = func(state State) {
					if state == c.dies {
						w.faults.CrashAt(len(w.faults.Steps()) + 1)
					}
				}
				if w.faults.Run(func() { _, _ = r.Do(t.Context(), staged(w)) }) == nil {
					t.Fatalf("the agent has not died after %s", c.dies)
				}
				time.Sleep(time.Minute)
				w.fs = hostfs.New(w.root)
				host := w.runner() // the watchdog has no rehearsal, no handover and nobody to ask for a permit
				host.Permitted = nil
				host.Watchdog = s
				var crashed *Instance
				if c.crashed {
					crashed = &Instance{Exits: 2}
				}
				outcome, err := host.Expire(t.Context(), crashed)
				if err != nil || outcome.Result != c.result || outcome.Fault.Reason != c.reason {
					t.Errorf("outcome %+v %+v, error %v", outcome, outcome.Fault, err)
				}
				w.settled(name, content(""), content(""))
				w.oneFile()
				if s.armed {
					t.Error("the watchdog is still armed")
				}
				if idle, err := host.Idle(t.Context()); err != nil || !idle {
					t.Errorf("idle %v, error %v", idle, err)
				}
			})
		})
	}
}

func TestAnAgentAtWorkIsNotDisturbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		looked := false
		w.onLook = func() {
			if looked {
				return
			}
			looked = true
			other := w.runner()
			if _, err := other.Expire(t.Context(), nil); !errors.Is(err, hostfs.ErrLocked) {
				t.Errorf("expire: %v", err)
			}
			if _, err := other.Idle(t.Context()); !errors.Is(err, hostfs.ErrLocked) {
				t.Errorf("idle: %v", err)
			}
		}
		if outcome := w.do(w.change()); outcome.Result != ResultCommitted || !looked {
			t.Errorf("outcome %+v", outcome)
		}
	})
}
