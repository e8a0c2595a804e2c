package txn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s-audit-enabler.io/internal/reason"
)

// Services are what starts apiservers that no kubelet starts anew for a changed file: units of the host's service manager, by
// name. For them a swap is only half of the change, and the restart of the service the other half, forwards and backwards.
type Services interface {
	// Restart has a service started anew, so that it reads its files again. It returns once that is under way: how the service
	// fares, [Runtime] and [Health] tell.
	Restart(ctx context.Context, unit string) error
	// Runtime says which apiservers a service has started.
	Runtime(unit string) Runtime
	// Settled is called once no change is open. What was kept of the old apiserver for the way back may go.
	Settled(ctx context.Context, unit string) error
}

// Settle clears away what a change of a unit has kept for its way back, where none is open any more.
func (r *Runner) Settle(ctx context.Context, unit string) error {
	if r.Services == nil {
		return nil
	}
	lock, err := r.lock()
	if err != nil {
		return fmt.Errorf("clear away what a change has left: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil || j.Open != nil {
		return err
	}
	return r.Services.Settled(ctx, unit)
}

// settled is for the end of a transaction; what fails is tried again by [Runner.Settle].
func (r *Runner) settled(ctx context.Context, unit string) {
	if r.Services == nil || unit == "" || unit == FileUnit {
		return
	}
	if err := r.Services.Settled(ctx, unit); err != nil {
		r.Log.WarnContext(ctx, "What was kept for the way back is not cleared away", "unit", unit, "error", err)
	}
}

// RuntimeOf is who knows of the apiservers that a change of a unit is about; an empty one is the kubelet.
func (r *Runner) RuntimeOf(unit string) Runtime {
	switch {
	case unit == "":
		return r.Runtime
	case unit == FileUnit:
		return nobody{}
	case r.Services == nil:
		return noServices{}
	default:
		return r.Services.Runtime(unit)
	}
}

// nobody is the runtime of a change that no apiserver runs with before somebody else tells it to.
type nobody struct{ noServices }

func (nobody) Instances(context.Context) ([]Instance, error) { return nil, nil }

// noServices is the runtime of an agent that knows of no services.
type noServices struct{}

var errNoServices = errors.New("this agent cannot look after services")

func (noServices) Instances(context.Context) ([]Instance, error) { return nil, errNoServices }

func (noServices) Stop(context.Context, Instance) error { return errNoServices }

func (noServices) LogTail(context.Context, Instance, int) ([]string, error) {
	return nil, errNoServices
}

// restart has the service read the new file, unless it has done so already: a process that dies after it asked is followed by
// one that looks first. That it may have been asked is written down before.
func (r *Runner) restart(ctx context.Context, j *Journal, want expectation) *Fault {
	e := j.Open
	if e.Unit == "" || e.Unit == FileUnit {
		return nil
	}
	if e.Restarting {
		if s := want.look(r.RuntimeOf(e.Unit).Instances(ctx)); s.err == nil && s.fresh {
			return nil
		}
	}
	e.Restarting = true
	if err := j.save(r.Host); err != nil {
		r.Log.ErrorContext(ctx, "Journal lags behind the restart", "error", err)
	}
	if err := r.restartUnit(ctx, e.Unit); err != nil {
		return faultf(reason.ServiceNotRestarted, "%s reads the new file only when it is started anew, and that failed: %v", e.Unit, err)
	}
	return nil
}

// restartOld has the service read the old file again, which is back already. It returns the incarnations that are none of the
// awaited ones, because they are from before that. Whoever still runs from before the swap has read nothing else.
func (r *Runner) restartOld(ctx context.Context, e *Entry) (passed []string, err error) {
	if e.Unit == "" || e.Unit == FileUnit {
		return nil, nil
	}
	instances, err := r.RuntimeOf(e.Unit).Instances(ctx)
	if err != nil {
		r.Log.WarnContext(ctx, "Not known what runs before the service is restarted", "error", err)
	}
	for _, i := range instances {
		if i.Running && slices.Contains(e.Before, i.ID) && !e.Restarting {
			return nil, nil
		}
		if i.Opaque {
			passed = append(passed, i.ID)
		}
	}
	e.Restarting = true
	return passed, r.restartUnit(ctx, e.Unit)
}

func (r *Runner) restartUnit(ctx context.Context, unit string) error {
	if r.Services == nil {
		return errNoServices
	}
	r.Log.InfoContext(ctx, "Restarting service", "unit", unit)
	if err := r.Services.Restart(ctx, unit); err != nil {
		return fmt.Errorf("restart %s: %w", unit, err)
	}
	return nil
}
