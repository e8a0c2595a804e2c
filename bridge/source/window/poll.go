// Package window reads the log of a cloud that can only be asked for what was written between two times.
//
// Entries arrive there late, and many bear one time. Each pass therefore reads some of what it has read before again, and now and then
// the whole of a window, and delivers what is new: no entry that arrives within the window is missed, however many share its time, and none
// is delivered twice by one bridge.
package window

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/source"
)

const (
	// Whole is how late an entry may arrive in the log.
	Whole = 5 * time.Minute
	// mostPause is the longest pause after errors.
	mostPause = time.Minute
	// maxSeen bounds how many entries of the window are remembered.
	maxSeen = 1 << 20
)

// Entry is one of the log.
type Entry struct {
	// ID is the log's own.
	ID string
	At time.Time
	// Event is the entry's, where Err is nil.
	Event event.Event
	// Cut says that the entry was cut off, and that Event has what was before the cut.
	Cut bool
	// Err says why the entry is no event: [source.ErrOther] for one of another log.
	Err error
}

// Log is a cloud's.
type Log interface {
	// Page reads entries that were written from one time to another, beginning where the token of the page before says. The last page has
	// no token.
	Page(ctx context.Context, from, to time.Time, token string) (entries []Entry, next string, err error)
}

// Position is how far the log was read.
type Position struct {
	// From is in milliseconds: everything that was written before is at the sink, but for what arrives later than [Whole].
	From int64 `json:"from"`
}

// Options of a poller.
type Options struct {
	Log      Log
	Delivery *delivery.Delivery
	Keeper   *checkpoint.Keeper
	Metrics  *metrics.Metrics
	Logger   *slog.Logger
	// Source names the log in metrics.
	Source string
	// Interval is the pause between passes: APIs allow few requests.
	Interval time.Duration
	// Recent is how much of the window each pass reads again, and how often the whole of it is. Zero: always the whole.
	Recent time.Duration
	Now    func() time.Time
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
	// passed is when the last pass was, and whole when the last that read the whole window.
	passed, whole time.Time
	// newest is the time of the last entry, by the log's clock.
	newest time.Time
	batch  *delivery.Batch
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
			p.o.Logger.Warn("A pass is begun anew", "error", err)
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
				p.o.Logger.Error("Checkpoint is spoilt: what is older than the window may be missing", "window", Whole, "error", err)
			}
			p.position.From = p.o.Now().Add(-Whole).UnixMilli()
			p.o.Keeper.Advance(p.position, 0)
			return nil
		}
		p.o.Logger.Error("Checkpoint cannot be read; tries again", "error", err)
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// pass reads up to now, page by page, and delivers each page before the next is asked for.
func (p *poller) pass(ctx context.Context) error {
	now := p.o.Now()
	from := time.UnixMilli(p.position.From)
	whole := p.whole.IsZero() || now.Sub(p.whole) >= p.o.Recent || now.Before(p.passed)
	if !whole {
		from = p.passed.Add(-p.o.Recent)
	}
	to := now
	if to.Before(from) {
		to = from // this host's clock has gone back, and a log is not asked for what ends before it begins
	}
	for token, first := "", true; first || token != ""; first = false {
		entries, next, err := p.ask(ctx, from, to, token)
		if err != nil {
			return err
		}
		if err := p.page(ctx, entries); err != nil {
			return err
		}
		token = next
	}
	if p.passed = now; whole {
		p.whole = now
	}
	p.advance()
	return nil
}

// ask asks for one page, again and again where it is refused: who begins anew whenever the API is throttled never comes to the end of
// a long pass. After some times the token may be the reason.
func (p *poller) ask(ctx context.Context, from, to time.Time, token string) ([]Entry, string, error) {
	const times = 8
	for attempt := 0; ; attempt++ {
		entries, next, err := p.o.Log.Page(ctx, from, to, token)
		if err == nil {
			return entries, next, nil
		}
		if ctx.Err() != nil || attempt == times {
			return nil, "", fmt.Errorf("read a page: %w", err)
		}
		pause := min(p.o.Interval<<attempt, mostPause)
		p.o.Logger.Warn("The log's API refuses a request; tries again", "pause", pause, "error", err)
		if err := sleep(ctx, pause); err != nil {
			return nil, "", err
		}
	}
}

// advance goes on to where the window of the newest entry begins. It is not the window of this host's clock: one that has jumped ahead
// and goes right again would have the entries in between passed over.
func (p *poller) advance() {
	from := max(p.position.From, p.newest.Add(-Whole).UnixMilli())
	if len(p.seen) > maxSeen {
		from = max(from, p.newest.UnixMilli())
		p.o.Metrics.Lost.WithLabelValues(metrics.LostGap).Inc()
		p.o.Logger.Error("Too many events for the window: those that arrive late now may be missed", "events", len(p.seen))
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
func (p *poller) page(ctx context.Context, entries []Entry) error {
	p.adding = map[key]int64{}
	for _, entry := range entries {
		at := entry.At.UnixMilli()
		if entry.At.After(p.newest) {
			p.newest = entry.At
		}
		if !p.take(entry, at) {
			continue
		}
		e := entry.Event
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

// take reports whether the entry is an event. What is none, or was cut off, is said once, though it is read several times.
func (p *poller) take(entry Entry, at int64) bool {
	whole := entry.Err == nil && !entry.Cut
	if whole || errors.Is(entry.Err, source.ErrOther) {
		return whole
	}
	k := keyOf(entry.ID)
	if p.known(k, at) {
		return entry.Err == nil
	}
	p.seen[k] = at
	if entry.Err == nil {
		p.o.Logger.Warn("An event was cut off in the log; what was before the cut is saved", "auditID", entry.Event.AuditID(), "bytes", len(entry.Event.Raw()))
		return true
	}
	p.o.Metrics.Lost.WithLabelValues(metrics.LostBroken).Inc()
	p.o.Logger.Error("An entry is no audit event and is left out", "entry", entry.ID, "error", entry.Err)
	return false
}

func (p *poller) deliver(ctx context.Context) error {
	p.o.Metrics.In.WithLabelValues(p.o.Source).Add(float64(p.batch.Read()))
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
