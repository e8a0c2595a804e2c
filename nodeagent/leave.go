package nodeagent

import (
	"context"
	"errors"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// counters are what of a journal is still told after the journal is gone from the host.
type counters struct {
	fence       int64
	restarts    int
	unavailable time.Duration
}

// leave removes our last files from a host that is reverted, before it says so: who hears it may take the agent away at once.
func (a *agent) leave(ctx context.Context, s step, j *txn.Journal) step {
	if s.phase != wire.PhaseReverted || s.action != actNothing {
		return s
	}
	switch err := a.runner.Wipe(ctx); {
	case err == nil:
		a.past = counters{fence: j.Fence, restarts: j.Restarts, unavailable: j.Unavailable}
	case errors.Is(err, hostfs.ErrLocked):
		a.log.InfoContext(ctx, "Another agent of this node is at work")
	default:
		a.log.WarnContext(ctx, "Files left on the host", "error", err)
		s.message += "; files of ours are left on the host: " + err.Error()
	}
	return s
}

// remember gives a journal that begins anew the counters of the one before it. An older permit stays an older one.
func (a *agent) remember(j *txn.Journal) {
	if j.Fence == 0 && j.Last == nil && j.Live == nil {
		j.Fence, j.Restarts, j.Unavailable = a.past.fence, a.past.restarts, a.past.unavailable
	}
}
