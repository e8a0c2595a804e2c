// Package windowtest has a poller read a cloud's log in a test, with a clock of its own and a sink that counts.
package windowtest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source/window"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Collector counts how often each event arrives.
type Collector struct {
	mu  sync.Mutex
	got map[string]int
}

// Post takes an EventList.
func (c *Collector) Post(_ context.Context, body []byte) error {
	items, err := event.Items(body)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range items {
		e, _ := event.Scan(i)
		c.got[e.AuditID()]++
	}
	return err
}

// Scene is a log, a poller that may come and go, and a sink.
type Scene struct {
	Metrics *metrics.Metrics
	// Requests is how many pages were asked for.
	Requests func() int
	// Filter may be set before the poller is started.
	Filter delivery.Filter

	t      *testing.T
	log    window.Log
	recent time.Duration
	sink   *Collector
	host   *hostfs.FS
	stop   func()

	mu  sync.Mutex
	now time.Time
}

// New is a scene without a poller yet.
func New(t *testing.T, log window.Log, recent time.Duration, requests func() int) *Scene {
	t.Helper()
	s := &Scene{
		t: t, log: log, recent: recent, Requests: requests, sink: &Collector{got: map[string]int{}}, Metrics: metrics.New(), host: hostfs.New(t.TempDir()),
		now: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
	}
	t.Cleanup(s.Down)
	return s
}

// Now is the scene's time.
func (s *Scene) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Pass lets time pass.
func (s *Scene) Pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// Up starts a poller, where the one before has saved its position.
func (s *Scene) Up() {
	ctx, cancel := context.WithCancel(s.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = window.Poll(ctx, window.Options{
			Log: s.log, Metrics: s.Metrics, Logger: logging.Discard(), Source: "log", Interval: time.Millisecond, Recent: s.recent, Now: s.Now,
			Keeper: checkpoint.New(s.host, "/position.json", "log", s.Metrics, logging.Discard()),
			Delivery: delivery.New(delivery.Options{
				Sink: s.sink, Filter: s.Filter, Letters: delivery.Nowhere{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: s.Metrics, Log: logging.Discard(), Source: "log",
			}),
		})
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
}

// Down ends it.
func (s *Scene) Down() {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// Arrive waits until so many different events have arrived.
func (s *Scene) Arrive(want int) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.sink.mu.Lock()
		got := len(s.sink.got)
		s.sink.mu.Unlock()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d events have arrived, want %d", got, want)
		}
	}
}

// Ask waits until so many more pages were asked for.
func (s *Scene) Ask(n int) {
	for until := s.Requests() + n; s.Requests() < until; {
		time.Sleep(time.Millisecond)
	}
}

// Once fails the test where an event has arrived more often, but for those that may.
func (s *Scene) Once(but ...string) {
	s.t.Helper()
	s.sink.mu.Lock()
	defer s.sink.mu.Unlock()
	for id, n := range s.sink.got {
		if n != 1 && !slices.Contains(but, id) {
			s.t.Errorf("event %s arrived %d times", id, n)
		}
	}
}
