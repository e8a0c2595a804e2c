package coordinator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/coordinator/sink"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// readDocuments reads plans and statuses. One that cannot be decoded is logged and counts as absent: a plan is written anew,
// an agent whose status is unreadable has not reported.
func (r *Reconciler) readDocuments(ctx context.Context, from client.Reader, w *world) error {
	w.plans, w.statuses = map[string]*wire.Plan{}, map[string]*wire.NodeStatus{}
	w.planObjects, w.statusObjects = map[string]*corev1.ConfigMap{}, map[string]*corev1.ConfigMap{}
	err := r.each(ctx, from, wire.KindPlan, wire.PlanName, func(node string, object *corev1.ConfigMap) error {
		var p wire.Plan
		w.planObjects[node] = object
		if err := wire.Decode(object.Data, wire.KindPlan, &p); err != nil {
			return err
		}
		w.plans[node] = &p
		return nil
	})
	if err != nil {
		return err
	}
	return r.each(ctx, from, wire.KindNodeStatus, wire.StatusName, func(node string, object *corev1.ConfigMap) error {
		w.statusObjects[node] = object
		status, err := readStatus(object.Data)
		if err != nil {
			return err
		}
		w.statuses[node] = status
		return nil
	})
}

// readAnswer looks at one node's status in the API server itself. Where that is away, what the cache knows has to do.
func (r *Reconciler) readAnswer(ctx context.Context, w *world, node string) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var object corev1.ConfigMap
	var status *wire.NodeStatus
	err := r.Live.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: wire.StatusName(node)}, &object)
	if err == nil {
		status, err = readStatus(object.Data)
	}
	if err != nil {
		log.FromContext(ctx).V(1).Info("No newer answer from the node", "node", node, "detail", err.Error())
		return
	}
	w.statusObjects[node], w.statuses[node] = &object, status
}

// each calls take for every ConfigMap of a kind that belongs to a node.
func (r *Reconciler) each(ctx context.Context, from client.Reader, kind string, nameOf func(string) string, take func(string, *corev1.ConfigMap) error) error {
	var list corev1.ConfigMapList
	if err := from.List(ctx, &list, client.InNamespace(r.Namespace), client.MatchingLabels{wire.LabelDocument: kind}); err != nil {
		return fmt.Errorf("list configmaps of kind %s: %w", kind, err)
	}
	for i := range list.Items {
		object := &list.Items[i]
		node := object.Annotations[wire.AnnotationNode]
		if node == "" || object.Name != nameOf(node) {
			continue
		}
		if err := take(node, object); err != nil && !errors.Is(err, wire.ErrNoDocument) {
			log.FromContext(ctx).Error(err, "Document cannot be read and counts as absent", "configMap", object.Name)
		}
	}
	return nil
}

// readConfig reads what Helm wrote, what is asked for beside it, and what was last said about it.
func (r *Reconciler) readConfig(ctx context.Context, w *world) error {
	object, err := r.configMap(ctx, r.ConfigMaps, wire.ConfigName)
	if err != nil || object == nil {
		return err
	}
	w.configObject = object
	var config wire.Config
	if err := wire.Decode(object.Data, wire.KindConfig, &config); err != nil {
		w.problem = &plan.Refusal{Reason: reason.ConfigInvalid, Message: err.Error()}
	} else {
		w.config, w.problem = plan.CheckConfig(&config)
	}
	if err := r.readRequest(ctx, w); err != nil {
		return err
	}
	return r.readSummary(ctx, r.ConfigMaps, w)
}

// readSummary reads the cluster status as it was written last.
func (r *Reconciler) readSummary(ctx context.Context, from client.Reader, w *world) error {
	var err error
	w.previous = wire.ClusterStatus{}
	if w.previousObject, err = r.configMap(ctx, from, wire.ClusterStatusName); err != nil || w.previousObject == nil {
		return err
	}
	if err := wire.Decode(w.previousObject.Data, wire.KindClusterStatus, &w.previous); err != nil {
		w.previous = wire.ClusterStatus{}
	}
	return nil
}

func (r *Reconciler) configMap(ctx context.Context, from client.Reader, name string) (*corev1.ConfigMap, error) {
	var object corev1.ConfigMap
	err := from.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, &object)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("get configmap %q: %w", name, err)
	}
	return &object, nil
}

// resolve asks the sink's Service for its address.
func (r *Reconciler) resolve(ctx context.Context, wanted wire.Sink) (sink.Resolution, error) {
	if wanted.Service == nil {
		return sink.Resolve(wanted, nil), nil
	}
	service, err := r.Services.Service(ctx, wanted.Service.Namespace, wanted.Service.Name)
	if apierrors.IsForbidden(err) {
		return sink.Resolution{
			Reason:  reason.SinkNotFound,
			Message: fmt.Sprintf("the Service %s/%s may not be read; let Helm upgrade the release, which grants it", wanted.Service.Namespace, wanted.Service.Name),
		}, nil
	}
	if err != nil {
		return sink.Resolution{}, fmt.Errorf("get service %s/%s: %w", wanted.Service.Namespace, wanted.Service.Name, err)
	}
	return sink.Resolve(wanted, service), nil
}

// namespaceOf is the namespace in an owner annotation.
func namespaceOf(owner string) (string, bool) {
	namespace, release, ok := strings.Cut(owner, "/")
	return namespace, ok && namespace != "" && release != ""
}
