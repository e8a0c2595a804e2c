package command

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"k8s-audit-enabler.io/bridge/convert"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/internal/wire"
)

// errBroken says that not all of the input could be used. The rest was.
var errBroken = errors.New("some entries are no audit events, and were left out")

// Convert reads exported entries and writes one EventList, or posts them.
type Convert struct {
	Source string
	Filter wire.EventFilter
	sink   sink.Config
}

// BindFlags adds the flags of `bridge convert`.
func (c *Convert) BindFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.Source, "source", "", "What the input is an export of: "+strings.Join(convert.Sources(), ", ")+".")
	flags.BoolVar(&c.Filter.DropLoopback, "drop-loopback", false, "Leave out events all of whose source addresses are loopback.")
	flags.StringVar(&c.Filter.DropWhen, "drop-when", "", "Leave out events for which this condition is true, in CEL about the variable event.")
	bindSink(flags, &c.sink)
}

// Run converts. Without a sink nothing but the EventList is written to out.
func (c *Convert) Run(ctx context.Context, in io.Reader, out io.Writer, log *slog.Logger) error {
	buffered := bufio.NewWriter(out)
	to := target(&list{out: buffered})
	if c.sink.URL != "" {
		s, err := newSink(c.sink, log)
		if err != nil {
			return err
		}
		to = newPost(ctx, s, log)
	}
	some := &filtered{target: to}
	drops, err := filter.New(c.Filter, func(id string, err error) {
		log.Warn("The expression cannot be evaluated for an event, which is kept", "auditID", id, "error", err)
	})
	if err != nil {
		return err //nolint:wrapcheck // it says what is wrong with the expression
	}
	if drops != nil {
		some.drops = drops.Drops
	}
	reader, err := convert.New(c.Source, some.add, log)
	if err != nil {
		return err //nolint:wrapcheck // it says what is wrong
	}
	result, err := reader.Read(in)
	if err := errors.Join(err, to.end(), buffered.Flush()); err != nil {
		return err
	}
	log.Info("Converted", "events", result.Events, "repaired", result.Repaired, "others", result.Others, "broken", result.Broken, "filtered", some.count)
	if result.Broken > 0 {
		return fmt.Errorf("%w: %d of %d", errBroken, result.Broken, result.Broken+result.Events)
	}
	return nil
}

// target takes the events.
type target interface {
	add(e event.Event) error
	end() error
}

// filtered takes the events that no rule drops.
type filtered struct {
	target

	drops func(e event.Event) (rule string)
	count int
}

func (f *filtered) add(e event.Event) error {
	if f.drops != nil && f.drops(e) != "" {
		f.count++
		return nil
	}
	return f.target.add(e) //nolint:wrapcheck // it is ours
}

// list writes one EventList.
type list struct {
	out   io.Writer
	began bool
}

func (l *list) add(e event.Event) error {
	before := ","
	if !l.began {
		before, l.began = event.ListHead, true
	}
	_, err := l.out.Write(e.AppendV1([]byte(before)))
	return err //nolint:wrapcheck // the output is the user's
}

func (l *list) end() error {
	text := event.ListTail
	if !l.began {
		text = event.ListHead + event.ListTail
	}
	_, err := io.WriteString(l.out, text)
	return err //nolint:wrapcheck // the output is the user's
}

// post posts them, and waits where the sink does not take them.
type post struct {
	ctx      context.Context //nolint:containedctx // it lives as long as one call
	delivery *delivery.Delivery
	batch    *delivery.Batch
}

func newPost(ctx context.Context, s *sink.Sink, log *slog.Logger) *post {
	d := delivery.New(delivery.Options{
		Sink: s, Letters: delivery.Nowhere{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: metrics.New(), Log: log, Source: "convert",
	})
	return &post{ctx: ctx, delivery: d, batch: d.NewBatch()}
}

func (p *post) add(e event.Event) error {
	if !p.batch.Fits(len(e.Raw())) {
		if err := p.end(); err != nil {
			return err
		}
	}
	p.batch.Add(e)
	return nil
}

func (p *post) end() error {
	if err := p.delivery.Deliver(p.ctx, p.batch); err != nil {
		return fmt.Errorf("post events: %w", err)
	}
	p.batch.Reset()
	return nil
}
