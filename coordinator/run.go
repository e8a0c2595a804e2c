package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/coordinator/page"
	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	component = wire.ComponentCoordinator
	// The leader must outlive the restart of a single control plane's only apiserver, which takes up to 50 s.
	leaseDuration = 90 * time.Second
	renewDeadline = 75 * time.Second
	retryPeriod   = 8 * time.Second
	maxBackoff    = time.Minute
	clientQPS     = 30
	clientBurst   = 60
	// pagePatience is how long the end waits for somebody who is reading the page.
	pagePatience = 2 * time.Second
)

// Run is the coordinator, until the context ends or leadership is lost.
func Run(ctx context.Context, o Options, config *rest.Config, log *slog.Logger) error {
	ctrllog.SetLogger(logging.Logr(log))
	config = rest.CopyConfig(config)
	config.UserAgent = buildinfo.UserAgent("coordinator")
	config.QPS, config.Burst = clientQPS, clientBurst
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("make discovery client: %w", err)
	}
	served, err := awaitServer(ctx, disco, log)
	if err != nil {
		return fmt.Errorf("wait for the API server: %w", err)
	}
	log.Info("Starting", "version", buildinfo.Version(), "namespace", o.Namespace, "kubernetes", served.version.String(), "leases", served.leases)
	if err := served.adapt(); err != nil {
		return err
	}
	mgr, err := newManager(o, config, served.leases)
	if err != nil {
		return err
	}
	events, err := newEvents(ctx, config, mgr.GetScheme())
	if err != nil {
		return err
	}
	lock, err := newLockOwner(config, o.Namespace, served.leases)
	if err != nil {
		return err
	}
	c, err := wireUp(ctx, mgr, o.Namespace, disco, events, lock)
	if err != nil {
		return err
	}
	if o.servesPage() {
		if err := addPage(mgr, o, c.configMaps, log); err != nil {
			return err
		}
	}
	return mgr.Start(ctx) //nolint:wrapcheck // says what it was doing
}

// newManager is a manager that knows the few kinds that are used, so that no discovery is needed to map them.
func newManager(o Options, config *rest.Config, leases bool) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	options := ctrl.Options{
		Scheme:                        scheme,
		MapperProvider:                mapper,
		Logger:                        ctrllog.Log,
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.ProbeAddress,
		LeaderElection:                o.LeaderElect,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	}
	if o.LeaderElect {
		lock, err := newLock(config, o.Namespace, o.PodName, leases)
		if err != nil {
			return nil, err
		}
		options.LeaderElectionResourceLockInterface = lock
	}
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	for _, add := range []func(string, healthz.Checker) error{mgr.AddHealthzCheck, mgr.AddReadyzCheck} {
		if err := add("ping", healthz.Ping); err != nil {
			return nil, fmt.Errorf("add health check: %w", err)
		}
	}
	return mgr, nil
}

// mapper knows the resources of the kinds that are used. Caches of one namespace ask it for the kinds of lists too.
func mapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	core, rbac := corev1.SchemeGroupVersion, rbacv1.SchemeGroupVersion
	atRoot := []schema.GroupVersionKind{auditsink.Kind(), openshift4.Kind(), openshift4.VersionKind(), openshift4.ProfileKind()}
	groups := []schema.GroupVersion{core, rbac, coordinationv1.SchemeGroupVersion}
	for _, kind := range atRoot {
		groups = append(groups, kind.GroupVersion())
	}
	m := meta.NewDefaultRESTMapper(groups)
	for _, kind := range atRoot {
		m.Add(kind, meta.RESTScopeRoot)
	}
	for _, kind := range []string{"Node", "NodeList"} {
		m.Add(core.WithKind(kind), meta.RESTScopeRoot)
	}
	for _, kind := range []string{"Pod", "PodList", "ConfigMap", "ConfigMapList", "Service", "ServiceList"} {
		m.Add(core.WithKind(kind), meta.RESTScopeNamespace)
	}
	m.Add(rbac.WithKind("Role"), meta.RESTScopeNamespace)
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	return m, nil
}

// newEvents records Events of core/v1, which every version serves, and folds repetitions into one.
func newEvents(ctx context.Context, config *rest.Config, scheme *runtime.Scheme) (record.EventRecorder, error) {
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client for events: %w", err)
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: core.Events("")})
	return broadcaster.NewRecorder(scheme, corev1.EventSource{Component: component}), nil
}

// wireUp connects caches, watches and the reconciler. Everything that happens leads to the same question.
func wireUp(ctx context.Context, mgr manager.Manager, namespace string, disco discovery.DiscoveryInterface, events record.EventRecorder, lock lockOwner) (*caches, error) {
	by, err := newSelectors()
	if err != nil {
		return nil, err
	}
	base := cache.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()}
	c, err := newCaches(mgr.GetConfig(), base, by, namespace)
	if err != nil {
		return nil, err
	}
	shown := metrics.New()
	// There is one coordinator a program, and several in a test: the last is shown.
	ctrlmetrics.Registry.Unregister(shown)
	if err := ctrlmetrics.Registry.Register(shown); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	pulse := make(chan event.GenericEvent, 1)
	r := &Reconciler{
		Namespace:  namespace,
		Client:     mgr.GetClient(),
		ConfigMaps: c.configMaps,
		Nodes:      selected(c.nodes, by.nodes),
		Pods:       selected(c.pods, by.pods),
		Live:       mgr.GetAPIReader(),
		Discovery:  disco,
		Events:     events,
		Now:        time.Now,
		Metrics:    shown,
		lock:       lock,
		Operator:   openshift4.Store{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient()},
		Profiles:   openshift4.Store{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient()},
		AuditSinks: auditsink.Store{Discovery: disco, Reader: mgr.GetAPIReader(), Writer: mgr.GetClient()},
		Services: &serviceWatch{
			config: mgr.GetConfig(), base: base, live: mgr.GetAPIReader(),
			changed: func() {
				select {
				case pulse <- event.GenericEvent{Object: &corev1.Service{}}:
				default: // one is on its way already
				}
			},
			run: background(ctx, mgr),
		},
	}
	ctl, err := controller.New("rollout", mgr, controller.Options{
		Reconciler: r,
		// There is one controller a program, and several programs in a test.
		SkipNameValidation: new(true),
		// Every request is the same, so there is nothing to say about it.
		LogConstructor: func(*reconcile.Request) logr.Logger { return ctrllog.Log },
		RateLimiter:    workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](conflictRetry, maxBackoff),
	})
	if err != nil {
		return nil, fmt.Errorf("make controller: %w", err)
	}
	return c, watchAll(mgr, ctl, c, pulse)
}

// addPage has every coordinator serve the status page, also one that does not lead: each has the same documents in its cache.
func addPage(mgr manager.Manager, o Options, documents client.Reader, log *slog.Logger) error {
	p := page.Page{
		Report:    func(ctx context.Context) (*status.Report, error) { return reportOf(ctx, documents, o.Namespace) },
		Namespace: o.Namespace, Version: buildinfo.Version(), Now: time.Now, Log: log,
	}
	server, err := p.Server(o.PageAddress)
	if err != nil {
		return err
	}
	if err := mgr.Add(&manager.Server{Name: "page", Server: server, ShutdownTimeout: new(pagePatience)}); err != nil {
		return fmt.Errorf("add the status page: %w", err)
	}
	return nil
}

// background starts caches that end with the program or earlier.
func background(ctx context.Context, mgr manager.Manager) func(cache.Cache) context.CancelFunc {
	return func(c cache.Cache) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			if err := c.Start(ctx); err != nil {
				mgr.GetLogger().Error(err, "Cache ended")
			}
		}()
		return cancel
	}
}

func watchAll(mgr manager.Manager, ctl controller.Controller, c *caches, pulse chan event.GenericEvent) error {
	same := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	kinds := map[cache.Cache]client.Object{c.configMaps: &corev1.ConfigMap{}}
	for _, one := range c.nodes {
		kinds[one] = &corev1.Node{}
	}
	for _, one := range c.pods {
		kinds[one] = &corev1.Pod{}
	}
	for one, kind := range kinds {
		if err := mgr.Add(one); err != nil {
			return fmt.Errorf("add cache of %T: %w", kind, err)
		}
		if err := ctl.Watch(source.Kind(one, kind, same, changed())); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if err := ctl.Watch(source.Channel(pulse, same)); err != nil {
		return fmt.Errorf("watch the sink: %w", err)
	}
	return nil
}
