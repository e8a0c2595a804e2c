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

	"k8s-audit-enabler.io/internal/buildinfo"
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
	Filtered               *prometheus.CounterVec
	FilterErrors           prometheus.Counter
	Dropped                prometheus.Counter
	CheckpointErrors       prometheus.Counter

	mu          sync.Mutex
	pending     map[string]waiting
	checkpoints map[string]time.Time
	ready       func() bool
}

// waiting are the times of the oldest events that wait, one for each batch that is in flight.
type waiting map[*time.Time]bool

// New makes the metrics, all of them zero.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), pending: map[string]waiting{}, checkpoints: map[string]time.Time{}}
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
	m.Filtered = vec("filtered_total", "Events that the filter drops, by rule.", "filter")
	m.FilterErrors = one("filter_errors_total", "Events that the filter's expression could not be evaluated for; they are kept.")
	m.CheckpointErrors = one("checkpoint_errors_total", "Checkpoints that could not be saved.")
	m.registry.MustRegister(m.In, m.Out, m.Retries, m.Lost, m.DeadLetters, m.Batches, m.Dropped, m.Filtered, m.FilterErrors, m.CheckpointErrors,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), ages{m})
	for _, reason := range []string{LostBroken, LostTooLong, LostGap, LostDeadLetter} {
		m.Lost.WithLabelValues(reason)
	}
	return m
}

// Registry holds them, with those of the process.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves them.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Pending says since when the oldest event of a batch waits that the sink has not taken, until settled is called. Several batches of a
// source may be in flight.
func (m *Metrics) Pending(source string, since time.Time) (settled func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pending[source] == nil {
		m.pending[source] = waiting{}
	}
	m.pending[source][&since] = true
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.pending[source], &since)
	}
}

// Forget says that a source is not read any more, here: its ages would grow as if something were wrong with it.
func (m *Metrics) Forget(source string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.checkpoints, source)
	if len(m.pending[source]) == 0 {
		delete(m.pending, source)
	}
}

// Ready has it shown whether the bridge carries out its plan, whenever that is asked for.
func (m *Metrics) Ready(ready func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ready = ready
}

// Checkpoint says that a source's checkpoint holds all that the sink has taken until then.
func (m *Metrics) Checkpoint(source string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checkpoints[source] = at
}

// ages are computed when they are asked for: they grow while nothing happens. So is what the bridge is.
type ages struct{ m *Metrics }

func lagDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_lag_seconds", "Age of the oldest event that waits for the sink; 0 for none.", []string{"source"}, nil)
}

func checkpointDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_checkpoint_age_seconds", "Time since the checkpoint last held all that the sink had taken.", []string{"source"}, nil)
}

func buildDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_build_info", "1; which bridge this is.", []string{"version"}, nil)
}

func readyDesc() *prometheus.Desc {
	return prometheus.NewDesc(namespace+"_ready", "1 where the bridge carries out its plan, or idles because that is the plan.", nil, nil)
}

func (ages) Describe(to chan<- *prometheus.Desc) {
	to <- lagDesc()
	to <- checkpointDesc()
	to <- buildDesc()
	to <- readyDesc()
}

func (a ages) Collect(to chan<- prometheus.Metric) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	gauge(buildDesc(), 1, buildinfo.Version())
	if a.m.ready != nil {
		now := 0.0
		if a.m.ready() {
			now = 1
		}
		gauge(readyDesc(), now)
	}
	for source, batches := range a.m.pending {
		lag := 0.0
		for since := range batches {
			lag = max(lag, time.Since(*since).Seconds())
		}
		gauge(lagDesc(), lag, source)
	}
	for source, at := range a.m.checkpoints {
		gauge(checkpointDesc(), max(0, time.Since(at).Seconds()), source)
	}
}
