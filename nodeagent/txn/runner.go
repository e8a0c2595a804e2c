package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Instance is one incarnation of this node's apiserver: a sandbox, or a process where no runtime can be asked.
type Instance struct {
	ID string
	// Revision is the value of our annotation in the manifest it was made from, empty where it has none.
	Revision string
	// Ready: the sandbox works. Running: the apiserver's container in it runs.
	Ready, Running bool
	// Exits is how often that container has ended in this sandbox.
	Exits int
	// LogPath is the log of its newest container, as a path on the host.
	LogPath string
	// Opaque: nobody can see what file it was made from, so that Revision says nothing, and only its ID tells it from others.
	Opaque bool
}

// Runtime says which apiservers run on this node, whether or not the API answers.
type Runtime interface {
	Instances(ctx context.Context) ([]Instance, error)
	// Stop stops an instance that should be gone.
	Stop(ctx context.Context, i Instance) error
	// LogTail returns the last lines that an instance logged.
	LogTail(ctx context.Context, i Instance, lines int) ([]string, error)
}

// Health asks this node's apiserver, not the cluster's.
type Health interface {
	// Ready returns nil if /readyz answers 200.
	Ready(ctx context.Context) error
	// Live returns nil if /livez answers 200.
	Live(ctx context.Context) error
}

// Runner makes changes, one at a time.
type Runner struct {
	Host    *hostfs.FS
	Runtime Runtime
	Health  Health
	// Permitted asks right before the swap whether the permit still stands. An error means that nobody answered, which
	// is no reason to stop: a permit has no clock.
	Permitted func(ctx context.Context, c Change) (bool, error)
	// Progress hears of each state that is reached. It must not block.
	Progress func(State)
	// Watchdog, Rehearsal, Handover and Kubelet may be nil where there is none; the steps are left out then.
	Watchdog  Watchdog
	Rehearsal Rehearsal
	Handover  Handover
	Kubelet   Kubelet
	// Services may be nil where no change is about one.
	Services Services
	// Explain finds the reason in the last log lines of an apiserver that has exited; empty where they tell none.
	Explain func(lines []string) string
	// BootID names the host's current boot; empty where it cannot be known.
	BootID string
	// Uptime is the time since that boot, suspended time included; nil where it cannot be known.
	Uptime func() time.Duration
	Log    *slog.Logger
	// Timing is how often and how long things are looked at; zero values mean the defaults.
	Timing Timing

	// arming is a watchdog that is being armed.
	arming sync.WaitGroup
}

// Timing of a verification.
type Timing struct {
	// Probe is the time between two requests to the apiserver, 200 ms.
	Probe time.Duration
	// Look is the time between two looks at the container runtime, 500 ms.
	Look time.Duration
	// Stable is how long the new apiserver must have been ready without a break, 2 s.
	Stable time.Duration
}

func (t Timing) withDefaults() Timing {
	if t.Probe <= 0 {
		t.Probe = 200 * time.Millisecond
	}
	if t.Look <= 0 {
		t.Look = 500 * time.Millisecond
	}
	if t.Stable <= 0 {
		t.Stable = 2 * time.Second
	}
	return t
}

// Result is how a transaction ended.
type Result string

// Results.
const (
	// ResultNone: there was nothing to do.
	ResultNone Result = ""
	// ResultCommitted: the change is live.
	ResultCommitted Result = "committed"
	// ResultAborted: the manifest was not changed, or somebody else's version of it stays; the fault says why.
	ResultAborted Result = "aborted"
	// ResultRolledBack: the change was taken back, and the old apiserver is ready; the fault says why.
	ResultRolledBack Result = "rolledBack"
	// ResultStuck: the change was to be taken back, and that is not complete; the fault says why. It is tried again by
	// [Runner.Recover].
	ResultStuck Result = "stuck"
)

// Outcome is how a transaction ended, and why.
type Outcome struct {
	Result Result
	// Fault is nil for ResultNone and ResultCommitted.
	Fault *Fault
}

// Do makes a change and waits until it is live, or is taken back. The error is for what is neither: the context ended
// in between, or the journal cannot be read. [Runner.Recover] goes on from there.
func (r *Runner) Do(ctx context.Context, c Change) (Outcome, error) {
	lock, err := r.lock()
	if err != nil {
		return r.unwritable(err)
	}
	defer func() { _ = lock.Unlock() }()
	j, err := LoadJournal(r.Host)
	if err != nil {
		return Outcome{}, err
	}
	if j.Open != nil || j.Leftover != "" {
		return Outcome{}, errors.New("begin transaction: another one is not complete")
	}
	if c.Fence < j.Fence {
		return aborted(faultf(reason.WaitingForPermit, "permit %d is older than permit %d, which was acted on already", c.Fence, j.Fence)), nil
	}
	if fault := r.preflight(ctx, c); fault != nil {
		return aborted(fault), nil
	}
	return r.begin(ctx, j, c)
}

func (r *Runner) lock() (*hostfs.Lock, error) {
	if err := r.Host.MkdirAll(StateDir, 0o700); err != nil {
		return nil, err
	}
	return r.Host.Flock(lockFile)
}

// unwritable tells a host that refuses to be written from another agent that is at work.
func (r *Runner) unwritable(err error) (Outcome, error) {
	if errors.Is(err, hostfs.ErrLocked) {
		return Outcome{}, fmt.Errorf("begin transaction: %w", err)
	}
	return aborted(faultf(reason.HostNotWritable, "%v", err)), nil
}

func aborted(f *Fault) Outcome { return Outcome{Result: ResultAborted, Fault: f} }

// begin journals the change, writes its files and swaps the manifest.
func (r *Runner) begin(ctx context.Context, j *Journal, c Change) (Outcome, error) {
	j.Fence = c.Fence
	j.Open = r.entry(j, c)
	if err := r.advance(j, StatePrepared); err != nil {
		return r.abort(ctx, j, faultf(reason.HostNotWritable, "%v", err)), nil
	}
	if err := errors.Join(r.makeDir(j.Open), r.writeFiles(c)); err != nil {
		return r.abort(ctx, j, faultf(reason.HostNotWritable, "%v", err)), nil
	}
	before, err := r.RuntimeOf(c.Unit).Instances(ctx)
	if err != nil {
		return r.abort(ctx, j, faultf(reason.ApiserverUnhealthy, "cannot see which apiserver runs on this node: %v", err)), nil
	}
	for _, i := range before {
		j.Open.Before = append(j.Open.Before, i.ID)
	}
	if err := r.advance(j, StateFilesWritten); err != nil {
		return r.abort(ctx, j, faultf(reason.HostNotWritable, "%v", err)), nil
	}
	if fault := r.guard(ctx, c); fault != nil {
		return r.abort(ctx, j, fault), nil
	}
	rehearsed, fault := r.rehearse(ctx, j, c)
	if fault != nil {
		return r.abort(ctx, j, fault), nil
	}
	if fault := r.recheck(ctx, c); fault != nil {
		return r.abort(ctx, j, fault), nil
	}
	if r.handOver(ctx, j, c, rehearsed) {
		j.Open.Drain = 0 // nobody waits
	} else if rehearsed != nil {
		// It has served nobody and will not; what it holds is better used by the apiserver that starts.
		if err := r.endRehearsal(ctx, j.Open, false); err != nil {
			r.Log.WarnContext(ctx, "Rehearsal not removed before the swap; it is tried again after it", "error", err)
		}
	}
	return r.swapAndSettle(ctx, j, c)
}

// advance writes the next state down.
func (r *Runner) advance(j *Journal, s State) error {
	j.Open.State = s
	j.Open.BootID = r.BootID
	if r.Uptime != nil {
		j.Open.Uptime = r.Uptime()
	}
	j.Open.Time = time.Now().UTC()
	if err := j.save(r.Host); err != nil {
		return err
	}
	if r.Progress != nil {
		r.Progress(s)
	}
	r.Log.Info("Transaction", "state", s, "kind", j.Open.Kind, "revision", j.Open.Revision)
	return nil
}

// recheck looks once more at what may have changed since the preflight.
func (r *Runner) recheck(ctx context.Context, c Change) *Fault {
	if r.Permitted != nil {
		ok, err := r.Permitted(ctx, c)
		switch {
		case err != nil:
			r.Log.WarnContext(ctx, "Permit not confirmed; it stands until it is taken away", "error", err)
		case !ok:
			return faultf(reason.WaitingForPermit, "the permit was taken away before the manifest was swapped")
		}
	}
	if ctx.Err() != nil {
		return faultf(reason.WaitingForPermit, "the agent was stopped before the manifest was swapped")
	}
	return r.checkBase(c)
}

func (r *Runner) checkBase(c Change) *Fault {
	hash, err := r.manifestHash(c.Manifest)
	if err != nil {
		return faultf(reason.ManifestConflict, "%v", err)
	}
	if hash != contentHash(c.Base) {
		return faultf(reason.ManifestConflict, "%s was changed by somebody else; their version stays", c.Manifest)
	}
	return nil
}

// maxManifest bounds what is read as a manifest.
const maxManifest = 1 << 20

// manifestHash is empty where the file is missing.
func (r *Runner) manifestHash(path string) (string, error) {
	data, err := r.Host.ReadFile(path, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read manifest: %w", err)
	}
	return Hash(data), nil
}

// abort ends a transaction whose manifest was not swapped.
func (r *Runner) abort(ctx context.Context, j *Journal, f *Fault) Outcome {
	r.removeDir(j, j.Open.Dir)
	r.unmakeDir(j, j.Open)
	j.Open.Fault = f
	r.end(ctx, j, StateAborted)
	return aborted(f)
}

// end closes the open entry, after whatever ran beside the apiserver for it. A journal that cannot be written is not
// fatal: the recovery finds the same end again.
func (r *Runner) end(ctx context.Context, j *Journal, s State) {
	if err := r.endRehearsal(ctx, j.Open, s == StateCommitted); err != nil {
		r.Log.ErrorContext(ctx, "Rehearsal not removed", "error", err)
		j.Leftover = j.Open.Rehearsal
	}
	j.Open.State, j.Open.Time = s, time.Now().UTC()
	j.Last, j.Open = j.Open, nil
	if err := j.save(r.Host); err != nil {
		r.Log.ErrorContext(ctx, "Journal not written at the end of a transaction", "error", err, "state", s)
		return
	}
	r.settled(ctx, j.Last.Unit)
	if j.Leftover == "" {
		r.disarm(ctx, j)
	}
}
