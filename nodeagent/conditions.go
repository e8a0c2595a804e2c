package nodeagent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// say makes the status of a step the one to be written.
func (a *agent) say(s step, seen observation, j *txn.Journal) {
	st := &a.status
	st.Node = wire.NodeIdentity{Name: a.node, MachineID: seen.machine.MachineID, SystemUUID: seen.machine.SystemUUID}
	if a.plan != nil {
		st.Node.UID, st.PlanRevision = a.plan.Node.UID, a.plan.Revision
		if a.plan.HasPermit() && s.phase.Final() {
			a.answered = max(a.answered, a.plan.Permit.Fence)
		}
	}
	if l := j.Last; j.Open == nil && l != nil && (l.State == txn.StateCommitted || l.State == txn.StateRolledBack) {
		a.answered = max(a.answered, j.Fence) // also by an agent before this one
	}
	st.Answered = a.answered
	if st.Phase != s.phase || st.Reason != s.reason {
		a.log.Info("Status", "phase", s.phase, "reason", s.reason, "message", s.message)
	}
	st.Phase, st.Reason, st.Message = s.phase, s.reason, s.message
	st.AgentVersion = a.version
	st.AppliedRevision = appliedRevision(seen, j)
	if st.WebhookFile = ""; j.Live != nil && j.Live.Unit == fileonly.Unit && st.AppliedRevision != "" {
		st.WebhookFile = j.Live.Manifest
	}
	st.Fence = j.Fence
	if s.change != nil && (s.phase == wire.PhaseApplying || s.phase == wire.PhaseVerifying) {
		st.Fence = max(st.Fence, s.change.Fence)
	}
	if seen.version != "" {
		st.Apiserver.Version = seen.version
	}
	st.Apiserver.Restarts = j.Restarts
	st.Apiserver.LastUnavailable = metav1.Duration{Duration: j.Unavailable.Round(time.Millisecond)}
	st.LastError = a.lastError
	if j.Failed != nil {
		st.LastError = lastErrorOf(j.Failed.Fault, j.Failed.Time)
	}
	st.Preview = foresee(a.runner.Host, s, j)
	a.setConditions(s, j)
	a.report(*st)
}

// appliedRevision is the plan revision that the manifest holds.
func appliedRevision(seen observation, j *txn.Journal) string {
	if j.Live == nil || seen.refusal == nil && seen.manifest.Path != "" && (seen.lost || revisionIn(seen.manifest, j.Live) != j.Live.Revision) {
		return ""
	}
	return j.Live.PlanRevision
}

func lastErrorOf(f txn.Fault, at time.Time) *wire.LastError {
	return &wire.LastError{Reason: f.Reason, Message: f.Message, LogTail: f.LogTail, Time: metav1.NewTime(at.UTC().Truncate(time.Second))}
}

func (a *agent) setConditions(s step, j *txn.Journal) {
	list := append([]metav1.Condition(nil), a.status.Conditions...) // the reporter may still read the old one
	set := func(kind string, status metav1.ConditionStatus, why, message string, since time.Time) {
		c := metav1.Condition{Type: kind, Status: status, Reason: why, Message: message}
		if !since.IsZero() {
			c.LastTransitionTime = metav1.NewTime(since.Truncate(time.Second))
		}
		meta.SetStatusCondition(&list, c)
	}
	set(reason.PreflightPassed, boolean(preflightPassed(s)), s.reason, s.message, time.Time{})
	if s.phase == wire.PhaseApplied && j.Live != nil {
		set(reason.Applied, metav1.ConditionTrue, s.reason, s.message, j.Live.Since)
	} else {
		set(reason.Applied, metav1.ConditionFalse, s.reason, s.message, time.Time{})
	}
	if j.Live == nil {
		meta.RemoveStatusCondition(&list, reason.PolicyOurs)
		set(reason.AuditFlowing, metav1.ConditionUnknown, reason.NotApplied, "there is nothing to prove yet", time.Time{})
	} else {
		why, message := reason.PolicyIsOurs, "the plan's policy is in force"
		if !j.Live.Effects.PolicyOurs {
			why, message = reason.PolicyNotOurs, j.Live.Effects.Kept
		}
		set(reason.PolicyOurs, boolean(j.Live.Effects.PolicyOurs), why, message, time.Time{})
		v := a.flow.shown()
		set(reason.AuditFlowing, v.Status, v.Reason, v.Message, time.Time{})
	}
	a.status.Conditions = list
}

func boolean(b bool) metav1.ConditionStatus {
	if b {
		return metav1.ConditionTrue
	}
	return metav1.ConditionFalse
}

// preflightPassed: whatever is refused or waits for a better time has not passed.
func preflightPassed(s step) bool {
	switch s.phase {
	case wire.PhaseRefused, wire.PhaseFailed:
		return false
	case wire.PhasePending:
		return s.change != nil
	default:
		return true
	}
}

// startFlow looks whether events flow, when it is time and there is something to look at.
func (a *agent) startFlow(ctx context.Context, s step, j *txn.Journal) {
	if s.phase != wire.PhaseApplied || j.Live == nil || a.plan == nil || !a.plan.Desired.Enabled {
		return
	}
	if target, ok := targetOf(a.plan, j.Live); ok {
		a.flow.start(ctx, target)
	}
}

// targetOf is where to look for events once a plan is live, and false where nobody tells the apiserver where to send them yet.
func targetOf(p *wire.Plan, live *txn.Live) (flowTarget, bool) {
	target := flowTarget{
		revision: live.Revision, logPath: live.Effects.LogPath, sinkURL: live.Effects.SinkURL,
		audited: live.Effects.PolicyOurs && p.Desired.Canary != "",
		wait:    batchWait(p.Desired.Flags),
	}
	if p.Strategy == wire.StrategyFile {
		return target, p.Told == live.Manifest
	}
	if p.Desired.Backend != wire.BackendDynamic {
		return target, true
	}
	// An AuditSink that moves is proved anew.
	target.sinkURL = p.EventsTo
	target.revision += " " + target.sinkURL
	return target, target.sinkURL != ""
}
