package windowtest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/bridge/source/window"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Answer is how long a stand-in of a cloud's API takes for a page in a measurement. The real ones take longer: they are not on loopback,
// and search.
const Answer = 100 * time.Millisecond

// Spent is how long a poller takes from its first request until so many events of the log are at a sink on loopback.
func Spent(t testing.TB, log window.Log, now time.Time, events int64) time.Duration {
	t.Helper()
	var got atomic.Int64
	there := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		if n := int64(bytes.Count(body.Bytes(), []byte(`"auditID":`))); got.Add(n) >= events && got.Load()-n < events {
			close(there)
		}
	}))
	defer server.Close()
	to, err := sink.New(sink.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	m, host := metrics.New(), hostfs.New(t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(ended)
		_ = window.Poll(ctx, window.Options{
			Log: log, Metrics: m, Logger: logging.Discard(), Source: "log", Interval: time.Hour, Now: func() time.Time { return now },
			Keeper: checkpoint.New(host, "/position.json", "log", m, logging.Discard()),
			Delivery: delivery.New(delivery.Options{
				Sink: to, Letters: delivery.Nowhere{}, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: m, Log: logging.Discard(), Source: "log",
			}),
		})
	}()
	select {
	case <-there:
	case <-time.After(time.Minute):
		t.Errorf("%d events have arrived, want %d", got.Load(), events)
	}
	took := time.Since(begin)
	cancel()
	<-ended
	return took
}
