package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// agent is one node's loop. Its fields belong to the goroutine of [agent.run].
type agent struct {
	node     string
	version  string
	observer *observer
	runner   *txn.Runner
	report   func(wire.NodeStatus)
	flow     *flow
	// watch follows the manifest's directory; nil where nobody listens.
	watch func(manifest string)
	log   *slog.Logger

	pollEvery   time.Duration
	canaryEvery time.Duration

	plan    *wire.Plan
	planErr error
	status  wire.NodeStatus
	retry   retry
	// struggle is with another program that writes the manifest too.
	struggle struggle
	// grown: a change was made since memory was last given back.
	grown bool
	// again is set when a round is due soon, without any event.
	again time.Duration
	// lastError is of a change that was given up before its swap; the journal knows the others.
	lastError *wire.LastError
	// answered is the highest permit that was answered for.
	answered int64
	// past is what the journal said before it was removed from the host.
	past counters
}

// retry keeps a change that failed from being tried at every round.
type retry struct {
	revision  string
	failures  int
	notBefore time.Time
	// shown is what the status says meanwhile.
	shown step
}

// run goes round until the context ends: once now, and then whenever the plan, the manifest or the time says so.
func (a *agent) run(ctx context.Context, plans <-chan kube.Update, files <-chan struct{}) {
	poll := time.NewTicker(a.pollEvery)
	defer poll.Stop()
	canary := time.NewTicker(a.canaryEvery)
	defer canary.Stop()
	soon := time.NewTimer(time.Hour)
	defer soon.Stop()
	for ctx.Err() == nil {
		a.again = 0
		if a.round(ctx) {
			select { // a plan that came meanwhile counts before the next step
			case u, ok := <-plans:
				if ok {
					a.take(u)
				}
			default:
			}
			select { // what was written meanwhile, by this agent too, is looked at next in any case
			case <-files:
			default:
			}
			continue
		}
		soon.Stop()
		if a.again > 0 {
			soon.Reset(a.again)
		}
		for due := false; !due && ctx.Err() == nil; {
			due = true
			select {
			case <-ctx.Done():
			case u, ok := <-plans:
				if !ok {
					plans, due = nil, false
					break
				}
				a.take(u)
			case <-files:
				if due = a.repair(ctx); !due {
					soon.Reset(quiet)
				}
			case <-soon.C:
			case <-poll.C:
				a.shrink()
			case <-canary.C:
				a.flow.due = true
			case v := <-a.flow.verdicts:
				a.flow.accept(v)
			}
		}
	}
}

// shrink gives back what a change has needed, once the node is at rest: the collector alone would keep it for the next one, which
// may be months away.
func (a *agent) shrink() {
	if a.grown {
		a.grown = false
		debug.FreeOSMemory()
	}
}

// quiet is how long a manifest must have been left alone before a whole round looks at it: editors and upgrades write
// several times, and remove a file before they write its successor.
const quiet = 500 * time.Millisecond

// repair puts the live revision back into a manifest that somebody else has just rewritten, where that needs nobody's
// leave, and reports whether it did. It is the short way: the kubelet reads the same file at this very moment, and starts
// an apiserver from what it finds.
func (a *agent) repair(ctx context.Context) bool {
	if a.plan == nil {
		return false
	}
	j, err := txn.LoadJournal(a.runner.Host)
	if err != nil || j.Open != nil || j.Live == nil {
		return false
	}
	seen, ok := a.observer.glance(a.plan, j.Live)
	if !ok {
		return false
	}
	seen.struggle = a.struggle
	s := a.hold(decide(a.plan, seen, j), j)
	if s.action != actRepair {
		return false
	}
	a.carryOut(ctx, s, seen, j)
	return true
}

// take reads a plan. A plan that is gone leaves the node as it is.
func (a *agent) take(u kube.Update) {
	if a.retry.shown.reason == reason.WaitingForPermit {
		a.retry = retry{} // this may be the permit
	}
	if !u.Exists {
		a.log.Info("No plan for this node")
		a.plan, a.planErr = nil, nil
		return
	}
	var p wire.Plan
	err := wire.Decode(u.ConfigMap.Data, wire.KindPlan, &p)
	switch {
	case errors.Is(err, wire.ErrNoDocument):
		a.plan, a.planErr = nil, nil
	case err != nil:
		a.plan, a.planErr = nil, err
	default:
		a.plan, a.planErr = &p, nil
		a.log.Info("Plan", "revision", p.Revision, "enabled", p.Desired.Enabled, "permit", p.HasPermit())
	}
}

// round observes, decides and acts once. It reports whether something was done, so that another round is due at once.
func (a *agent) round(ctx context.Context) bool {
	j, err := txn.LoadJournal(a.runner.Host)
	if err != nil {
		a.say(step{phase: wire.PhaseFailed, reason: reason.HostNotWritable, message: err.Error()}, observation{}, &txn.Journal{})
		return false
	}
	a.remember(j)
	if a.plan == nil {
		return a.withoutPlan(ctx, j)
	}
	seen := a.observer.observe(ctx, a.plan, j.Live)
	seen.struggle = a.struggle
	if seen.container.Leftover && j.Open == nil {
		a.clearAway(ctx)
	}
	if a.watch != nil && seen.refusal == nil && seen.manifest.Data != nil && seen.container.ID() == "" && a.plan.Strategy != wire.StrategyFile {
		a.watch(seen.manifest.Path)
	}
	if seen.unsettled != "" {
		a.again = lookAgain
	}
	s := a.hold(decide(a.plan, seen, j), j)
	if s.action == actNothing {
		a.say(a.leave(ctx, s, j), seen, j)
		a.startFlow(ctx, s, j)
		return false
	}
	return a.carryOut(ctx, s, seen, j)
}

// carryOut acts, and reports whether that had an outcome.
func (a *agent) carryOut(ctx context.Context, s step, seen observation, j *txn.Journal) bool {
	a.flow.stop()
	a.grown = true
	if s.drift.cause != "" {
		a.struggle = a.struggle.after(time.Now())
		a.log.Warn("Manifest rewritten by somebody else", "cause", s.drift.cause, "message", s.message)
	}
	outcome, err := a.act(ctx, s, seen, j)
	a.observer.forgetVersion()
	if ctx.Err() != nil {
		return false
	}
	if errors.Is(err, hostfs.ErrLocked) {
		a.log.Info("Another agent of this node is at work")
		return false
	}
	a.learn(s, outcome, err)
	return true
}

// withoutPlan says nothing, but ends what was begun: the host must not stay between two states.
func (a *agent) withoutPlan(ctx context.Context, j *txn.Journal) bool {
	if a.planErr != nil {
		a.say(step{phase: wire.PhaseRefused, reason: reason.PlanInvalid, message: a.planErr.Error()}, observation{machine: machineOf(a.runner.Host)}, j)
	}
	if j.Open == nil && j.Leftover == "" || time.Now().Before(a.retry.notBefore) {
		return false
	}
	a.observer.locate(ctx, j) // where the apiserver listens
	outcome, err := a.runner.Recover(ctx)
	if ctx.Err() == nil {
		a.learn(step{action: actRecover}, outcome, err)
	}
	return false
}

// hold refuses a change for which the host has no room, and leaves one alone that failed a moment ago or that would fall into
// an upgrade.
func (a *agent) hold(s step, j *txn.Journal) step {
	if a.retry.revision != a.plan.Revision && s.action != actRecover {
		a.retry = retry{}
	}
	if (s.change != nil || s.action != actNothing) && time.Now().Before(a.retry.notBefore) {
		shown := a.retry.shown
		shown.action = actNothing
		return shown
	}
	if s.action == actChange && s.change.Fence <= a.answered {
		// The coordinator may give the next node its turn on that answer. It sees this status, and gives a new permit.
		return step{
			action: actNothing, phase: wire.PhasePending, reason: s.reason, change: s.change,
			message: fmt.Sprintf("%s; permit %d has been answered for already", s.message, s.change.Fence),
		}
	}
	if s.action == actChange {
		if program := a.observer.upgrade.program(); program != "" {
			a.again = lookAgain
			return step{action: actNothing, phase: wire.PhasePending, reason: reason.UpgradeRunning, message: busy(program)}
		}
	}
	if s.change == nil || s.change.Kind != txn.KindApply || j.Open != nil {
		return s
	}
	if fault := a.runner.CheckSpace(*s.change); fault != nil {
		return step{action: actNothing, phase: wire.PhaseRefused, reason: fault.Reason, message: fault.Message}
	}
	return s
}

// act carries a step out.
func (a *agent) act(ctx context.Context, s step, seen observation, j *txn.Journal) (txn.Outcome, error) {
	switch s.action {
	case actRecover:
		a.say(s, seen, j)
		return a.runner.Recover(ctx)
	case actRepair:
		a.runner.Progress = func(state txn.State) { a.say(progress(s, state), seen, j) }
		return a.runner.Repair(ctx, *s.change)
	case actAdopt:
		return a.runner.Adopt(ctx, *s.change)
	case actTidy:
		return txn.Outcome{Result: txn.ResultCommitted}, a.runner.Tidy(ctx)
	case actForget:
		return txn.Outcome{Result: txn.ResultCommitted}, a.runner.Forget(ctx)
	case actChange:
		a.runner.Progress = func(state txn.State) { a.say(progress(s, state), seen, j) }
		return a.runner.Do(ctx, *s.change)
	case actNothing:
	}
	return txn.Outcome{}, nil
}

// progress is what the status says while a change is made.
func progress(s step, state txn.State) step {
	switch state {
	case txn.StateRehearsing, txn.StateRehearsed:
		return step{phase: wire.PhaseApplying, reason: reason.Rehearsing, message: "the new configuration runs beside the apiserver, which is not touched", change: s.change}
	case txn.StateSwapped:
		if s.change != nil && s.change.Unit == fileonly.Unit {
			return step{phase: wire.PhaseApplying, reason: reason.Writing, message: s.change.Manifest + " is in place; nothing restarts", change: s.change}
		}
		if s.change != nil && s.change.Unit != "" {
			return step{phase: wire.PhaseVerifying, reason: reason.AwaitingApiserver, message: s.change.Manifest + " is in place; " + s.change.Unit + " restarts, and its apiserver is awaited", change: s.change}
		}
		return step{phase: wire.PhaseVerifying, reason: reason.AwaitingApiserver, message: "the manifest is swapped; the new apiserver is awaited", change: s.change}
	case txn.StateRollingBack:
		return step{phase: wire.PhaseVerifying, reason: reason.AwaitingApiserver, message: "the old manifest is put back; its apiserver is awaited", change: s.change}
	default:
		if s.drift.cause != "" {
			return step{phase: wire.PhaseApplying, reason: reason.Drifted, message: s.message, change: s.change}
		}
		return step{phase: wire.PhaseApplying, reason: reason.Writing, message: "files are being written", change: s.change}
	}
}

// learn keeps what an outcome means for the next rounds.
func (a *agent) learn(s step, outcome txn.Outcome, err error) {
	if err != nil {
		outcome = txn.Outcome{Result: txn.ResultAborted, Fault: &txn.Fault{Reason: reason.HostNotWritable, Message: err.Error()}}
		a.log.Error("Step not completed", "action", s.action, "error", err)
	}
	switch outcome.Result {
	case txn.ResultNone:
	case txn.ResultCommitted:
		a.retry, a.lastError = retry{}, nil
		a.flow.due = true
	case txn.ResultRolledBack:
		a.retry, a.lastError = retry{}, nil
	case txn.ResultAborted, txn.ResultStuck:
		if s.action == actRepair && outcome.Fault.Reason == reason.ManifestConflict {
			return // they are still writing; the struggle with them has a pause of its own
		}
		a.postpone(outcome)
	}
}

// recoverAgain is the pause before a rollback that is not complete is gone on with.
const recoverAgain = 15 * time.Second

// postpone shows a fault and leaves the change alone for a while.
func (a *agent) postpone(outcome txn.Outcome) {
	f := outcome.Fault
	a.log.Warn("Change not made", "reason", f.Reason, "message", f.Message)
	if a.plan != nil {
		a.retry.revision = a.plan.Revision
	}
	a.retry.failures++
	a.retry.notBefore = time.Now().Add(retryAfter(a.retry.failures))
	if outcome.Result == txn.ResultStuck {
		a.retry.notBefore = time.Now().Add(recoverAgain) // there is nothing more urgent
	}
	a.retry.shown = step{phase: wire.PhasePending, reason: f.Reason, message: f.Message}
	switch {
	case outcome.Result == txn.ResultStuck:
		a.retry.shown.phase = wire.PhaseFailed
	case f.Reason == reason.HostNotWritable:
		a.retry.shown.phase = wire.PhaseRefused
	case f.Reason == reason.WaitingForPermit:
		return // nothing is wrong; the next plan says more
	}
	if e := a.lastError; e == nil || e.Reason != f.Reason || e.Message != f.Message { // the first time counts
		a.lastError = lastErrorOf(*f, time.Now())
	}
}

// permitted asks the API whether a change may still be made.
func permitted(ctx context.Context, get func(context.Context) (kube.ConfigMap, error), c txn.Change) (bool, error) {
	const patience = 3 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cm, err := get(ctx)
	if errors.Is(err, kube.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var p wire.Plan
	if err := wire.Decode(cm.Data, wire.KindPlan, &p); err != nil {
		return false, fmt.Errorf("confirm permit: %w", err)
	}
	return p.HasPermit() && p.Revision == c.PlanRevision && p.Permit.Fence >= c.Fence, nil
}
