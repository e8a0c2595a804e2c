// Package procfs reads the host's processes from /proc. It exists because the node agent must know how the kubelet and
// the apiserver were really started, also while no API answers: command lines, start times and the boot they belong to.
//
// The agent shares the host's process namespace, so its own /proc shows the host's processes. The package only reads.
package procfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultRoot is where the kernel's process file system is mounted.
const DefaultRoot = "/proc"

// ErrNoProcess says that no process matched.
var ErrNoProcess = errors.New("no such process")

// ticksPerSecond is USER_HZ, the unit of start times in /proc/<pid>/stat: 100 on every architecture that Go supports.
const ticksPerSecond = 100

// FS is a process file system.
type FS struct {
	root string
}

// New reads the process file system at root; an empty root means [DefaultRoot].
func New(root string) *FS {
	if root == "" {
		root = DefaultRoot
	}
	return &FS{root: root}
}

// Process is one process as it was when it was read; it may have ended since.
type Process struct {
	PID int
	// Args is the command line, program name first. It is never empty: kernel threads are not reported.
	Args []string
	// StartTicks is the start time in clock ticks since boot. With PID and the boot ID it identifies a process for good.
	StartTicks uint64
	// Started is the same on the wall clock, to about a second.
	Started time.Time
}

// Find returns the processes whose program has the given base name, for example "kubelet", in order of PID. A multi-call
// program counts by its first argument: "hyperkube kubelet" is found as "kubelet". Processes that end while they are
// read are left out.
func (f *FS) Find(name string) ([]Process, error) {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	boot, err := f.bootTime()
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		p, err := f.read(pid, boot, name)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p != nil {
			found = append(found, *p)
		}
	}
	slices.SortFunc(found, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return found, nil
}

// Own returns the command lines of the host's own programs that match: those in the mount namespace of process 1, and services of snaps,
// which have namespaces of their own where they are confined. Whoever runs in a container has another one too, also where it shares the
// host's process table: a node inside of a node, a cluster inside of a pod.
func (f *FS) Own(match func(args []string) bool) ([][]string, error) {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	host, err := f.mounts("1")
	if err != nil {
		return nil, err
	}
	var found [][]string
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid <= 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(f.root, e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := SplitCmdline(text)
		if len(args) == 0 || !match(args) {
			continue
		}
		if own, err := f.mounts(e.Name()); err == nil && own == host || f.ofSnap(e.Name()) {
			found = append(found, args)
		}
	}
	return found, nil
}

// ofSnap reports whether a process is of a service of a snap on the host itself. Its control group is below the root, or above that of
// this process where it has a namespace of its own; a container's is below another.
func (f *FS) ofSnap(pid string) bool {
	groups, err := os.ReadFile(filepath.Join(f.root, pid, "cgroup"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		group := fields[2]
		for strings.HasPrefix(group, "/../") {
			group = strings.TrimPrefix(group, "/..")
		}
		if strings.HasPrefix(group, "/system.slice/snap.") {
			return true
		}
	}
	return false
}

// mounts names a process's mount namespace.
func (f *FS) mounts(pid string) (string, error) {
	name, err := os.Readlink(filepath.Join(f.root, pid, "ns", "mnt"))
	if err != nil {
		return "", fmt.Errorf("read mount namespace of process %s: %w", pid, err)
	}
	return name, nil
}

// BootID is the kernel's random name of this boot. It changes with every boot and never otherwise.
func (f *FS) BootID() (string, error) {
	text, err := os.ReadFile(filepath.Join(f.root, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Unit is the systemd service that a process belongs to, by the last component of its control group's path.
func (f *FS) Unit(pid int) (string, error) {
	text, err := os.ReadFile(filepath.Join(f.root, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("find unit of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		for part := range strings.SplitSeq(strings.TrimSpace(line), "/") {
			if strings.HasSuffix(part, ".service") {
				return part, nil
			}
		}
	}
	return "", fmt.Errorf("find unit of process %d: it belongs to no service", pid)
}

// InGroup reports whether a process is in a control group whose name has a text in it, as that of a container has its ID. A process
// that has ended is in none.
func (f *FS) InGroup(pid int, text string) bool {
	groups, err := os.ReadFile(filepath.Join(f.root, strconv.Itoa(pid), "cgroup"))
	return err == nil && text != "" && strings.Contains(string(groups), text)
}

// read returns nil where the process is another program.
func (f *FS) read(pid int, boot time.Time, name string) (*Process, error) {
	dir := filepath.Join(f.root, strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("read command line of process %d: %w", pid, err)
	}
	args := SplitCmdline(text)
	if !isProgram(args, name) {
		return nil, nil
	}
	text, err = os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	ticks, err := startTicks(text)
	if err != nil {
		return nil, fmt.Errorf("read state of process %d: %w", pid, err)
	}
	started := boot.Add(time.Duration(ticks) * (time.Second / ticksPerSecond))
	return &Process{PID: pid, Args: args, StartTicks: ticks, Started: started}, nil
}

func isProgram(args []string, name string) bool {
	if len(args) == 0 {
		return false
	}
	base := path.Base(args[0])
	return base == name || base == "hyperkube" && len(args) > 1 && args[1] == name
}

// SplitCmdline splits the content of /proc/<pid>/cmdline: arguments that each end in a NUL. Where a process has
// overwritten its own arguments with one text, that text is one argument. No arguments at all is a kernel thread.
func SplitCmdline(text []byte) []string {
	text = bytes.TrimSuffix(text, []byte{0})
	if len(text) == 0 {
		return nil
	}
	return strings.Split(string(text), "\x00")
}

// Flag returns the value of the flag with the given name (no dashes) in a command line, in the forms --name=value and
// --name value. The last one counts, as it does for the Kubernetes programs, which also take underscores for dashes.
func Flag(args []string, name string) (string, bool) {
	var value string
	var found bool
	for i, arg := range args {
		if arg == "--" {
			break
		}
		flag, ok := strings.CutPrefix(arg, "--")
		if !ok {
			continue
		}
		key, v, hasValue := strings.Cut(flag, "=")
		if strings.ReplaceAll(key, "_", "-") != name {
			continue
		}
		if !hasValue {
			if i+1 >= len(args) {
				continue
			}
			v = args[i+1]
		}
		value, found = v, true
	}
	return value, found
}

// startTicks reads field 22 of /proc/<pid>/stat, counted after the program name, which may itself hold spaces and brackets.
func startTicks(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("no program name")
	}
	const afterName = 22 - 3
	fields := strings.Fields(string(stat[end+1:]))
	if len(fields) <= afterName {
		return 0, fmt.Errorf("%d fields after the program name, want more than %d", len(fields), afterName)
	}
	ticks, err := strconv.ParseUint(fields[afterName], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse start time: %w", err)
	}
	return ticks, nil
}

func (f *FS) bootTime() (time.Time, error) {
	text, err := os.ReadFile(filepath.Join(f.root, "stat"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read boot time: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, "btime ")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("parse boot time: %w", err)
		}
		return time.Unix(seconds, 0), nil
	}
	return time.Time{}, fmt.Errorf("read boot time: no btime in %s", filepath.Join(f.root, "stat"))
}

// gone reports whether an error means that the process ended while it was read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}
