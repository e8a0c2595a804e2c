package txn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s-audit-enabler.io/internal/reason"
)

// Repair puts a revision that is live back into a manifest that somebody else rewrote. It is [Runner.Do] made short, because
// the kubelet is reading that manifest already: what goes in before it starts an apiserver costs no second restart.
//
// What may be left out is what the first change has proved: no permit is asked for, the apiserver need not be ready (the
// rewriting itself may have ended it), files that are as they were written are not written again, and nothing is
// rehearsed. What guards the host stays: the lock, the journal, the backup, the watchdog, the rename, the verification.
func (r *Runner) Repair(ctx context.Context, c Change) (Outcome, error) {
	lock, err := r.lock()
	if err != nil {
		return r.unwritable(err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return Outcome{}, err
	}
	switch {
	case j.Open != nil || j.Leftover != "":
		return Outcome{}, errors.New("begin repair: another transaction is not complete")
	case c.Kind != KindApply || j.Live == nil || j.Live.Revision != c.Revision:
		return Outcome{}, fmt.Errorf("begin repair: revision %s is not the one that is live", c.Revision)
	}
	if fault := c.contained(); fault != nil {
		return aborted(fault), nil
	}
	if fault := r.checkBase(c); fault != nil {
		return aborted(fault), nil
	}
	if fault := r.CheckSpace(c); fault != nil {
		return aborted(fault), nil
	}
	c.Fence = j.Fence
	j.Open = r.entry(j, c)
	if fault := r.prepareRepair(ctx, j, c); fault != nil {
		return r.abort(ctx, j, fault), nil
	}
	return r.swapAndSettle(ctx, j, c)
}

// prepareRepair does what must be durable before the swap, with one entry in the journal instead of two.
func (r *Runner) prepareRepair(ctx context.Context, j *Journal, c Change) *Fault {
	type look struct {
		instances []Instance
		err       error
	}
	looked := make(chan look, 1)
	go func() { // the runtime takes its time, and so does the disk
		instances, err := r.RuntimeOf(c.Unit).Instances(ctx)
		looked <- look{instances, err}
	}()
	err := r.writeMissing(j, c)
	before := <-looked
	switch {
	case err != nil:
		return faultf(reason.HostNotWritable, "%v", err)
	case before.err != nil:
		return faultf(reason.ApiserverUnhealthy, "cannot see which apiserver runs on this node: %v", before.err)
	}
	for _, i := range before.instances {
		j.Open.Before = append(j.Open.Before, i.ID)
	}
	if err := r.advance(j, StateFilesWritten); err != nil {
		return faultf(reason.HostNotWritable, "%v", err)
	}
	if fault := r.guardSoon(ctx, c); fault != nil {
		return fault
	}
	if ctx.Err() != nil {
		return faultf(reason.WaitingForPermit, "the agent was stopped before the manifest was swapped")
	}
	return r.checkBase(c)
}

// armPatience is how long a repair waits for the watchdog.
const armPatience = 100 * time.Millisecond

// guardSoon arms the watchdog, and does not wait for one that takes its time: what is put back has run on this host before,
// and each moment more may be the one in which the kubelet starts an apiserver that is not audited. It is armed a moment
// later then.
func (r *Runner) guardSoon(ctx context.Context, c Change) *Fault {
	armed := make(chan *Fault, 1)
	r.arming.Go(func() {
		fault := r.guard(ctx, c)
		if fault != nil {
			r.Log.WarnContext(ctx, "Watchdog not armed for a repair", "message", fault.Message)
		}
		armed <- fault
	})
	select {
	case fault := <-armed:
		return fault
	case <-time.After(armPatience):
		return nil
	}
}

// writeMissing leaves the live revision's files alone where they are intact.
func (r *Runner) writeMissing(j *Journal, c Change) error {
	if err := r.makeDir(j.Open); err != nil {
		return err
	}
	if j.Live.FilesIntact(r.Host) && j.Live.holds(c) {
		return r.backup(c)
	}
	return r.writeFiles(c)
}

// holds reports whether a change's files are the ones that are live.
func (l *Live) holds(c Change) bool {
	for path, hash := range c.fileHashes() {
		if l.Files[path] != hash {
			return false
		}
	}
	return true
}

// swapAndSettle is the end of every change: the manifest is replaced, and the new apiserver judged.
func (r *Runner) swapAndSettle(ctx context.Context, j *Journal, c Change) (Outcome, error) {
	if err := r.swap(j.Open, c.New); err != nil {
		return r.abort(ctx, j, faultf(reason.HostNotWritable, "%v", err)), nil
	}
	swapped := time.Now()
	if err := r.advance(j, StateSwapped); err != nil {
		// The swap is done and filesWritten says enough for a recovery: going on is safer than going back.
		r.Log.ErrorContext(ctx, "Journal lags behind the swap", "error", err)
	}
	return r.settle(ctx, j, swapped)
}
