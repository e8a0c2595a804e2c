package delivery

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/sink"
)

// Poster sends one EventList; see [sink.Sink].
type Poster interface {
	Post(ctx context.Context, body []byte) error
}

// Graveyard keeps what the sink refuses for good. It says whether there was room.
type Graveyard interface {
	Bury(raw []byte) error
}

// Filter names the rule by which an event is not delivered, and is empty for all others; see [filter.Filter].
type Filter interface {
	Drops(e event.Event) (rule string)
}

// Options of a delivery.
type Options struct {
	Sink    Poster
	Letters Graveyard
	// Filter may be nil: everything is delivered.
	Filter  Filter
	Limits  Limits
	Backoff Backoff
	Metrics *metrics.Metrics
	Log     *slog.Logger
	// Source names the partition in metrics and messages.
	Source string
}

// Delivery delivers for one partition of one source: one request at a time.
type Delivery struct {
	o Options
	// trusted: the sink has taken events since the bridge started.
	trusted bool
	// refusing is read by readiness: attempts in a row that failed.
	refusing atomic.Int64
}

// New makes a delivery.
func New(o Options) *Delivery { return &Delivery{o: o} }

// patience is how often a lone event is refused before a sink that also refuses empty lists is believed, if it has taken others.
const patience = 5

// Deliver returns when each of the batch's events is settled, or with the context's error.
func (d *Delivery) Deliver(ctx context.Context, b *Batch) error {
	if b.Len() == 0 {
		return nil
	}
	// With the context's error the events are not this process's to deliver any more, or are sent again.
	defer d.o.Metrics.Pending(d.o.Source, b.oldest())()
	return d.part(ctx, b, 0, b.Len())
}

// drops reports whether the filter drops an event, and counts it.
func (d *Delivery) drops(e event.Event) bool {
	rule := d.o.Filter.Drops(e)
	if rule != "" {
		d.o.Metrics.Filtered.WithLabelValues(rule).Inc()
	}
	return rule != ""
}

// Failures is the number of attempts that have failed since the last success.
func (d *Delivery) Failures() int64 { return d.refusing.Load() }

// part settles the events from one to before another.
func (d *Delivery) part(ctx context.Context, b *Batch, from, to int) error {
	for attempt := 0; ; attempt++ {
		err := d.o.Sink.Post(ctx, b.list(from, to))
		if ctx.Err() != nil && err != nil {
			return ctx.Err()
		}
		verdict := judge(err)
		if verdict == blamed && to-from > 1 {
			middle := from + (to-from)/2
			if err := d.part(ctx, b, from, middle); err != nil {
				return err
			}
			return d.part(ctx, b, middle, to)
		}
		if verdict == blamed && d.atFault(ctx, attempt) {
			d.bury(b.event(from), err)
			return nil
		}
		if verdict == taken {
			if d.refusing.Swap(0) > 0 {
				d.o.Log.Info("The sink takes events again", "source", d.o.Source)
			}
			d.trusted = true
			d.o.Metrics.Batches.Inc()
			d.o.Metrics.Out.WithLabelValues(d.o.Source).Add(float64(to - from))
			return nil
		}
		if err := d.wait(ctx, attempt, err); err != nil {
			return err
		}
	}
}

// atFault reports whether a lone event that the sink refuses is to blame, and not the sink.
func (d *Delivery) atFault(ctx context.Context, attempt int) bool {
	return d.o.Sink.Post(ctx, []byte(event.ListHead+event.ListTail)) == nil || d.trusted && attempt >= patience
}

func (d *Delivery) bury(raw []byte, cause error) {
	d.refusing.Store(0)
	d.o.Metrics.DeadLetters.Inc()
	id := ""
	if e, err := event.Scan(raw); err == nil {
		id = e.AuditID()
	}
	err := d.o.Letters.Bury(raw)
	if err != nil {
		d.o.Metrics.Lost.WithLabelValues(metrics.LostDeadLetter).Inc()
		d.o.Log.Error("An event that the sink refuses is lost: it could not be kept", "source", d.o.Source, "auditID", id, "refusal", cause.Error(), "error", err)
		return
	}
	d.o.Log.Error("An event that the sink refuses is kept as a dead letter", "source", d.o.Source, "auditID", id, "refusal", cause.Error())
}

func (d *Delivery) wait(ctx context.Context, attempt int, err error) error {
	status := "none"
	var refusal *sink.Refusal
	if errors.As(err, &refusal) {
		status = strconv.Itoa(refusal.Status)
	}
	d.o.Metrics.Retries.WithLabelValues(status).Inc()
	pause := d.o.Backoff.pause(attempt, err, draw)
	d.refusing.Add(1)
	d.o.Log.Warn("The sink does not take events; they wait", "source", d.o.Source, "error", err, "attempt", attempt+1, "pause", pause)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
