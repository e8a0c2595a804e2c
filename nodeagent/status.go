package nodeagent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/kube"
)

const (
	firstStatusPause = 500 * time.Millisecond
	maxStatusPause   = 5 * time.Second
)

// reporter writes the node's status: the newest one, only when it differs from what was written last, and as soon as the
// API answers. What was not written meanwhile is not lost: a status carries its conditions' times and the last error.
type reporter struct {
	write func(ctx context.Context, data map[string]string) error
	log   *slog.Logger
	wake  chan struct{}

	mu   sync.Mutex
	want map[string]string
	sent string
}

func newReporter(write func(context.Context, map[string]string) error, log *slog.Logger) *reporter {
	return &reporter{write: write, log: log, wake: make(chan struct{}, 1)}
}

// set makes a status the one to be written. It does not block.
func (r *reporter) set(s wire.NodeStatus) {
	data, err := wire.Encode(wire.KindNodeStatus, &s)
	if err != nil {
		r.log.Error("Status not encoded", "error", err)
		return
	}
	r.mu.Lock()
	r.want = data
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run writes until the context ends.
func (r *reporter) run(ctx context.Context) {
	pause := firstStatusPause
	failing := false
	for {
		err := r.flush(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			if failing {
				r.log.InfoContext(ctx, "Status is written again")
			}
			failing, pause = false, firstStatusPause
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			}
			continue
		}
		if !failing && !errors.Is(err, kube.ErrNotFound) { // the coordinator has not made the ConfigMap yet
			r.log.WarnContext(ctx, "Status not written, trying on", "error", err)
		}
		failing = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, maxStatusPause)
		case <-r.wake: // something has changed, perhaps the API is back
			pause = firstStatusPause
		}
	}
}

// flush writes the newest status if it is not the one that was written last.
func (r *reporter) flush(ctx context.Context) error {
	r.mu.Lock()
	data := r.want
	done := data == nil || data[wire.DocumentKey] == r.sent
	r.mu.Unlock()
	if done {
		return nil
	}
	if err := r.write(ctx, data); err != nil {
		return err
	}
	r.mu.Lock()
	r.sent = data[wire.DocumentKey]
	r.mu.Unlock()
	return nil
}
