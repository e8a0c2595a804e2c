package receiver

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// store keeps events in the order of their arrival, within a number of raw bytes.
type store struct {
	mu        sync.Mutex
	limit     int
	size      int
	events    []Event
	forgotten int
	seen      map[string]bool
	stats     Stats
	// changed is closed and made anew with each arrival, so that any number of waiters wake up.
	changed chan struct{}
}

// Stats counts what arrived since the receiver was made.
type Stats struct {
	// Events counts all that were accepted, Duplicates those of them whose audit ID and stage a kept event has.
	Events     int `json:"events"`
	Duplicates int `json:"duplicates"`
	// Batches counts accepted requests, Rejected those that were answered with an error: not an EventList, or on purpose.
	Batches  int `json:"batches"`
	Rejected int `json:"rejected"`
	// Bytes is the sum of the accepted requests' bodies.
	Bytes int64 `json:"bytes"`
	// Forgotten counts events that were let go of to stay within the limit.
	Forgotten int `json:"forgotten"`
	// BySource counts accepted events per sender's address.
	BySource map[string]int `json:"bySource"`
}

func newStore(limit int) *store {
	return &store{limit: limit, seen: map[string]bool{}, stats: Stats{BySource: map[string]int{}}, changed: make(chan struct{})}
}

// add takes in one batch, marks duplicates in it and returns it so marked.
func (s *store) add(batch []Event, from string, at time.Time, bodyBytes int) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range batch {
		e := &batch[i]
		e.From, e.At = from, at
		key := e.key()
		if e.Duplicate = s.seen[key]; e.Duplicate {
			s.stats.Duplicates++
		}
		s.seen[key] = true
		s.size += len(e.Raw)
	}
	s.events = append(s.events, batch...)
	drop := 0
	for ; s.size > s.limit && drop < len(s.events); drop++ {
		s.size -= len(s.events[drop].Raw)
		delete(s.seen, s.events[drop].key())
	}
	if drop > 0 {
		s.events = append([]Event(nil), s.events[drop:]...)
		s.forgotten += drop
	}
	s.stats.Events += len(batch)
	s.stats.Batches++
	s.stats.Bytes += int64(bodyBytes)
	s.stats.BySource[from] += len(batch)
	close(s.changed)
	s.changed = make(chan struct{})
	return batch
}

func (s *store) reject() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Rejected++
}

// after returns the events from position on, counted from the first that ever arrived, the position behind them, and a
// channel that is closed at the next arrival.
func (s *store) after(position int) ([]Event, int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := max(position-s.forgotten, 0)
	return s.events[start:len(s.events):len(s.events)], s.forgotten + len(s.events), s.changed
}

// Stats is what arrived so far.
func (r *Receiver) Stats() Stats {
	s := r.store
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Forgotten = s.forgotten
	out.BySource = map[string]int{}
	for from, n := range s.stats.BySource {
		out.BySource[from] = n
	}
	return out
}

// Events returns what is kept and chosen, oldest first. A nil predicate chooses all.
func (r *Receiver) Events(choose Predicate) []Event {
	all, _, _ := r.store.after(0)
	var chosen []Event
	for _, e := range all {
		if choose == nil || choose(e) {
			chosen = append(chosen, e)
		}
	}
	return chosen
}

// WaitFor returns the first chosen event that is kept or arrives before ctx ends. The error says what did arrive meanwhile.
func (r *Receiver) WaitFor(ctx context.Context, choose Predicate) (Event, error) {
	start := r.Stats()
	position := 0
	for {
		events, next, changed := r.store.after(position)
		for _, e := range events {
			if choose(e) {
				return e, nil
			}
		}
		position = next
		select {
		case <-changed:
		case <-ctx.Done():
			now := r.Stats()
			return Event{}, fmt.Errorf("wait for event: %w; %d events came while waiting, %d in all, by source %v",
				ctx.Err(), now.Events-start.Events, now.Events, now.BySource)
		}
	}
}

// Contains reports whether any kept event's raw bytes hold the needle. Together with a zero [Stats].Forgotten it proves
// an absence.
func (r *Receiver) Contains(needle []byte) bool {
	all, _, _ := r.store.after(0)
	for _, e := range all {
		if bytes.Contains(e.Raw, needle) {
			return true
		}
	}
	return false
}
