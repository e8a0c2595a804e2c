package coordinator

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/wire"
)

// AgentRole is the name of the Role that lets agents read plans and write statuses. The chart binds it.
const AgentRole = "k8s-audit-enabler-agent-nodes"

const systemNamespace = "kube-system"

// owned makes an object go when the configuration goes, which is when the release is uninstalled.
func owned(w *world) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: w.configObject.Name, UID: w.configObject.UID}}
}

// writeDocument creates a ConfigMap or patches what differs, and nothing where nothing differs. The patch holds the
// resourceVersion, so that it never lands on something that has not been looked at.
func (r *Reconciler) writeDocument(ctx context.Context, w *world, existing *corev1.ConfigMap, name, kind string, annotations, data map[string]string) (*corev1.ConfigMap, error) {
	wanted := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: r.Namespace}}
	if existing != nil {
		wanted = existing.DeepCopy()
	}
	wanted.OwnerReferences = owned(w)
	wanted.Labels = with(wanted.Labels, wire.LabelDocument, kind)
	for key, value := range annotations {
		wanted.Annotations = with(wanted.Annotations, key, value)
	}
	if data != nil {
		wanted.Data = data
	}
	if existing == nil {
		if err := r.Client.Create(ctx, wanted); err != nil {
			return nil, fmt.Errorf("create configmap %q: %w", name, err)
		}
		return wanted, nil
	}
	if equality.Semantic.DeepEqual(existing, wanted) {
		return existing, nil
	}
	if err := r.Client.Patch(ctx, wanted, client.MergeFromWithOptions(existing, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, fmt.Errorf("patch configmap %q: %w", name, err)
	}
	return wanted, nil
}

func with(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	out[key] = value
	return out
}

func (r *Reconciler) writePlan(ctx context.Context, w *world, p *wire.Plan) error {
	data, err := wire.Encode(wire.KindPlan, p)
	if err != nil {
		return err
	}
	before, object := w.plans[p.Node.Name], w.planObjects[p.Node.Name]
	annotations := forNode(p.Node.Name)
	if p.Permit != nil {
		annotations[wire.AnnotationFence] = strconv.FormatInt(max(p.Permit.Fence, fenceOf(object)), 10)
	}
	if _, err = r.writeDocument(ctx, w, object, wire.PlanName(p.Node.Name), wire.KindPlan, annotations, data); err != nil {
		return err
	}
	switch had := before != nil && before.Permit != nil; {
	case p.Permit != nil && (!had || *before.Permit != *p.Permit):
		log.FromContext(ctx).Info("Gave the permit", "node", p.Node.Name, "revision", p.Permit.Revision, "fence", p.Permit.Fence)
	case p.Permit == nil && had:
		log.FromContext(ctx).Info("Withdrew the permit", "node", p.Node.Name, "fence", before.Permit.Fence)
	}
	return nil
}

func forNode(node string) map[string]string { return map[string]string{wire.AnnotationNode: node} }

// voidTurn writes a number that is not given any more into the plan it was meant for. A permit of that number that is still
// on its way rests on what the plan was before, and is refused.
func (r *Reconciler) voidTurn(ctx context.Context, w *world, d rollout.Decision) error {
	object := w.planObjects[d.Node]
	voided := object.DeepCopy()
	voided.Annotations = with(voided.Annotations, wire.AnnotationFence, strconv.FormatInt(d.Permit.Fence, 10))
	if err := r.Client.Patch(ctx, voided, client.MergeFromWithOptions(object, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("void permit %d in configmap %q: %w", d.Permit.Fence, object.Name, err)
	}
	log.FromContext(ctx).Info("Voided a permit that was not given", "node", d.Node, "fence", d.Permit.Fence)
	return nil
}

// writeStatusObjects creates the statuses that agents may then patch. What is in them is the agents'.
func (r *Reconciler) writeStatusObjects(ctx context.Context, w *world, plans []*wire.Plan) error {
	for _, p := range plans {
		node := p.Node.Name
		if _, err := r.writeDocument(ctx, w, w.statusObjects[node], wire.StatusName(node), wire.KindNodeStatus, forNode(node), nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) deleteDocuments(ctx context.Context, w *world, node string) error {
	for _, object := range []*corev1.ConfigMap{w.planObjects[node], w.statusObjects[node]} {
		if object == nil {
			continue
		}
		log.FromContext(ctx).Info("Deleting the document of a node that is gone", "node", node, "configMap", object.Name)
		// Not if a permit was written into it since it was looked at.
		as := client.Preconditions{UID: &object.UID, ResourceVersion: &object.ResourceVersion}
		if err := r.Client.Delete(ctx, object, as); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete configmap %q: %w", object.Name, err)
		}
	}
	return nil
}

// roleState remembers what the Role was last seen to be: a Role cannot be watched with the permissions that the coordinator
// has, and need not be read again before the nodes change.
type roleState struct {
	names string
	owner string
}

// writeRole lets agents read exactly these plans and write exactly these statuses.
func (r *Reconciler) writeRole(ctx context.Context, w *world, plans []*wire.Plan) error {
	var planNames, statusNames []string
	for _, p := range plans {
		planNames = append(planNames, wire.PlanName(p.Node.Name))
		statusNames = append(statusNames, wire.StatusName(p.Node.Name))
	}
	slices.Sort(planNames)
	slices.Sort(statusNames)
	state := roleState{names: strings.Join(planNames, " "), owner: string(w.configObject.UID)}
	if r.role == state {
		return nil
	}
	wanted := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: AgentRole, Namespace: r.Namespace, OwnerReferences: owned(w)}, Rules: agentRules(planNames, statusNames)}
	var existing rbacv1.Role
	err := r.Live.Get(ctx, client.ObjectKeyFromObject(wanted), &existing)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, wanted)
	case err == nil:
		changed := existing.DeepCopy()
		changed.Rules, changed.OwnerReferences = wanted.Rules, wanted.OwnerReferences
		if !equality.Semantic.DeepEqual(existing, *changed) {
			err = r.Client.Patch(ctx, changed, client.MergeFromWithOptions(&existing, client.MergeFromWithOptimisticLock{}))
		}
	}
	if err != nil {
		return fmt.Errorf("write role %q: %w", AgentRole, err)
	}
	r.role = state
	return nil
}

// agentRules names every object. A rule without names would be about all ConfigMaps, so without nodes there is none.
func agentRules(plans, statuses []string) []rbacv1.PolicyRule {
	if len(plans) == 0 {
		return []rbacv1.PolicyRule{}
	}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: plans, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: statuses, Verbs: []string{"patch"}},
	}
}

// label brings the agent to a node and marks it as this release's. The resourceVersion keeps two releases from both
// believing that they were first.
func (r *Reconciler) label(ctx context.Context, w *world, n detect.Node) error {
	log.FromContext(ctx).Info("Labelling node", "node", n.Name)
	return r.patchNode(ctx, n.Name, func(node *corev1.Node) {
		node.Labels = with(node.Labels, wire.LabelNodeAgent, wire.LabelNodeAgentValue)
		node.Annotations = with(node.Annotations, wire.AnnotationOwner, w.owner())
	})
}

func (r *Reconciler) unlabel(ctx context.Context, n detect.Node) error {
	log.FromContext(ctx).Info("Taking the label from node", "node", n.Name)
	return r.patchNode(ctx, n.Name, func(node *corev1.Node) {
		delete(node.Labels, wire.LabelNodeAgent)
		delete(node.Annotations, wire.AnnotationOwner)
	})
}

func (r *Reconciler) patchNode(ctx context.Context, name string, change func(*corev1.Node)) error {
	readers := []client.Reader{}
	for _, from := range r.Nodes {
		readers = append(readers, from.Reader)
	}
	for _, reader := range append(readers, r.Live) { // one that has no label yet is in no cache
		var node corev1.Node
		err := reader.Get(ctx, client.ObjectKey{Name: name}, &node)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("get node %q: %w", name, err)
		}
		changed := node.DeepCopy()
		change(changed)
		if err := r.Client.Patch(ctx, changed, client.MergeFromWithOptions(&node, client.MergeFromWithOptimisticLock{})); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("patch node %q: %w", name, err)
		}
		return nil
	}
	return nil
}
