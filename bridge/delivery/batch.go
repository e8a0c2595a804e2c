package delivery

import (
	"time"

	"k8s-audit-enabler.io/bridge/event"
)

// Limits bound a batch.
type Limits struct {
	Events int
	Bytes  int
	// Age is how long the first event waits for others.
	Age time.Duration
}

// DefaultLimits suit the receivers that are known: an apiserver sends at most 400 events at once.
func DefaultLimits() Limits { return Limits{Events: 400, Bytes: 1 << 20, Age: 100 * time.Millisecond} }

// Batch is an EventList that is being filled.
type Batch struct {
	limits Limits
	// drops is nil where there is no filter.
	drops func(event.Event) bool
	body  []byte
	// ends are where each event ends in body.
	ends []int
	// dropped are those that the filter has kept out of body.
	dropped int
	since   time.Time

	// Position is the source's own: where it goes on when the batch is settled.
	Position any
}

// NewBatch is an empty batch, for who delivers without a [Pipe].
func (d *Delivery) NewBatch() *Batch {
	b := &Batch{limits: d.o.Limits, body: append([]byte(nil), event.ListHead...)}
	if d.o.Filter != nil {
		b.drops = d.drops
	}
	return b
}

// Reset empties a batch. A body that one huge event has made large is let go.
func (b *Batch) Reset() {
	if cap(b.body) > 4*b.limits.Bytes {
		b.body = append([]byte(nil), event.ListHead...)
	}
	b.body, b.ends, b.Position, b.since = b.body[:len(event.ListHead)], b.ends[:0], nil, time.Time{}
	b.dropped = 0
}

// Fits reports whether an event of that size may be added. The first one always may.
func (b *Batch) Fits(size int) bool {
	return len(b.ends) == 0 || len(b.ends) < b.limits.Events && len(b.body)+1+size+len(event.ListTail) <= b.limits.Bytes
}

// Add copies an event into the batch, unless the filter drops it.
func (b *Batch) Add(e event.Event) {
	if b.Read() == 0 {
		b.since = time.Now()
	}
	if b.drops != nil && b.drops(e) {
		b.dropped++
		return
	}
	if len(b.ends) > 0 {
		b.body = append(b.body, ',')
	}
	b.body = e.AppendV1(b.body)
	b.ends = append(b.ends, len(b.body))
}

// Len is the number of events.
func (b *Batch) Len() int { return len(b.ends) }

// Read is the number of events that the source has added, with those that were dropped: where it is not 0 there is a position to settle.
func (b *Batch) Read() int { return len(b.ends) + b.dropped }

// Due is how long the batch may still wait for more events.
func (b *Batch) Due() time.Duration { return time.Until(b.since.Add(b.limits.Age)) }

// Event is the bytes of one event.
func (b *Batch) event(i int) []byte {
	from := len(event.ListHead)
	if i > 0 {
		from = b.ends[i-1] + 1
	}
	return b.body[from:b.ends[i]]
}

// list is an EventList of a part of the events: the whole batch without a copy.
func (b *Batch) list(from, to int) []byte {
	if from == 0 && to == len(b.ends) {
		whole := append(b.body, event.ListTail...) // the tail stays behind the body's end
		b.body = whole[:len(b.body)]
		return whole
	}
	part := []byte(event.ListHead)
	for i := from; i < to; i++ {
		if i > from {
			part = append(part, ',')
		}
		part = append(part, b.event(i)...)
	}
	return append(part, event.ListTail...)
}

// oldest is when the first event happened, as far as it says.
func (b *Batch) oldest() time.Time {
	if len(b.ends) == 0 {
		return time.Time{}
	}
	if e, err := event.Scan(b.event(0)); err == nil && !e.Stamp().IsZero() {
		return e.Stamp()
	}
	return b.since
}
