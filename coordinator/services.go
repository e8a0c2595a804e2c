package coordinator

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watchPatience is how long a new watch of a Service may take to come up before the Service is asked for directly, which
// says what is wrong.
const watchPatience = 10 * time.Second

// serviceWatch watches one Service at a time, the one that was last asked for. The permission to read it is for its name
// alone, so the watch has that name as its field selector.
type serviceWatch struct {
	config *rest.Config
	base   cache.Options
	live   client.Reader
	// changed is called when the Service changes.
	changed func()
	// run starts a cache that ends with the program, or when what it returns is called.
	run func(cache.Cache) context.CancelFunc

	mu      sync.Mutex
	key     client.ObjectKey
	current cache.Cache
	stop    context.CancelFunc
}

// Service returns nil where there is none.
func (s *serviceWatch) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	watched, err := s.watch(ctx, client.ObjectKey{Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, watchPatience)
	defer cancel()
	var from client.Reader = watched
	if !watched.WaitForCacheSync(ctx) {
		from = s.live
	}
	var service corev1.Service
	err = from.Get(context.WithoutCancel(ctx), client.ObjectKey{Namespace: namespace, Name: name}, &service)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	if err != nil {
		return nil, err
	}
	return &service, nil
}

// watch returns the cache of that Service, and ends the one of another.
func (s *serviceWatch) watch(ctx context.Context, key client.ObjectKey) (cache.Cache, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && s.key == key {
		return s.current, nil
	}
	if s.stop != nil {
		s.stop()
		s.current, s.stop = nil, nil
	}
	made, err := newCache(s.config, s.base, &corev1.Service{}, cache.ByObject{
		Namespaces: map[string]cache.Config{key.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name)}},
		Transform:  cache.TransformStripManagedFields(),
	})
	if err != nil {
		return nil, err
	}
	stop := s.run(made)
	informer, err := made.GetInformer(ctx, &corev1.Service{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { s.changed() },
			UpdateFunc: func(any, any) { s.changed() },
			DeleteFunc: func(any) { s.changed() },
		})
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("watch service %s: %w", key, err)
	}
	s.key, s.current, s.stop = key, made, stop
	return made, nil
}
