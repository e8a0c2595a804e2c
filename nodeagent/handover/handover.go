package handover

import (
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
}

// Redirect implements [txn.Handover].
type Redirect struct {
	config Config
	tables tables

	mu      sync.Mutex
	plan    []Routes
	release func()
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
	return &Redirect{config: config, tables: tables{mark: Mark, mask: markMask, lease: config.Lease}}
}

// Start implements [txn.Handover]. It returns nil only after connections have been seen to land where they should: an
// unmarked one at the rehearsed apiserver, a marked one at the real one.
func (r *Redirect) Start(ctx context.Context, front txn.Front, to txn.Rehearsed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.stop(); err != nil {
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
		return errors.Join(fmt.Errorf("the redirect was tried and does not hold on this host: %w", err), r.stop())
	}
	r.hold(context.WithoutCancel(ctx), to.Address)
	return nil
}

// Stop implements [txn.Handover]. It also removes what an earlier life of the agent has left.
func (r *Redirect) Stop(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop()
}

func (r *Redirect) stop() error {
	if r.release != nil {
		r.release()
		r.release = nil
	}
	err := r.tables.remove()
	if errors.Is(err, errNoTables) && r.plan == nil {
		return nil // where nothing can be started, nothing was
	}
	if err != nil {
		return err
	}
	r.plan = nil
	return nil
}

// hold renews the lease until release is called.
func (r *Redirect) hold(ctx context.Context, rehearsed string) {
	ctx, cancel := context.WithCancel(ctx)
	plan := r.plan
	var wait sync.WaitGroup
	r.release = func() { cancel(); wait.Wait() }
	wait.Go(func() {
		ticker := time.NewTicker(r.config.Renew)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				r.renew(ctx, plan, rehearsed)
			}
		}
	})
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
