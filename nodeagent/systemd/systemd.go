// Package systemd speaks with the host's systemd. It exists for two things: to tell a failure from its cause (an apiserver
// that does not come back because the kubelet is not running is another problem than one that crashes), and to have the
// host itself run what must outlive the agent.
//
// It talks to systemd's private socket directly, which works without a D-Bus daemon and from a pod that sees the host's
// file tree. It changes no unit but those it is given.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	sysdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Errors of this package.
var (
	// ErrNoSystemd says that the host runs no systemd, or that its socket is not reachable from here.
	ErrNoSystemd = errors.New("no systemd on the host")
	// ErrNoUnit says that systemd knows no unit of that name.
	ErrNoUnit = errors.New("no such unit")
)

// privateSocket is where systemd listens for root without a bus.
const privateSocket = "run/systemd/private"

const (
	timeout = 5 * time.Second
	// jobTimeout is for what systemd does, not only says: on a host with many units a reload takes seconds.
	jobTimeout = 30 * time.Second
)

// Client asks the host's systemd. It holds no connection between calls.
type Client struct {
	socket string
}

// New returns a client for the systemd whose host's root directory is mounted at hostRoot; empty means "/".
func New(hostRoot string) *Client {
	if hostRoot == "" {
		hostRoot = "/"
	}
	return &Client{socket: filepath.Join(hostRoot, privateSocket)}
}

// State is a service's state in systemd's words.
type State struct {
	// Active is active, reloading, inactive, failed, activating or deactivating.
	Active string
	// Sub is the service's own state, for example running, dead, auto-restart.
	Sub string
	// MainPID is the main process's PID on the host, 0 where there is none.
	MainPID int
	// ExecMainStart is when the main process was last started, zero where it never was.
	ExecMainStart time.Time
}

// Running reports whether the service has a main process that systemd considers started.
func (s State) Running() bool { return s.Active == "active" && s.Sub == "running" }

// String says the state as systemctl would: "active (running)".
func (s State) String() string { return s.Active + " (" + s.Sub + ")" }

// UnitState returns a service's state. It returns [ErrNoSystemd] or [ErrNoUnit] where there is none.
func (c *Client) UnitState(ctx context.Context, unit string) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		return State{}, err
	}
	defer conn.Close()
	props, err := conn.GetUnitPropertiesContext(ctx, unit)
	if err != nil {
		return State{}, fmt.Errorf("read state of unit %s: %w", unit, err)
	}
	if text(props, "LoadState") == "not-found" {
		return State{}, fmt.Errorf("read state of unit %s: %w", unit, ErrNoUnit)
	}
	service, err := conn.GetUnitTypePropertiesContext(ctx, unit, "Service")
	if err != nil {
		return State{}, fmt.Errorf("read state of service %s: %w", unit, err)
	}
	return stateOf(props, service), nil
}

func stateOf(unit, service map[string]any) State {
	s := State{Active: text(unit, "ActiveState"), Sub: text(unit, "SubState")}
	if pid, ok := service["MainPID"].(uint32); ok {
		s.MainPID = int(pid)
	}
	if micros, ok := service["ExecMainStartTimestamp"].(uint64); ok && micros > 0 && micros < 1<<62 {
		s.ExecMainStart = time.UnixMicro(int64(micros)).UTC()
	}
	return s
}

func text(props map[string]any, name string) string {
	v, _ := props[name].(string)
	return v
}

func (c *Client) connect(ctx context.Context) (*sysdbus.Conn, error) {
	if _, err := os.Stat(c.socket); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("connect to systemd at %s: %w", c.socket, ErrNoSystemd)
	}
	conn, err := sysdbus.NewConnection(func() (*dbus.Conn, error) { return c.dial(ctx) })
	if err != nil {
		return nil, fmt.Errorf("connect to systemd at %s: %w: %w", c.socket, ErrNoSystemd, err)
	}
	return conn, nil
}

// dial authenticates as this process's user and skips Hello: that is the bus daemon's, and here is none.
func (c *Client) dial(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.Dial("unix:path="+dbus.EscapeBusAddressValue(c.socket), dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
