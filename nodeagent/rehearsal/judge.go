package rehearsal

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const (
	// maxExits are as many as the real apiserver would be allowed.
	maxExits = 2
	// tailLines is how much of a failed rehearsal's log is kept.
	tailLines = 20
	// probeTimeout bounds one question to the rehearsed apiserver.
	probeTimeout = 2 * time.Second
	// defaultTimeout is for a change that names none.
	defaultTimeout = 5 * time.Minute
)

// awaitReady waits for the rehearsal to be ready. It returns neither fault nor error when it is.
func (s *Stage) awaitReady(ctx context.Context, c txn.Change, p *plan, server Apiserver) (*txn.Fault, error) {
	timeout := cmp.Or(c.ReadyTimeout, defaultTimeout)
	deadline := time.Now().Add(timeout)
	last := lastWords{timeout: timeout}
	for {
		last.seen, last.err = s.look(ctx, p.mark)
		if last.seen != nil && last.seen.Exits >= maxExits {
			return s.ended(ctx, last.seen), nil
		}
		if last.seen != nil && last.seen.Running {
			if last.probe = ready(ctx, server); last.probe == nil {
				return nil, nil //nolint:nilnil // it is ready
			}
		}
		if time.Now().After(deadline) {
			return s.late(ctx, last), nil
		}
		if err := s.pause(ctx, s.Timing.withDefaults().Look); err != nil {
			return nil, err
		}
	}
}

func ready(ctx context.Context, server Apiserver) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	v, err := server.Readyz(ctx)
	if err != nil {
		return err
	}
	if !v.OK {
		return errors.New(v.String())
	}
	return nil
}

// lastWords are what was seen last of a rehearsal that is not ready.
type lastWords struct {
	timeout time.Duration
	seen    *txn.Instance
	// err is the runtime's, probe the apiserver's.
	err, probe error
}

// late says what is missing when the time is over.
func (s *Stage) late(ctx context.Context, l lastWords) *txn.Fault {
	switch {
	case l.err != nil:
		return faultf(reason.NotReady, "cannot see after %s whether the rehearsal of the new configuration runs: %v", l.timeout, l.err)
	case l.seen == nil:
		return faultf(reason.KubeletDeaf, "the kubelet has not begun with the rehearsal of the new configuration within %s", l.timeout)
	case !l.seen.Running && l.seen.Exits == 0:
		return s.withTail(ctx, l.seen, faultf(reason.NeverStarted, "the rehearsal of the new configuration has not started within %s", l.timeout))
	}
	f := faultf(reason.NotReady, "the rehearsal of the new configuration was not ready within %s: %s", l.timeout, text(l.probe))
	if l.probe != nil && strings.Contains(l.probe.Error(), "[-]etcd") {
		f.Reason = reason.EtcdUnhealthy
	}
	return s.withTail(ctx, l.seen, f)
}

func text(probe error) string {
	if probe == nil {
		return "its container does not run"
	}
	return probe.Error()
}

// ended is for a rehearsal that does not run any more; seen may be nil.
func (s *Stage) ended(ctx context.Context, seen *txn.Instance) *txn.Fault {
	if seen == nil {
		return faultf(reason.NotReady, "the rehearsal of the new configuration has vanished")
	}
	f := s.withTail(ctx, seen, faultf(reason.CrashLooping, "the rehearsal of the new configuration exited %d times", seen.Exits))
	if s.Explain != nil {
		f.Reason = cmp.Or(s.Explain(f.LogTail), f.Reason)
	}
	if n := len(f.LogTail); n > 0 {
		f.Message += "; its last words: " + f.LogTail[n-1]
	}
	return f
}

func (s *Stage) withTail(ctx context.Context, seen *txn.Instance, f *txn.Fault) *txn.Fault {
	lines, err := s.Runtime.LogTail(ctx, *seen, tailLines)
	if err != nil {
		s.Log.WarnContext(ctx, "Log of the rehearsal not read", "error", err)
	}
	f.LogTail = lines
	return f
}

// sinkReason says in a fault what a judgement says in a condition.
func sinkReason(j health.Judgement) *txn.Fault {
	return faultf(j.Reason, "in the rehearsal of the new configuration, events do not arrive. %s Nothing was changed", strings.TrimSuffix(j.Message, " The apiserver itself is not affected."))
}
