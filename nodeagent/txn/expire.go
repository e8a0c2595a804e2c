package txn

import (
	"context"
	"fmt"

	"k8s-audit-enabler.io/internal/reason"
)

// Expire ends an open transaction that nobody has completed, always backwards: the rehearsal is removed, the old manifest
// put back where ours is still there, and its apiserver awaited. It is for a watchdog that has found the agent gone, and
// needs no API server; crashed is the new apiserver where that is why. Like every other call it fails with [hostfs.ErrLocked] while an agent is at work. It returns
// [ResultNone] where nothing is open any more.
func (r *Runner) Expire(ctx context.Context, crashed *Instance) (Outcome, error) {
	lock, err := r.lock()
	if err != nil {
		return Outcome{}, fmt.Errorf("expire transaction: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return Outcome{}, err
	}
	if j.Open == nil {
		return r.sweep(ctx, j)
	}
	e := j.Open
	r.Log.WarnContext(ctx, "Nobody has completed a transaction; it is taken back", "state", e.State, "kind", e.Kind, "revision", e.Revision)
	if _, err := r.Host.RemoveTemps(e.Manifest); err != nil {
		r.Log.WarnContext(ctx, "Temporary files not removed", "error", err)
	}
	hash, err := r.manifestHash(e.Manifest)
	switch {
	case err != nil:
		return Outcome{}, fmt.Errorf("expire transaction: %w", err)
	case e.State == StateRollingBack && e.Fault != nil:
		return r.rollBack(ctx, j, e.Fault)
	case hash == e.BaseHash && e.State != StateSwapped && e.State != StateRollingBack:
		return r.abort(ctx, j, faultf(reason.WaitingForPermit, "the agent ended before the manifest was swapped")), nil
	}
	fault := faultf(reason.NotCommitted, "the agent that made the change did not return to complete it")
	if crashed != nil {
		fault = r.crashed(ctx, expectation{unit: e.Unit}, *crashed)
	}
	return r.rollBack(ctx, j, fault)
}

// Idle stops what watches over the host when nothing is open. It reports whether that is so.
func (r *Runner) Idle(ctx context.Context) (bool, error) {
	lock, err := r.lock()
	if err != nil {
		return false, fmt.Errorf("look for open transaction: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil || j.Open != nil || j.Leftover != "" {
		return false, err
	}
	r.disarm(ctx, j)
	return true, nil
}
