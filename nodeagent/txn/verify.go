package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/redact"
)

const (
	// maxExits of the new container mean that it will not come up: once may be bad luck.
	maxExits = 2
	// tailLines is how much of a failed apiserver's log is kept.
	tailLines = 20
	// probeTimeout bounds one request to the apiserver.
	probeTimeout = time.Second
)

// expectation is the apiserver that is awaited.
type expectation struct {
	// revision is what its annotation says, empty for an apiserver without one.
	revision string
	// notBefore are incarnations that it is not.
	notBefore []string
	// known were there before the change: seeing one of them again is no restart.
	known   []string
	timeout time.Duration
	// manifest is the file it is made from, and hash that of its content. Of a manifest that somebody else has replaced, no
	// apiserver will come.
	manifest, hash string
	// unit is the service that starts it, empty for the kubelet.
	unit string
	// back: the old apiserver is awaited again.
	back bool
	// drain is how long one that should be gone may refuse connections before it is ended; zero for as long as it likes.
	drain time.Duration
	// patient: it may exit as often as it likes within the time, because there is nothing else to go back to.
	patient bool
}

// sighting is what one look at the runtime showed.
type sighting struct {
	// awaited is the newest incarnation that is expected; nil where there is none yet.
	awaited *Instance
	// fresh: it was not there before the change. One that was is only what the last apiserver left behind, unless it runs.
	fresh bool
	// others are still up beside it.
	others []Instance
	err    error
}

func (e expectation) look(instances []Instance, err error) sighting {
	s := sighting{err: err}
	for i, in := range instances {
		switch {
		case (in.Revision == e.revision || in.Opaque) && !slices.Contains(e.notBefore, in.ID):
			// Runtimes list the newest first; one that runs counts more than one that has ended.
			if s.awaited == nil || in.Ready && !s.awaited.Ready {
				s.awaited = &instances[i]
			}
		case in.Ready:
			s.others = append(s.others, in)
		}
	}
	s.fresh = s.awaited != nil && !slices.Contains(e.known, s.awaited.ID)
	return s
}

func (s sighting) up() bool {
	return s.err == nil && s.awaited != nil && s.awaited.Ready && s.awaited.Running && len(s.others) == 0
}

// outage measures how long an apiserver was not ready.
type outage struct {
	total time.Duration
	since time.Time
}

func (o *outage) observe(at time.Time, ready bool) {
	switch {
	case !ready && o.since.IsZero():
		o.since = at
	case ready && !o.since.IsZero():
		o.total += at.Sub(o.since)
		o.since = time.Time{}
	}
}

// until is the whole time, a break that lasts included.
func (o *outage) until(now time.Time) time.Duration {
	if o.since.IsZero() {
		return o.total
	}
	return o.total + now.Sub(o.since)
}

// await waits for the expected apiserver to run alone and be ready for a while. It returns nil when it is, a fault when
// it will not be or was not in time, and an error only when the context ended.
func (r *Runner) await(ctx context.Context, e expectation, started time.Time) (time.Duration, int, *Fault, error) {
	if e.unit == FileUnit {
		return 0, 0, nil, nil
	}
	timing := r.Timing.withDefaults()
	deadline := started.Add(e.timeout)
	var (
		down     outage
		refused  outage
		seen     sighting
		fresh    = map[string]bool{}
		nextLook time.Time
		readyAt  time.Time
		done     = nudges{}
		extended bool
		// judged are the exits that are not the apiserver's fault, and noEtcd says that etcd was to blame for some.
		judged int
		noEtcd bool
		tick   = time.NewTicker(timing.Probe)
	)
	defer tick.Stop()
	for {
		now := time.Now()
		probeErr := r.probe(ctx, r.Health.Ready)
		if err := ctx.Err(); err != nil {
			return down.total, len(fresh), nil, fmt.Errorf("await apiserver: %w", err)
		}
		down.observe(now, probeErr == nil)
		refused.observe(now, !errors.Is(probeErr, syscall.ECONNREFUSED))
		if !now.Before(nextLook) {
			nextLook = now.Add(timing.Look)
			seen = e.look(r.RuntimeOf(e.unit).Instances(ctx))
			if seen.fresh {
				fresh[seen.awaited.ID] = true
			}
			if fault := r.overwritten(e); fault != nil {
				return down.until(now), len(fresh), fault, nil
			}
		}
		if i := seen.awaited; seen.fresh && i.Exits >= maxExits && i.Exits > judged && !e.patient {
			fault := r.crashed(ctx, e, *i)
			if fault.Reason != reason.EtcdUnhealthy {
				return down.until(now), len(fresh), fault, nil
			}
			judged, noEtcd = i.Exits, true // an apiserver ends when it does not find its etcd, and is started again
		}
		switch {
		case probeErr != nil || !seen.up():
			readyAt = time.Time{}
		case readyAt.IsZero():
			readyAt = now
		case now.Sub(readyAt) >= timing.Stable && r.probe(ctx, r.Health.Live) == nil:
			return down.total, len(fresh), nil, nil
		}
		what := nudgeNone
		if e.unit == "" { // services do as they are told, and told they have been
			what = done.next(now.Sub(started), seen, probeErr == nil, e.back, e.drained(refused, now))
		}
		if what != nudgeNone {
			done[what] = true
			r.nudge(ctx, what, e, seen)
		}
		if now.After(deadline) && (noEtcd || etcdFails(probeErr)) && !extended {
			// Not the change's fault, and the old apiserver would fare no better.
			r.Log.WarnContext(ctx, "The new apiserver waits for etcd; it gets the same time again", "error", probeErr)
			deadline, extended = now.Add(e.timeout), true
		}
		if now.After(deadline) {
			fault := r.late(ctx, e, seen, probeErr)
			if noEtcd && fault.Reason == reason.NotReady {
				fault.Reason = reason.EtcdUnhealthy
			}
			return down.until(now), len(fresh), fault, nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// drained: whoever held the port has let go of it long enough ago. An apiserver does that as the first thing when it is told to
// end, answers what it was asked, delivers its audit events, and then waits for clients who watch (k8s.io/apiserver,
// pkg/server/genericapiserver.go): until its grace period is over, because they do not end their watches.
func (e expectation) drained(refused outage, now time.Time) bool {
	return e.drain > 0 && !refused.since.IsZero() && now.Sub(refused.since) >= e.drain
}

// overwritten looks whether the awaited apiserver's manifest is still there. A file that is missing may be about to be moved
// back, so it is no answer yet.
func (r *Runner) overwritten(e expectation) *Fault {
	hash, err := r.manifestHash(e.manifest)
	if err != nil || hash == "" || hash == e.hash {
		return nil
	}
	return faultf(reason.ManifestConflict, "%s was changed by somebody else while the apiserver started; their version stays", e.manifest)
}

func (r *Runner) probe(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return ask(ctx)
}

// etcdFails tells from a /readyz answer whether the check of etcd is what fails: the apiserver lists each failed check
// behind "[-]" (k8s.io/apiserver/pkg/server/healthz).
func etcdFails(probeErr error) bool {
	return probeErr != nil && strings.Contains(probeErr.Error(), "[-]etcd")
}

// who is awaited, in words.
func (e expectation) who() string {
	if e.back {
		return "the old apiserver"
	}
	return "the new apiserver"
}

func (r *Runner) crashed(ctx context.Context, e expectation, i Instance) *Fault {
	f := faultf(reason.CrashLooping, "%s has exited %d times", e.who(), i.Exits)
	f.LogTail = r.tail(ctx, e, i)
	if r.Explain != nil {
		f.Reason = cmp.Or(r.Explain(f.LogTail), f.Reason)
	}
	if n := len(f.LogTail); n > 0 {
		f.Message += "; its last words: " + f.LogTail[n-1]
	}
	return f
}

// late says what is missing when the time is over.
func (r *Runner) late(ctx context.Context, e expectation, s sighting, probeErr error) *Fault {
	switch {
	case s.err != nil:
		return faultf(reason.NeverStarted, "cannot see after %s whether %s runs: %v", e.timeout, e.who(), s.err)
	case s.awaited == nil && e.unit != "":
		return faultf(reason.NeverStarted, "%s has not started %s within %s", e.unit, e.who(), e.timeout)
	case s.awaited == nil && len(s.others) > 0 && probeErr == nil:
		return faultf(reason.KubeletDeaf, "the kubelet has not acted on the manifest within %s; the apiserver from before has served all the time", e.timeout)
	case s.awaited == nil:
		return faultf(reason.NeverStarted, "the kubelet has not started %s within %s", e.who(), e.timeout)
	case e.patient && s.fresh && s.awaited.Exits >= maxExits && probeErr != nil:
		return r.crashed(ctx, e, *s.awaited)
	}
	f := faultf(reason.NotReady, "%s was not ready within %s", e.who(), e.timeout)
	if etcdFails(probeErr) {
		f.Reason = reason.EtcdUnhealthy
	}
	switch {
	case !s.awaited.Running:
		f.Message += ": its container does not run"
	case len(s.others) > 0:
		f.Message += ": an older one still runs beside it"
	case probeErr != nil:
		f.Message += ": " + probeErr.Error()
	}
	f.LogTail = r.tail(ctx, e, *s.awaited)
	return f
}

func (r *Runner) tail(ctx context.Context, e expectation, i Instance) []string {
	lines, err := r.RuntimeOf(e.unit).LogTail(ctx, i, tailLines)
	if err != nil {
		r.Log.WarnContext(ctx, "Log of the failed apiserver not read", "error", err)
	}
	return redact.Lines(lines)
}
