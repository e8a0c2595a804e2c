package txn

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
)

func TestAChangeGoesLive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if got := w.do(w.change()); got.Result != ResultCommitted {
			t.Fatalf("outcome %+v, want committed", got)
		}
		if w.manifest() != content(testRevision) {
			t.Errorf("manifest is %q", w.manifest())
		}
		j := w.journal()
		if j.Open != nil || j.Live == nil || j.Live.Revision != testRevision || j.Restarts != 1 || j.Fence != 1 {
			t.Errorf("journal %+v, live %+v", j, j.Live)
		}
		// 12 s until the kubelet starts it and 3 s until it is ready; probes are 200 ms apart.
		if j.Unavailable < 14*time.Second || j.Unavailable > 16*time.Second {
			t.Errorf("unavailable for %s, want about 15 s", j.Unavailable)
		}
		for path, mode := range map[string]os.FileMode{
			DataDir + "/" + testRevision + "/audit-policy.yaml":   0o600,
			DataDir + "/" + testRevision + "/webhook-config.yaml": 0o600,
			DataDir + "/" + testRevision:                          0o700 | os.ModeDir,
			LogDir:                                                0o700 | os.ModeDir,
			backupPath(Hash([]byte(content("")))):                 0o600,
		} {
			info, err := os.Stat(filepath.Join(w.root, path))
			if err != nil || info.Mode() != mode {
				t.Errorf("%s: %v, %v; want mode %v", path, info, err, mode)
			}
		}
		w.oneFile()
		want := []State{StatePrepared, StateFilesWritten, StateSwapped}
		if diff := cmp.Diff(want, w.progress); diff != "" {
			t.Errorf("progress (-want +got):\n%s", diff)
		}
	})
}

func TestAChangeThatDoesNotWorkIsTakenBack(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		behaves behaviour
		reason  string
		says    string
		// within bounds the time from the swap to the end.
		within time.Duration
	}{
		"a container that exits twice, long before the time is over": {crashes, reason.CrashLooping, "unknown flag", 60 * time.Second},
		"an apiserver that is never ready":                           {neverReady, reason.NotReady, "not ready within 1m30s", 130 * time.Second},
		"a kubelet that does not look":                               {ignored, reason.KubeletDeaf, "has not acted", 100 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)] = tt.behaves
				began := time.Now()
				got := w.do(w.change())
				if got.Result != ResultRolledBack || got.Fault.Reason != tt.reason || !strings.Contains(got.Fault.Message, tt.says) {
					t.Errorf("outcome %+v, fault %+v", got, got.Fault)
				}
				if took := time.Since(began); took > tt.within {
					t.Errorf("took %s, want at most %s", took, tt.within)
				}
				if w.manifest() != content("") {
					t.Errorf("manifest is %q, want the old one", w.manifest())
				}
				j := w.journal()
				if j.Open != nil || j.Live != nil || j.Failed == nil || j.Failed.Reason != tt.reason || j.Failed.Revision != testRevision {
					t.Errorf("journal %+v, failed %+v", j, j.Failed)
				}
				if w.exists(DataDir + "/" + testRevision) {
					t.Error("the failed revision's files are still there")
				}
				if tt.behaves != ignored && len(j.Failed.LogTail) == 0 {
					t.Error("the failed apiserver's log is missing")
				}
				w.oneFile()
			})
		})
	}
}

func TestNothingIsTouchedWhenSomethingSpeaksAgainstIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(*world, *Change)
		reason  string
	}{
		"the apiserver is not ready":                      {func(w *world, _ *Change) { w.sick = true }, reason.ApiserverUnhealthy},
		"the permit was taken away":                       {func(w *world, _ *Change) { w.withdrawn = true }, reason.WaitingForPermit},
		"the manifest is another one than planned upon":   {func(w *world, _ *Change) { w.write("somebody else's") }, reason.ManifestConflict},
		"the log would not fit":                           {func(_ *world, c *Change) { c.LogBytes = 1 << 60 }, reason.HostNotWritable},
		"the manifest is changed while files are written": {func(w *world, _ *Change) { w.onLook = func() { w.write("somebody else's") } }, reason.ManifestConflict},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.change()
				tt.prepare(w, &c)
				got := w.do(c)
				if got.Result != ResultAborted || got.Fault.Reason != tt.reason {
					t.Errorf("outcome %+v, fault %+v, want %s", got, got.Fault, tt.reason)
				}
				if strings.Contains(w.manifest(), testRevision) {
					t.Errorf("manifest is %q", w.manifest())
				}
				if j := w.journal(); j.Open != nil || j.Live != nil || w.exists(c.Dir) {
					t.Errorf("left behind: journal %+v, files %v", j, w.exists(c.Dir))
				}
			})
		})
	}
}

func TestAnOldApiserverBesideTheNewOneIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lingers = 40 * time.Second
		began := time.Now()
		if got := w.do(w.change()); got.Result != ResultCommitted || time.Since(began) < 40*time.Second {
			t.Errorf("outcome %+v after %s, want committed after the old one has gone", got, time.Since(began))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lingers = 100 * time.Second
		if got := w.do(w.change()); got.Result != ResultRolledBack || !strings.Contains(got.Fault.Message, "older one still runs") {
			t.Errorf("outcome %+v, fault %+v", got, got.Fault)
		}
	})
}

func TestAnApiserverThatIsBeingReplacedIsEndedWhenItHasDrained(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*Change)
		// handedOver: clients do not wait for the restart.
		handedOver bool
		lingers    time.Duration
		stopped    []string
	}{
		"once its clients have had their time":        {lingers: 30 * time.Second, change: func(c *Change) { c.Drain = 5 * time.Second }, stopped: []string{"sandbox-0"}},
		"the kubelet's way where no time is said":     {lingers: 30 * time.Second, change: func(*Change) {}},
		"not where the new one serves before":         {lingers: 30 * time.Second, change: func(c *Change) { c.Drain = 20 * time.Second }},
		"not where its clients have been handed over": {lingers: 30 * time.Second, change: func(c *Change) { c.Drain = 5 * time.Second }, handedOver: true},
		"not where it has ended before":               {change: func(c *Change) { c.Drain = 13 * time.Second }, lingers: 12 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.lingers = tt.lingers
				runner, change := w.runner(), w.change()
				if tt.handedOver {
					runner, change = (&stages{w: w}).runner(), staged(w)
				}
				tt.change(&change)
				if outcome, err := runner.Do(t.Context(), change); err != nil || outcome.Result != ResultCommitted {
					t.Fatalf("outcome %+v, %v", outcome, err)
				}
				if !slices.Equal(w.stopped, tt.stopped) {
					t.Errorf("stopped %q, want %q", w.stopped, tt.stopped)
				}
			})
		})
	}
}

func TestAPermitStandsWhileTheAPIIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.apiAway = true
		if got := w.do(w.change()); got.Result != ResultCommitted {
			t.Errorf("outcome %+v, want committed", got)
		}
	})
}

func TestAnOlderPermitIsNotActedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		first := w.change()
		first.Fence = 7
		w.do(first)
		second := w.revert()
		second.Fence = 6
		if got := w.do(second); got.Result != ResultAborted || w.manifest() != content(testRevision) {
			t.Errorf("outcome %+v, manifest %q", got, w.manifest())
		}
	})
}

func TestSomebodyElsesVersionStays(t *testing.T) {
	t.Parallel()
	tests := map[string]behaviour{"while a working apiserver starts": works, "before a rollback": crashes}
	for name, behaves := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.startAfter = 0
				w.behaves[content(testRevision)] = behaves
				swapped := time.Time{}
				w.onLook = func() {
					if w.manifest() == content(testRevision) && swapped.IsZero() {
						swapped = time.Now()
					}
					if !swapped.IsZero() && time.Since(swapped) > 4*time.Second && w.manifest() != theirs {
						w.behaves[theirs] = ignored // the kubelet has not noticed yet
						w.write(theirs)
					}
				}
				got := w.do(w.change())
				if got.Result != ResultAborted || got.Fault.Reason != reason.ManifestConflict {
					t.Errorf("outcome %+v, fault %+v", got, got.Fault)
				}
				if w.manifest() != theirs {
					t.Errorf("manifest is %q, want theirs", w.manifest())
				}
				if j := w.journal(); len(j.Strays) != 1 || j.Strays[0].Revision != testRevision || len(j.Strays[0].Record) == 0 || !j.Ours() {
					t.Errorf("journal %+v: the edit that their version may hold is forgotten", j)
				}
			})
		})
	}
}

func TestADirectoryThatTheManifestNamesIsNotRemoved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		old := DataDir + "/r00000000000f"
		if err := os.MkdirAll(filepath.Join(w.root, old), 0o700); err != nil {
			t.Fatal(err)
		}
		next := w.change()
		next.Revision, next.Dir = "r0123456789ac", DataDir+"/r0123456789ac"
		next.Files[0].Path, next.Files[1].Path = next.Dir+"/audit-policy.yaml", next.Dir+"/webhook-config.yaml"
		next.Base, next.BaseRevision, next.New = []byte(content(testRevision)), testRevision, []byte(content(next.Revision)+"mount: "+old+"\n")
		if got := w.do(next); got.Result != ResultCommitted || !w.exists(old) {
			t.Errorf("outcome %+v; the directory is there: %v", got, w.exists(old))
		}
		back := w.revert()
		back.Base, back.BaseRevision, back.New = next.New, next.Revision, []byte(content("")+"mount: "+old+"\n")
		if got := w.do(back); got.Result != ResultCommitted || !w.exists(old) || w.exists(next.Dir) {
			t.Errorf("outcome %+v; the directory is there: %v, and the one that nobody names: %v", got, w.exists(old), w.exists(next.Dir))
		}
	})
}

func TestARevertLeavesNothingButTheJournal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		if got := w.do(w.revert()); got.Result != ResultCommitted {
			t.Fatalf("outcome %+v", got)
		}
		if w.manifest() != content("") || w.exists(DataDir) || w.exists(backupDir) {
			t.Errorf("manifest %q, data %v, backups %v", w.manifest(), w.exists(DataDir), w.exists(backupDir))
		}
		j := w.journal()
		if j.Live != nil || j.Last == nil || j.Last.Kind != KindRevert || j.Restarts != 2 {
			t.Errorf("journal %+v", j)
		}
		w.oneFile()
	})
}

func TestARevertKeepsWhatOthersHaveInOurDirectory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		if err := os.WriteFile(filepath.Join(w.root, DataDir, "audit-policy.yaml"), []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.do(w.revert())
		if !w.exists(DataDir + "/audit-policy.yaml") {
			t.Error("somebody else's file is gone")
		}
	})
}

func TestTwoRevisionsAreKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		revisions := []string{"r000000000001", "r000000000002", "r000000000003"}
		previous := ""
		for i, r := range revisions {
			c := w.change()
			c.Revision, c.PlanRevision, c.Fence, c.Dir = r, r, int64(i+1), DataDir+"/"+r
			c.Files = []File{{Path: c.Dir + "/audit-policy.yaml", Data: []byte(r), Mode: 0o600}}
			c.Base, c.BaseRevision, c.New = []byte(content(previous)), previous, []byte(content(r))
			if got := w.do(c); got.Result != ResultCommitted {
				t.Fatalf("revision %s: %+v, %v", r, got, got.Fault)
			}
			previous = r
		}
		got := []bool{w.exists(DataDir + "/" + revisions[0]), w.exists(DataDir + "/" + revisions[1]), w.exists(DataDir + "/" + revisions[2])}
		if diff := cmp.Diff([]bool{false, true, true}, got); diff != "" {
			t.Errorf("revision directories (-want +got):\n%s", diff)
		}
	})
}

func TestARollbackThatDoesNotHelpIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.behaves[content(testRevision)] = crashes
		w.onLook = func() { w.sick = w.sick || w.manifest() == content(testRevision) }
		got := w.do(w.change())
		if got.Result != ResultStuck || got.Fault.Reason != reason.RollbackFailed {
			t.Fatalf("outcome %+v, fault %+v", got, got.Fault)
		}
		if w.manifest() != content("") || w.journal().Open == nil {
			t.Errorf("manifest %q, journal %+v", w.manifest(), w.journal())
		}
		w.onLook, w.sick = nil, false // somebody has repaired it
		got, err := w.runner().Recover(t.Context())
		if err != nil || got.Result != ResultRolledBack || got.Fault.Reason != reason.CrashLooping {
			t.Errorf("recovery: %+v, %v", got, err)
		}
		if j := w.journal(); j.Open != nil || j.Failed == nil {
			t.Errorf("journal %+v", j)
		}
	})
}

func TestAnOldApiserverThatComesBackOnlyAfterManyExitsIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.behaves[content(testRevision)] = crashes
		var back time.Time
		w.onLook = func() { // somebody has taken the port, and lets go of it after a minute
			switch {
			case w.manifest() != content(""):
			case back.IsZero() && len(w.instances) > 1:
				back, w.behaves[content("")] = time.Now(), crashes
			case !back.IsZero() && time.Since(back) > time.Minute:
				delete(w.behaves, content(""))
			}
		}
		if got := w.do(w.change()); got.Result != ResultRolledBack {
			t.Errorf("outcome %+v, fault %+v", got, got.Fault)
		}
		if n := w.instances[len(w.instances)-1].Exits; n < 3 {
			t.Errorf("the old apiserver has exited %d times, want many", n)
		}
	})
}

func TestASecondAgentWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := w.runner()
		lock, err := r.lock()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.runner().Do(t.Context(), w.change()); err == nil {
			t.Error("a second transaction began")
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestAdoptionHealsFilesAndKeepsTheRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		if err := os.RemoveAll(filepath.Join(w.root, DataDir, testRevision)); err != nil {
			t.Fatal(err)
		}
		if w.journal().Live.FilesIntact(w.fs) {
			t.Fatal("missing files are not noticed")
		}
		c := w.change()
		c.Base, c.Record = c.New, []byte(`{"record":"of nothing"}`)
		if got, err := w.runner().Adopt(t.Context(), c); err != nil || got.Result != ResultCommitted {
			t.Fatalf("adoption: %+v, %v", got, err)
		}
		j := w.journal()
		if !j.Live.FilesIntact(w.fs) || !strings.Contains(string(j.Live.Record), "true") || j.Restarts != 1 {
			t.Errorf("live %+v, record %s", j.Live, j.Live.Record)
		}
	})
}
