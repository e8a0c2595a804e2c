package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Start boots a host that exists, with the disk it had. A host that runs is fine. It returns when systemd has started
// every unit; what the units then do may take longer.
func (h *Host) Start(ctx context.Context) error {
	_, err := h.PID()
	if err == nil {
		return nil
	}
	if !h.exists() {
		return fmt.Errorf("start host %s: there is none of that name", h.name)
	}
	err = h.boot(ctx)
	if err != nil {
		return fmt.Errorf("start host %s (its console is in %s): %w", h.name, h.Console(), err)
	}
	return nil
}

// create makes the disk of a new host.
func (h *Host) create() error {
	for _, dir := range []string{"upper", "work", "merged", "state/containerd", "state/kubelet", "state/etcd"} {
		err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755)
		if err != nil {
			return fmt.Errorf("make disk of host %s: %w", h.name, err)
		}
	}
	return h.lab.seed(h)
}

func (h *Host) boot(ctx context.Context) error {
	err := h.Kill(ctx) // what a run before may have left
	if err != nil {
		return err
	}
	err = h.lab.raiseBridge(ctx)
	if err != nil {
		return err
	}
	err = h.launch()
	if err != nil {
		return err
	}
	var pid int
	err = poll(ctx, 10*time.Second, 20*time.Millisecond, func(context.Context) (bool, error) {
		var err error
		pid, err = h.PID()
		return err == nil, err
	})
	if err != nil {
		return err
	}
	err = h.lab.group(h.name).setAside() // before the link is there, for which the init script waits
	if err != nil {
		return err
	}
	err = h.lab.connect(ctx, h, pid)
	if err != nil {
		return err
	}
	return poll(ctx, time.Minute, 100*time.Millisecond, func(ctx context.Context) (bool, error) { return h.started(ctx, pid) })
}

// launch starts the host's first process, in its control groups and namespaces of its own.
func (h *Host) launch() error {
	script, err := hostFiles.ReadFile("hostfiles/init.sh")
	if err != nil {
		return fmt.Errorf("read init script: %w", err)
	}
	path := filepath.Join(h.dir, "init.sh")
	err = os.WriteFile(path, script, 0o755)
	if err != nil {
		return fmt.Errorf("write init script: %w", err)
	}
	return h.lab.spawn(h.name, h.Console(), []string{"CGROUPS=" + h.lab.cgroupMounts()},
		"unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--propagation", "private",
		"bash", path, h.name, h.dir, h.lab.set.Kubernetes, h.lab.set.Version)
}

// cgroupMounts tells the init script which hierarchies to mount.
func (l *Lab) cgroupMounts() string {
	if len(l.trees) == 1 && l.trees[0].unified {
		return "unified"
	}
	var mounts []string
	for _, tree := range l.trees {
		mounts = append(mounts, filepath.Base(tree.dir)+":"+tree.options)
	}
	return strings.Join(mounts, " ")
}

// closeInherited closes what this process was itself started with, such as a lock that the caller's shell holds: a host
// that lives on would hold it too.
const closeInherited = "for f in /proc/$$/fd/*; do n=${f##*/}; if [ \"$n\" -gt 2 ] && [ \"$n\" -lt 255 ]; then eval \"exec $n>&-\"; fi; done\n"

// spawn starts a process that outlives this one, in a new control group of the given name, with its output in a file.
func (l *Lab) spawn(name, log string, environment []string, args ...string) error {
	g := l.group(name)
	err := g.create()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	var join strings.Builder
	join.WriteString(closeInherited)
	for _, dir := range g.joins() {
		fmt.Fprintf(&join, "echo $$ > '%s/cgroup.procs' || exit 1\n", dir)
	}
	cmd := exec.Command("bash", append([]string{"-c", join.String() + `exec "$@"`, "spawn"}, args...)...)
	cmd.Env = append(environment, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

// started is whether systemd has come up.
func (h *Host) started(ctx context.Context, pid int) (bool, error) {
	program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return false, fmt.Errorf("look at first process: %w", err)
	}
	if filepath.Base(program) != "systemd" {
		return false, fmt.Errorf("first process is still %s", program)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter(pid), "systemctl", "is-system-running")...)
	out, err := cmd.Output() // fails for every state but "running"
	state := strings.TrimSpace(string(out))
	if state == "running" || state == "degraded" {
		return true, nil
	}
	return false, errors.Join(fmt.Errorf("systemd says %q", state), err)
}
