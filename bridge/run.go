package bridge

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// planEvery is how often the plan is read. The kubelet takes longer to bring a change to a pod.
	planEvery = 2 * time.Second
	// startRetry is the pause before a plan is tried again that could not be carried out.
	startRetry = 10 * time.Second
)

// Run carries out the plan until the context ends.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	if err := o.Validate(); err != nil {
		return err
	}
	m := metrics.New()
	b := &bridge{o: o, log: log, metrics: m}
	b.state.set(func() (string, bool) { return "waits for the plan", true })
	m.Ready(func() bool {
		_, ready := b.state.get()
		return ready
	})
	if o.Namespace != "" {
		var err error
		if b.group, err = o.group(); err != nil {
			return err
		}
	}
	server, err := serve(ctx, o.BindAddress, b.handler(), nil)
	if err != nil {
		return err
	}
	defer server.stop(ctx)
	log.Info("Bridge started", "address", server.address, "carries", o.Carry)
	b.follow(ctx)
	return nil
}

// bridge is one process.
type bridge struct {
	o       Options
	log     *slog.Logger
	metrics *metrics.Metrics
	state   state
	// group is nil where this bridge is the only one.
	group *group

	// text is the plan that is carried out, sources what runs for it, and doing what readiness tells of that. refused: another plan that
	// came could not be read, which readiness tells instead.
	text    []byte
	sources *sources
	doing   func() (text string, ready bool)
	refused bool
	retry   time.Time
}

// follow reads the plan until the context ends, and has it carried out.
func (b *bridge) follow(ctx context.Context) {
	tick := time.NewTicker(planEvery)
	defer tick.Stop()
	for {
		b.look(ctx)
		select {
		case <-ctx.Done():
			b.stop(ctx)
			return
		case <-tick.C:
		}
	}
}

// look reads the plan once. What cannot be read changes nothing: the plan before goes on.
func (b *bridge) look(ctx context.Context) {
	text, err := os.ReadFile(b.o.PlanFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.refuse(err)
		return
	}
	if b.text != nil && bytes.Equal(text, b.text) && (b.retry.IsZero() || time.Now().Before(b.retry)) {
		if b.refused {
			b.does(b.doing)
		}
		return
	}
	plan := &wire.BridgePlan{Message: "there is no plan"}
	if len(text) > 0 {
		plan = &wire.BridgePlan{}
		if err := wire.DecodeText(text, wire.KindBridgePlan, plan); err != nil {
			b.refuse(err)
			return
		}
	}
	drops, err := b.filter(plan.Filter)
	if err != nil {
		b.refuse(err)
		return
	}
	b.stop(ctx)
	b.text, b.retry = append([]byte{}, text...), time.Time{}
	started, err := b.start(ctx, plan, drops)
	if err != nil {
		b.retry = time.Now().Add(startRetry)
		b.does(b.problem("carry out the plan", err))
		return
	}
	b.sources = started
	if started == nil {
		b.does(func() (string, bool) { return "idles: " + plan.Message, true })
		b.log.Info("Idles", "plan", plan.Message)
		return
	}
	b.does(started.says)
	now, _ := started.says()
	b.log.Info("Carries out the plan", "state", now, "sink", started.sink.Host())
}

// does has readiness tell of what the plan has led to.
func (b *bridge) does(says func() (text string, ready bool)) {
	b.doing, b.refused = says, false
	b.state.set(says)
}

// refuse leaves the plan before in force, and has readiness tell why.
func (b *bridge) refuse(err error) {
	b.refused = true
	b.state.set(b.problem("read the plan", err))
}

func (b *bridge) problem(what string, err error) func() (string, bool) {
	b.log.Error("Cannot "+what, "file", b.o.PlanFile, "error", err)
	return func() (string, bool) { return what + ": " + err.Error(), false }
}

// filter is what drops events, and nil where nothing does.
func (b *bridge) filter(from wire.EventFilter) (delivery.Filter, error) {
	var once sync.Once
	f, err := filter.New(from, func(id string, err error) {
		b.metrics.FilterErrors.Inc()
		once.Do(func() {
			b.log.Warn("The filter's expression cannot be evaluated for an event, which is kept; others are only counted", "auditID", id, "error", err)
		})
	})
	if err != nil || f == nil {
		return nil, err //nolint:wrapcheck // it says what is wrong with the expression
	}
	return f, nil
}

func (b *bridge) stop(ctx context.Context) {
	if b.sources != nil {
		b.sources.stop(ctx)
		b.sources = nil
	}
}

// state is what readiness tells.
type state struct {
	mu   sync.Mutex
	says func() (text string, ready bool)
}

func (s *state) set(says func() (text string, ready bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.says = says
}

func (s *state) get() (text string, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.says()
}
