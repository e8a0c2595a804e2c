package watchdog

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Serving asks an apiserver without credentials: the watchdog has none. It implements [txn.Health].
//
// An answer of 401 or 403 counts as well: an apiserver that turns strangers away (--anonymous-auth=false) has started and
// reads its storage. The server is not verified, because nothing is sent to it that is secret, and nobody but root can
// listen in its place on its own host's port.
type Serving struct {
	// Address is host:port.
	Address string
}

// Ready asks /readyz.
func (s Serving) Ready(ctx context.Context) error { return s.ask(ctx, "/readyz") }

// Live asks /livez.
func (s Serving) Live(ctx context.Context) error { return s.ask(ctx, "/livez") }

func (s Serving) ask(ctx context.Context, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.Address+path, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("read answer of %s: %w", path, err)
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
		return nil
	case http.StatusNotFound:
		if path != "/healthz" { // all there is before Kubernetes 1.16
			return s.ask(ctx, "/healthz")
		}
	}
	return fmt.Errorf("%s answers %d: %s", path, response.StatusCode, body)
}
