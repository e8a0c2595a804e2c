package bridge

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"k8s-audit-enabler.io/internal/logging"
)

// lease is what the locks of several bridges write to.
type lease struct {
	mu      sync.Mutex
	record  resourcelock.LeaderElectionRecord
	version int
}

// lock is one bridge's. Cut off, it reaches nobody.
type lock struct {
	lease    *lease
	identity string
	seen     int
	cut      bool
}

func (l *lock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.lease.mu.Lock()
	defer l.lease.mu.Unlock()
	if l.cut {
		return nil, nil, errors.New("cut off")
	}
	l.seen = l.lease.version
	record := l.lease.record
	return &record, []byte(record.HolderIdentity + record.RenewTime.String()), nil
}

func (l *lock) Update(_ context.Context, record resourcelock.LeaderElectionRecord) error {
	l.lease.mu.Lock()
	defer l.lease.mu.Unlock()
	if l.cut || l.seen != l.lease.version {
		return errors.New("cut off, or another was faster")
	}
	l.lease.version++
	l.seen, l.lease.record = l.lease.version, record
	return nil
}

func (l *lock) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	return l.Update(ctx, record)
}
func (*lock) RecordEvent(string) {}
func (l *lock) Identity() string { return l.identity }
func (l *lock) Describe() string { return l.identity }

func (l *lock) cutOff() {
	l.lease.mu.Lock()
	defer l.lease.mu.Unlock()
	l.cut = true
}

// crew are bridges of which one at a time may work.
type crew struct {
	t       *testing.T
	lease   lease
	works   chan string
	mu      sync.Mutex
	working map[string]bool
	// ending makes the end of work take so long.
	ending time.Duration
}

func (c *crew) join(name string) (l *lock, leave func()) {
	l = &lock{lease: &c.lease, identity: name}
	g := &group{lock: l, lease: 3 * time.Second, renew: time.Second, retry: 20 * time.Millisecond}
	ctx, cancel := context.WithCancel(c.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = g.lead(ctx, logging.Discard(), func(string) {}, func(ctx context.Context) { c.work(ctx, name) })
	}()
	leave = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	c.t.Cleanup(leave)
	return l, leave
}

func (c *crew) work(ctx context.Context, name string) {
	c.mu.Lock()
	c.working[name] = true
	if len(c.working) > 1 {
		c.t.Errorf("at once: %v", c.working)
	}
	c.mu.Unlock()
	c.works <- name
	<-ctx.Done()
	time.Sleep(c.ending)
	c.mu.Lock()
	delete(c.working, name)
	c.mu.Unlock()
}

func (c *crew) expect(name string) {
	c.t.Helper()
	select {
	case got := <-c.works:
		if got != name {
			c.t.Fatalf("%s works, want %s", got, name)
		}
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s does not work", name)
	}
}

func newCrew(t *testing.T) *crew {
	t.Helper()
	return &crew{t: t, works: make(chan string, 10), working: map[string]bool{}}
}

func TestTheLeaseIsGivenUpOnceTheWorkHasEnded(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	c.ending = 100 * time.Millisecond
	_, leave := c.join("a")
	c.expect("a")
	c.join("b")
	leave()
	c.expect("b")
}

func TestABridgeThatIsCutOffStopsBeforeAnotherBegins(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	first, _ := c.join("a")
	c.expect("a")
	c.join("b")
	first.cutOff()
	c.expect("b")
}

func TestABridgeThatIsToldToEndWhileItWaitsEnds(t *testing.T) {
	t.Parallel()
	c := newCrew(t)
	c.join("a")
	c.expect("a")
	_, leave := c.join("b")
	leave()
}
