package nodeagent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/rehearsal"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
	"k8s-audit-enabler.io/nodeagent/watchdog"
)

// WatchOptions are the watchdog's settings.
type WatchOptions struct {
	// HostRoot is where the host's / is.
	HostRoot string
	// ArmedAs is the name under which the watchdog's static pod was armed; empty where systemd's timer starts the program.
	ArmedAs string
}

// BindFlags adds the watchdog's flags.
func (o *WatchOptions) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.HostRoot, "host-root", "/", "Where the host's root directory is.")
	fs.StringVar(&o.ArmedAs, "armed-as", "", "Look again and again, as the static pod that was armed under this name; empty: look once.")
}

// watchEvery is the time between two looks of a static pod; systemd's timer has its own.
const watchEvery = 15 * time.Second

// Watch ends a change that nobody has completed, and disarms the watchdog where none is open. It looks once, or as a static
// pod until the context ends. It returns nil where there is nothing to do, or not yet.
func Watch(ctx context.Context, o WatchOptions, log *slog.Logger) error {
	host := hostfs.New(o.HostRoot)
	if err := CheckHostRoot(host); err != nil {
		return err
	}
	w, err := newWatch(ctx, host, o.HostRoot, log)
	if err != nil {
		return err
	}
	defer w.close()
	if o.ArmedAs == "" {
		return w.once(ctx)
	}
	return w.always(ctx, o.ArmedAs)
}

func (w *watch) once(ctx context.Context) error {
	err := w.look(ctx)
	if errors.Is(err, hostfs.ErrLocked) {
		return nil // an agent is at work
	}
	return err
}

// always looks for as long as the pod is armed. Then it waits for the kubelet to end it, and leaves the host alone: what is
// made there now, nobody would remove.
func (w *watch) always(ctx context.Context, name string) error {
	lock, err := watchdog.Hold(ctx, w.runner.Host, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		<-ctx.Done()
		return nil
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = lock.Unlock() }()
	w.log.InfoContext(ctx, "Watching over a change", "armedAs", name)
	for watchdog.Armed(w.runner.Host, name) {
		if err := w.once(ctx); err != nil && ctx.Err() == nil {
			w.log.ErrorContext(ctx, "Watchdog has not done its work; it tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
	<-ctx.Done()
	return nil
}

type watch struct {
	runner   *txn.Runner
	services serviceManager
	engine   containerEngine
	log      *slog.Logger
	close    func()
}

func newWatch(ctx context.Context, host *hostfs.FS, hostRoot string, log *slog.Logger) (*watch, error) {
	proc := procfs.New("")
	bootID, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	kubelet := &hostKubelet{host: host, proc: proc}
	if _, err := kubelet.StaticPodPath(ctx); err != nil {
		log.WarnContext(ctx, "Kubelet's settings not known", "error", err)
	}
	runtimes := cri.New(cri.Config{HostRoot: hostRoot, KubeletEndpoint: kubelet.runtimeEndpoint})
	units, engine := systemd.New(hostRoot), docker.New(host.OSPath)
	return &watch{
		services: units, engine: engine,
		runner: &txn.Runner{
			Host: host, Runtime: &runtime{cri: runtimes, proc: proc, host: host, log: log},
			BootID: bootID, Uptime: uptime, Log: log, Explain: health.ExitReason,
			Kubelet:  kubeletUnit{proc: proc, host: host, systemd: units},
			Services: services{systemd: units, cri: runtimes, proc: proc, host: host, log: log, engine: engine, runs: newChildRuns()},
			Watchdog: newWatchdog(host, hostRoot, "", kubelet),
			// It is only ever removed here.
			Rehearsal: &rehearsal.Stage{Host: host, Runtime: rehearsals{cri: runtimes, host: host}, Log: log},
		},
		log: log, close: func() { _ = runtimes.Close() },
	}, nil
}

// newWatchdog prefers systemd, which needs neither the kubelet nor an image.
func newWatchdog(host *hostfs.FS, hostRoot, image string, kubelet *hostKubelet) txn.Watchdog {
	return watchdog.FirstOf{
		&watchdog.Systemd{Host: host, Executable: "/proc/self/exe", Units: systemd.New(hostRoot)},
		&watchdog.StaticPod{Host: host, Image: image, Dir: kubelet.StaticPodPath},
	}
}

func (w *watch) look(ctx context.Context) error {
	idle, err := w.runner.Idle(ctx)
	if err != nil || idle {
		return err
	}
	j, err := txn.LoadJournal(w.runner.Host)
	if err != nil {
		return err
	}
	var crashed *txn.Instance
	if j.Open != nil {
		w.runner.Health = w.serving(ctx, j.Open)
		instances, err := w.runner.RuntimeOf(j.Open.Unit).Instances(ctx)
		if err != nil {
			w.log.WarnContext(ctx, "Container runtime not asked", "error", err)
		}
		v := watchdog.Decide(watchdog.Sight{Entry: j.Open, BootID: w.runner.BootID, Uptime: uptime(), Instances: instances})
		w.log.InfoContext(ctx, "A change is open and no agent at work", "state", j.Open.State, "expire", v.Expire, "because", v.Because)
		if !v.Expire {
			return nil
		}
		crashed = v.Crashed
	}
	outcome, err := w.runner.Expire(ctx, crashed)
	if err == nil && outcome.Result == txn.ResultStuck {
		err = fmt.Errorf("take change back: %s: %s", outcome.Fault.Reason, outcome.Fault.Message)
	}
	return err
}

// serving is where the apiserver of a manifest listens: the old one and the new one at the same address. Of a manifest that
// is about to be put back it may be the default.
func (w *watch) serving(ctx context.Context, e *txn.Entry) watchdog.Serving {
	if e.Unit != "" {
		seen := observation{}
		(&observer{host: w.runner.Host, services: w.services, engine: w.engine, log: w.log}).findFile(ctx, &seen, nil, &txn.Live{Unit: e.Unit})
		return watchdog.Serving{Address: health.Address(seen.listen())}
	}
	data, err := w.runner.Host.ReadFile(e.Manifest, maxSmallFile)
	if err != nil {
		return watchdog.Serving{Address: health.Address("", "")}
	}
	m, err := apiserver.ParseManifest(data)
	if err != nil {
		return watchdog.Serving{Address: health.Address("", "")}
	}
	args := m.Args()
	return watchdog.Serving{Address: health.Address(args.BindAddress(), fmt.Sprint(args.SecurePort()))}
}

// uptime is the time since the host's boot, suspended time included.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// kubeletUnit implements [txn.Kubelet].
type kubeletUnit struct {
	proc    *procfs.FS
	host    *hostfs.FS
	systemd *systemd.Client
}

// Restart implements [txn.Kubelet]. A kubelet that does not run is started by it.
func (k kubeletUnit) Restart(ctx context.Context) error { return k.systemd.Restart(ctx, k.unit()) }

// unit is the service that the kubelet runs in, or the one that it has on most hosts.
func (k kubeletUnit) unit() string {
	if found, err := k.proc.Kubelet(smallFiles{k.host}); err == nil {
		if name, err := k.proc.Unit(found.PID); err == nil {
			return name
		}
	}
	return "kubelet.service"
}
