package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"k8s-audit-enabler.io/nodeagent/txn"
)

// Mark is on the packets that are not redirected: those by which the agent judges the real apiserver. It stays clear of the
// bits that kube-proxy uses, and only the bits of markMask are looked at, since networks use others.
const (
	Mark     = 0x77
	markMask = 0xff
)

const (
	// leaseFor is how long the kernel redirects without hearing from us.
	leaseFor = 10 * time.Second
	// renewEvery leaves a starved process several attempts.
	renewEvery = 2 * time.Second
	// forgetEvery is a small part of the second after which a client sends again what was dropped.
	forgetEvery = 100 * time.Millisecond
	// dialTimeout is for one connection on this host.
	dialTimeout = 2 * time.Second
)

// Config of a redirect.
type Config struct {
	// KubeProxy reports whether a kube-proxy runs on this node.
	KubeProxy func() (bool, error)
	Log       *slog.Logger
	// Lease and Renew are 10 s and 2 s where zero.
	Lease, Renew time.Duration
	// Sweep is how often connections that have ended are looked for while the redirect stands; 250 ms where zero.
	Sweep time.Duration
	// Remembered is for how long they are forgotten after the redirect where the kernel tracks too many to look through; a second
	// longer than the kernel remembers one that was reset where zero.
	Remembered time.Duration
}

// Redirect implements [txn.Handover].
type Redirect struct {
	config Config
	tables tables

	mu      sync.Mutex
	plan    []Routes
	release func()
	// forgets: the kernel lists connections that have ended and whose ports are used again.
	forgets bool
	// after: the redirect has ended, and connections to the rehearsed apiserver that have ended are forgotten still.
	after []Routes
}

var _ txn.Handover = (*Redirect)(nil)

// New returns a redirect that has not been started.
func New(config Config) *Redirect {
	if config.Lease <= 0 {
		config.Lease = leaseFor
	}
	if config.Renew <= 0 {
		config.Renew = renewEvery
	}
	if config.Sweep <= 0 {
		config.Sweep = sweepEvery
	}
	return &Redirect{config: config, tables: tables{mark: Mark, mask: markMask, lease: config.Lease}}
}

// Start implements [txn.Handover]. It returns nil only after connections have been seen to land where they should: an
// unmarked one at the rehearsed apiserver, a marked one at the real one.
func (r *Redirect) Start(ctx context.Context, front txn.Front, to txn.Rehearsed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.clear(); err != nil {
		return err
	}
	evidence, err := look(r.config.KubeProxy, Mark)
	if err != nil {
		return err
	}
	if err := Possible(evidence); err != nil {
		return err
	}
	plan, err := Plan(evidence, front, to)
	if err != nil {
		return err
	}
	if err := r.tables.install(plan); err != nil {
		return fmt.Errorf("this kernel does not take the redirect: %w", err)
	}
	r.plan = plan
	for _, routes := range plan {
		for _, route := range routes.Routes {
			if route.Foreign {
				r.config.Log.InfoContext(ctx, "The apiserver calls itself at the only address it listens on; programs of this host that call it there see the restart", "address", route.To)
			}
		}
	}
	if err := check(ctx, evidence, plan); err != nil {
		return errors.Join(fmt.Errorf("the redirect was tried and does not hold on this host: %w", err), r.clear())
	}
	err = r.tables.installStale(plan)
	if err != nil {
		r.config.Log.WarnContext(ctx, "A client may be refused once where it reuses the port of a connection that the apiserver has reset", "error", err)
	}
	r.forgets = err == nil
	run := []repeated{r.renewing(plan, to.Address)}
	if r.forgets {
		run = append(run, r.forgetting(plan), r.sweeping(plan))
	}
	r.background(ctx, run...)
	return nil
}

// Stop implements [txn.Handover]. It also removes what an earlier life of the agent has left.
func (r *Redirect) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.after != nil:
		return nil // it has ended, and Settle comes
	case r.plan == nil || !r.forgets:
		return r.clear()
	}
	plan := r.plan
	r.rest()
	if err := r.tables.installAfter(plan); err != nil {
		return r.clear()
	}
	r.plan, r.after = nil, plan
	r.background(ctx, r.forgetting(plan))
	return nil
}

// clear takes the tables away, and ends what goes on beside them.
func (r *Redirect) clear() error {
	r.rest()
	err := r.tables.remove()
	if errors.Is(err, errNoTables) && r.plan == nil {
		return nil // where nothing can be started, nothing was
	}
	if err != nil {
		return err
	}
	r.plan, r.after = nil, nil
	return nil
}

// Settle implements [txn.Handover]. What the kernel remembers of connections to the rehearsed apiserver is forgotten; where it
// cannot be looked through, Settle waits until the kernel has forgotten it by itself.
func (r *Redirect) Settle(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.after == nil {
		return nil
	}
	match, err := redirected(ports(r.after, answering))
	if err == nil {
		_, err = sweep(match)
	}
	if err != nil {
		wait := cmp.Or(r.config.Remembered, remembered()+time.Second)
		r.config.Log.InfoContext(ctx, "Waiting until the kernel has forgotten the rehearsed apiserver's connections", "for", wait, "because", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return r.clear()
}

// background does something every so often until [Redirect.rest], beyond the end of ctx.
func (r *Redirect) background(ctx context.Context, run ...repeated) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	for _, a := range run {
		wait.Go(func() { every(ctx, a.period, func() { a.act(ctx) }) })
	}
	r.release = func() { cancel(); wait.Wait() }
}

// rest ends what goes on in the background.
func (r *Redirect) rest() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// repeated is done once a period.
type repeated struct {
	period time.Duration
	act    func(context.Context)
}

func (r *Redirect) renewing(plan []Routes, rehearsed string) repeated {
	return repeated{r.config.Renew, func(ctx context.Context) { r.renew(ctx, plan, rehearsed) }}
}

func (r *Redirect) sweeping(plan []Routes) repeated {
	match := reset(ports(plan, called))
	return repeated{r.config.Sweep, func(ctx context.Context) {
		n, err := sweep(match)
		if n > 0 || err != nil {
			r.config.Log.DebugContext(ctx, "Ended connections looked for", "forgotten", n, "error", err)
		}
	}}
}

func (r *Redirect) forgetting(plan []Routes) repeated {
	return repeated{forgetEvery, func(ctx context.Context) { r.forget(ctx, plan) }}
}

func every(ctx context.Context, period time.Duration, act func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			act()
		}
	}
}

// forget makes room for connections that the kernel takes for older ones.
func (r *Redirect) forget(ctx context.Context, plan []Routes) {
	n, err := r.tables.forget(plan)
	if n > 0 {
		r.config.Log.DebugContext(ctx, "Ended connections forgotten, whose ports are used again", "connections", n)
	}
	if err != nil && ctx.Err() == nil {
		r.config.Log.WarnContext(ctx, "Ended connections not forgotten", "error", err)
	}
}

// renew keeps the lease while the rehearsed apiserver takes connections. A refusal ends it at once; one that does not answer
// in time may be busy, and has until the lease runs out.
func (r *Redirect) renew(ctx context.Context, plan []Routes, rehearsed string) {
	dialer := net.Dialer{Timeout: min(dialTimeout, r.config.Renew)}
	c, err := dialer.DialContext(ctx, "tcp", rehearsed)
	switch {
	case err == nil:
		_ = c.Close()
		err = r.tables.renew(plan)
	case errors.Is(err, syscall.ECONNREFUSED):
		err = errors.Join(fmt.Errorf("the rehearsed apiserver takes no connections: %w", err), r.tables.suspend(plan))
	}
	if err != nil && ctx.Err() == nil {
		r.config.Log.WarnContext(ctx, "Redirect not renewed", "error", err)
	}
}
