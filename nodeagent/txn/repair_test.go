package txn

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs/hostfstest"
)

func TestARepairAsksNobodyAndWritesNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		policy := filepath.Join(w.root, w.change().Files[0].Path)
		was, err := os.Stat(policy)
		if err != nil {
			t.Fatal(err)
		}
		w.write(theirs)
		w.withdrawn, w.progress = true, nil // no permit; and the apiserver of the regenerated manifest is on its way
		steps := len(w.faults.Steps())
		var synced, fullChange int
		w.onLook = func() {
			if w.manifest() == repaired && synced == 0 {
				synced = syncs(w.faults.Steps()[steps:])
			}
		}
		got, err := w.runner().Repair(t.Context(), w.repair())
		if err != nil || got.Result != ResultCommitted || w.manifest() != repaired {
			t.Fatalf("outcome %+v, fault %+v, %v; manifest %q", got, got.Fault, err, w.manifest())
		}
		if !slices.Equal(w.progress, []State{StateFilesWritten, StateSwapped}) {
			t.Errorf("progress %v", w.progress)
		}
		if now, err := os.Stat(policy); err != nil || !os.SameFile(was, now) {
			t.Errorf("the policy file, which was intact, was written again: %v", err)
		}
		j := w.journal()
		if j.Live == nil || j.Live.ManifestHash != Hash([]byte(repaired)) || j.Live.PreviousDir != "" || j.Fence != 1 || j.Restarts != 2 {
			t.Errorf("journal %+v, live %+v", j, j.Live)
		}

		other := newWorld(t)
		other.onLook = func() {
			if other.manifest() == content(testRevision) && fullChange == 0 {
				fullChange = syncs(other.faults.Steps())
			}
		}
		other.do(other.change())
		if synced == 0 || synced > fullChange-4 {
			t.Errorf("%d syncs for a repair, %d for a change", synced, fullChange)
		}
	})
}

func syncs(steps []hostfstest.Step) int {
	n := 0
	for _, s := range steps {
		if strings.Contains(strings.ToLower(s.String()), "sync") {
			n++
		}
	}
	return n
}

func TestARepairIsOnlyForWhatIsLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.write(theirs)
		if _, err := w.runner().Repair(t.Context(), w.repair()); err == nil {
			t.Error("a revision that was never live was put into the manifest without a permit")
		}
		w.write(content(""))
		w.do(w.change())
		other := w.repair()
		other.Revision = "rffffffffffff"
		if _, err := w.runner().Repair(t.Context(), other); err == nil {
			t.Error("another revision was put into the manifest without a permit")
		}
		if got, err := w.runner().Repair(t.Context(), w.repair()); err != nil || got.Result != ResultAborted || got.Fault.Reason != reason.ManifestConflict {
			t.Errorf("a manifest that changed meanwhile: %+v, %v", got, err)
		}
	})
}

func TestFilesThatAreGoneAreWrittenBeforeTheManifest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		if err := os.RemoveAll(filepath.Join(w.root, w.change().Dir)); err != nil {
			t.Fatal(err)
		}
		w.write(theirs)
		if got, err := w.runner().Repair(t.Context(), w.repair()); err != nil || got.Result != ResultCommitted {
			t.Fatalf("outcome %+v, %v", got, err)
		}
		if j := w.journal(); !j.Live.FilesIntact(w.fs) {
			t.Error("the files of the repaired manifest are missing")
		}
	})
}

func TestWhoIsOverwrittenDoesNotWaitForAnApiserverThatWillNotCome(t *testing.T) {
	t.Parallel()
	for name, behaves := range map[string]behaviour{"while the new one starts": works, "while the old one comes back": crashes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)], w.behaves[content("")] = behaves, ignored
				var overwritten time.Time
				w.onLook = func() {
					back := behaves == crashes && len(w.progress) > 0 && w.progress[len(w.progress)-1] == StateRollingBack
					if w.manifest() != theirs && (back || behaves == works && w.manifest() == content(testRevision)) {
						w.write(theirs)
						overwritten = time.Now()
					}
				}
				got := w.do(w.change())
				if got.Result != ResultAborted || got.Fault.Reason != reason.ManifestConflict || w.manifest() != theirs {
					t.Errorf("outcome %+v, fault %+v, manifest %q", got, got.Fault, w.manifest())
				}
				if took := time.Since(overwritten); took > 2*time.Second {
					t.Errorf("it took %s to notice", took)
				}
			})
		})
	}
}

// guardDog is a watchdog that takes its time to be armed.
type guardDog struct {
	takes time.Duration
	err   error
	steps *diary
}

// diary is what several goroutines did, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (g guardDog) Uninstall(ctx context.Context) error { return g.Disarm(ctx) }

func (d *diary) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (g guardDog) Arm(context.Context) error {
	time.Sleep(g.takes)
	g.steps.add("armed")
	return g.err
}

func (g guardDog) Disarm(context.Context) error {
	g.steps.add("disarmed")
	return nil
}

func TestARepairDoesNotWaitForASlowWatchdog(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		dog    guardDog
		result Result
		within time.Duration
		steps  []string
	}{
		"a quick one is armed before":    {guardDog{takes: 10 * time.Millisecond}, ResultCommitted, 20 * time.Millisecond, []string{"armed", "swapped", "disarmed"}},
		"a slow one a moment later":      {guardDog{takes: time.Second}, ResultCommitted, 110 * time.Millisecond, []string{"swapped", "armed", "disarmed"}},
		"a very slow one is not left on": {guardDog{takes: time.Minute}, ResultCommitted, 110 * time.Millisecond, []string{"swapped", "armed", "disarmed"}},
		"one that cannot be ends it":     {guardDog{err: errors.New("noexec")}, ResultAborted, 0, []string{"armed", "disarmed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.do(w.change())
				w.write(theirs)
				var steps diary
				tt.dog.steps = &steps
				r := w.runner()
				r.Watchdog = tt.dog
				var swapped time.Duration
				began := time.Now()
				r.Progress = func(s State) {
					if s == StateSwapped {
						swapped = time.Since(began)
						steps.add("swapped")
					}
				}
				got, err := r.Repair(t.Context(), w.repair())
				if err != nil || got.Result != tt.result || !slices.Equal(steps.lines, tt.steps) || swapped > tt.within {
					t.Errorf("outcome %+v, %v; steps %v; swapped after %s", got, err, steps.lines, swapped)
				}
			})
		})
	}
}
