package txn

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// reverted is a host after a revert, with things of ours that other parts keep beside the journal.
func reverted(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.do(w.change())
	w.do(w.revert())
	if err := os.MkdirAll(filepath.Join(w.root, StateDir, "bin", "v1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.root, StateDir, "bin", "v1", "nodeagent"), []byte("elf"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestAfterARevertNothingStaysOnTheHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := reverted(t)
		for range 2 {
			if err := w.runner().Wipe(t.Context()); err != nil {
				t.Fatal(err)
			}
			if w.exists(StateDir) || w.exists(DataDir) || w.manifest() != content("") {
				t.Errorf("state %v, data %v, manifest %q", w.exists(StateDir), w.exists(DataDir), w.manifest())
			}
		}
		if got := w.do(w.change()); got.Result != ResultCommitted || w.manifest() != content(testRevision) {
			t.Errorf("enabled again: %+v", got)
		}
	})
}

func TestWhatIsStillOursIsNotForgotten(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*world){
		"a live revision":      func(w *world) { w.do(w.change()) },
		"a change that failed": func(w *world) { w.behaves[content(testRevision)] = crashes; w.do(w.change()) },
		"an open transaction":  func(w *world) { w.journalled(&Journal{Version: journalVersion, Open: &Entry{State: StateSwapped}}) },
		"a second apiserver": func(w *world) {
			w.journalled(&Journal{Version: journalVersion, Leftover: "/etc/kubernetes/manifests/second.yaml"})
		},
		"a journal made by others": func(w *world) { w.journalled(&Journal{Version: journalVersion + 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				prepare(w)
				if err := w.runner().Wipe(t.Context()); err == nil || !w.exists(journalFile) {
					t.Errorf("error %v, journal there: %v", err, w.exists(journalFile))
				}
			})
		})
	}
}

func (w *world) journalled(j *Journal) {
	w.t.Helper()
	if err := os.MkdirAll(filepath.Join(w.root, StateDir), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := j.save(hostfs.New(w.root)); err != nil {
		w.t.Fatal(err)
	}
}

func TestWithoutAChangeOfOursNobodysFilesAreRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		theirs := filepath.Join(w.root, LogDir)
		if err := os.MkdirAll(theirs, 0o700); err != nil {
			t.Fatal(err)
		}
		w.journalled(&Journal{Version: journalVersion})
		if err := w.runner().Wipe(t.Context()); err != nil || w.exists(StateDir) || !w.exists(LogDir) {
			t.Errorf("error %v, state there: %v, their log there: %v", err, w.exists(StateDir), w.exists(LogDir))
		}
	})
}

func TestAWipeThatDiesOrFailsAnywhereIsEndedByTheNext(t *testing.T) {
	t.Parallel()
	for mode, fail := range map[string]func(w *world, n int){
		"killed":       func(w *world, n int) { w.faults.CrashAt(n) },
		"read-only":    func(w *world, n int) { w.faults.FailFrom(n, unix.EROFS) },
		"input/output": func(w *world, n int) { w.faults.FailAt(n, unix.EIO) },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			reached := 0
			for n := 1; ; n++ {
				ended := false
				synctest.Test(t, func(t *testing.T) {
					w := reverted(t)
					at := len(w.faults.Steps()) + n
					fail(w, at)
					w.faults.Run(func() { _ = w.runner().Wipe(t.Context()) })
					ended = len(w.faults.Steps()) < at
					w.fs = hostfs.New(w.root)
					if j := w.journal(); j.Open != nil || j.Live != nil || w.manifest() != content("") {
						t.Errorf("step %d: journal %+v, manifest %q", n, j, w.manifest())
					}
					if err := w.runner().Wipe(t.Context()); err != nil || w.exists(StateDir) || w.exists(DataDir) {
						t.Errorf("step %d: again: %v, state there: %v, data there: %v", n, err, w.exists(StateDir), w.exists(DataDir))
					}
				})
				if ended {
					break
				}
				reached = n
			}
			if reached < 5 {
				t.Errorf("only %d steps", reached)
			}
		})
	}
}

// TestAManifestThatOthersRevertedLeavesNoWatchdog: no transaction ends there that would take it away.
func TestAManifestThatOthersRevertedLeavesNoWatchdog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		w.write(content(""))
		if err := w.runner().Forget(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := &stages{w: w}
		if err := s.runner().Wipe(t.Context()); err != nil || !slices.Equal(s.did, []string{"uninstall old"}) || w.exists(StateDir) {
			t.Errorf("error %v, did %v, state there: %v", err, s.did, w.exists(StateDir))
		}
	})
}
