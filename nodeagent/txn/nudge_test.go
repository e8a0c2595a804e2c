package txn

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"k8s-audit-enabler.io/internal/reason"
)

func TestAKubeletIsNudgedMildlyFirst(t *testing.T) {
	t.Parallel()
	up, old := &Instance{Ready: true, Running: true}, []Instance{{ID: "old", Ready: true}}
	cases := map[string]struct {
		done          nudges
		waited        time.Duration
		seen          sighting
		serving, back bool
		drained       bool
		want          nudge
	}{
		"it is left alone at first":                              {waited: patienceRewrite - 1, want: nudgeNone},
		"then the manifest is written again":                     {waited: patienceRewrite, want: nudgeRewrite},
		"but once":                                               {done: nudges{nudgeRewrite: true}, waited: patienceRewrite + 1, want: nudgeNone},
		"a stale sandbox that does not serve is stopped":         {done: nudges{nudgeRewrite: true}, waited: patienceStop, seen: sighting{others: old}, want: nudgeStop},
		"also where it is beside the new one and holds its port": {waited: patienceStop, seen: sighting{awaited: up, others: old}, want: nudgeStop},
		"an apiserver that serves is not stopped":                {done: nudges{nudgeRewrite: true}, waited: time.Hour, seen: sighting{others: old}, serving: true, back: true, want: nudgeNone},
		"one that has let go of its port long ago is ended":      {drained: true, seen: sighting{others: old}, want: nudgeDrain},
		"once":              {done: nudges{nudgeDrain: true}, drained: true, seen: sighting{others: old}, want: nudgeNone},
		"there must be one": {drained: true, want: nudgeNone},
		"the kubelet is not restarted for a new manifest":         {done: nudges{nudgeRewrite: true}, waited: time.Hour, want: nudgeNone},
		"it is restarted where an old one is ignored":             {done: nudges{nudgeRewrite: true}, waited: patienceRestart, back: true, want: nudgeRestart},
		"not while an apiserver is starting":                      {done: nudges{nudgeRewrite: true}, waited: patienceRestart, seen: sighting{awaited: up}, back: true, want: nudgeNone},
		"an empty sandbox from before is none that is starting":   {done: nudges{nudgeRewrite: true}, waited: patienceRestart, seen: sighting{awaited: &Instance{Ready: true}}, back: true, want: nudgeRestart},
		"an empty sandbox that is new is one":                     {done: nudges{nudgeRewrite: true}, waited: patienceRestart, seen: sighting{awaited: &Instance{Ready: true}, fresh: true}, back: true, want: nudgeNone},
		"not where nobody can see what runs":                      {waited: time.Hour, seen: sighting{err: errors.New("no answer")}, back: true, want: nudgeNone},
		"an apiserver that serves while the new one is up is all": {waited: time.Hour, seen: sighting{awaited: up}, serving: true, want: nudgeNone},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := c.done.next(c.waited, c.seen, c.serving, c.back, c.drained); got != c.want {
				t.Errorf("next stage is %q, want %q", got, c.want)
			}
		})
	}
}

// kubelets restart: what they ignored before they act upon.
type restartable struct {
	w     *world
	times int
}

func (k *restartable) Restart(context.Context) error {
	k.times++
	k.w.behaves = map[string]behaviour{}
	return nil
}

func TestADeafKubeletCostsNobodyTheApiserver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.behaves[content(testRevision)] = ignored
		k := &restartable{w: w}
		r := w.runner()
		r.Kubelet = k
		outcome, err := r.Do(t.Context(), w.change())
		if err != nil || outcome.Result != ResultRolledBack || outcome.Fault.Reason != reason.KubeletDeaf {
			t.Errorf("outcome %+v %+v, error %v", outcome, outcome.Fault, err)
		}
		if len(w.stopped) > 0 || k.times > 0 || w.journal().Restarts > 0 || w.manifest() != content("") {
			t.Errorf("stopped %v, kubelet restarted %d times, manifest %q", w.stopped, k.times, w.manifest())
		}
		if at, heals := w.journal().Failed.RetryAt(); !heals || time.Until(at) < 9*time.Minute {
			t.Errorf("tried again at %v, %v", at, heals)
		}
	})
}

func TestAKubeletThatIgnoresTheRestoredManifestIsRestarted(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]Instance{
		"of the old apiserver nothing is left":                            {},
		"its sandbox was left behind":                                     {Ready: true, Exits: 1},
		"its sandbox was left behind, and it had ended in it once before": {Ready: true, Exits: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)] = crashes
				w.onLook = func() {
					if len(w.instances) < 2 || w.instances[1].Exits == 0 {
						return
					}
					w.instances[0].Ready, w.instances[0].Exits = left.Ready, left.Exits
					if len(w.instances) == 2 {
						w.behaves[content("")] = ignored // as after a restart without an API
					}
				}
				k := &restartable{w: w}
				r := w.runner()
				r.Kubelet = k
				outcome, err := r.Do(t.Context(), w.change())
				if err != nil || outcome.Result != ResultRolledBack || outcome.Fault.Reason != reason.CrashLooping {
					t.Errorf("outcome %+v %+v, error %v", outcome, outcome.Fault, err)
				}
				if k.times != 1 {
					t.Errorf("the kubelet was restarted %d times, want once", k.times)
				}
			})
		})
	}
}

func TestAnApiserverThatEndsForWantOfEtcdIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]bool{"etcd comes back": true, "etcd stays away": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.behaves[content(testRevision)] = crashes
				w.behaves[content("")] = works
				began := time.Now()
				w.onLook = func() {
					if back && time.Since(began) > 100*time.Second { // later than the apiserver may take, and twice that is not over
						w.behaves[content(testRevision)] = works
					}
				}
				r := w.runner()
				r.Explain = func([]string) string { return reason.EtcdUnhealthy }
				outcome, err := r.Do(t.Context(), w.change())
				switch {
				case err != nil:
					t.Fatal(err)
				case back && outcome.Result != ResultCommitted:
					t.Errorf("outcome %+v %+v, want committed", outcome, outcome.Fault)
				case !back && (outcome.Result != ResultRolledBack || outcome.Fault.Reason != reason.EtcdUnhealthy):
					t.Errorf("outcome %+v %+v, want rolled back for etcd", outcome, outcome.Fault)
				}
			})
		})
	}
}

func TestRetriesComeAtEverLongerIntervals(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cases := map[string]struct {
		failure Failure
		after   time.Duration
		heals   bool
	}{
		"a slow apiserver after ten minutes":       {Failure{Fault: Fault{Reason: reason.NotReady}, Attempts: 1}, 10 * time.Minute, true},
		"the second time after twenty":             {Failure{Fault: Fault{Reason: reason.NotReady}, Attempts: 2}, 20 * time.Minute, true},
		"never later than two hours":               {Failure{Fault: Fault{Reason: reason.EtcdUnhealthy}, Attempts: 100}, 2 * time.Hour, true},
		"what an older agent wrote counts as once": {Failure{Fault: Fault{Reason: reason.KubeletDeaf}}, 10 * time.Minute, true},
		"a crash is not tried again":               {Failure{Fault: Fault{Reason: reason.CrashLooping}, Attempts: 1}, 0, false},
		"nor a policy that the apiserver refused":  {Failure{Fault: Fault{Reason: reason.PolicyRejected}, Attempts: 1}, 0, false},
		"nor an apiserver that was never started":  {Failure{Fault: Fault{Reason: reason.NeverStarted}, Attempts: 1}, 0, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.failure.Time = begin
			at, heals := c.failure.RetryAt()
			if heals != c.heals || heals && at.Sub(begin) != c.after {
				t.Errorf("retry after %s, %v; want %s, %v", at.Sub(begin), heals, c.after, c.heals)
			}
		})
	}
}
