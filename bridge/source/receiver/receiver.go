package receiver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"

	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/event"
	"k8s-audit-enabler.io/bridge/metrics"
)

const (
	// maxBody bounds a request. An apiserver sends at most 10 MiB where it truncates.
	maxBody = 12 << 20
	// atOnce bounds how many requests are held in memory. Others are asked to come again.
	atOnce = 2
)

// Options of a receiver.
type Options struct {
	// Policy is applied to each event; nil passes everything on.
	Policy *Policy
	// Delivery makes a delivery, one for each request.
	Delivery func() *delivery.Delivery
	Metrics  *metrics.Metrics
	Log      *slog.Logger
	// Source names the receiver in metrics.
	Source string
}

// New is the receiver's handler, for any path.
func New(o Options) http.Handler {
	return &receiver{o: o, slots: make(chan struct{}, atOnce)}
}

type receiver struct {
	o     Options
	slots chan struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "only POST", http.StatusMethodNotAllowed)
		return
	}
	if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "only application/json", http.StatusUnsupportedMediaType)
		return
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "busy", http.StatusTooManyRequests)
		return
	}
	status, text := r.take(req.Context(), http.MaxBytesReader(w, req.Body, maxBody))
	if text != "" {
		http.Error(w, text, status)
	}
}

// take passes a request's events on, and returns the answer.
func (r *receiver) take(ctx context.Context, body io.Reader) (status int, text string) {
	data, err := io.ReadAll(body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		r.lost(metrics.LostTooLong, "", "A list is too large", err)
		return http.StatusRequestEntityTooLarge, "the list is too large"
	case err != nil:
		return http.StatusBadRequest, "the body cannot be read"
	}
	items, err := event.Items(data)
	if err != nil {
		r.lost(metrics.LostBroken, "", "What came is no EventList", err)
		return http.StatusBadRequest, err.Error()
	}
	d := r.o.Delivery()
	batch := d.NewBatch()
	r.o.Metrics.In.WithLabelValues(r.o.Source).Add(float64(len(items)))
	for _, item := range items {
		e, ok := r.judge(item)
		if !ok {
			continue
		}
		if !batch.Fits(len(e.Raw())) {
			if d.Deliver(ctx, batch) != nil {
				return http.StatusServiceUnavailable, "the sink does not take the events"
			}
			batch.Reset()
		}
		batch.Add(e)
	}
	if d.Deliver(ctx, batch) != nil {
		return http.StatusServiceUnavailable, "the sink does not take the events"
	}
	return http.StatusOK, ""
}

// judge returns what is to be passed on of an item.
func (r *receiver) judge(item []byte) (event.Event, bool) {
	e, err := event.Scan(item)
	if err != nil {
		r.lost(metrics.LostBroken, "", "An item is no audit event", err)
		return event.Event{}, false
	}
	if r.o.Policy == nil {
		return e, true
	}
	out, ok, err := r.o.Policy.Apply(e)
	if err != nil {
		r.lost(metrics.LostBroken, e.AuditID(), "An event cannot be judged by the audit policy and is not passed on", err)
		return event.Event{}, false
	}
	if !ok {
		r.o.Metrics.Dropped.Inc()
	}
	return out, ok
}

func (r *receiver) lost(why, id, text string, err error) {
	r.o.Metrics.Lost.WithLabelValues(why).Inc()
	r.o.Log.Error(text, "auditID", id, "error", err)
}
