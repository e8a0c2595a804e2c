// Package metrics counts what goes through the bridge, so that nothing is ever lost in silence: what came in, what the sink has
// taken, and everything between the two.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Reasons for what is lost.
const (
	// LostBroken is a line or an entry that is no audit event.
	LostBroken = "broken"
	// LostTooLong is a line that is longer than the limit.
	LostTooLong = "too_long"
	// LostGap is a log, or a part of one, that was gone before it was read. How many events were in it is not known; it counts once.
	LostGap = "gap"
	// LostDeadLetter is an event that the sink refuses and that the dead letters had no room for.
	LostDeadLetter = "dead_letters_full"
)

const namespace = "k8s_audit_enabler_bridge"

// Metrics are one bridge's. Make them with [New].
type Metrics struct {
	registry *prometheus.Registry

	In, Out, Retries, Lost *prometheus.CounterVec
	DeadLetters, Batches   prometheus.Counter
	Dropped                prometheus.Counter
	CheckpointErrors       prometheus.Counter

	mu          sync.Mutex
	pending     map[string]time.Time
	checkpoints map[string]time.Time
}

// New makes the metrics, all of them zero.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), pending: map[string]time.Time{}, checkpoints: map[string]time.Time{}}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, []string{label})
	}
	one := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	}
	m.In = vec("events_in_total", "Events read from a source.", "source")
	m.Out = vec("events_out_total", "Events that the sink has taken.", "source")
	m.Retries = vec("retries_total", "Requests to the sink that have to be repeated, by the answer's status, or none.", "status")
	m.Lost = vec("lost_total", "Events that will not arrive, by reason; a gap in a log counts once, whatever was in it.", "reason")
	m.DeadLetters = one("dead_letters_total", "Events that the sink refuses for good.")
	m.Batches = one("batches_total", "Requests that the sink has answered with success.")
	m.Dropped = one("policy_dropped_total", "Events that the receiver's audit policy does not record.")
	m.CheckpointErrors = one("checkpoint_errors_total", "Checkpoints that could not be saved.")
	m.registry.MustRegister(m.In, m.Out, m.Retries, m.Lost, m.DeadLetters, m.Batches, m.Dropped, m.CheckpointErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), ages{m})
	for _, reason := range []string{LostBroken, LostTooLong, LostGap, LostDeadLetter} {
		m.Lost.WithLabelValues(reason)
	}
	return m
}

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Pending says since when the oldest event of a source waits that the sink has not taken; the zero time for none.
func (m *Metrics) Pending(source string, since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending[source] = since
}

// Checkpoint says that a source's checkpoint holds all that the sink has taken until then.
func (m *Metrics) Checkpoint(source string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints[source] = at
}

// ages are computed when they are asked for: they grow while nothing happens.
type ages struct{ m *Metrics }

func lagDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_lag_seconds", "Age of the oldest event that waits for the sink; 0 for none.", []string{"source"}, nil)
}

func checkpointDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_checkpoint_age_seconds", "Time since the checkpoint last held all that the sink had taken.", []string{"source"}, nil)
}

func (ages) Describe(to chan<- *prometheus.Desc) {
	to <- lagDesc()
	to <- checkpointDesc()
}

func (a ages) Collect(to chan<- prometheus.Metric) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	for source, since := range a.m.pending {
		lag := 0.0
		if !since.IsZero() {
			lag = max(0, time.Since(since).Seconds())
		}
		to <- prometheus.MustNewConstMetric(lagDesc(), prometheus.GaugeValue, lag, source)
	}
	for source, at := range a.m.checkpoints {
		to <- prometheus.MustNewConstMetric(checkpointDesc(), prometheus.GaugeValue, max(0, time.Since(at).Seconds()), source)
	}
}
