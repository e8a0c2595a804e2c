package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// helmReleaseName is the annotation in which Helm names the release of an object.
const helmReleaseName = "meta.helm.sh/release-name"

// asked is what is asked for beside the configuration.
type asked struct {
	// object is the request's ConfigMap, nil where there is none.
	object *corev1.ConfigMap
	// void: the object is of an earlier installation, and what it asks for is not asked of this one.
	void bool
	// request is nil where nothing is asked for.
	request *wire.Request
	problem *plan.Refusal
}

// readRequest reads what is asked for, and lays it over the configuration.
func (r *Reconciler) readRequest(ctx context.Context, w *world) error {
	object, err := r.configMap(ctx, r.ConfigMaps, wire.RequestName)
	if err != nil {
		return err
	}
	w.asked = understand(object, w.configObject)
	w.config, w.problem = w.asked.over(w.configObject, w.config, w.problem)
	return nil
}

// understand reads a request for the release of a configuration.
func understand(object, config *corev1.ConfigMap) asked {
	a := asked{object: object}
	if object == nil {
		return a
	}
	if a.void = ofAnother(object, config); a.void {
		return a
	}
	var request wire.Request
	err := wire.Decode(object.Data, wire.KindRequest, &request)
	if errors.Is(err, wire.ErrNoDocument) {
		return a
	}
	if err == nil {
		err = request.Check()
	}
	if err != nil {
		a.problem = &plan.Refusal{Reason: reason.RequestInvalid, Message: fmt.Sprintf(
			"the ConfigMap %s cannot be understood: %v; withdraw it with: kubectl audit-enabler enable --all", wire.RequestName, err)}
		return a
	}
	a.request = &request
	return a
}

// ofAnother reports whether a request was made for a release that is gone. One that belongs to nobody was made by hand.
func ofAnother(object, config *corev1.ConfigMap) bool {
	for _, owner := range object.OwnerReferences {
		if owner.UID == config.UID {
			return false
		}
	}
	return len(object.OwnerReferences) > 0
}

// over lays the request over a configuration. The way back needs no valid configuration: what was enabled once can be taken
// out whatever has been written since.
func (a asked) over(object *corev1.ConfigMap, config *wire.Config, problem *plan.Refusal) (*wire.Config, *plan.Refusal) {
	if a.problem != nil {
		if problem == nil {
			problem = a.problem
		}
		return config, problem
	}
	if a.request == nil {
		return config, problem
	}
	if config == nil {
		config = wayBack(object)
		if config.Release == "" || !a.request.RevertsAll(config.Generation) {
			return nil, problem
		}
		problem = nil
	}
	out := *config
	out.Enabled = config.Enabled && !a.request.RevertsAll(config.Generation)
	out.Paused = config.Paused || a.request.Paused
	return &out, problem
}

// wayBack is what is needed of a configuration that cannot be used, to take our settings out.
func wayBack(object *corev1.ConfigMap) *wire.Config {
	var c wire.Config
	// As far as it can be read: a value that cannot be used stands in one that can be decoded.
	if err := wire.Decode(object.Data, wire.KindConfig, &c); err != nil {
		c = wire.Config{}
	}
	if c.Release == "" {
		c.Release = object.Annotations[helmReleaseName]
	}
	return plan.WayBack(&c)
}

// reverts reports whether one node shall be without our settings while others keep them.
func (a asked) reverts(node string) bool {
	return a.request != nil && slices.Contains(a.request.RevertNodes, node)
}

// leavesSilent reports whether nodes whose agent has never reported are left as they are.
func (a asked) leavesSilent(config *wire.Config) bool {
	return a.request.Uninstalls(config.Generation) && a.request.Uninstall.LeaveSilent
}

// version names the request for those who wait for it to be seen.
func (a asked) version() string {
	if a.object == nil || a.void {
		return ""
	}
	return a.object.ResourceVersion
}

// revertNote says that it is a request by which nothing is enabled, and how it is taken back.
func (a asked) revertNote(config *wire.Config) string {
	switch {
	case a.request.Uninstalls(config.Generation):
		return "; the release is being uninstalled (to keep it: kubectl audit-enabler enable --all)"
	case a.request.RevertsAll(config.Generation):
		return "; reverted on request (to enable again: kubectl audit-enabler enable --all)"
	}
	return ""
}

// pauseMessage says who has paused, and how it goes on.
func (a asked) pauseMessage() string {
	if a.request != nil && a.request.Paused {
		return "paused on request; no permit is given until: kubectl audit-enabler resume"
	}
	return "paused is set in the configuration; no permit is given"
}

// writeRequestObject makes the ConfigMap that others then patch. What is in it is theirs, but for what was asked of an
// earlier installation.
func (r *Reconciler) writeRequestObject(ctx context.Context, w *world) error {
	var data map[string]string
	if w.asked.void {
		log.FromContext(ctx).Info("Withdrawing the request of an earlier installation")
		data = map[string]string{}
	}
	_, err := r.writeDocument(ctx, w, w.asked.object, wire.RequestName, wire.KindRequest, nil, data)
	return err
}
