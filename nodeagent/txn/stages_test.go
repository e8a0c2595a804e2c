package txn

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

const rehearsalPath = "/etc/kubernetes/manifests/kube-apiserver-rehearsal.yaml"

// stages are a watchdog, a rehearsal and a handover that write down what is asked of them.
type stages struct {
	w *world
	// fault is the rehearsal's; armErr, startErr and removeErr are of the calls of that name.
	fault                       *Fault
	armErr, startErr, removeErr error
	armed                       bool
	// onStop is called when the redirect is taken away.
	onStop func()
	did    []string
}

func (s *stages) note(what string) {
	swapped := "old"
	if s.w.manifest() != content("") {
		swapped = "new"
	}
	s.did = append(s.did, what+" "+swapped)
}

func (s *stages) Arm(context.Context) error {
	s.note("arm")
	s.armed = s.armErr == nil
	return s.armErr
}

func (s *stages) Disarm(context.Context) error {
	s.note("disarm")
	s.armed = false
	return nil
}

func (s *stages) Uninstall(context.Context) error {
	s.note("uninstall")
	s.armed = false
	return nil
}

func (s *stages) Path(Change) string { return rehearsalPath }

func (s *stages) Run(ctx context.Context, _ Change) (*Rehearsed, *Fault, error) {
	s.note("rehearse")
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	if s.fault != nil && s.fault.Reason == reason.RehearsalNotPossible {
		return nil, s.fault, nil
	}
	if !s.armed {
		s.w.t.Error("the rehearsal's manifest is written before the watchdog is armed")
	}
	if err := os.WriteFile(filepath.Join(s.w.root, rehearsalPath), []byte("rehearsal"), 0o600); err != nil {
		return nil, nil, err
	}
	return &Rehearsed{Address: "127.0.0.1:16443", Port: 16443}, s.fault, nil
}

func (s *stages) Remove(_ context.Context, path string, drain bool) error {
	if path != rehearsalPath {
		s.w.t.Errorf("removal of %q", path)
	}
	if drain {
		s.note("drain")
	} else {
		s.note("remove")
	}
	if s.removeErr != nil {
		return s.removeErr
	}
	if err := os.Remove(filepath.Join(s.w.root, path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (s *stages) Start(context.Context, Front, Rehearsed) error {
	s.note("redirect")
	return s.startErr
}

func (s *stages) Settle(context.Context) error {
	s.note("settle")
	return nil
}

func (s *stages) Stop(context.Context) error {
	s.note("direct")
	if s.onStop != nil {
		s.onStop()
	}
	return nil
}

func (s *stages) runner() *Runner {
	r := s.w.runner()
	r.Watchdog, r.Rehearsal, r.Handover = s, s, s
	return r
}

func staged(w *world) Change {
	c := w.change()
	c.Rehearse, c.Handover = ModeAuto, ModeAuto
	return c
}

func TestAChangeGoesThroughItsStagesInOrder(t *testing.T) {
	t.Parallel()
	crashed := &Fault{Reason: reason.CrashLooping, Message: "exited"}
	unreachable := &Fault{Reason: reason.SinkUnreachable, Message: "no route"}
	impossible := &Fault{Reason: reason.RehearsalNotPossible, Message: "no memory"}
	cases := map[string]struct {
		stages stages
		change func(*Change)
		behave behaviour
		want   []string
		result Result
		why    string
		// failed: the same revision will not be tried again. notes are what the live revision is said to lack.
		failed bool
		notes  []string
	}{
		"rehearsed, handed over, drained": {
			want:   []string{"arm old", "rehearse old", "redirect old", "direct new", "drain new", "settle new", "disarm new"},
			result: ResultCommitted,
		},
		"a new apiserver that fails is rolled back behind the redirect": {
			behave: crashes,
			want:   []string{"arm old", "rehearse old", "redirect old", "direct old", "remove old", "settle old", "uninstall old"},
			result: ResultRolledBack, why: reason.CrashLooping, failed: true,
		},
		"a rehearsal that crashes is the end of it": {
			stages: stages{fault: crashed},
			want:   []string{"arm old", "rehearse old", "direct old", "remove old", "settle old", "uninstall old"},
			result: ResultAborted, why: reason.CrashLooping, failed: true,
		},
		"a sink that cannot be reached may be reached later": {
			stages: stages{fault: unreachable},
			want:   []string{"arm old", "rehearse old", "direct old", "remove old", "settle old", "uninstall old"},
			result: ResultAborted, why: reason.SinkUnreachable,
		},
		"a host that cannot rehearse is changed with a plain restart": {
			stages: stages{fault: impossible},
			want:   []string{"arm old", "rehearse old", "direct new", "disarm new"},
			result: ResultCommitted,
			notes:  []string{"not rehearsed: no memory", "not handed over: there was no rehearsal"},
		},
		"a host that cannot rehearse but must is not changed": {
			stages: stages{fault: impossible}, change: func(c *Change) { c.Rehearse = ModeAlways },
			want:   []string{"arm old", "rehearse old", "direct old", "uninstall old"},
			result: ResultAborted, why: reason.RehearsalNotPossible,
		},
		"a kernel that cannot redirect means a plain restart": {
			stages: stages{startErr: errors.New("no nf_tables")},
			want:   []string{"arm old", "rehearse old", "redirect old", "direct old", "remove old", "settle old", "direct new", "disarm new"},
			result: ResultCommitted,
			notes:  []string{"not handed over: no nf_tables"},
		},
		"without a handover the rehearsal is gone before the swap": {
			change: func(c *Change) { c.Handover = ModeNever },
			want:   []string{"arm old", "rehearse old", "direct old", "remove old", "settle old", "direct new", "disarm new"},
			result: ResultCommitted,
		},
		"nothing of it was asked for": {
			change: func(c *Change) { c.Rehearse, c.Handover = ModeNever, ModeNever },
			want:   []string{"arm old", "direct new", "disarm new"},
			result: ResultCommitted,
		},
		"without a watchdog nothing enters the directory": {
			stages: stages{armErr: errors.New("noexec")},
			want:   []string{"arm old", "direct old", "uninstall old"},
			result: ResultAborted, why: reason.WatchdogNotArmed,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)] = c.behave
				s := c.stages
				s.w = w
				change := staged(w)
				if c.change != nil {
					c.change(&change)
				}
				outcome, err := s.runner().Do(t.Context(), change)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, s.did); diff != "" {
					t.Errorf("stages (-want +got):\n%s", diff)
				}
				if outcome.Result != c.result || c.why != "" && (outcome.Fault == nil || outcome.Fault.Reason != c.why) {
					t.Errorf("outcome is %+v %+v, want %s %s", outcome, outcome.Fault, c.result, c.why)
				}
				j := w.journal()
				if (j.Failed != nil) != c.failed || j.Open != nil || j.Leftover != "" {
					t.Errorf("journal is %+v", j)
				}
				if j.Live != nil && !slices.Equal(j.Live.Notes, c.notes) {
					t.Errorf("notes are %q, want %q", j.Live.Notes, c.notes)
				}
				w.oneFile()
			})
		})
	}
}

func TestARedirectThatHindersTheWayBackIsTakenAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.behaves[content(testRevision)] = crashes
		s := &stages{w: w, onStop: func() { w.behaves[content("")] = works }}
		w.onLook = func() {
			if len(w.instances) == 2 && w.instances[1].Exits > 0 {
				w.behaves[content("")] = crashes // as long as it does not reach itself
				w.onLook = nil
			}
		}
		outcome, err := s.runner().Do(t.Context(), staged(w))
		if err != nil || outcome.Result != ResultRolledBack || outcome.Fault.Reason != reason.CrashLooping {
			t.Errorf("outcome %+v %+v, error %v", outcome, outcome.Fault, err)
		}
		w.settled("behind a redirect", content(""), content(""))
	})
}

func TestARevertDoesNotWaitForTheWatchdog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do(w.change())
		s := &stages{w: w, armErr: errors.New("no space")}
		outcome, err := s.runner().Do(t.Context(), w.revert())
		if err != nil || outcome.Result != ResultCommitted || w.manifest() != content("") {
			t.Errorf("outcome %+v, error %v, manifest %q", outcome, err, w.manifest())
		}
	})
}

func TestARehearsalThatCannotBeRemovedIsNotForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := &stages{w: w, removeErr: errors.New("read-only file system")}
		if outcome, err := s.runner().Do(t.Context(), staged(w)); err != nil || outcome.Result != ResultCommitted {
			t.Fatalf("outcome %+v, error %v", outcome, err)
		}
		if !s.armed {
			t.Error("the watchdog is disarmed while a second apiserver runs")
		}
		if _, err := s.runner().Do(t.Context(), w.revert()); err == nil {
			t.Error("another change begins meanwhile")
		}
		if outcome, err := s.runner().Recover(t.Context()); err != nil || outcome.Result != ResultStuck || outcome.Fault.Reason != reason.RehearsalNotRemoved {
			t.Errorf("outcome %+v, error %v", outcome, err)
		}
		s.removeErr = nil
		if outcome, err := s.runner().Recover(t.Context()); err != nil || outcome.Result != ResultNone {
			t.Errorf("outcome %+v, error %v", outcome, err)
		}
		if s.armed || w.journal().Leftover != "" {
			t.Errorf("armed %v, leftover %q", s.armed, w.journal().Leftover)
		}
		w.oneFile()
	})
}

func TestDyingAtAnyStepLeavesNoSecondApiserver(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		reached := true
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			s := &stages{w: w}
			w.faults.CrashAt(n)
			crash := w.faults.Run(func() { _, _ = s.runner().Do(t.Context(), staged(w)) })
			if crash == nil {
				reached = false
				return
			}
			w.fs = hostfs.New(w.root)
			again := &stages{w: w, armed: true}
			outcome, err := again.runner().Recover(t.Context())
			if err != nil {
				t.Fatalf("died at %s: %v", crash.Step, err)
			}
			if w.exists(rehearsalPath) {
				t.Errorf("died at %s, recovered to %+v by %s: the rehearsal is still there", crash.Step, outcome, strings.Join(again.did, ", "))
			}
		})
		if !reached {
			break
		}
	}
}
