package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/wire"
)

// Times of the election. Who has not renewed for renewDeadline stops, before another may begin after leaseDuration.
const (
	leaseDuration = 30 * time.Second
	renewDeadline = 20 * time.Second
	retryPeriod   = 4 * time.Second
)

// group is what several bridges of one cluster share: who of them reads what only one should, and how far that was read.
type group struct {
	lock      resourcelock.Interface
	positions checkpoint.ConfigMaps
	// Times, shorter in tests.
	lease, renew, retry time.Duration
}

// joinGroup makes the clients. The API server has had Leases since 1.14; the clouds whose logs need them have no older one.
func joinGroup(config *rest.Config, namespace, identity string) (*group, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = buildinfo.UserAgent("bridge")
	leases, err := coordinationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client for leases: %w", err)
	}
	core, err := corev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client for configmaps: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.BridgeLease}, Client: leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
	}
	return &group{lock: lock, positions: core.ConfigMaps(namespace), lease: leaseDuration, renew: renewDeadline, retry: retryPeriod}, nil
}

// lead does the work whenever this bridge leads, until the context ends. The work's context ends when the lease is lost, and the lease is
// given up only once the work has ended: who takes over finds the last position.
func (g *group) lead(ctx context.Context, log *slog.Logger, observe func(leader string), work func(ctx context.Context)) error {
	election := klog.NewContext(context.WithoutCancel(ctx), logr.FromSlogHandler(log.Handler()))
	for ctx.Err() == nil {
		leading := make(chan context.Context, 1)
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: g.lock, LeaseDuration: g.lease, RenewDeadline: g.renew, RetryPeriod: g.retry, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(ctx context.Context) { leading <- ctx }, OnStoppedLeading: func() {}, OnNewLeader: observe,
			},
		})
		if err != nil {
			return fmt.Errorf("take part in the election: %w", err)
		}
		electing, resign := context.WithCancel(election)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			elector.Run(electing)
		}()
		select {
		case <-ctx.Done():
		case <-ended:
		case held := <-leading:
			working, stop := context.WithCancel(ctx)
			lost := context.AfterFunc(held, stop) //nolint:contextcheck // it is the lease's
			work(working)
			lost()
			stop()
		}
		resign()
		<-ended
	}
	return ctx.Err()
}
