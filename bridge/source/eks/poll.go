package eks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
)

const (
	// streams is how EKS names the log streams of the audit log; there are several, and they change.
	streams = "kube-apiserver-audit-"
	// Window is how late an event may arrive in CloudWatch Logs. Each pass reads so much again.
	Window = 5 * time.Minute
	// Interval is the pause between passes: the API allows few requests a second in an account.
	Interval = 5 * time.Second
	// mostPause is the longest pause after errors.
	mostPause = time.Minute
	// maxSeen bounds how many events of the window are remembered.
	maxSeen = 1 << 20
)

// Client is the part of CloudWatch Logs that is asked.
type Client interface {
	FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, options ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
}

// Position is how far the log was read.
type Position struct {
	// From is in milliseconds: everything that was written before is at the sink, but for what arrives later than [Window].
	From int64 `json:"from"`
}

// Options of a poller.
type Options struct {
	Client Client
	// Cluster is the EKS cluster's name.
	Cluster  string
	Delivery *delivery.Delivery
	Keeper   *checkpoint.Keeper
	Metrics  *metrics.Metrics
	Log      *slog.Logger
	// Source names the log in metrics.
	Source string
	// Interval is the pause between passes.
	Interval time.Duration
	Now      func() time.Time
}

// Poll reads the log until the context ends, which is its only error.
func Poll(ctx context.Context, o Options) error {
	p := &poller{o: o, batch: o.Delivery.NewBatch(), seen: map[key]int64{}}
	saving, end := context.WithCancel(context.WithoutCancel(ctx))
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		o.Keeper.Run(saving)
	}()
	err := p.run(ctx)
	end()
	<-saved
	return err
}

// key tells one stage of one request from all others.
type key [16]byte

type poller struct {
	o        Options
	position Position
	batch    *delivery.Batch
	// seen are the events of the window that the sink has, with their time.
	seen map[key]int64
	// adding are those of the batch.
	adding map[key]int64
}

func (p *poller) run(ctx context.Context) error {
	if err := p.start(ctx); err != nil {
		return err
	}
	for {
		err := p.pass(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			p.o.Log.Warn("A pass is begun anew", "cluster", p.o.Cluster, "error", err)
		}
		if err := sleep(ctx, p.o.Interval); err != nil {
			return err
		}
	}
}

// start begins where it was. Where that is not known it begins with the window: what is older was there before the bridge.
func (p *poller) start(ctx context.Context) error {
	for {
		found, err := p.o.Keeper.Load(&p.position)
		if found {
			return nil
		}
		if err == nil || errors.Is(err, checkpoint.ErrUnreadable) {
			if err != nil {
				p.o.Metrics.Lost.WithLabelValues(metrics.LostGap).Inc()
				p.o.Log.Error("Checkpoint is spoilt: what is older than the window may be missing", "window", Window, "error", err)
			}
			p.position.From = p.o.Now().Add(-Window).UnixMilli()
			return nil
		}
		p.o.Log.Error("Checkpoint cannot be read; tries again", "error", err)
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// pass reads from the position to now, page by page, and delivers each page before the next is asked for.
func (p *poller) pass(ctx context.Context) error {
	now := p.o.Now()
	in := &cloudwatchlogs.FilterLogEventsInput{
		LogGroupName: aws.String("/aws/eks/" + p.o.Cluster + "/cluster"), LogStreamNamePrefix: aws.String(streams),
		StartTime: aws.Int64(p.position.From), EndTime: aws.Int64(now.UnixMilli()),
	}
	for {
		out, err := p.ask(ctx, in)
		if err != nil {
			return err
		}
		if err := p.page(ctx, out.Events); err != nil {
			return err
		}
		if out.NextToken == nil || *out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	p.advance(now)
	return nil
}

// ask asks for one page, again and again where it is refused: who begins anew whenever the API is throttled never comes to the end of
// a long pass. After some times the token may be the reason.
func (p *poller) ask(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	const times = 8
	for attempt := 0; ; attempt++ {
		out, err := p.o.Client.FilterLogEvents(ctx, in)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil || attempt == times {
			return nil, fmt.Errorf("filter log events: %w", err)
		}
		pause := min(p.o.Interval<<attempt, mostPause)
		p.o.Log.Warn("CloudWatch Logs refuses a request; tries again", "cluster", p.o.Cluster, "pause", pause, "error", err)
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// advance goes on to where the window begins. A clock that went back changes nothing.
func (p *poller) advance(now time.Time) {
	from := max(p.position.From, now.Add(-Window).UnixMilli())
	if len(p.seen) > maxSeen {
		from = max(from, now.UnixMilli())
		p.o.Metrics.Lost.WithLabelValues(metrics.LostGap).Inc()
		p.o.Log.Error("Too many events for the window: those that arrive late now may be missed", "cluster", p.o.Cluster, "events", len(p.seen))
	}
	for k, at := range p.seen {
		if at < from {
			delete(p.seen, k)
		}
	}
	if from != p.position.From {
		p.position.From = from
		p.o.Keeper.Advance(p.position, 0)
	}
}

// page delivers what is new.
func (p *poller) page(ctx context.Context, events []types.FilteredLogEvent) error {
	p.adding = map[key]int64{}
	for _, l := range events {
		at := aws.ToInt64(l.Timestamp)
		e, ok := p.parse([]byte(aws.ToString(l.Message)), aws.ToString(l.EventId), at)
		if !ok {
			continue
		}
		k := keyOf(e.AuditID() + "/" + e.Stage())
		if p.known(k, at) {
			continue
		}
		if !p.batch.Fits(len(e.Raw())) {
			if err := p.deliver(ctx); err != nil {
				return err
			}
		}
		p.batch.Add(e)
		p.adding[k] = at
	}
	return p.deliver(ctx)
}

func keyOf(text string) key {
	sum := sha256.Sum256([]byte(text))
	return key(sum[:16])
}

func (p *poller) known(k key, at int64) bool {
	_, seen := p.seen[k]
	_, adding := p.adding[k]
	if seen {
		p.seen[k] = max(p.seen[k], at)
	}
	return seen || adding
}

// parse finds the event of a message. What is none is counted once, though it is read with each pass of the window.
func (p *poller) parse(message []byte, id string, at int64) (event.Event, bool) {
	e, err := event.Scan(message)
	if err == nil {
		return e, true
	}
	k := keyOf(id)
	first := !p.known(k, at)
	if repaired, ok := Repair(message, time.UnixMilli(at)); ok {
		if e, err := event.Scan(repaired); err == nil {
			if first {
				p.seen[k] = at
				p.o.Log.Warn("An event was cut off by CloudWatch; what was before the cut is saved", "auditID", e.AuditID(), "bytes", len(message))
			}
			return e, true
		}
	}
	if first && len(bytes.TrimSpace(message)) > 0 {
		p.seen[k] = at
		p.o.Metrics.Lost.WithLabelValues(metrics.LostBroken).Inc()
		p.o.Log.Error("A message is no audit event and is left out", "eventID", id, "error", err)
	}
	return event.Event{}, false
}

func (p *poller) deliver(ctx context.Context) error {
	p.o.Metrics.In.WithLabelValues(p.o.Source).Add(float64(p.batch.Len()))
	if err := p.o.Delivery.Deliver(ctx, p.batch); err != nil {
		return fmt.Errorf("wait for the sink: %w", err)
	}
	p.batch.Reset()
	for k, at := range p.adding {
		p.seen[k] = at
	}
	clear(p.adding)
	return nil
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
