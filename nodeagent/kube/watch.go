package kube

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// Update is what the API last said of a plan.
type Update struct {
	// Exists false: there is no such ConfigMap.
	Exists bool
	// ConfigMap is the plan's, where it exists.
	ConfigMap ConfigMap
}

const (
	// watchTime is how long one watch lasts before it is asked for anew; up to half as much is added at random.
	watchTime = 6 * time.Minute
	// watchGrace is how much later than asked the server may end a watch before the connection counts as dead.
	watchGrace = 30 * time.Second
	// shortWatch is a watch that ended so early that asking again at once could become a busy loop.
	shortWatch = 2 * time.Second
)

// WatchPlan follows one ConfigMap until the context ends, and then closes the channel. The first update comes as soon as
// the API answers. The channel holds only the newest update: who reads late never acts on a plan that is already
// replaced. Failures are logged when they begin and when they end, and are otherwise not told.
func (c *Client) WatchPlan(ctx context.Context, namespace, name string) <-chan Update {
	updates := make(chan Update, 1)
	w := &planWatch{client: c, namespace: namespace, name: name, updates: updates}
	go func() {
		defer close(updates)
		w.run(ctx)
	}()
	return updates
}

// errExpired says that the resource version is too old to watch from (410 Gone): list again.
var errExpired = errors.New("resource version expired")

// planWatch is the state of one WatchPlan.
type planWatch struct {
	client    *Client
	namespace string
	name      string
	updates   chan Update

	// version is where to watch from; empty: list first.
	version string
	// last is what was last sent, so that a list after a reconnection does not repeat it.
	last *Update
	// failing: the last attempt failed, and that has been logged.
	failing bool
}

// run lists, watches and waits, for as long as the context lets it.
func (w *planWatch) run(ctx context.Context) {
	var pause backoff
	for ctx.Err() == nil {
		began := time.Now()
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.failed(err)
		}
		if time.Since(began) >= shortWatch && err == nil {
			pause.reset()
			continue
		}
		if !sleep(ctx, pause.next()) {
			return
		}
	}
}

// failed logs the first of a row of failures.
func (w *planWatch) failed(err error) {
	if !w.failing {
		w.client.log.Warn("plan cannot be watched, trying on", "configmap", w.name, "error", err)
	}
	w.failing = true
}

// recovered logs the end of a row of failures.
func (w *planWatch) recovered() {
	if w.failing {
		w.client.log.Info("plan is watched again", "configmap", w.name)
	}
	w.failing = false
}

// once lists if it has to, and then watches until the server ends the watch, which is no error.
func (w *planWatch) once(ctx context.Context) error {
	if w.version == "" {
		if err := w.list(ctx); err != nil {
			return err
		}
	}
	err := w.watch(ctx)
	if errors.Is(err, errExpired) {
		w.version = ""
		return nil
	}
	return err
}

// list learns the ConfigMap's state and a version to watch from. It lists, by name, rather than gets, because an object's
// own version may be too old to watch from while a list's is the present one.
func (w *planWatch) list(ctx context.Context) error {
	var list corev1.ConfigMapList
	err := w.client.rest.Get().Namespace(w.namespace).Resource("configmaps").
		Param("fieldSelector", w.selector()).Timeout(requestTimeout).Do(ctx).Into(&list)
	if err != nil {
		return fmt.Errorf("list ConfigMap: %w", classify(err))
	}
	w.version = list.ResourceVersion
	for i := range list.Items {
		if list.Items[i].Name == w.name {
			w.send(Update{Exists: true, ConfigMap: configMapOf(&list.Items[i])})
			return nil
		}
	}
	w.send(Update{})
	return nil
}

// watch sends what changes after w.version.
func (w *planWatch) watch(ctx context.Context) error {
	lasts := watchTime + rand.N(watchTime/2)
	ctx, cancel := context.WithTimeout(ctx, lasts+watchGrace)
	defer cancel()
	stream, err := w.client.rest.Get().Namespace(w.namespace).Resource("configmaps").
		Param("fieldSelector", w.selector()).
		Param("resourceVersion", w.version).
		Param("allowWatchBookmarks", "true").
		Param("timeoutSeconds", strconv.Itoa(int(lasts.Seconds()))).
		Param("watch", "true").
		Watch(ctx)
	if err != nil {
		if isExpired(err) {
			return errExpired
		}
		return fmt.Errorf("watch ConfigMap: %w", classify(err))
	}
	defer stream.Stop()
	w.recovered()
	for event := range stream.ResultChan() {
		if err := w.handle(event); err != nil {
			return err
		}
	}
	return nil
}

func (w *planWatch) handle(event watch.Event) error {
	if event.Type == watch.Error {
		err := apierrors.FromObject(event.Object)
		if isExpired(err) {
			return errExpired
		}
		w.version = "" // what the stream said is in doubt: begin anew
		return fmt.Errorf("watch ConfigMap: %w", classify(err))
	}
	cm, ok := event.Object.(*corev1.ConfigMap)
	if !ok {
		w.version = ""
		return fmt.Errorf("watch ConfigMap: got a %T", event.Object)
	}
	w.version = cm.ResourceVersion
	if event.Type == watch.Bookmark || cm.Name != w.name {
		return nil
	}
	if event.Type == watch.Deleted {
		w.send(Update{})
		return nil
	}
	w.send(Update{Exists: true, ConfigMap: configMapOf(cm)})
	return nil
}

// send replaces an update that has not been read yet. There is one sender, so the channel has room afterwards.
func (w *planWatch) send(u Update) {
	if w.last != nil && w.last.Exists == u.Exists && w.last.ConfigMap.UID == u.ConfigMap.UID &&
		w.last.ConfigMap.ResourceVersion == u.ConfigMap.ResourceVersion {
		return
	}
	w.last = &u
	select {
	case <-w.updates:
	default:
	}
	w.updates <- u
}

func (w *planWatch) selector() string {
	return fields.OneTermEqualSelector(metav1.ObjectNameField, w.name).String()
}

func isExpired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// backoff is 0.5 s, doubling to 15 s, each shortened at random by up to half: agents that lost the same API do not come
// back to it at the same moment.
type backoff struct {
	step int
}

const (
	firstPause = 500 * time.Millisecond
	maxPause   = 15 * time.Second
)

func (b *backoff) next() time.Duration {
	d := min(firstPause<<b.step, maxPause)
	if d < maxPause {
		b.step++
	}
	return d - rand.N(d/2)
}

func (b *backoff) reset() { b.step = 0 }

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
