package systemd

import (
	"context"
	"fmt"

	sysdbus "github.com/coreos/go-systemd/v22/dbus"
)

// Service is how a service is started, and how it fares.
type Service struct {
	State
	// Command is its command line, Environment its variables as NAME=value, EnvironmentFiles where it gets more of them from.
	Command, Environment, EnvironmentFiles []string
	// LastPID and LastStart are of the main process that was started last, whether or not it runs; LastStart counts microseconds
	// since the boot.
	LastPID   int
	LastStart uint64
	// Restarts is how often systemd has started it again by itself since it was last told to; zero before systemd 235.
	Restarts int
}

// Service returns what systemd knows of a service. It returns [ErrNoSystemd] or [ErrNoUnit] where there is none.
func (c *Client) Service(ctx context.Context, unit string) (Service, error) {
	var s Service
	err := c.with(ctx, "read service "+unit, func(ctx context.Context, conn *sysdbus.Conn) error {
		props, err := conn.GetUnitPropertiesContext(ctx, unit)
		if err != nil {
			return err
		}
		if text(props, "LoadState") == "not-found" {
			return ErrNoUnit
		}
		service, err := conn.GetUnitTypePropertiesContext(ctx, unit, "Service")
		if err != nil {
			return fmt.Errorf("read its properties: %w", err)
		}
		s = serviceOf(props, service)
		return nil
	})
	return s, err
}

func serviceOf(unit, service map[string]any) Service {
	s := Service{State: stateOf(unit, service)}
	if commands, ok := service["ExecStart"].([][]any); ok && len(commands) > 0 && len(commands[0]) > 1 {
		s.Command, _ = commands[0][1].([]string)
	}
	s.Environment, _ = service["Environment"].([]string)
	files, _ := service["EnvironmentFiles"].([][]any)
	for _, f := range files {
		if name, ok := f[0].(string); ok {
			s.EnvironmentFiles = append(s.EnvironmentFiles, name)
		}
	}
	if pid, ok := service["ExecMainPID"].(uint32); ok {
		s.LastPID = int(pid)
	}
	s.LastStart, _ = service["ExecMainStartTimestampMonotonic"].(uint64)
	if n, ok := service["NRestarts"].(uint32); ok {
		s.Restarts = int(n)
	}
	return s
}
