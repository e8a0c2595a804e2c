package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s-audit-enabler.io/test/lab/parts"
)

// Lab is a set of hosts on this machine. It is safe to use by one goroutine at a time.
type Lab struct {
	opts  Options
	trees []hierarchy
	cache *parts.Cache
	set   parts.Set
	lock  *os.File
	start time.Time
	logMu sync.Mutex
}

// Open returns the lab that the options describe, and finds the hosts that an earlier run left there. It changes nothing.
func Open(opts Options) (*Lab, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("open lab: namespaces, mounts and control groups need root")
	}
	trees, err := hierarchies()
	if err != nil {
		return nil, err
	}
	l := &Lab{opts: opts, trees: trees, start: time.Now()}
	l.cache, err = parts.Open(l.logf)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(l.stateFile())
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lab's state: %w", err)
	}
	err = json.Unmarshal(data, &l.set)
	if err != nil { // a run that was cut short: Up and Down begin by removing everything
		l.logf("state of an earlier run is not readable: %v", err)
	}
	return l, nil
}

// stateFile holds the [parts.Set] that the hosts were made from.
func (l *Lab) stateFile() string { return filepath.Join(l.opts.Root, "set.json") }

// logf writes a line with the time since the lab was opened.
func (l *Lab) logf(format string, args ...any) {
	l.logMu.Lock()
	defer l.logMu.Unlock()
	fmt.Fprintf(l.opts.Log, "%6.1f s  %s\n", time.Since(l.start).Seconds(), fmt.Sprintf(format, args...))
}

// Kubeconfig is a file for cluster-admin access from the machine, by way of the balancer.
func (l *Lab) Kubeconfig() string { return filepath.Join(l.opts.Root, "kubeconfig") }

// Gateway is the machine's address for the hosts and their pods.
func (l *Lab) Gateway() string { return l.opts.gateway().String() }

// Program is the path, on the machine, of one of the cluster's own programs, such as kubectl.
func (l *Lab) Program(name string) string { return filepath.Join(l.set.Kubernetes, name) }

// Hosts lists the hosts that exist, running or not, control planes first.
func (l *Lab) Hosts() []*Host {
	var hosts []*Host
	for _, name := range everyName() {
		h, err := l.host(name)
		if err == nil && h.exists() {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// Host returns the host of that name.
func (l *Lab) Host(name string) (*Host, error) {
	h, err := l.host(name)
	if err != nil {
		return nil, err
	}
	if !h.exists() {
		return nil, fmt.Errorf("find host %s: there is none of that name", name)
	}
	return h, nil
}

// Up removes what is there and boots a new cluster with n control planes and the workers of the options. It returns when
// every node is Ready; after an error what there is stays, to be looked at. The lab is then held until [Lab.Down] or [Lab.Close]; another run waits.
func (l *Lab) Up(ctx context.Context, n int) error {
	if n < 1 || n > 9 || l.opts.Workers < 0 || l.opts.Workers > 9 {
		return fmt.Errorf("%d control planes and %d workers: 1–9 and 0–9 can be had", n, l.opts.Workers)
	}
	missing := MissingPackages(ctx)
	if len(missing) > 0 {
		return fmt.Errorf("boot lab: Debian packages are missing (the command `lab deps` installs them): %s", strings.Join(missing, " "))
	}
	err := l.acquire(ctx)
	if err != nil {
		return err
	}
	err = l.clean(ctx)
	if err != nil {
		return err
	}
	l.set, err = l.cache.Set(ctx, l.opts.KubernetesVersion)
	if err != nil {
		return err
	}
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("cp%d", i+1))
	}
	for i := range l.opts.Workers {
		names = append(names, fmt.Sprintf("w%d", i+1))
	}
	err = l.saveState()
	if err != nil {
		return err
	}
	err = l.raiseBridge(ctx)
	if err != nil {
		return err
	}
	return l.cluster(ctx, names)
}

func (l *Lab) saveState() error {
	data, err := json.Marshal(l.set)
	if err != nil {
		return fmt.Errorf("encode lab's state: %w", err)
	}
	err = os.MkdirAll(filepath.Join(l.opts.Root, "hosts"), 0o755)
	if err != nil {
		return fmt.Errorf("make lab's folder: %w", err)
	}
	err = os.WriteFile(l.stateFile(), data, 0o644)
	if err != nil {
		return fmt.Errorf("write lab's state: %w", err)
	}
	return nil
}

// Down removes the hosts, the balancer, the bridge and every file, whatever state they are in, and lets go of the lab.
func (l *Lab) Down(ctx context.Context) error {
	err := l.acquire(ctx)
	if err != nil {
		return err
	}
	defer l.release()
	err = l.clean(ctx)
	if err != nil {
		return err
	}
	err = os.Remove(l.opts.lockFile())
	if err != nil {
		return fmt.Errorf("remove lab's lock: %w", err)
	}
	return nil
}

// Close lets go of the lab and leaves it as it is.
func (l *Lab) Close() { l.release() }

// clean removes everything that carries the lab's name.
func (l *Lab) clean(ctx context.Context) error {
	var names []string
	for _, dir := range l.leftGroups() {
		names = append(names, strings.TrimPrefix(filepath.Base(dir), l.groupPrefix()))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	var errs []error
	for _, name := range names {
		errs = append(errs, l.group(name).destroy())
	}
	errs = append(errs, removeLinks(ctx, l.leftLinks()...), l.forbidForwarding(ctx))
	for _, mount := range slices.Backward(l.leftMounts()) {
		err := syscall.Unmount(mount, syscall.MNT_DETACH)
		if err != nil {
			errs = append(errs, fmt.Errorf("unmount %q: %w", mount, err))
		}
	}
	err := errors.Join(errs...)
	if err != nil { // files are removed only when nothing is mounted over them any more
		return fmt.Errorf("clean lab: %w", err)
	}
	for _, name := range []string{"hosts", "logs", "kubeconfig", "backends", "set.json"} {
		errs = append(errs, os.RemoveAll(filepath.Join(l.opts.Root, name)))
	}
	err = os.Remove(l.opts.Root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	err = errors.Join(errs...)
	if err != nil {
		return fmt.Errorf("remove lab's files: %w", err)
	}
	return nil
}

// leftMounts lists the mounts below the lab's folder that the machine sees. Hosts keep theirs to themselves.
func (l *Lab) leftMounts() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []string
	lines := bufio.NewScanner(strings.NewReader(string(data)))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], l.opts.Root+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}

// Remains lists what there is of the lab on the machine: mounts, control groups with the number of their processes, links,
// its forwarding rule and its folder. After [Lab.Down] it is empty.
func (l *Lab) Remains() []string {
	var found []string
	for _, mount := range l.leftMounts() {
		found = append(found, "mount "+mount)
	}
	for _, dir := range l.leftGroups() {
		name := strings.TrimPrefix(filepath.Base(dir), l.groupPrefix())
		found = append(found, fmt.Sprintf("control group %s with %d processes", dir, len(l.group(name).processes())))
	}
	for _, link := range l.leftLinks() {
		found = append(found, "link "+link)
	}
	if l.forwardingAllowed(context.Background()) {
		found = append(found, "forwarding rule for "+l.opts.Bridge)
	}
	_, err := os.Lstat(l.opts.Root)
	if err == nil {
		found = append(found, "folder "+l.opts.Root)
	}
	return found
}
