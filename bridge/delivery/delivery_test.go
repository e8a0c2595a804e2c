package delivery_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/metricstest"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// fakeSink answers as told and remembers what it has taken.
type fakeSink struct {
	// answer decides about a request; ids are the events in it.
	answer func(ids []string, request int) error

	mu       sync.Mutex
	requests int
	got      []string
	at       []time.Time
}

func (s *fakeSink) Post(_ context.Context, body []byte) error {
	var list struct {
		Kind  string `json:"kind"`
		Items []struct {
			AuditID string `json:"auditID"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil || list.Kind != "EventList" {
		return fmt.Errorf("not an event list: %w: %s", err, body)
	}
	var ids []string
	for _, i := range list.Items {
		ids = append(ids, i.AuditID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	s.at = append(s.at, time.Now())
	if s.answer != nil {
		if err := s.answer(ids, s.requests); err != nil {
			return err
		}
	}
	s.got = append(s.got, ids...)
	return nil
}

func status(code int) error { return &sink.Refusal{Status: code} }

type letters struct{ kept []string }

func (l *letters) Bury(raw []byte) error {
	e, err := event.Scan(raw)
	l.kept = append(l.kept, e.AuditID())
	return err
}

func make1(id string, more ...string) event.Event {
	e, err := event.Scan([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"` + id + `","pad":"` + strings.Join(more, "") + `"}`))
	if err != nil {
		panic(err)
	}
	return e
}

func numbered(n int) []string {
	var ids []string
	for i := range n {
		ids = append(ids, fmt.Sprint("e", i))
	}
	return ids
}

// deliver brings numbered events in one batch.
func deliver(ctx context.Context, s *fakeSink, l delivery.Graveyard, n int) error {
	d := delivery.New(delivery.Options{
		Sink: s, Letters: l, Limits: delivery.Limits{Events: 1000, Bytes: 1 << 20, Age: time.Second}, Backoff: delivery.DefaultBackoff(),
		Metrics: metrics.New(), Log: logging.Discard(), Source: "test",
	})
	settled := make(chan struct{})
	p := d.NewPipe(func(*delivery.Batch) { close(settled) })
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	defer func() { <-done }()
	defer cancel()
	b, err := p.Fresh(ctx)
	if err != nil {
		return err
	}
	for _, id := range numbered(n) {
		b.Add(make1(id))
	}
	if err := p.Submit(ctx, b); err != nil {
		return err
	}
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	contains := slices.Contains[[]string]
	tests := map[string]struct {
		answer func(ids []string, request int) error
		// lost are not in got, and buried is what became of them.
		buried []string
		hangs  bool
	}{
		"a sink that is well takes all, in order": {},
		"a sink that is away for a while is waited for": {answer: func(_ []string, n int) error {
			if n < 30 {
				return errors.New("connection refused")
			}
			return nil
		}},
		"500, 429, 408, 401 and 404 are no event's fault": {answer: func(_ []string, n int) error {
			if codes := []int{500, 429, 408, 401, 404, 403, 302, 413}; n < len(codes) {
				return status(codes[n-1])
			}
			return nil
		}},
		"one event that is refused is found and buried, and all others arrive": {answer: func(ids []string, _ int) error {
			if contains(ids, "e7") {
				return status(400)
			}
			return nil
		}, buried: []string{"e7"}},
		"so are several, also at both ends": {answer: func(ids []string, _ int) error {
			for _, bad := range []string{"e0", "e13", "e14", "e49"} {
				if contains(ids, bad) {
					return status(http.StatusUnprocessableEntity)
				}
			}
			return nil
		}, buried: []string{"e0", "e13", "e14", "e49"}},
		// It has been well before, so that it would be believed of an event.
		"415, 406 and 431 speak of every request": {answer: func(_ []string, n int) error {
			switch codes := []int{415, 406, 431, 411, 412}; {
			case n == 1:
				return status(http.StatusRequestEntityTooLarge) // so that a part of the events is taken next
			case n > 2 && n < 500:
				return status(codes[n%len(codes)])
			}
			return nil
		}},
		"a batch that is too large is split, and nothing is lost": {answer: func(ids []string, _ int) error {
			if len(ids) > 6 {
				return status(http.StatusRequestEntityTooLarge)
			}
			return nil
		}},
		"a sink that refuses everything costs no event": {answer: func([]string, int) error { return status(400) }, hangs: true},
		"not even when it has been well before": {answer: func(_ []string, n int) error {
			if n < 40 {
				return status(400)
			}
			return nil
		}},
		"a sink that takes no empty list is believed once it has taken others": {answer: func(ids []string, _ int) error {
			if len(ids) == 0 || contains(ids, "e30") {
				return status(400)
			}
			return nil
		}, buried: []string{"e30"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, l := &fakeSink{answer: test.answer}, &letters{}
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				err := deliver(ctx, s, l, 50)
				if test.hangs {
					if !errors.Is(err, context.DeadlineExceeded) || len(l.kept) != 0 {
						t.Errorf("error %v, buried %v", err, l.kept)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				want := slices.DeleteFunc(numbered(50), func(id string) bool { return contains(test.buried, id) })
				if diff := cmp.Diff(want, s.got); diff != "" {
					t.Errorf("arrived (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(test.buried, l.kept); diff != "" {
					t.Errorf("buried (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestPausesGrowToTheirLimitAndTheSinkMayAskForLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{answer: func(_ []string, n int) error {
			switch {
			case n <= 20:
				return errors.New("connection refused")
			case n == 21:
				return &sink.Refusal{Status: 429, RetryAfter: 2 * time.Minute}
			case n == 22:
				return &sink.Refusal{Status: 503, RetryAfter: 24 * time.Hour}
			}
			return nil
		}}
		if err := deliver(t.Context(), s, &letters{}, 1); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < len(s.at); i++ {
			pause := s.at[i].Sub(s.at[i-1])
			most := min(250*time.Millisecond<<(i-1), 30*time.Second)
			switch {
			case i == 21:
				if pause != 2*time.Minute {
					t.Errorf("pause %v, the sink asked for two minutes", pause)
				}
			case i == 22:
				if pause != 5*time.Minute {
					t.Errorf("pause %v, a sink's wish is bounded", pause)
				}
			case pause < most/2 || pause > most:
				t.Errorf("pause %d is %v, want %v to %v", i, pause, most/2, most)
			}
		}
	})
}

// TestASlowSinkSlowsTheSource: a source gets no third batch while the first is in flight.
func TestASlowSinkSlowsTheSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &fakeSink{answer: func([]string, int) error { <-release; return nil }}
		d := delivery.New(delivery.Options{
			Sink: s, Letters: &letters{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: metrics.New(), Log: logging.Discard(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		var positions []int
		p := d.NewPipe(func(b *delivery.Batch) { positions = append(positions, b.Position.(int)) })
		go func() { _ = p.Run(ctx) }()
		taken := 0
		go func() {
			for i := range 3 {
				b, err := p.Fresh(ctx)
				if err != nil {
					return
				}
				taken++
				b.Add(make1(fmt.Sprint("e", i)))
				b.Position = i
				if p.Submit(ctx, b) != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if taken != 2 || len(positions) != 0 {
			t.Errorf("%d batches were given out, %v settled; want two and none", taken, positions)
		}
		close(release)
		synctest.Wait()
		if diff := cmp.Diff([]int{0, 1, 2}, positions); diff != "" {
			t.Error(diff)
		}
		cancel()
		synctest.Wait()
	})
}

func TestABatchIsBoundedByNumberAndBytes(t *testing.T) {
	t.Parallel()
	d := delivery.New(delivery.Options{Limits: delivery.Limits{Events: 3, Bytes: 4096}})
	b, err := d.NewPipe(nil).Fresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !b.Fits(1 << 20) {
		t.Error("an event that is larger than a batch travels alone; it is refused")
	}
	b.Add(make1("a"))
	if b.Fits(5000) || !b.Fits(100) {
		t.Error("the limit of bytes does not hold")
	}
	b.Add(make1("b"))
	b.Add(make1("c"))
	if b.Fits(1) {
		t.Error("the limit of events does not hold")
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := delivery.NewLetters(hostfs.New(dir), "/dead", 250)
	raw := make1("x", strings.Repeat("y", 20)).Raw()
	kept := 0
	for range 5 {
		if err := l.Bury(raw); err == nil {
			kept++
		} else if !errors.Is(err, delivery.ErrFull) {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "dead"))
	if err != nil || len(text) > 250 || kept == 0 || strings.Count(string(text), string(raw)+"\n") != kept {
		t.Errorf("%v: %d kept in %d bytes: %s", err, kept, len(text), text)
	}
}

func TestWhatIsNotThisProcessesToDeliverAnyMoreHasNoLag(t *testing.T) {
	t.Parallel()
	m := metrics.New()
	ctx, cancel := context.WithCancel(t.Context())
	to := &fakeSink{answer: func([]string, int) error {
		cancel()
		return status(http.StatusServiceUnavailable)
	}}
	d := delivery.New(delivery.Options{
		Sink: to, Letters: &letters{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: m, Log: logging.Discard(), Source: "log",
	})
	b := d.NewBatch()
	b.Add(make1("a"))
	if err := d.Deliver(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if lag, ok := metricstest.Gather(t, m.Registry())[`k8s_audit_enabler_bridge_lag_seconds{source="log"}`]; !ok || lag != 0 {
		t.Errorf("lag %v (there: %v), want none", lag, ok)
	}
}
