package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// endpoint is the address that stands for all apiservers.
func (l *Lab) endpoint() string { return l.opts.gateway().String() + ":6443" }

// startBalancer starts the balancer on the bridge's address.
func (l *Lab) startBalancer() error {
	logs := filepath.Join(l.opts.Root, "logs")
	err := os.MkdirAll(logs, 0o755)
	if err != nil {
		return fmt.Errorf("make folder for logs: %w", err)
	}
	return l.spawn("lb", filepath.Join(logs, "lb.log"), nil, l.set.Balancer, "-listen", l.endpoint(), "-backends", l.backendsFile())
}

func (l *Lab) backendsFile() string { return filepath.Join(l.opts.Root, "backends") }

// writeBackends tells the balancer about the control planes among the hosts.
func (l *Lab) writeBackends(hosts []*Host) error {
	var lines strings.Builder
	for _, h := range hosts {
		if h.controlPlane {
			fmt.Fprintf(&lines, "%s:6443\n", h.IP())
		}
	}
	temporary := l.backendsFile() + ".new"
	err := os.WriteFile(temporary, []byte(lines.String()), 0o644)
	if err != nil {
		return fmt.Errorf("write list of backends: %w", err)
	}
	err = os.Rename(temporary, l.backendsFile())
	if err != nil {
		return fmt.Errorf("replace list of backends: %w", err)
	}
	return nil
}
