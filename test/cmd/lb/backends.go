package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// dialTimeout leaves time for a lost packet to be sent again, which takes a second.
const dialTimeout = 3 * time.Second

// backends is the list of apiservers, each with whether it was ready when last asked.
type backends struct {
	file   string
	client *http.Client

	mu    sync.Mutex
	ready map[string]bool
	order []string
	next  int
}

func newBackends(file string) *backends {
	return &backends{
		file:  file,
		ready: make(map[string]bool),
		client: &http.Client{
			Timeout: 2 * time.Second,
			Transport: &http.Transport{
				DisableKeepAlives: true,
				// The answer only steers connections that are then verified end to end.
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
			},
		},
	}
}

// watch reads the file and asks every backend for its readiness, until the context ends.
func (b *backends) watch(ctx context.Context) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		b.probe(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (b *backends) probe(ctx context.Context) {
	data, err := os.ReadFile(b.file)
	if err != nil {
		slog.Warn("read backends", "error", err)
		return
	}
	order := strings.Fields(string(data))
	b.mu.Lock()
	b.order = order
	b.mu.Unlock()
	var all sync.WaitGroup
	for _, address := range order {
		all.Go(func() {
			ready := b.ask(ctx, address)
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.ready[address] != ready {
				slog.Info("backend changed", "address", address, "ready", ready)
			}
			b.ready[address] = ready
		})
	}
	all.Wait()
}

func (b *backends) ask(ctx context.Context, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := b.client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// candidates lists the backends in the order to try them: the ready ones first, each group beginning one further than the
// last time.
func (b *backends) candidates() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ready, others []string
	for i := range b.order {
		address := b.order[(b.next+i)%len(b.order)]
		if b.ready[address] {
			ready = append(ready, address)
		} else {
			others = append(others, address)
		}
	}
	b.next++
	return append(ready, others...)
}

// dial connects to the first backend that takes the connection, or returns nil.
func (b *backends) dial() *net.TCPConn {
	for _, address := range b.candidates() {
		connection, err := net.DialTimeout("tcp", address, dialTimeout)
		if err == nil {
			return connection.(*net.TCPConn)
		}
	}
	return nil
}
