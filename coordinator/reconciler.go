package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/coordinator/rollout"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// surveyEvery is how often evidence that cannot be watched is read again.
	surveyEvery = time.Hour
	// conflictRetry is the wait after somebody else's write, for the cache to see it.
	conflictRetry = 250 * time.Millisecond
	// answerEvery is how often the holder of the permit is asked for its answer. Where the apiserver that restarts is the only
	// one, every watch is cut and comes back only after a back-off of its own, which may take a minute.
	answerEvery = 3 * time.Second
	// answerTimeout bounds one such question.
	answerTimeout = 5 * time.Second
)

// Selected is a reader together with the selector of what it holds, so that the same code reads caches, which hold nothing
// else, and a whole API.
type Selected struct {
	Reader   client.Reader
	Selector labels.Selector
}

// Services reads the sink's Service and has the reconciler called when it changes.
type Services interface {
	// Service returns nil where there is none.
	Service(ctx context.Context, namespace, name string) (*corev1.Service, error)
}

// Reconciler carries the cluster one step towards what the configuration wants. It is used by one goroutine.
type Reconciler struct {
	// Namespace is the release's.
	Namespace string
	// Client writes. What it reads is not used.
	Client client.Client
	// ConfigMaps reads those of Namespace, from a cache.
	ConfigMaps client.Reader
	// Nodes and Pods together hold the control plane's nodes, and the kube-apiserver pods of kube-system.
	Nodes []Selected
	Pods  []Selected
	// Live reads from the API server itself.
	Live      client.Reader
	Discovery detect.Discovery
	Services  Services
	// AuditSinks is nil where none is kept.
	AuditSinks AuditSinks
	// Operator is nil where none is told anything.
	Operator Operator
	// Profiles is nil where none is set.
	Profiles Profiles
	Events   record.EventRecorder
	// Now is the clock; time.Now but in tests.
	Now func() time.Time
	// Metrics shows what was reported last; nil where nobody asks.
	Metrics *metrics.Metrics

	memory memory
	survey survey
	role   roleState
	// lock is nil where there is none; lockOwner is whom it belongs to by now.
	lock      lockOwner
	lockOwner types.UID
}

// survey is evidence that seldom changes, and what it was gathered for.
type survey struct {
	evidence detect.Evidence
	at       time.Time
	// configVersion is the configuration's resourceVersion, apiservers the versions seen on the nodes: another one of either
	// asks for a new survey.
	configVersion string
	apiservers    string
}

// Reconcile looks, decides and writes, once.
func (r *Reconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	w, err := r.look(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	if w.configObject == nil {
		log.FromContext(ctx).Info("No configuration; waiting for it", "configMap", wire.ConfigName)
		return reconcile.Result{}, nil
	}
	holder := w.holder()
	if holder != "" {
		r.readAnswer(ctx, w, holder)
	}
	out := r.memory.decide(w)
	if out.decision.Action != rollout.None {
		w.addressHolder = r.addressHolder(ctx)
		out, err = r.agree(ctx, w)
	}
	if err == nil {
		err = r.carryOut(ctx, w, out)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		log.FromContext(ctx).V(1).Info("Somebody else wrote first; looking again", "detail", err.Error())
		return reconcile.Result{RequeueAfter: conflictRetry}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	if r.Metrics != nil {
		r.Metrics.Observe(measured(w, out))
	}
	if holder != "" {
		out.retryAfter = soonest(out.retryAfter, answerEvery)
	}
	out.retryAfter = soonest(out.retryAfter, r.memory.auditSink.retryAuditSink(out.events.wanted))
	return reconcile.Result{RequeueAfter: soonest(out.retryAfter, surveyEvery)}, nil
}

// agree decides anew on what the API server itself holds: a cache may not have seen the last permit yet, or show what was
// before it. It takes the steps that other coordinators must see before a permit, and leaves the last one to be carried out.
func (r *Reconciler) agree(ctx context.Context, w *world) (outcome, error) {
	const steps = 4 // void, reserve, give; and one more look
	for range steps {
		// The turn first: whatever is changed after it was read makes its next write fail.
		if err := r.readSummary(ctx, r.Live, w); err != nil {
			return outcome{}, err
		}
		if err := r.readDocuments(ctx, r.Live, w); err != nil {
			return outcome{}, err
		}
		out := r.memory.decide(w)
		var err error
		switch out.decision.Action {
		case rollout.Void:
			err = r.voidTurn(ctx, w, out.decision)
		case rollout.Reserve:
			err = r.writeClusterStatus(ctx, w, out.status)
		case rollout.None, rollout.Grant, rollout.Withdraw:
			return out, nil
		}
		if err != nil {
			return outcome{}, err
		}
	}
	return outcome{}, errors.New("agree on whose turn it is: the answer changes with every look")
}

// look gathers the world from caches, and what cannot be cached when it is due.
func (r *Reconciler) look(ctx context.Context) (*world, error) {
	w := &world{now: r.Now(), namespace: r.Namespace}
	if err := r.readDocuments(ctx, r.ConfigMaps, w); err != nil {
		return nil, err
	}
	if err := r.readConfig(ctx, w); err != nil || w.configObject == nil {
		return w, err
	}
	nodes, err := r.nodes(ctx, w)
	if err != nil {
		return nil, err
	}
	apiservers, etcd, err := r.pods(ctx)
	if err != nil {
		return nil, err
	}
	evidence, err := r.evidence(ctx, w, apiservers)
	if err != nil {
		return nil, err
	}
	w.evidence = evidence.With(nodes, apiservers, etcd)
	if w.config == nil {
		return w, nil
	}
	if w.otherRelease, err = r.otherRelease(ctx, w, nodes); err != nil {
		return nil, err
	}
	if w.found, err = r.resolve(ctx, w.config.Sink); err != nil {
		return nil, err
	}
	if err := r.findReceiver(ctx, w); err != nil {
		return nil, err
	}
	if err := r.findOperator(ctx, w); err != nil {
		return nil, err
	}
	return w, r.findProfile(ctx, w)
}

// nodes are those in the caches, and those that have documents and are in none. Such a node is gone or no control-plane node
// any more, or it has just changed its labels and moves from one cache to another: then it must not be taken for gone, least
// of all while it holds the permit.
func (r *Reconciler) nodes(ctx context.Context, w *world) ([]detect.Node, error) {
	var nodes []detect.Node
	seen := map[string]bool{}
	for _, from := range r.Nodes {
		var list corev1.NodeList
		if err := from.Reader.List(ctx, &list, client.MatchingLabelsSelector{Selector: from.Selector}); err != nil {
			return nil, fmt.Errorf("list nodes with %s: %w", from.Selector, err)
		}
		for i := range list.Items {
			// A node whose labels change is in two caches for a moment.
			if n := &list.Items[i]; !seen[n.Name] {
				seen[n.Name] = true
				nodes = append(nodes, detect.FromNode(n))
			}
		}
	}
	for _, documents := range []map[string]*corev1.ConfigMap{w.planObjects, w.statusObjects} {
		for name := range documents {
			if seen[name] {
				continue
			}
			seen[name] = true
			var n corev1.Node
			switch err := r.Live.Get(ctx, client.ObjectKey{Name: name}, &n); {
			case err == nil:
				nodes = append(nodes, detect.FromNode(&n))
			case !apierrors.IsNotFound(err):
				return nil, fmt.Errorf("get node %q: %w", name, err)
			}
		}
	}
	return nodes, nil
}

// pods are the control plane's: its apiservers and the members of its etcd.
func (r *Reconciler) pods(ctx context.Context) (apiservers []detect.Apiserver, etcd []detect.EtcdMember, err error) {
	seen := map[string]bool{}
	for _, from := range r.Pods {
		var list corev1.PodList
		if err := from.Reader.List(ctx, &list, client.InNamespace(systemNamespace), client.MatchingLabelsSelector{Selector: from.Selector}); err != nil {
			return nil, nil, fmt.Errorf("list pods with %s: %w", from.Selector, err)
		}
		for i := range list.Items {
			switch p := &list.Items[i]; {
			case seen[p.Name]:
			case isEtcd(p):
				seen[p.Name] = true
				etcd = append(etcd, detect.FromEtcdPod(p))
			default:
				seen[p.Name] = true
				apiservers = append(apiservers, detect.FromPod(p))
			}
		}
	}
	return apiservers, etcd, nil
}

// evidence is the last survey, or a new one where it is too old or the cluster has changed since.
func (r *Reconciler) evidence(ctx context.Context, w *world, apiservers []detect.Apiserver) (detect.Evidence, error) {
	versions := ""
	for _, a := range apiservers {
		versions += a.Node + "=" + a.Version + " "
	}
	s := &r.survey
	if !s.at.IsZero() && w.now.Sub(s.at) < surveyEvery && s.configVersion == w.configObject.ResourceVersion && s.apiservers == versions {
		return s.evidence, nil
	}
	evidence, err := detect.Gather(ctx, detect.Readers{Discovery: r.Discovery, Live: r.Live})
	if err != nil {
		return detect.Evidence{}, fmt.Errorf("gather evidence: %w", err)
	}
	*s = survey{evidence: evidence, at: w.now, configVersion: w.configObject.ResourceVersion, apiservers: versions}
	r.role = roleState{}
	return evidence, nil
}

// otherRelease looks for nodes of another installation that still exists. Whether it exists is asked of its own
// configuration; an answer that cannot be had counts as yes.
func (r *Reconciler) otherRelease(ctx context.Context, w *world, nodes []detect.Node) (string, error) {
	asked := map[string]bool{}
	for _, n := range nodes {
		owner := n.Annotations[wire.AnnotationOwner]
		namespace, ok := namespaceOf(owner)
		if !ok || asked[owner] || namespace == w.namespace {
			continue
		}
		asked[owner] = true
		var config corev1.ConfigMap
		err := r.Live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: wire.ConfigName}, &config)
		switch {
		case apierrors.IsNotFound(err):
			log.FromContext(ctx).Info("Taking over the node of a release that is gone", "node", n.Name, "release", owner)
		case err == nil, apierrors.IsForbidden(err):
			return owner, nil
		default:
			return "", fmt.Errorf("look for release %s: %w", owner, err)
		}
	}
	return "", nil
}

// carryOut writes in an order in which every stop is safe: an agent finds its status and its leave to write it before it
// starts, and the summary is last.
func (r *Reconciler) carryOut(ctx context.Context, w *world, out outcome) error {
	if err := r.ownLock(ctx, w); err != nil {
		return err
	}
	if err := r.writeRequestObject(ctx, w); err != nil {
		return err
	}
	if err := r.keepAuditSink(ctx, w, out); err != nil {
		return err
	}
	if err := r.tellOperator(ctx, w, out); err != nil {
		return err
	}
	if err := r.writeProfile(ctx, w, out); err != nil {
		return err
	}
	if err := r.writeBridgePlan(ctx, w, out); err != nil {
		return err
	}
	if err := r.writeStatusObjects(ctx, w, out.plans); err != nil {
		return err
	}
	if err := r.writeRole(ctx, w, out.plans); err != nil {
		return err
	}
	var errs []error
	for _, p := range out.plans {
		errs = append(errs, r.writePlan(ctx, w, p))
	}
	for _, n := range out.label {
		errs = append(errs, r.label(ctx, w, n))
	}
	for _, n := range out.unlabel {
		errs = append(errs, r.unlabel(ctx, n))
	}
	for _, name := range out.gone {
		errs = append(errs, r.deleteDocuments(ctx, w, name))
	}
	for _, err := range errs {
		// One of them is enough to look again, and a conflict must stay recognisable.
		if err != nil {
			return err
		}
	}
	return r.writeClusterStatus(ctx, w, out.status)
}

// warning reports whether a reason is bad news for an Event.
func warning(because string) bool {
	switch because {
	case reason.Complete, reason.Forwarding, reason.Disabled, reason.NodeChanging, reason.WaitingForAgent, reason.Settling, reason.Paused, reason.SinkChanging,
		reason.WaitingForPermit, reason.Writing, reason.AwaitingApiserver, reason.Live, reason.Removed, reason.CredentialsChanged,
		reason.UpgradeRunning, reason.AuditSinkNotServed, reason.OperatorRolling:
		return false
	}
	return true
}
