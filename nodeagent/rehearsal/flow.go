package rehearsal

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const (
	// sendPatience is how long sending a batch may take once it is complete.
	sendPatience = 5 * time.Second
	// dialPatience is how long the apiserver itself waits for an address that swallows packets (k8s.io/apimachinery
	// pkg/util/net SetTransportDefaults: 30 s).
	dialPatience = 35 * time.Second
	// defaultBatchWait is the apiserver's own --audit-webhook-batch-max-wait.
	defaultBatchWait = 30 * time.Second
)

// proveFlow waits until the rehearsal has delivered a batch to the sink, or has not been able to. A rehearsal without a
// webhook of ours has nothing to prove, and what cannot be told is no fault.
func (s *Stage) proveFlow(ctx context.Context, c txn.Change, p *plan, server Apiserver) (*txn.Fault, error) {
	if file, _ := p.args.Lookup(auditflag.WebhookConfigFile); file == "" || c.Effects.SinkURL == "" {
		return nil, nil //nolint:nilnil // nothing to prove
	}
	host, err := health.SinkHost(c.Effects.SinkURL)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // the apiserver's counters would not tell
	}
	j, err := s.judgeFlow(ctx, c, p, server, host)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		s.Log.InfoContext(ctx, "Delivery not proved in the rehearsal", "because", err)
		return nil, nil //nolint:nilnil // the check after the change says more
	case j.Status == metav1.ConditionFalse:
		return sinkReason(j), nil
	}
	s.Log.InfoContext(ctx, "Delivery in the rehearsal", "reason", j.Reason, "message", j.Message)
	return nil, nil //nolint:nilnil // no fault
}

// judgeFlow sends a canary, looks for it in the log, and follows the counters of delivery. They begin at zero with the
// process, so that every batch counts.
func (s *Stage) judgeFlow(ctx context.Context, c txn.Change, p *plan, server Apiserver, host string) (health.Judgement, error) {
	trace := health.CanaryUnaudited
	var log *health.Log
	var id string
	if c.Audited {
		trace = health.CanaryNoLog
		var err error
		if p.logs {
			trace = health.CanaryMissing
			if log, err = health.OpenLog(s.open, apiserver.RehearsalLog); err != nil {
				return health.Judgement{}, err
			}
			defer log.Close()
		}
		if id, err = server.Canary(ctx); err != nil {
			return health.Judgement{}, err
		}
	}
	wait := batchWait(p.args) + sendPatience
	began := time.Now()
	for {
		if trace == health.CanaryMissing {
			found, err := log.Find(ctx, id)
			if err != nil {
				return health.Judgement{}, err
			}
			if found {
				trace = health.CanaryFound
			}
		}
		counters, err := server.Deliveries(ctx, host)
		if err != nil {
			return health.Judgement{}, err
		}
		j := health.Judge(health.Counters{}, counters, trace)
		if decided(j, counters, trace, time.Since(began), wait) {
			return j, nil
		}
		if err := s.pause(ctx, s.Timing.withDefaults().Look); err != nil {
			return health.Judgement{}, err
		}
	}
}

func (s *Stage) open(name string) (health.File, error) { return s.Host.Open(name) }

// decided reports whether a judgement after some time is the last word. A batch that arrived is, once the canary is in the
// log. What fails is given the time that one batch takes, and what shows nothing at all, where there is a canary that must
// show, the time in which the apiserver gives up on an address that swallows packets.
func decided(j health.Judgement, c health.Counters, trace health.CanaryTrace, after, wait time.Duration) bool {
	switch {
	case j.Status == metav1.ConditionTrue, trace == health.CanaryUnaudited && c.Delivered > 0:
		return true
	case j.Reason == reason.NothingDelivered:
		return after >= wait+dialPatience
	default:
		return after >= wait
	}
}

// batchWait is how long the apiserver collects events.
func batchWait(args apiserver.Args) time.Duration {
	value, _ := args.Lookup(auditflag.WebhookBatchWait)
	if d, err := time.ParseDuration(value); err == nil && d > 0 {
		return d
	}
	return defaultBatchWait
}
