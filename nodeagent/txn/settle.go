package txn

import (
	"context"
	"fmt"
	"time"

	"k8s-audit-enabler.io/internal/reason"
)

// minRollbackWait is the least time that the old apiserver gets to come back: the kubelet needs up to 20 s to notice, and
// may be in a crash loop's back-off.
const minRollbackWait = 2 * time.Minute

// settle waits for the new apiserver, then commits or rolls back.
func (r *Runner) settle(ctx context.Context, j *Journal, swapped time.Time) (Outcome, error) {
	e := j.Open
	want := expectation{
		revision: e.Revision, notBefore: e.Before, timeout: e.ReadyTimeout, manifest: e.Manifest, hash: e.NewHash,
		known: e.Before, drain: e.Drain, unit: e.Unit,
	}
	if fault := r.restart(ctx, j, want); fault != nil {
		return r.rollBack(ctx, j, fault)
	}
	down, fresh, fault, err := r.await(ctx, want, swapped)
	if err != nil {
		return Outcome{}, err
	}
	j.Restarts += fresh
	j.Unavailable = down
	if fault != nil && fault.Reason == reason.ManifestConflict {
		return r.conflict(ctx, j, fault), nil
	}
	if fault != nil {
		r.Log.ErrorContext(ctx, "New apiserver refused; rolling back", "reason", fault.Reason, "message", fault.Message)
		return r.rollBack(ctx, j, fault)
	}
	if hash, err := r.manifestHash(e.Manifest); err == nil && hash != e.NewHash {
		return r.conflict(ctx, j, faultf(reason.ManifestConflict, "%s was changed by somebody else while the apiserver started; their version stays", e.Manifest)), nil
	}
	r.commit(ctx, j)
	r.Log.InfoContext(ctx, "Change is live", "kind", e.Kind, "revision", e.Revision, "after", time.Since(swapped).Round(time.Millisecond), "unavailable", down)
	return Outcome{Result: ResultCommitted}, nil
}

// commit writes down that the change is live and removes what is of no use any more.
func (r *Runner) commit(ctx context.Context, j *Journal) {
	e := j.Open
	j.Failed, j.Strays = nil, nil
	if e.Kind == KindRevert {
		j.Live = nil
		r.unmakeDir(j, e)
		r.end(ctx, j, StateCommitted)
		r.clear(j)
		return
	}
	previous := ""
	if j.Live != nil {
		previous = j.Live.Dir
		if previous == e.Dir {
			previous = j.Live.PreviousDir
		}
	}
	j.Live = &Live{
		Revision: e.Revision, PlanRevision: e.PlanRevision, Manifest: e.Manifest, ManifestHash: e.NewHash, Unit: e.Unit, MadeDir: e.MadeDir,
		Dir: e.Dir, PreviousDir: previous, Record: e.Record, Effects: e.Effects, Files: e.Files, Notes: e.Notes, Since: time.Now().UTC(),
	}
	r.end(ctx, j, StateCommitted)
	r.tidy(j)
}

// rollBack puts the old manifest back, if the new one is still there, and waits for its apiserver.
func (r *Runner) rollBack(ctx context.Context, j *Journal, fault *Fault) (Outcome, error) {
	e := j.Open
	e.Fault = fault
	if err := r.advance(j, StateRollingBack); err != nil {
		r.Log.ErrorContext(ctx, "Journal lags behind the rollback", "error", err)
	}
	hash, err := r.manifestHash(e.Manifest)
	switch {
	case err != nil:
		return r.stuck(j, fmt.Sprintf("look at the manifest: %v", err)), nil
	case hash == e.BaseHash: // put back already
	case hash != e.NewHash:
		return r.conflict(ctx, j, faultf(reason.ManifestConflict,
			"%s was changed by somebody else, so it is not rolled back; their version stays (the new apiserver failed: %s)", e.Manifest, fault.Message)), nil
	default:
		if err := r.restore(e); err != nil {
			return r.stuck(j, fmt.Sprintf("put the old manifest back: %v", err)), nil
		}
	}
	return r.awaitOld(ctx, j)
}

func (r *Runner) awaitOld(ctx context.Context, j *Journal) (Outcome, error) {
	e := j.Open
	want := expectation{
		revision: e.BaseRevision, timeout: max(e.ReadyTimeout, minRollbackWait), manifest: e.Manifest, hash: e.BaseHash, back: true,
		known: e.Before, drain: e.Drain, unit: e.Unit,
	}
	if e.BaseRevision == e.Revision {
		want.notBefore = r.newcomers(ctx, e)
	}
	passed, err := r.restartOld(ctx, e)
	if err != nil {
		return r.stuck(j, fmt.Sprintf("the old file is back, but %v", err)), nil
	}
	want.notBefore = append(want.notBefore, passed...)
	want.patient = !r.redirects(e)
	down, fresh, late, err := r.await(ctx, want, time.Now())
	if late != nil && late.Reason != reason.ManifestConflict && r.direct(ctx, e) {
		want.patient = true
		down, fresh, late, err = r.await(ctx, want, time.Now())
	}
	if err != nil {
		return Outcome{}, err
	}
	if late != nil && late.Reason == reason.ManifestConflict {
		return r.conflict(ctx, j, late), nil
	}
	if late != nil {
		return r.stuck(j, "the old manifest is back, but "+late.Message), nil
	}
	j.Restarts += fresh
	j.Unavailable += down
	j.fail(*e.Fault)
	r.removeDir(j, e.Dir)
	r.unmakeDir(j, e)
	fault := e.Fault
	r.end(ctx, j, StateRolledBack)
	r.tidy(j)
	r.Log.WarnContext(ctx, "Rolled back; the old apiserver is ready", "reason", fault.Reason)
	return Outcome{Result: ResultRolledBack, Fault: fault}, nil
}

// newcomers are the incarnations made from the failed manifest, where the annotation cannot tell them from the old ones.
func (r *Runner) newcomers(ctx context.Context, e *Entry) []string {
	instances, err := r.RuntimeOf(e.Unit).Instances(ctx)
	if err != nil {
		return nil
	}
	var ids []string
	for _, i := range instances {
		known := false
		for _, b := range e.Before {
			known = known || b == i.ID
		}
		if !known {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// stuck leaves the transaction open, to be tried again.
func (r *Runner) stuck(j *Journal, message string) Outcome {
	f := &Fault{Reason: reason.RollbackFailed, Message: message, LogTail: j.Open.Fault.LogTail}
	f.Message += fmt.Sprintf(" (rolled back because: %s: %s)", j.Open.Fault.Reason, j.Open.Fault.Message)
	r.Log.Error("Rollback is not complete", "message", message)
	return Outcome{Result: ResultStuck, Fault: f}
}

// conflict ends a transaction whose manifest belongs to somebody else by now. The files stay: their manifest may use them.
func (r *Runner) conflict(ctx context.Context, j *Journal, f *Fault) Outcome {
	j.Open.Fault = f
	j.stray()
	r.end(ctx, j, StateAborted)
	return aborted(f)
}
