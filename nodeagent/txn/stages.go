package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"k8s-audit-enabler.io/internal/reason"
)

// Watchdog ends an open transaction on the host itself, when this process does not: because the pod is gone and does not
// come back, or because the host was rebooted into an apiserver that does not start.
type Watchdog interface {
	// Arm returns once the watchdog is certain to run, also after a reboot. It is called before the first file enters the
	// manifest's directory; an error means that nothing may enter it.
	Arm(ctx context.Context) error
	// Disarm is called once no transaction is open. What it leaves behind does nothing until it is armed again.
	Disarm(ctx context.Context) error
	// Uninstall disarms it and leaves nothing behind. It is called once nothing of ours is on the host.
	Uninstall(ctx context.Context) error
}

// Mode says how much is asked of a step that not every host can do.
type Mode string

// Modes. The empty one is ModeNever.
const (
	// ModeAuto: where the host can; the outcome says why where it cannot.
	ModeAuto Mode = "auto"
	// ModeAlways: a host that cannot is not changed.
	ModeAlways Mode = "always"
	// ModeNever: not at all.
	ModeNever Mode = "never"
)

// Rehearsed is a second apiserver with the new configuration that runs beside the first.
type Rehearsed struct {
	// Address is where it serves on this host, as host:port.
	Address string
	// Port is the spare port it listens on, Bind the address its --bind-address names.
	Port int
	Bind string
}

// Rehearsal runs the new configuration beside the old before that is touched.
type Rehearsal interface {
	// Path is where the temporary manifest will be, so that the journal knows it before it is there.
	Path(c Change) string
	// Run starts the second apiserver and judges it. A fault with reason RehearsalNotPossible means that this host cannot
	// rehearse, and that nothing was tried; every other fault means that the new configuration would not do. The error is
	// for a context that ended.
	Run(ctx context.Context, c Change) (*Rehearsed, *Fault, error)
	// Remove takes the temporary manifest and everything else of the rehearsal away; with drain it first waits until the
	// rehearsal's own connections have had time to end. It succeeds where there is nothing.
	Remove(ctx context.Context, path string, drain bool) error
}

// Handover sends new connections to the rehearsed apiserver while the real one is replaced.
type Handover interface {
	// Start sends this host's and its clients' new connections for the apiserver to the rehearsed one, and keeps doing so
	// until Stop, or until this process ends and a time-out in the kernel has passed. It does not hold on to ctx.
	Start(ctx context.Context, front Front, to Rehearsed) error
	// Stop sends new connections to the real apiserver again. It succeeds where nothing was started.
	Stop(ctx context.Context) error
	// Settle is called once the rehearsal has ended, and returns when nothing of the host takes a connection for one to it any more.
	Settle(ctx context.Context) error
}

// Kubelet is the last means against one that ignores a manifest.
type Kubelet interface {
	Restart(ctx context.Context) error
}

// guard arms the watchdog. Reverting does not wait for it: what fills a host's disk must be able to go.
func (r *Runner) guard(ctx context.Context, c Change) *Fault {
	if r.Watchdog == nil || !c.restarts() {
		return nil
	}
	err := r.Watchdog.Arm(ctx)
	switch {
	case err == nil:
		return nil
	case c.Kind == KindRevert:
		r.Log.WarnContext(ctx, "Watchdog not armed; the revert goes on without it", "error", err)
		return nil
	default:
		return faultf(reason.WatchdogNotArmed, "the watchdog that would take the change back without this agent cannot be armed: %v", err)
	}
}

// rehearse runs the new configuration beside the old. It returns nil and no fault where the change goes on without.
func (r *Runner) rehearse(ctx context.Context, j *Journal, c Change) (*Rehearsed, *Fault) {
	if c.Rehearse == "" || c.Rehearse == ModeNever {
		return nil, nil
	}
	if r.Rehearsal == nil {
		return nil, r.unrehearsed(j, c, faultf(reason.RehearsalNotPossible, "this agent cannot rehearse"))
	}
	j.Open.Rehearsal = r.Rehearsal.Path(c)
	if err := r.advance(j, StateRehearsing); err != nil {
		return nil, faultf(reason.HostNotWritable, "%v", err)
	}
	rehearsed, fault, err := r.Rehearsal.Run(ctx, c)
	switch {
	case err != nil:
		return nil, faultf(reason.WaitingForPermit, "the agent was stopped during the rehearsal")
	case fault == nil:
		if err := r.advance(j, StateRehearsed); err != nil {
			return nil, faultf(reason.HostNotWritable, "%v", err)
		}
		return rehearsed, nil
	case fault.Reason == reason.RehearsalNotPossible:
		j.Open.Rehearsal = ""
		return nil, r.unrehearsed(j, c, fault)
	case !Heals(fault.Reason):
		j.fail(*fault)
	}
	return nil, fault
}

// unrehearsed notes why there is no rehearsal, and gives the fault back where one was demanded.
func (r *Runner) unrehearsed(j *Journal, c Change, why *Fault) *Fault {
	if c.Rehearse == ModeAlways {
		return why
	}
	j.Open.Notes = append(j.Open.Notes, "not rehearsed: "+why.Message)
	r.Log.Info("Not rehearsed", "because", why.Message)
	return nil
}

// handOver sends new connections to the rehearsal, and reports whether it does. Without it the change is a plain restart.
func (r *Runner) handOver(ctx context.Context, j *Journal, c Change, to *Rehearsed) bool {
	if c.Handover == "" || c.Handover == ModeNever {
		return false
	}
	why := "there was no rehearsal"
	switch {
	case to == nil:
	case r.Handover == nil:
		why = "this agent cannot redirect connections"
	default:
		err := r.Handover.Start(ctx, c.Front, *to)
		if err == nil {
			r.Log.InfoContext(ctx, "New connections go to the rehearsal", "address", to.Address)
			return true
		}
		why = err.Error()
	}
	j.Open.Notes = append(j.Open.Notes, "not handed over: "+why)
	r.Log.InfoContext(ctx, "Not handed over: clients see the restart", "because", why)
	return false
}

// redirects: connections may go to a rehearsal.
func (r *Runner) redirects(e *Entry) bool { return r.Handover != nil && e.Rehearsal != "" }

// direct ends a redirect under which neither the new apiserver nor the old one came up: it may be the cause. It reports
// whether there was one.
func (r *Runner) direct(ctx context.Context, e *Entry) bool {
	if !r.redirects(e) {
		return false
	}
	r.Log.WarnContext(ctx, "The old apiserver does not come back behind the redirect, which is taken away")
	if err := r.Handover.Stop(ctx); err != nil {
		r.Log.WarnContext(ctx, "Redirect not removed; it expires by itself", "error", err)
	}
	return true
}

// endRehearsal sends new connections to the real apiserver again and takes the rehearsal away.
func (r *Runner) endRehearsal(ctx context.Context, e *Entry, drain bool) error {
	if r.Handover != nil {
		if err := r.Handover.Stop(ctx); err != nil {
			r.Log.WarnContext(ctx, "Redirect not removed; it expires by itself", "error", err)
		}
	}
	if e.Rehearsal == "" {
		return nil
	}
	remove := func() error { return r.Rehearsal.Remove(ctx, e.Rehearsal, drain) }
	if r.Rehearsal == nil { // without its manifest the kubelet ends it
		remove = func() error { return r.Host.Remove(e.Rehearsal) }
	}
	if err := remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove rehearsal: %w", err)
	}
	e.Rehearsal = ""
	if r.Handover != nil {
		if err := r.Handover.Settle(ctx); err != nil {
			r.Log.WarnContext(ctx, "Redirect's remains not removed", "error", err)
		}
	}
	return nil
}

// disarm is for a host on which no transaction is open.
func (r *Runner) disarm(ctx context.Context, j *Journal) {
	if r.Watchdog == nil {
		return
	}
	r.arming.Wait()
	do := r.Watchdog.Disarm
	if j.Live == nil {
		do = r.Watchdog.Uninstall
	}
	if err := do(ctx); err != nil {
		r.Log.WarnContext(ctx, "Watchdog not disarmed; it ends by itself", "error", err)
	}
}
