package coordinator

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// operatorEvery is how often the operator is asked while a change is on its way, and operatorCalm while none is: what it makes of
	// one takes minutes, and cannot be watched with the permissions that the coordinator has.
	operatorEvery = 10 * time.Second
	operatorCalm  = time.Minute
)

// Operator is that of OpenShift 4's apiservers, as [openshift4.Store] reads and tells it.
type Operator interface {
	Read(ctx context.Context) (*openshift4.Found, error)
	Write(ctx context.Context, found *openshift4.Found, d openshift4.Decision) error
}

// operated is what the operator is to be told.
type operated struct {
	openshift4.Decision
	// webhook: it is told of a file, and of no AuditSinks; waitsFor is what that file lacks still, empty where the operator may be told.
	webhook  bool
	waitsFor string
}

// sinks: the apiservers shall take AuditSinks.
func (o *operated) sinks() bool { return o != nil && o.Ours && !o.webhook }

// findOperator reads the operator's resource on OpenShift 4.
func (r *Reconciler) findOperator(ctx context.Context, w *world) error {
	override, _ := detect.ParseOverride(w.config.Distribution)
	if r.Operator == nil || detect.Recognise(w.evidence, override).Name != detect.OpenShift4 {
		return nil
	}
	found, err := r.Operator.Read(ctx)
	if errors.Is(err, openshift4.ErrNoOperator) {
		w.operatorProblem = err.Error()
		return nil
	}
	w.operator = found
	return err
}

// fillOperated has the operator's apiservers take AuditSinks. Nodes that were configured before are taken back.
func (m *memory) fillOperated(d *draft, w *world, members []detect.Member) *plan.Refusal {
	d.strategy, d.backend = wire.StrategyOperator, wire.BackendDynamic
	d.backendWhy = "the dynamic backend is what the configuration asks for, and the operator of OpenShift 4 has its apiservers take AuditSinks"
	if w.operator == nil {
		return operatorNotFound(w)
	}
	d.address = m.address.Observe(w.now, 0, w.config.Sink, w.found) // no apiserver restarts for it
	if d.address.URL == "" {
		return &plan.Refusal{Reason: d.address.Reason, Message: d.address.Message}
	}
	d.events = eventsTo(w, d.address.URL)
	if note := w.operator.Note; d.events.problem != nil && (note == nil || note.TakenOut) {
		return d.events.problem // no apiserver restarts for events that nobody takes
	}
	decision, err := openshift4.Decide(openshift4.DynamicBackend(), w.owner(), w.operator.Operator)
	if err != nil {
		return &plan.Refusal{Reason: reason.OverridesConflict, Message: err.Error()}
	}
	d.operated = &operated{Decision: decision}
	var refusal *plan.Refusal
	d.plans, refusal = d.wayBack(w, members)
	return refusal
}

// withdraw has what the operator was told taken back where nothing of it is wanted.
func (d *draft) withdraw(w *world) *plan.Refusal {
	if d.operated != nil {
		return nil
	}
	if w.operator == nil {
		return d.leaveFiles(w)
	}
	decision, err := openshift4.Decide(nil, w.owner(), w.operator.Operator)
	if err != nil {
		return &plan.Refusal{Reason: reason.OverridesConflict, Message: err.Error()}
	}
	if !decision.Idle() {
		d.operated = &operated{Decision: decision}
	}
	return d.leaveFiles(w)
}

// tellOperator writes what was decided. An AuditSink that is not wanted any more is gone by then.
func (r *Reconciler) tellOperator(ctx context.Context, w *world, out outcome) error {
	if out.operated == nil || !out.operated.Change || out.blocked || w.config.Paused || w.otherRelease != "" {
		return nil
	}
	if err := r.Operator.Write(ctx, w.operator, out.operated.Decision); err != nil {
		return err
	}
	log.FromContext(ctx).Info("Told the operator of the apiservers", "ours", out.operated.Ours, "overrides", out.operated.Overrides)
	if out.operated.Ours && (w.operator.Note == nil || w.operator.Note.TakenOut) {
		r.Events.Event(w.configObject, corev1.EventTypeWarning, reason.OverridesSet,
			"the operator of the apiservers has overrides now, with which the cluster is not Upgradeable to another minor version; they are taken out when such an upgrade is asked for")
	}
	return nil
}

// again is when to ask the operator again; zero for never.
func (o *operated) again() time.Duration {
	switch {
	case o == nil:
		return 0
	case o.waitsFor != "":
		return operatorEvery
	case o.Change || o.State != openshift4.Done:
		return operatorEvery
	}
	return operatorCalm
}

// complete says what every apiserver does.
func (o *operated) complete() string {
	if o.webhook {
		return "every apiserver posts to the sink: " + o.Explain()
	}
	return "every apiserver takes AuditSinks: " + o.Explain()
}

// over: every master runs without our arguments, and only the note of them is left to be removed.
func (o *operated) over() bool { return !o.Ours && o.Note == nil && o.Held == "" }

// verdict is the cluster's state as far as the operator goes; nil where it has done everything.
func (o *operated) verdict(w *world) *verdict {
	switch {
	case o.over():
		return nil
	case o.Change && w.config.Paused:
		return &verdict{stalled: true, reason: reason.Paused, message: w.asked.pauseMessage()}
	case o.State == openshift4.Failed:
		return &verdict{stalled: true, reason: reason.OperatorFailed, message: o.Explain()}
	case o.Held != "":
		return &verdict{progressing: true, reason: reason.UpgradeRunning, message: o.Explain()}
	case o.Change || o.State != openshift4.Done:
		return &verdict{progressing: true, reason: reason.OperatorRolling, message: o.Explain()}
	}
	return nil
}

// masters are the operator's masters, as the cluster status tells of nodes.
func (o *operated) masters(found *openshift4.Found) []wire.NodeSummary {
	if o.over() {
		return nil
	}
	newest := found.Status.LatestAvailableRevision
	out := make([]wire.NodeSummary, 0, len(found.Status.NodeStatuses))
	for _, n := range found.Status.NodeStatuses {
		s := wire.NodeSummary{
			Name: n.NodeName, Phase: wire.PhasePending, Reason: reason.OperatorRolling, Revision: strconv.Itoa(newest),
			Message: fmt.Sprintf("the operator has brought it to revision %d; the newest is %d", n.CurrentRevision, newest),
		}
		switch {
		case n.CurrentRevision == newest && o.State != openshift4.Waiting && o.Ours:
			s.Phase, s.Reason, s.AppliedRevision = wire.PhaseApplied, reason.Live, s.Revision
		case n.CurrentRevision == newest && o.State != openshift4.Waiting:
			s.Phase, s.Reason = wire.PhaseReverted, reason.Removed
		case n.Failed(newest):
			s.Phase, s.Reason = wire.PhaseFailed, reason.OperatorFailed
			s.Message = shortened(fmt.Sprintf("revision %d did not come up: %s", newest, n.Why()))
		}
		out = append(out, s)
	}
	return out
}

// finished: nothing of the rollout of nodes is left to do.
func finished(d rollout.Decision) bool {
	return d.Finished && (d.Reason == reason.Complete || d.Reason == reason.Disabled)
}
