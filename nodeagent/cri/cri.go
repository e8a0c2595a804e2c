// Package cri asks the node's container runtime about the apiserver's pod. It exists because the runtime knows what
// really runs while the apiserver is away and no mirror pod can be read: which revision the running sandbox was made
// from, whether its container runs, how often it has exited, and what it last logged.
//
// It speaks CRI v1, and v1alpha2 to runtimes that know no v1 (containerd before 1.6, CRI-O before 1.23, dockershim).
// The types of v1alpha2 are no longer published, but v1 was made from it message by message with the same field numbers,
// so v1's messages are sent to v1alpha2's methods. The package only reads; no runtime type leaves it.
package cri

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ErrNoRuntime says that no container runtime answered on any socket.
var ErrNoRuntime = errors.New("no container runtime answers")

// Services of the two versions of CRI, most recent first.
const (
	serviceV1       = "/runtime.v1.RuntimeService/"
	serviceV1alpha2 = "/runtime.v1alpha2.RuntimeService/"
)

const (
	defaultTimeout     = 5 * time.Second
	defaultIdleTimeout = 30 * time.Second
	// maxResponse bounds one answer. A node of several hundred pods with long annotations stays below 4 MiB.
	maxResponse = 16 << 20
)

// Config says how to reach the runtime.
type Config struct {
	// HostRoot is where the host's root directory is mounted; empty means "/".
	HostRoot string
	// KubeletEndpoint returns the socket that the kubelet was told, empty where that is not known. It is asked again
	// whenever a runtime has to be found. Nil: only well-known sockets are tried.
	KubeletEndpoint func() string
	// Timeout bounds each call, 5 s where zero.
	Timeout time.Duration
	// IdleTimeout is how long an unused connection stays open, 30 s where zero: an idle agent holds none.
	IdleTimeout time.Duration
}

// Runtime is what a container runtime says of itself.
type Runtime struct {
	// Name and Version as in "containerd", "1.7.27".
	Name, Version string
	// API is the CRI version in use, v1 or v1alpha2.
	API string
	// Socket is the socket's path on the host.
	Socket string
}

// Client asks the container runtime. It connects when it is first used and may be used from several goroutines.
type Client struct {
	config Config

	mu   sync.Mutex
	link *link
}

// link is a runtime that has answered.
type link struct {
	conn    *grpc.ClientConn
	service string
	runtime Runtime
}

// New returns a client; nothing is dialed yet.
func New(config Config) *Client {
	if config.HostRoot == "" {
		config.HostRoot = "/"
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = defaultIdleTimeout
	}
	return &Client{config: config}
}

// Runtime says which runtime answers. It returns [ErrNoRuntime], with what each existing socket said, where none does.
func (c *Client) Runtime(ctx context.Context) (Runtime, error) {
	l, err := c.connect(ctx)
	if err != nil {
		return Runtime{}, err
	}
	return l.runtime, nil
}

// Close ends the connection. A closed client connects again when it is used.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closeLocked()
}

func (c *Client) closeLocked() error {
	if c.link == nil {
		return nil
	}
	err := c.link.conn.Close()
	c.link = nil
	if err != nil {
		return fmt.Errorf("close connection to container runtime: %w", err)
	}
	return nil
}

// connect returns the runtime in use, or finds one.
func (c *Client) connect(ctx context.Context) (*link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		return c.link, nil
	}
	var faults []string
	for _, socket := range c.sockets() {
		l, err := c.try(ctx, socket)
		if err == nil {
			c.link = l
			return l, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, err.Error())
		}
	}
	if len(faults) == 0 {
		return nil, fmt.Errorf("find container runtime: %w: no socket at any known path", ErrNoRuntime)
	}
	return nil, fmt.Errorf("find container runtime: %w: %s", ErrNoRuntime, strings.Join(faults, "; "))
}

// try asks the runtime behind one socket for its version, in both versions of CRI.
func (c *Client) try(ctx context.Context, socket string) (*link, error) {
	file, err := resolve(c.config.HostRoot, socket)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("unix://"+file,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithIdleTimeout(c.config.IdleTimeout),
		grpc.WithNoProxy(),
		grpc.WithAuthority("localhost"), // old runtimes refuse a socket path as authority
		grpc.WithDisableServiceConfig(),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	l := &link{conn: conn}
	for _, service := range []string{serviceV1, serviceV1alpha2} {
		l.service = service
		var answer runtimeapi.VersionResponse
		err = c.invoke(ctx, l, "Version", &runtimeapi.VersionRequest{}, &answer)
		if err == nil {
			l.runtime = Runtime{Name: answer.RuntimeName, Version: answer.RuntimeVersion, API: apiVersion(service), Socket: socket}
			return l, nil
		}
		if status.Code(err) != codes.Unimplemented {
			break
		}
	}
	_ = conn.Close()
	return nil, fmt.Errorf("ask %s: %w", socket, err)
}

func apiVersion(service string) string {
	if service == serviceV1 {
		return "v1"
	}
	return "v1alpha2"
}

// call connects and invokes one method. A runtime that has gone is forgotten, so that the next call finds the one that
// took its place; a restart on the same socket is retried once.
func (c *Client) call(ctx context.Context, method string, request, answer any) error {
	for attempt := 0; ; attempt++ {
		l, err := c.connect(ctx)
		if err != nil {
			return err
		}
		err = c.invoke(ctx, l, method, request, answer)
		if err == nil {
			return nil
		}
		code := status.Code(err)
		if code != codes.Unavailable && code != codes.Unimplemented && code != codes.Canceled || ctx.Err() != nil {
			return fmt.Errorf("ask container runtime: %s: %w", method, err)
		}
		c.forget(l)
		if attempt == 1 {
			return fmt.Errorf("ask container runtime: %s: %w", method, err)
		}
	}
}

func (c *Client) invoke(ctx context.Context, l *link, method string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	return l.conn.Invoke(ctx, l.service+method, request, answer)
}

func (c *Client) forget(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link == l {
		_ = c.closeLocked()
	}
}

func isNotFound(err error) bool { return err != nil && status.Code(err) == codes.NotFound }
