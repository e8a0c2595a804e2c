package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Paths at which EventLists are taken.
const (
	PathSysdig = "/k8s_audit"
	PathFalco  = "/k8s-audit"
)

// PathStats answers a GET with [Stats] as JSON.
const PathStats = "/stats"

// Port is the Sysdig agent's, which the chart's default values name.
const Port = 7765

// Mode is how the receiver behaves.
type Mode int

// Modes.
const (
	// Accept takes every batch.
	Accept Mode = iota
	// Fail answers every batch with 500.
	Fail
	// Hang takes connections and never answers.
	Hang
	// Refuse closes the port, so that connections are refused.
	Refuse
)

// maxBody bounds one batch. An apiserver's default batch is 400 events, each below the 1.5 MiB that etcd takes.
const maxBody = 1 << 30

// Receiver is the server and what it has received. Make one with [Listen].
type Receiver struct {
	store   *store
	address string
	onEvent func(Event)

	mu     sync.Mutex
	mode   Mode
	server *http.Server
	// unhang is closed when Hang ends.
	unhang chan struct{}
}

// Options of a receiver.
type Options struct {
	// Limit bounds the raw bytes kept; zero means 256 MiB.
	Limit int
	// OnEvent, when set, is called with each event in the order of arrival within a batch.
	OnEvent func(Event)
}

// Listen starts a receiver on a TCP address; port 0 takes a free one. Close it when done.
func Listen(address string, o Options) (*Receiver, error) {
	if o.Limit == 0 {
		o.Limit = 256 << 20
	}
	r := &Receiver{store: newStore(o.Limit), address: address, onEvent: o.OnEvent, unhang: make(chan struct{})}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// Address is host:port as bound, the same through every mode.
func (r *Receiver) Address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.address
}

// open binds and serves. The caller has the lock or is alone.
func (r *Receiver) open() error {
	listener, err := net.Listen("tcp", r.address)
	if err != nil {
		return fmt.Errorf("listen for audit events: %w", err)
	}
	r.address = listener.Addr().String()
	server := &http.Server{Handler: r, ReadHeaderTimeout: 30 * time.Second}
	r.server = server
	go func() { _ = server.Serve(listener) }()
	return nil
}

// Set changes the mode. Leaving Hang lets the hanging requests go unanswered; leaving Refuse binds the same port again.
func (r *Receiver) Set(mode Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mode == r.mode {
		return nil
	}
	if r.mode == Hang {
		close(r.unhang)
		r.unhang = make(chan struct{})
	}
	was := r.mode
	r.mode = mode
	if mode == Refuse {
		return r.server.Close()
	}
	if was == Refuse {
		return r.open()
	}
	return nil
}

// Close ends the server and every connection.
func (r *Receiver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mode == Hang {
		close(r.unhang)
		r.mode = Accept
	}
	return r.server.Close()
}

// ServeHTTP takes EventLists at the known paths.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch req.URL.Path {
	case PathSysdig, PathFalco:
		r.take(w, req)
	case PathStats:
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(r.Stats()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	default:
		http.NotFound(w, req)
	}
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "audit events are posted", http.StatusMethodNotAllowed)
		return
	}
	r.mu.Lock()
	mode, unhang := r.mode, r.unhang
	r.mu.Unlock()
	switch mode {
	case Hang:
		select {
		case <-unhang:
		case <-req.Context().Done():
		}
		panic(http.ErrAbortHandler)
	case Fail:
		r.store.reject()
		http.Error(w, "failing as told", http.StatusInternalServerError)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		r.store.reject()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	batch, err := decode(body)
	if err != nil {
		r.store.reject()
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	from, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		from = req.RemoteAddr
	}
	batch = r.store.add(batch, from, time.Now(), len(body))
	if r.onEvent != nil {
		for _, e := range batch {
			r.onEvent(e)
		}
	}
	w.WriteHeader(http.StatusOK)
}

// Serve runs a receiver until ctx ends, for a main package.
func Serve(ctx context.Context, address string, o Options) error {
	r, err := Listen(address, o)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return errors.Join(context.Cause(ctx), r.Close())
}
