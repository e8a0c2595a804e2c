package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/sink"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// auditSinkEvery is how often the AuditSink is compared: an API that comes and goes with a flag cannot be watched.
	auditSinkEvery = time.Minute
	// auditSinkRetry is how soon one that could not be written is tried again.
	auditSinkRetry = 10 * time.Second
)

// AuditSinks is the cluster's one AuditSink, as [auditsink.Store] keeps it.
type AuditSinks interface {
	Apply(ctx context.Context, wanted *unstructured.Unstructured) (wrote bool, err error)
	Delete(ctx context.Context) (was bool, err error)
}

// events is where AuditSinks shall have events go.
type events struct {
	// wanted: there is an apiserver that follows them.
	wanted bool
	// pending: apiservers are about to follow them; what there is of an AuditSink stays until they do.
	pending bool
	target  auditsink.Target
	// problem is in the way of an AuditSink; it may be no longer than what was written before is right.
	problem *plan.Refusal
}

// auditSinkState is what became of the AuditSink.
type auditSinkState struct {
	// gone: there is none, as nobody wants one.
	gone bool
	// problem is why it could not be written.
	problem *plan.Refusal
	// changed: the status does not know of this yet.
	changed bool
}

// findReceiver resolves the bridge's receiver, where AuditSinks may need it.
func (r *Reconciler) findReceiver(ctx context.Context, w *world) error {
	if w.config.Dynamic.AcceptSecretsInAudit || !plan.HasAuditSinks(w.evidence.ServerVersion) {
		return nil
	}
	var service *corev1.Service
	var found corev1.Service
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: wire.BridgeService}, &found)
	switch {
	case err == nil:
		service = &found
	case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err):
		return fmt.Errorf("get service %s: %w", wire.BridgeService, err)
	}
	w.receiver = sink.Resolve(wire.Sink{Service: &wire.ServiceSink{
		Namespace: r.Namespace, Name: wire.BridgeService, Port: intstr.FromString(wire.BridgeReceiverPort), Path: "/", Scheme: receiverScheme(w.config),
	}}, service)
	return nil
}

func receiverScheme(c *wire.Config) string {
	if c.Dynamic.ReceiverTLS {
		return "https"
	}
	return "http"
}

// eventsTo is where an AuditSink shall have events go: to the bridge's receiver, which applies the audit policy, or to the sink itself.
func eventsTo(w *world, sinkURL string) events {
	if !plan.HasAuditSinks(w.evidence.ServerVersion) {
		return events{}
	}
	if w.config.Dynamic.AcceptSecretsInAudit {
		target, refusal := plan.Target(w.config.Sink, sinkURL)
		return events{target: target, problem: refusal}
	}
	if w.receiver.URL == "" {
		return events{problem: &plan.Refusal{Reason: reason.ReceiverNotFound, Message: "the bridge, which keeps the contents of Secrets back, cannot be reached: " +
			w.receiver.Message + "; or set dynamic.acceptSecretsInAudit, or backend to webhook"}}
	}
	return events{target: auditsink.Target{URL: w.receiver.URL, CABundle: w.config.Dynamic.ReceiverCABundle}}
}

// follows reports whether an apiserver follows AuditSinks, or shall.
func follows(plans []*wire.Plan) bool {
	return slices.ContainsFunc(plans, func(p *wire.Plan) bool {
		return p != nil && p.Desired.Enabled && p.Desired.Backend == wire.BackendDynamic
	})
}

// followed is where the plans that there are have events go, empty where none has an AuditSink.
func followed(w *world) string {
	if p := first(w.plans); p != nil && p.Desired.Backend == wire.BackendDynamic {
		return p.EventsTo
	}
	return ""
}

// receives reports whether the bridge's receiver must take what apiservers send by an AuditSink.
func receives(w *world, d draft) bool {
	return w.config != nil && !w.config.Dynamic.AcceptSecretsInAudit && (follows(d.plans) || d.operated.sinks())
}

// keepAuditSink creates, updates or deletes the AuditSink. Before any apiserver's flags are taken back it is gone: an AuditSink that no API
// server serves any more cannot be deleted. What is in its way is told in the next status.
func (r *Reconciler) keepAuditSink(ctx context.Context, w *world, out outcome) error {
	state := &r.memory.auditSink
	state.changed = false
	if r.AuditSinks == nil || out.blocked || w.config == nil || w.config.Paused || w.otherRelease != "" || !plan.HasAuditSinks(w.evidence.ServerVersion) {
		return nil
	}
	if out.events.pending {
		return nil
	}
	if !out.events.wanted {
		return r.removeAuditSink(ctx, state)
	}
	if out.events.problem != nil {
		return nil
	}
	state.gone = false
	wrote, err := r.AuditSinks.Apply(ctx, auditsink.Object(w.config.Dynamic.AuditSink, out.events.target, w.owner()))
	if wrote {
		log.FromContext(ctx).Info("Wrote the AuditSink", "name", auditsink.Name, "url", out.events.target.URL)
	}
	problem, err := auditSinkProblem(err)
	state.changed = (problem == nil) != (state.problem == nil) || problem != nil && *problem != *state.problem
	state.problem = problem
	return err
}

func (r *Reconciler) removeAuditSink(ctx context.Context, state *auditSinkState) error {
	if state.gone {
		return nil
	}
	was, err := r.AuditSinks.Delete(ctx)
	switch {
	case was && err == nil:
		log.FromContext(ctx).Info("Deleted the AuditSink", "name", auditsink.Name)
	case apierrors.IsForbidden(err), errors.Is(err, auditsink.ErrNotServed):
		// Nothing of the way back depends on it.
		log.FromContext(ctx).V(1).Info("The AuditSink cannot be looked for", "detail", err.Error())
		return nil
	}
	if err == nil {
		*state = auditSinkState{gone: true}
	}
	return err
}

// auditSinkProblem tells what a person must see to from what passes.
func auditSinkProblem(err error) (*plan.Refusal, error) {
	switch {
	case err == nil:
		return nil, nil //nolint:nilnil // all is well
	case errors.Is(err, auditsink.ErrNotServed):
		return &plan.Refusal{Reason: reason.AuditSinkNotServed, Message: auditsink.ErrNotServed.Error() + " yet; the AuditSink is created once it does"}, nil
	case errors.Is(err, auditsink.ErrNotOurs):
		return &plan.Refusal{Reason: reason.AuditSinkNotOurs, Message: auditsink.ErrNotOurs.Error()}, nil
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &plan.Refusal{Reason: reason.AuditSinkRefused, Message: "the API server refuses the AuditSink: " + err.Error()}, nil
	}
	return nil, err
}

// retryAuditSink is when to look at the AuditSink again without any change in the world.
func (s auditSinkState) retryAuditSink(wanted bool) time.Duration {
	switch {
	case !wanted:
		return 0
	case s.changed:
		return conflictRetry
	case s.problem != nil:
		return auditSinkRetry
	}
	return auditSinkEvery
}

// sinkProblem is what is the matter with the way that events take once every apiserver is as it shall be.
func (d draft) sinkProblem() *plan.Refusal {
	if d.address.Reason != "" {
		return &plan.Refusal{Reason: d.address.Reason, Message: d.address.Message}
	}
	if !d.events.wanted {
		return nil
	}
	return cmp.Or(d.events.problem, d.auditSink)
}
