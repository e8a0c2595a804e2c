package txn

import (
	"context"
	"fmt"
	"time"

	"k8s-audit-enabler.io/internal/reason"
)

// Recover ends a transaction that a previous process left open, on the new content or on the old. It is called at start
// and whenever an outcome was [ResultStuck]. Without an open
// transaction or a leftover of one it does nothing.
func (r *Runner) Recover(ctx context.Context) (Outcome, error) {
	j, err := LoadJournal(r.Host)
	if err != nil || j.Open == nil && j.Leftover == "" {
		return Outcome{}, err
	}
	lock, err := r.lock()
	if err != nil {
		return Outcome{}, fmt.Errorf("recover transaction: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	if j, err = LoadJournal(r.Host); err != nil {
		return Outcome{}, err
	}
	if j.Open == nil {
		return r.sweep(ctx, j)
	}
	e := j.Open
	r.Log.InfoContext(ctx, "Recovering a transaction", "state", e.State, "kind", e.Kind, "revision", e.Revision,
		"rebooted", e.BootID != "" && r.BootID != "" && e.BootID != r.BootID)
	if _, err := r.Host.RemoveTemps(e.Manifest); err != nil {
		r.Log.WarnContext(ctx, "Temporary files not removed", "error", err)
	}
	if e.State == StateRollingBack {
		if e.Fault == nil {
			e.Fault = faultf(reason.NotReady, "the agent ended while it rolled back")
		}
		return r.rollBack(ctx, j, e.Fault)
	}
	hash, err := r.manifestHash(e.Manifest)
	switch {
	case err != nil:
		return Outcome{}, fmt.Errorf("recover transaction: %w", err)
	case hash == e.NewHash:
		if e.State != StateSwapped {
			if err := r.advance(j, StateSwapped); err != nil {
				r.Log.ErrorContext(ctx, "Journal lags behind the swap", "error", err)
			}
		}
		// The whole time again: nobody knows how much of it the host was up.
		return r.settle(ctx, j, time.Now())
	case hash == e.BaseHash && e.State != StateSwapped:
		return r.abort(ctx, j, faultf(reason.WaitingForPermit, "the agent ended before the manifest was swapped")), nil
	case hash == e.BaseHash:
		return r.rollBack(ctx, j, faultf(reason.ManifestConflict, "somebody else put the old manifest back while the apiserver started"))
	default:
		return r.conflict(ctx, j, faultf(reason.ManifestConflict, "%s was changed by somebody else while the agent was away; their version stays", e.Manifest)), nil
	}
}

// sweep removes a rehearsal that could not be removed when its transaction ended.
func (r *Runner) sweep(ctx context.Context, j *Journal) (Outcome, error) {
	if j.Leftover == "" {
		return Outcome{}, nil
	}
	if err := r.endRehearsal(ctx, &Entry{Rehearsal: j.Leftover}, false); err != nil {
		return Outcome{Result: ResultStuck, Fault: faultf(reason.RehearsalNotRemoved, "%v", err)}, nil
	}
	j.Leftover = ""
	if err := j.save(r.Host); err != nil {
		return Outcome{}, err
	}
	r.disarm(ctx, j)
	return Outcome{}, nil
}

// Adopt writes the files of a change whose manifest is in place already, and that it is live. It heals files that somebody
// removed, and a journal that was lost; no apiserver restarts.
func (r *Runner) Adopt(ctx context.Context, c Change) (Outcome, error) {
	lock, err := r.lock()
	if err != nil {
		return r.unwritable(err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return Outcome{}, err
	}
	if fault := c.contained(); fault != nil {
		return aborted(fault), nil
	}
	if err := r.writeFiles(c); err != nil {
		return aborted(faultf(reason.HostNotWritable, "%v", err)), nil
	}
	live := &Live{
		Revision: c.Revision, PlanRevision: c.PlanRevision, Manifest: c.Manifest, ManifestHash: contentHash(c.New), Unit: c.Unit, Dir: c.Dir,
		Record: c.Record, Effects: c.Effects, Files: c.fileHashes(), Since: time.Now().UTC(),
	}
	if j.Live != nil && j.Live.Revision == c.Revision { // its record leads back to the original
		live.Record, live.PreviousDir, live.Since = j.Live.Record, j.Live.PreviousDir, j.Live.Since
	}
	live.MadeDir = j.Live != nil && j.Live.MadeDir
	j.Live, j.Failed, j.Strays = live, nil, nil
	if err := j.save(r.Host); err != nil {
		return aborted(faultf(reason.HostNotWritable, "%v", err)), nil
	}
	r.Log.InfoContext(ctx, "Files of the live revision written again", "revision", c.Revision)
	return Outcome{Result: ResultCommitted}, nil
}

// Forget removes our files from a host whose manifest holds nothing of ours any more, without touching the manifest.
func (r *Runner) Forget(ctx context.Context) error {
	lock, err := r.lock()
	if err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return err
	}
	j.Live, j.Failed, j.Strays = nil, nil, nil
	if err := j.save(r.Host); err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	r.clear(j)
	r.disarm(ctx, j)
	r.Log.InfoContext(ctx, "Removed what was left of our files")
	return nil
}
