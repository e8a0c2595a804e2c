package systemd

import (
	"context"
	"errors"
	"fmt"

	sysdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Reload has systemd read all unit files again, as systemctl daemon-reload does.
func (c *Client) Reload(ctx context.Context) error {
	return c.with(ctx, "reload units", func(ctx context.Context, conn *sysdbus.Conn) error { return conn.ReloadContext(ctx) })
}

// Enable has a unit started at boot. Its links are made anew where they are there.
func (c *Client) Enable(ctx context.Context, unit string) error {
	return c.with(ctx, "enable "+unit, func(ctx context.Context, conn *sysdbus.Conn) error {
		_, _, err := conn.EnableUnitFilesContext(ctx, []string{unit}, false, true)
		return err
	})
}

// Disable takes that back.
func (c *Client) Disable(ctx context.Context, unit string) error {
	return c.with(ctx, "disable "+unit, func(ctx context.Context, conn *sysdbus.Conn) error {
		_, err := conn.DisableUnitFilesContext(ctx, []string{unit}, false)
		return err
	})
}

// Start starts a unit and returns when it has started.
func (c *Client) Start(ctx context.Context, unit string) error {
	return c.job(ctx, "start "+unit, func(ctx context.Context, conn *sysdbus.Conn, done chan<- string) error {
		_, err := conn.StartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Stop stops a unit and returns when it has stopped.
func (c *Client) Stop(ctx context.Context, unit string) error {
	return c.job(ctx, "stop "+unit, func(ctx context.Context, conn *sysdbus.Conn, done chan<- string) error {
		_, err := conn.StopUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// Restart restarts a unit and returns when that is done.
func (c *Client) Restart(ctx context.Context, unit string) error {
	return c.job(ctx, "restart "+unit, func(ctx context.Context, conn *sysdbus.Conn, done chan<- string) error {
		_, err := conn.RestartUnitContext(ctx, unit, "replace", done)
		return err
	})
}

// RestartSoon has systemd restart a unit and returns when it has taken that on. How the unit fares is not waited for: a service that
// tells when it is ready may take minutes, and one that fails is started again by its own rules.
func (c *Client) RestartSoon(ctx context.Context, unit string) error {
	return c.with(ctx, "restart "+unit, func(ctx context.Context, conn *sysdbus.Conn) error {
		_, err := conn.RestartUnitContext(ctx, unit, "replace", nil)
		return err
	})
}

// Run runs a command in a unit of its own that leaves nothing behind, and returns when it has ended. What it prints is in a file of the
// host then. Before systemd 236 there is no such file.
func (c *Client) Run(ctx context.Context, unit string, command []string, output string) error {
	return c.job(ctx, "run "+command[0], func(ctx context.Context, conn *sysdbus.Conn, done chan<- string) error {
		_, err := conn.StartTransientUnitContext(ctx, unit, "replace", []sysdbus.Property{
			sysdbus.PropType("oneshot"), sysdbus.PropExecStart(command, false),
			{Name: "StandardOutputFile", Value: dbus.MakeVariant(output)},
			{Name: "CollectMode", Value: dbus.MakeVariant("inactive-or-failed")},
		}, done)
		return err
	})
}

// RunSoon has a command run in a unit of its own, one that has ended before it included, and returns when systemd has taken that on.
// It asks for nothing that systemd 219 does not know.
func (c *Client) RunSoon(ctx context.Context, unit string, command []string) error {
	return c.with(ctx, "run "+command[0], func(ctx context.Context, conn *sysdbus.Conn) error {
		_ = conn.ResetFailedUnitContext(ctx, unit) // one that has failed stays in the way
		_, err := conn.StartTransientUnitContext(ctx, unit, "replace", []sysdbus.Property{sysdbus.PropType("oneshot"), sysdbus.PropExecStart(command, false)}, nil)
		return err
	})
}

// Active reports whether a unit is active: a timer that waits is.
func (c *Client) Active(ctx context.Context, unit string) (bool, error) {
	active := false
	err := c.with(ctx, "read state of "+unit, func(ctx context.Context, conn *sysdbus.Conn) error {
		props, err := conn.GetUnitPropertiesContext(ctx, unit)
		active = text(props, "ActiveState") == "active"
		return err
	})
	return active, err
}

func (c *Client) with(ctx context.Context, what string, do func(context.Context, *sysdbus.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	conn, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := do(ctx, conn); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// job waits for systemd's word about what it was asked to do.
func (c *Client) job(ctx context.Context, what string, ask func(context.Context, *sysdbus.Conn, chan<- string) error) error {
	return c.with(ctx, what, func(ctx context.Context, conn *sysdbus.Conn) error {
		done := make(chan string, 1)
		if err := ask(ctx, conn, done); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case result := <-done:
			if result != "done" {
				return errors.New("systemd says: " + result)
			}
			return nil
		}
	})
}
