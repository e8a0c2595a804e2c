package bridge

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// identity is the directory with the receiver's certificate, and with what it asks of who sends. Its files are read when they are needed:
// a rotated Secret needs no restart, and apiservers keep their connections.
type identity string

func (i identity) certificate() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(string(i), "tls.crt"), filepath.Join(string(i), "tls.key"))
	if err != nil {
		return nil, errors.New("the receiver's tls.crt and tls.key are not a PEM certificate and its key")
	}
	return &pair, nil
}

// config is for one handshake. Where there is a ca.crt, who sends shows a certificate that it has signed.
func (i identity) config() (*tls.Config, error) {
	certificate, err := i.certificate()
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*certificate}}
	ca, err := os.ReadFile(filepath.Join(string(i), "ca.crt"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if err != nil || !c.ClientCAs.AppendCertsFromPEM(ca) {
		return nil, errors.New("the receiver's ca.crt holds no PEM certificate")
	}
	return c, nil
}

// secured is what the receiver listens with; nil means HTTP.
func (i identity) secured() (*tls.Config, error) {
	if i == "" {
		return nil, nil //nolint:nilnil // without TLS
	}
	first, err := i.config()
	if err != nil {
		return nil, err
	}
	first.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return i.config() }
	return first, nil
}

// admit lets requests through that bear the token, where there is one.
func (i identity) admit(next http.Handler) http.Handler {
	if i == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := os.ReadFile(filepath.Join(string(i), "token"))
		if errors.Is(err, fs.ErrNotExist) {
			next.ServeHTTP(w, r)
			return
		}
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		token = bytes.TrimSpace(token)
		if err != nil || len(token) == 0 || subtle.ConstantTimeCompare([]byte(given), token) != 1 {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
