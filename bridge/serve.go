package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	// goodbye is how long requests that are being served may take when the bridge ends.
	goodbye = 20 * time.Second
)

// handler serves what probes and collectors ask for. Readiness is about the bridge itself: a sink that is away is its normal work.
func (b *bridge) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", b.metrics.Handler())
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		text, ready := b.state.get()
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, text)
	})
	return mux
}

// server is an HTTP server that runs.
type server struct {
	http    *http.Server
	address string
	ended   chan struct{}
}

// serve listens, with TLS where a configuration is given.
func serve(ctx context.Context, address string, handler http.Handler, config *tls.Config) (*server, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &server{
		address: listener.Addr().String(), ended: make(chan struct{}),
		http: &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: time.Minute, IdleTimeout: 5 * time.Minute, TLSConfig: config},
	}
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	go func() {
		defer close(s.ended)
		_ = s.http.Serve(listener) // ends when it is stopped
	}()
	return s, nil
}

// stop lets requests end, and then ends them.
func (s *server) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // they were given their time
	}
	<-s.ended
}

// serverTLS reads the certificate at each handshake: a rotated Secret needs no restart, and apiservers keep their connections.
func serverTLS(dir string) (*tls.Config, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // without TLS
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		if err != nil {
			return nil, errors.New("the receiver's tls.crt and tls.key are not a PEM certificate and its key")
		}
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return load() }}, nil
}
