package txn

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

// steps is how many changing system calls a transaction makes, counted in a good run.
func steps(t *testing.T, s scenario) int {
	t.Helper()
	var n int
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s.prepare(w)
		w.faults.FailWhen(nil)
		before := len(w.faults.Steps())
		if _, err := s.run(w); err != nil {
			t.Fatal(err)
		}
		n = len(w.faults.Steps()) - before
	})
	if n < 15 {
		t.Fatalf("only %d steps counted", n)
	}
	return n
}

type scenario struct {
	prepare func(*world)
	change  func(*world) Change
	// old and new are the two contents a recovery may end on.
	old, new string
	// repair: the change is a repair.
	repair bool
}

func (s scenario) run(w *world) (Outcome, error) {
	if s.repair {
		return w.runner().Repair(w.t.Context(), s.change(w))
	}
	return w.runner().Do(w.t.Context(), s.change(w))
}

var scenarios = map[string]scenario{
	"enabling":  {prepare: func(*world) {}, change: (*world).change, old: content(""), new: content(testRevision)},
	"reverting": {prepare: func(w *world) { w.do(w.change()) }, change: (*world).revert, old: content(testRevision), new: content("")},
	"rolling back": {
		prepare: func(w *world) { w.behaves[content(testRevision)] = crashes },
		change:  (*world).change, old: content(""), new: content(""),
	},
	"repairing": {
		prepare: func(w *world) { w.do(w.change()); w.write(theirs) },
		change:  (*world).repair, old: theirs, new: repaired, repair: true,
	},
	"repairing what is broken": {
		prepare: func(w *world) { w.do(w.change()); w.write(theirs); w.behaves[repaired] = crashes },
		change:  (*world).repair, old: theirs, new: theirs, repair: true,
	},
	"enabling a service": {prepare: func(w *world) { w.serve(true) }, change: (*world).change, old: "", new: content(testRevision)},
	"enabling a service that shows what it runs": {
		prepare: func(w *world) { w.serve(false) }, change: (*world).change, old: "", new: content(testRevision),
	},
	"changing a service": {
		prepare: func(w *world) { w.serve(true); w.do(w.change()) }, change: (*world).next, old: content(testRevision), new: content(nextRevision),
	},
	"reverting a service": {
		prepare: func(w *world) { w.serve(true); w.do(w.change()) }, change: (*world).revert, old: content(testRevision), new: "",
	},
	"rolling a service back": {
		prepare: func(w *world) { w.serve(true); w.behaves[content(testRevision)] = crashes }, change: (*world).change, old: "", new: "",
	},
	"rolling a service back to a revision of ours": {
		prepare: func(w *world) { w.serve(false); w.do(w.change()); w.behaves[content(nextRevision)] = crashes },
		change:  (*world).next, old: content(testRevision), new: content(testRevision),
	},
	"handing a file over": {prepare: (*world).hand, change: (*world).change, old: "", new: content(testRevision)},
	"taking a handed file away": {
		prepare: func(w *world) { w.hand(); w.do(w.change()) }, change: (*world).revert, old: content(testRevision), new: "",
	},
	"repairing a handed file": {
		prepare: func(w *world) { w.hand(); w.do(w.change()); w.write(theirs) },
		change:  (*world).repair, old: theirs, new: repaired, repair: true,
	},
	"repairing what a service reads": {
		prepare: func(w *world) { w.serve(true); w.do(w.change()); w.write(theirs) },
		change:  (*world).repair, old: theirs, new: repaired, repair: true,
	},
}

func TestDyingAtAnyStepEndsOnTheOldOrTheNew(t *testing.T) {
	t.Parallel()
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			total := steps(t, s)
			defer func() { t.Logf("%d faults injected", total) }() // read by test/bench
			for n := 1; n <= total; n++ {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					s.prepare(w)
					at := len(w.faults.Steps()) + n
					w.faults.CrashAt(at)
					crash := w.faults.Run(func() { _, _ = s.run(w) })
					if crash == nil {
						t.Fatalf("step %d was not reached", n)
					}
					time.Sleep(time.Minute) // the agent is away
					w.fs = hostfs.New(w.root)
					outcome, err := w.runner().Recover(t.Context())
					if err != nil {
						t.Fatalf("died at %s: recovery: %v", crash.Step, err)
					}
					w.settled(fmt.Sprintf("died at %s, recovered to %+v", crash.Step, outcome), s.old, s.new)
				})
			}
		})
	}
}

func TestADiskThatRefusesAStepLeavesOldOrNew(t *testing.T) {
	t.Parallel()
	modes := map[string]func(*hostfstest.Faults, int){
		"no space for one step":      func(f *hostfstest.Faults, n int) { f.FailAt(n, unix.ENOSPC) },
		"read-only from a step on":   func(f *hostfstest.Faults, n int) { f.FailFrom(n, unix.EROFS) },
		"an input/output error once": func(f *hostfstest.Faults, n int) { f.FailAt(n, unix.EIO) },
		"not permitted once":         func(f *hostfstest.Faults, n int) { f.FailAt(n, unix.EPERM) },
	}
	for name, s := range scenarios {
		for mode, fail := range modes {
			t.Run(name+", "+mode, func(t *testing.T) {
				t.Parallel()
				total := steps(t, s)
				defer func() { t.Logf("%d faults injected", total) }() // read by test/bench
				for n := 1; n <= total; n++ {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						s.prepare(w)
						at := len(w.faults.Steps()) + n
						fail(w.faults, at)
						outcome, err := s.run(w)
						if err != nil {
							t.Fatalf("step %d: %v", n, err)
						}
						if outcome.Result == ResultAborted && (outcome.Fault.Reason != reason.HostNotWritable || w.manifest() != s.old) {
							t.Errorf("step %d: fault %+v, manifest %q", n, outcome.Fault, w.manifest())
						}
						w.faults.FailWhen(nil) // the disk is well again
						recovered, err := w.runner().Recover(t.Context())
						if err != nil {
							t.Fatalf("step %d: recovery: %v", n, err)
						}
						w.settled(fmt.Sprintf("step %d failed: %+v, recovered to %+v", n, outcome, recovered), s.old, s.new)
					})
				}
			})
		}
	}
}

// settled checks that the host is in one of two states, and nothing is open.
func (w *world) settled(what, before, after string) {
	w.t.Helper()
	synctest.Wait() // what a process did beside its main path when it ended
	j := w.journal()
	got := w.manifest()
	if got != before && got != after {
		w.t.Errorf("%s: manifest is %q, want the old or the new one", what, got)
	}
	if j.Open != nil {
		w.t.Errorf("%s: the journal has an open transaction in state %s", what, j.Open.State)
	}
	if got == theirs { // somebody else's manifest stands until it is repaired; the files are there for that
		got = content(testRevision)
	}
	if j.Live != nil && (!strings.HasPrefix(got, content(j.Live.Revision)) || !j.Live.FilesIntact(hostfs.New(w.root))) {
		w.t.Errorf("%s: manifest %q, but the journal says that %q is live, files intact: %v", what, got, j.Live.Revision, j.Live.FilesIntact(w.fs))
	}
	if runs := w.instances[len(w.instances)-1].content; w.unit != "" && w.unit != FileUnit && got != theirs && runs != got {
		w.t.Errorf("%s: the apiserver runs with %q, and the file says %q", what, runs, got)
	}
	if j.Live == nil && got != w.original {
		w.t.Errorf("%s: manifest %q, but nothing is live in the journal", what, got)
	}
	for range 100 {
		if w.Ready(context.Background()) == nil {
			return
		}
		time.Sleep(time.Second)
	}
	w.t.Errorf("%s: the apiserver is not ready", what)
}

func TestAStoppedAgentGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := w.runner().Do(ctx, w.change()); err == nil {
			t.Fatal("a stopped agent has ended its transaction")
		}
		if j := w.journal(); j.Open == nil || j.Open.State != StateSwapped {
			t.Fatalf("journal %+v", j.Open)
		}
		outcome, err := w.runner().Recover(t.Context())
		if err != nil || outcome.Result != ResultCommitted {
			t.Errorf("recovery: %+v, %v", outcome, err)
		}
	})
}
