package docker

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	// ErrNoEngine is returned where no Docker Engine of the host can be asked.
	ErrNoEngine = errors.New("no Docker Engine answers on this host")
	// ErrNotFound is returned where there is no such container or image.
	ErrNotFound = errors.New("not found")
)

const (
	// maxAnswer is more than any container's description.
	maxAnswer = 4 << 20
	// patience bounds a request that should be answered at once.
	patience = 30 * time.Second
	// StopGrace is how long a container may take to end before it is killed: the Engine's own default, which RKE leaves in force.
	StopGrace = 10 * time.Second
)

// sockets are where an Engine listens on a host.
func sockets() []string { return []string{"/var/run/docker.sock", "/run/docker.sock"} }

// Client talks to the Engine of a host. It holds no connection between two calls.
type Client struct {
	http *http.Client

	mu      sync.Mutex
	version string
}

// New returns a client for the host whose paths osPath translates into those of this process.
func New(osPath func(name string) (string, error)) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var errs []error
		for _, socket := range sockets() {
			at, err := osPath(socket)
			if err == nil {
				var conn net.Conn
				if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", at); err == nil {
					return conn, nil
				}
			}
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
		return nil, fmt.Errorf("%w: %w", ErrNoEngine, cmp.Or(errors.Join(errs...), fs.ErrNotExist))
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// call asks for one thing. A nil in sends nothing, and a nil out reads nothing.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	answer, err := c.send(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the Docker Engine's answer: %w", err)
	}
	return nil
}

// send returns the body of a good answer.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any) (io.ReadCloser, error) {
	version, err := c.speaks(ctx)
	if err != nil {
		return nil, err
	}
	return c.request(ctx, method, "/v"+version+path, query, in)
}

// speaks is the newest version of the API that the Engine has, which it is asked for once.
func (c *Client) speaks(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version != "" {
		return c.version, nil
	}
	answer, err := c.request(ctx, http.MethodGet, "/version", nil, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Close() }()
	var engine struct {
		APIVersion string `json:"ApiVersion"`
	}
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(&engine); err != nil {
		return "", fmt.Errorf("read the Docker Engine's version: %w", err)
	}
	if _, err := strconv.ParseFloat(engine.APIVersion, 64); err != nil {
		return "", fmt.Errorf("the Docker Engine has API version %q: %w", engine.APIVersion, err)
	}
	c.version = engine.APIVersion
	return c.version, nil
}

// forget has the version asked for again: the Engine may have been replaced.
func (c *Client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version = ""
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, in any) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	target := url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		cancel()
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r) //nolint:bodyclose // closed by ending, or by said
	if err != nil {
		cancel()
		return nil, fmt.Errorf("ask the Docker Engine: %w", err)
	}
	if answer.StatusCode < 400 {
		return &ending{answer.Body, cancel}, nil
	}
	defer cancel()
	return nil, said(answer)
}

// ending ends a request with its answer.
type ending struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (e *ending) Close() error {
	defer e.cancel()
	return e.ReadCloser.Close()
}

// said is the error in an answer.
func said(answer *http.Response) error {
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		text = nil
	}
	var fault struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &fault) != nil || fault.Message == "" {
		fault.Message = cmp.Or(strings.TrimSpace(string(text)), answer.Status)
	}
	if answer.StatusCode == http.StatusNotFound {
		return fmt.Errorf("the Docker Engine says: %s: %w", fault.Message, ErrNotFound)
	}
	return fmt.Errorf("the Docker Engine says: %s", fault.Message)
}
