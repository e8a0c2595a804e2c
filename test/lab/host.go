package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrOff is returned where a host must be running and is not.
var ErrOff = errors.New("host is off")

// Host is one machine of the lab.
type Host struct {
	lab          *Lab
	name         string
	dir          string
	place        place
	controlPlane bool
}

// host returns the host of that name, whether it exists or not.
func (l *Lab) host(name string) (*Host, error) {
	p, controlPlane, err := placeOf(name)
	if err != nil {
		return nil, err
	}
	return &Host{lab: l, name: name, dir: filepath.Join(l.opts.Root, "hosts", name), place: p, controlPlane: controlPlane}, nil
}

// Name is the host's name, which is also its node's: cp1, w1.
func (h *Host) Name() string { return h.name }

// IP is the host's address on the bridge.
func (h *Host) IP() netip.Addr { return h.lab.opts.address(h.place) }

// ControlPlane is whether an apiserver belongs on the host.
func (h *Host) ControlPlane() bool { return h.controlPlane }

// Root is the host's file tree as seen from the machine. Renames and inotify work in it. It is another path after each
// start. While the host is off it is an error.
func (h *Host) Root() (string, error) {
	pid, err := h.PID()
	if err != nil {
		return "", err
	}
	return "/proc/" + strconv.Itoa(pid) + "/root", nil
}

// Console is the file with what the host's first process has said.
func (h *Host) Console() string { return filepath.Join(h.dir, "console.log") }

// PID is the id, on the machine, of the host's first process, or [ErrOff].
func (h *Host) PID() (int, error) {
	for _, id := range h.lab.group(h.name).processes() {
		if isInit(id) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%s: %w", h.name, ErrOff)
}

// isInit is whether the process is the first one of a PID namespace directly below the machine's.
func isInit(pid int) bool {
	ids := namespaceIDs(pid)
	return len(ids) == 2 && ids[1] == "1"
}

// namespaceIDs lists the process's ids in the machine's PID namespace and in each one below that it is in, or nothing when
// there is no such process.
func namespaceIDs(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(data), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Fields(line)
}

// Command is a program to be run in the host, as root, with the environment of a login there.
func (h *Host) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	pid, err := h.PID()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, "nsenter", append(enter(pid), args...)...), nil
}

// enter is the arguments of nsenter up to the command.
func enter(pid int) []string {
	return []string{
		"-t", strconv.Itoa(pid), "-a", "env", "-i", "HOME=/root", "KUBECONFIG=/etc/kubernetes/admin.conf",
		"TERM=" + os.Getenv("TERM"), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	}
}

// Exec runs a program in the host and returns its standard output. The error carries the end of its standard error.
func (h *Host) Exec(ctx context.Context, args ...string) ([]byte, error) {
	cmd, err := h.Command(ctx, args...)
	if err != nil {
		return nil, err
	}
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("in host %s: %w", h.name, err)
	}
	return out, nil
}

// Kill cuts the host's power. Its disk is kept.
func (h *Host) Kill(ctx context.Context) error {
	err := errors.Join(h.lab.group(h.name).destroy(), removeLinks(ctx, h.lab.veth(h.name)))
	if err != nil {
		return fmt.Errorf("kill host %s: %w", h.name, err)
	}
	return nil
}

// Remove cuts the host's power and destroys its disk. What the cluster knows of it is not touched.
func (h *Host) Remove(ctx context.Context) error {
	err := h.Kill(ctx)
	if err != nil { // its files are removed only when nobody uses them
		return err
	}
	err = os.RemoveAll(h.dir)
	if err != nil {
		return fmt.Errorf("remove host %s: %w", h.name, err)
	}
	return nil
}

// poweroff is what systemd takes as the order to stop every unit and power off: SIGRTMIN+4.
const poweroff = syscall.Signal(34 + 4)

// Halt stops the host in order, within a minute. Its disk is kept. A host that is off is fine.
func (h *Host) Halt(ctx context.Context) error {
	pid, err := h.PID()
	if err == nil {
		err = syscall.Kill(pid, poweroff)
		if err != nil {
			return fmt.Errorf("halt host %s: %w", h.name, err)
		}
		gone := func(context.Context) (bool, error) { return !isInit(pid), nil }
		err = poll(ctx, time.Minute, 50*time.Millisecond, gone)
		if err != nil {
			return fmt.Errorf("halt host %s: %w", h.name, err)
		}
	}
	return h.Kill(ctx)
}

// exists is whether the host has a disk.
func (h *Host) exists() bool {
	_, err := os.Stat(filepath.Join(h.dir, "upper"))
	return !errors.Is(err, fs.ErrNotExist)
}

// poll calls the function until it says true, at most for the given time. An error of the function is remembered for the
// report, and the function is called again.
func poll(ctx context.Context, timeout, interval time.Duration, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		ok, err := done(ctx)
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited %s: %w", timeout, ctx.Err()), err)
		case <-time.After(interval):
		}
	}
}
