package txn

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
)

// service plays with a world whose apiserver is started by a service, once as one that shows what it runs with, and once as one
// that does not.
func service(t *testing.T, play func(w *world)) {
	t.Helper()
	t.Parallel()
	for name, opaque := range map[string]bool{"a service that is opaque": true, "a service that shows what it runs with": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.serve(opaque)
				play(w)
			})
		})
	}
}

func (w *world) restarted(want int) {
	w.t.Helper()
	if w.restarts != want {
		w.t.Errorf("the service was restarted %d times, want %d", w.restarts, want)
	}
}

// clean checks that nothing is left where the file was.
func (w *world) clean() {
	w.t.Helper()
	if w.exists(w.file) || w.exists(path.Dir(w.file)) {
		w.t.Errorf("%s or its directory is left", w.file)
	}
}

func TestAServiceIsRestartedOnceForAChangeAndOnceForItsWayBack(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		if got := w.do(w.change()); got.Result != ResultCommitted {
			t.Fatalf("enabling: %+v", got)
		}
		w.restarted(1)
		if w.cleared != 1 {
			t.Errorf("what was kept for the way back was cleared away %d times, want once", w.cleared)
		}
		if j := w.journal(); j.Live.Unit != w.unit || j.Restarts != 1 || w.manifest() != content(testRevision) {
			t.Errorf("live %+v, %d restarts, file %q", j.Live, j.Restarts, w.manifest())
		}
		if got := w.do(w.revert()); got.Result != ResultCommitted {
			t.Fatalf("reverting: %+v", got)
		}
		w.restarted(2)
		w.clean()
	})
}

func TestAServiceThatEndsWithTheNewFileIsRestartedWithoutIt(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.behaves[content(testRevision)] = crashes
		began := time.Now()
		got := w.do(w.change())
		if got.Result != ResultRolledBack || got.Fault.Reason != reason.CrashLooping || len(got.Fault.LogTail) == 0 {
			t.Fatalf("outcome %+v, fault %+v", got, got.Fault)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("two exits took %s to be believed", took)
		}
		w.restarted(2)
		w.clean()
		if err := w.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestAServiceThatIsNotReadyInTimeIsRestartedWithoutTheFile(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.behaves[content(testRevision)] = neverReady
		if got := w.do(w.change()); got.Result != ResultRolledBack || got.Fault.Reason != reason.NotReady {
			t.Fatalf("outcome %+v, fault %+v", got, got.Fault)
		}
		w.restarted(2)
		w.clean()
	})
}

func TestTheApiserverFromBeforeTheRestartIsNotTakenForTheNewOne(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.startAfter = 0
		runner := w.runner()
		runner.Services = obedient{w} // says yes, and does nothing
		got, err := runner.Do(t.Context(), w.change())
		if err != nil || got.Result == ResultCommitted {
			t.Errorf("outcome %+v, %v", got, err)
		}
	})
}

// obedient is a service manager that promises everything.
type obedient struct{ *world }

func (obedient) Restart(context.Context, string) error { return nil }

func TestAServiceManagerThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.deaf = true
		got := w.do(w.change())
		if got.Result != ResultStuck || w.manifest() != "" {
			t.Fatalf("outcome %+v, file %q", got, w.manifest())
		}
		if j := w.journal(); j.Open == nil || j.Open.Unit != w.unit {
			t.Fatalf("the journal has forgotten what is to be restarted: %+v", j.Open)
		}
		w.deaf = false
		again, err := w.runner().Recover(t.Context())
		if err != nil || again.Result != ResultRolledBack || again.Fault.Reason != reason.ServiceNotRestarted {
			t.Errorf("outcome %+v, %v", again, err)
		}
		w.clean()
	})
}

func TestTheHostRestartsTheServiceOfAChangeThatItTakesBack(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.behaves[content(testRevision)] = crashes
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // the agent goes before it has seen the second exit
		defer cancel()
		if _, err := w.runner().Do(ctx, w.change()); err == nil {
			t.Fatal("a stopped agent has ended its transaction")
		}
		w.restarted(1)
		watch := w.runner()
		watch.Permitted, watch.Progress = nil, nil
		got, err := watch.Expire(t.Context(), nil)
		if err != nil || got.Result != ResultRolledBack || got.Fault.Reason != reason.NotCommitted {
			t.Fatalf("outcome %+v, %v", got, err)
		}
		w.restarted(2)
		w.clean()
	})
}

func TestAnAgentThatReturnsDoesNotRestartTheServiceAgain(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := w.runner().Do(ctx, w.change()); err == nil {
			t.Fatal("a stopped agent has ended its transaction")
		}
		if got, err := w.runner().Recover(t.Context()); err != nil || got.Result != ResultCommitted {
			t.Fatalf("outcome %+v, %v", got, err)
		}
		w.restarted(1)
	})
}

func TestADirectoryThatOthersUseStays(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		w.do(w.change())
		theirs := path.Join(path.Dir(w.file), "95-theirs.yaml")
		if err := os.WriteFile(filepath.Join(w.root, theirs), []byte("debug: true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.do(w.revert())
		if w.exists(w.file) || !w.exists(theirs) {
			t.Error("ours is left, or theirs is gone")
		}
	})
}

func TestAFileThatAppearedMeanwhileStays(t *testing.T) {
	service(t, func(w *world) {
		t := w.t
		if err := os.MkdirAll(filepath.Join(w.root, path.Dir(w.file)), 0o755); err != nil {
			t.Fatal(err)
		}
		w.write("theirs")
		if got := w.do(w.change()); got.Result != ResultAborted || got.Fault.Reason != reason.ManifestConflict || w.manifest() != "theirs" {
			t.Errorf("outcome %+v, file %q", got, w.manifest())
		}
		w.restarted(0)
	})
}

func TestOnlyAServicesFileMayComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.change()
	c.Base = nil
	if fault := c.contained(); fault == nil || fault.Reason != reason.PlanInvalid {
		t.Errorf("a manifest would be made: %+v", fault)
	}
	c = w.change()
	c.Unit = "../evil.service"
	if fault := c.contained(); fault == nil || fault.Reason != reason.PlanInvalid {
		t.Errorf("unit %q would be restarted: %+v", c.Unit, fault)
	}
}

func TestTheFilesOfAnApiserverThatSeesAnotherDirectoryLieThere(t *testing.T) {
	service(t, func(w *world) {
		const data = "/etc/origin/master/k8s_audit"
		c := w.change()
		c.Dir = path.Join(data, testRevision)
		for i := range c.Files {
			c.Files[i].Path = path.Join(c.Dir, path.Base(c.Files[i].Path))
		}
		if got := w.do(c); got.Result != ResultCommitted {
			w.t.Fatalf("enabling: %+v", got)
		}
		for name, want := range map[string]bool{c.Files[0].Path: true, data + "/log": true, DataDir: false} {
			if w.exists(name) != want {
				w.t.Errorf("%s is there: %v, want %v", name, !want, want)
			}
		}
		if got := w.do(w.revert()); got.Result != ResultCommitted {
			w.t.Fatalf("reverting: %+v", got)
		}
		if w.exists(data) {
			w.t.Errorf("%s is left", data)
		}
		c.Dir = "/etc/origin/master/" + testRevision
		if f := c.contained(); f == nil || f.Reason != reason.PlanInvalid {
			w.t.Errorf("a directory beside it: %+v", f)
		}
	})
}
