package coordinator

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/reason"
)

// Profiles is the audit profile of OpenShift, as [openshift4.Store] reads and writes it.
type Profiles interface {
	ReadProfile(ctx context.Context) (*openshift4.FoundProfile, error)
	WriteProfile(ctx context.Context, found *openshift4.FoundProfile, d openshift4.ProfileDecision) error
}

// findProfile reads the cluster's audit profile where one is asked for; without that it may not be read.
func (r *Reconciler) findProfile(ctx context.Context, w *world) error {
	override, _ := detect.ParseOverride(w.config.Distribution)
	if r.Profiles == nil || w.config.OpenShift4.AuditProfile == "" || detect.Recognise(w.evidence, override).Name != detect.OpenShift4 {
		return nil
	}
	found, err := r.Profiles.ReadProfile(ctx)
	if errors.Is(err, openshift4.ErrNoProfile) {
		w.profileProblem = err.Error()
		return nil
	}
	w.profile = found
	return err
}

// fillProfile decides on the profile of what is forwarded, or posted by the webhook. Where nothing is, what was there before comes back.
func (d *draft) fillProfile(w *world) *plan.Refusal {
	asked := w.config.OpenShift4.AuditProfile
	if asked == "" || d.distribution.Name != detect.OpenShift4 {
		return nil
	}
	wanted := asked
	if d.forwarded == "" && (d.operated == nil || !d.operated.webhook) {
		wanted = openshift4.AsBefore
	}
	switch {
	case w.profile == nil && wanted == openshift4.AsBefore:
		return nil
	case w.profile == nil:
		return &plan.Refusal{Reason: reason.AuditProfileRefused, Message: w.profileProblem + "; let Helm upgrade the release, which grants it where OpenShift has it"}
	case wanted != openshift4.AsBefore && !plan.HasProfiles(d.distribution.KubernetesVersion):
		return &plan.Refusal{Reason: reason.AuditProfileRefused, Message: "openshift4.auditProfile: audit profiles exist from OpenShift 4.6 on; leave it out"}
	}
	decision, err := openshift4.DecideProfile(wanted, w.owner(), w.profile.Profile)
	if err != nil {
		return &plan.Refusal{Reason: reason.AuditProfileRefused, Message: err.Error()}
	}
	d.profile = &decision
	return nil
}

// writeProfile carries the decision out.
func (r *Reconciler) writeProfile(ctx context.Context, w *world, out outcome) error {
	if out.profile == nil || !out.profile.Change || out.blocked || w.config.Paused || w.otherRelease != "" {
		return nil
	}
	if err := r.Profiles.WriteProfile(ctx, w.profile, *out.profile); err != nil {
		return err
	}
	log.FromContext(ctx).Info("Set the audit profile", "from", w.profile.Now, "to", out.profile.Now)
	r.Events.Event(w.configObject, corev1.EventTypeNormal, reason.AuditProfileSet,
		"the operator of the apiservers rolls out another audit profile, one master after the other: "+openshift4.Named(out.profile.Now))
	return nil
}
