package nodeagent

import (
	"context"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
)

// Apiserver is what the proof of delivery asks of the local apiserver. It only reads.
type Apiserver interface {
	// Canary sends a request with an audit ID of its own and returns that ID.
	Canary(ctx context.Context) (string, error)
	// Deliveries reads what the apiserver counted for a sink.
	Deliveries(ctx context.Context, sinkHost string) (health.Counters, error)
}

// flowTarget is where to look for events.
type flowTarget struct {
	revision string
	// logPath is the audit log on the host, empty where there is none.
	logPath string
	sinkURL string
	// audited: the policy in force logs the canary.
	audited bool
	// wait is how long the apiserver collects events before it sends them.
	wait time.Duration
}

type flowVerdict struct {
	revision  string
	judgement health.Judgement
	// counters are those the judgement was made from; nil where nothing could be judged.
	counters *health.Counters
}

const (
	// canaryPatience is how long a canary may take into the log.
	canaryPatience = 5 * time.Second
	// defaultBatchWait is the apiserver's own --audit-webhook-batch-max-wait.
	defaultBatchWait = 30 * time.Second
	// sendPatience is how long sending a batch may take once it is complete.
	sendPatience = 3 * time.Second
	flowTimeout  = 3 * time.Minute
)

// flow proves from time to time that audit events reach the log and the sink. The check runs beside the loop; all methods
// are called by the loop.
type flow struct {
	apiserver Apiserver
	open      health.Opener
	log       *slog.Logger
	// due: the next round shall start a check.
	due bool
	// verdicts carries the running check's verdict; nil where none runs.
	verdicts chan flowVerdict

	cancel   context.CancelFunc
	revision string
	verdict  steadyVerdict
	// counted is what the last check counted; nil before the first of a revision.
	counted *health.Counters
}

func newFlow(apiserver Apiserver, open health.Opener, log *slog.Logger) *flow {
	return &flow{apiserver: apiserver, open: open, log: log, due: true}
}

// start begins a check if one is due and none runs.
func (f *flow) start(ctx context.Context, t flowTarget) {
	if f.revision != t.revision {
		f.stop()
		f.revision, f.verdict, f.counted, f.due = t.revision, steadyVerdict{}, nil, true
	}
	if !f.due || f.cancel != nil {
		return
	}
	f.due = false
	ctx, cancel := context.WithTimeout(ctx, flowTimeout)
	verdicts := make(chan flowVerdict, 1)
	f.cancel, f.verdicts = cancel, verdicts
	counted := f.counted
	go func() {
		judgement, counters, err := f.check(ctx, t, counted)
		if err != nil {
			f.log.DebugContext(ctx, "Flow of events not judged", "error", err)
		}
		verdicts <- flowVerdict{t.revision, judgement, counters}
	}()
}

// stop gives up a running check: what it sees is about to change.
func (f *flow) stop() {
	f.end()
	f.due = true
}

func (f *flow) end() {
	if f.cancel != nil {
		f.cancel()
	}
	f.cancel, f.verdicts = nil, nil
}

// accept takes a check's verdict. An empty one says that it could not be judged.
func (f *flow) accept(v flowVerdict) {
	f.end()
	if v.revision == f.revision && v.counters != nil {
		f.counted = v.counters
	}
	if v.revision == f.revision && v.judgement.Status != "" && f.verdict.observe(v.judgement, time.Now()) {
		f.log.Info("AuditFlowing", "status", v.judgement.Status, "reason", v.judgement.Reason, "message", v.judgement.Message)
	}
}

func (f *flow) shown() health.Judgement {
	if f.verdict.shown.Status == "" {
		return health.Judgement{Status: metav1.ConditionUnknown, Reason: reason.NothingDelivered, Message: "no proof yet"}
	}
	return f.verdict.shown
}

// check sends a canary, looks for it in the log, and compares the delivery counters from before with those after the batch.
func (f *flow) check(ctx context.Context, t flowTarget, counted *health.Counters) (health.Judgement, *health.Counters, error) {
	host, err := health.SinkHost(t.sinkURL)
	if err != nil {
		return health.Judgement{}, nil, err
	}
	var log *health.Log
	if t.logPath != "" {
		if log, err = health.OpenLog(f.open, t.logPath); err != nil {
			return health.Judgement{}, nil, err
		}
		defer log.Close()
	}
	before, err := f.apiserver.Deliveries(ctx, host)
	if err != nil {
		return health.Judgement{}, nil, err
	}
	id, err := f.apiserver.Canary(ctx)
	if err != nil {
		return health.Judgement{}, nil, err
	}
	trace, err := traceCanary(ctx, log, id, t.audited)
	if err != nil {
		return health.Judgement{}, nil, err
	}
	var after health.Counters
	for range 2 {
		if err := sleep(ctx, t.wait+sendPatience); err != nil {
			return health.Judgement{}, nil, err
		}
		if after, err = f.apiserver.Deliveries(ctx, host); err != nil {
			return health.Judgement{}, nil, err
		}
		if after.Delivered > before.Delivered {
			break
		}
	}
	return health.Judge(baseline(before, counted, trace), after, trace), &after, nil
}

// baseline is what to compare the counters with. A sink that swallows packets fails each request only after its time-out, mostly
// between two checks: so failures count from the last check on. Deliveries count from the canary on, which they are to
// prove; where no canary is logged there may be nothing to deliver after it, so they too count from the last check.
func baseline(before health.Counters, counted *health.Counters, trace health.CanaryTrace) health.Counters {
	if counted == nil {
		return before
	}
	from := *counted
	if trace != health.CanaryUnaudited {
		from.Delivered = before.Delivered
	}
	return from
}

func traceCanary(ctx context.Context, log *health.Log, id string, audited bool) (health.CanaryTrace, error) {
	if log == nil {
		if !audited {
			return health.CanaryUnaudited, nil
		}
		return health.CanaryNoLog, nil
	}
	ctx, cancel := context.WithTimeout(ctx, canaryPatience)
	defer cancel()
	found, err := log.WaitFor(ctx, id, time.Second/2)
	switch {
	case err != nil:
		return 0, err
	case found:
		return health.CanaryFound, nil
	case !audited:
		return health.CanaryUnaudited, nil
	default:
		return health.CanaryMissing, nil
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// batchWait is how long the apiserver collects events with the plan's flags.
func batchWait(flags []wire.Flag) time.Duration {
	for _, f := range flags {
		if f.Name != auditflag.WebhookBatchWait {
			continue
		}
		if d, err := time.ParseDuration(f.Value); err == nil && d > 0 {
			return d
		}
	}
	return defaultBatchWait
}

// steadyVerdict is a verdict that changes only when another one lasts: a sink that comes and goes must not have the agent
// write its status for ever. Each change doubles how often the next one must be seen in a row; an hour without one forgives.
type steadyVerdict struct {
	shown   health.Judgement
	next    health.Judgement
	count   int
	need    int
	changed time.Time
}

const (
	firstNeed   = 2
	lastNeed    = 16
	needForgets = time.Hour
)

// observe takes a verdict and reports whether the one to show has changed. The text alone does not count: it holds numbers.
func (s *steadyVerdict) observe(j health.Judgement, now time.Time) bool {
	same := func(a, b health.Judgement) bool { return a.Status == b.Status && a.Reason == b.Reason }
	if same(j, s.shown) {
		s.count = 0
		return false
	}
	if s.need == 0 || now.Sub(s.changed) >= needForgets {
		s.need = firstNeed
	}
	if s.shown.Status == "" {
		s.shown, s.changed = j, now
		return true
	}
	if !same(j, s.next) {
		s.next, s.count = j, 0
	}
	if s.count++; s.count < s.need {
		return false
	}
	s.shown, s.changed, s.count = j, now, 0
	s.need = min(2*s.need, lastNeed)
	return true
}
