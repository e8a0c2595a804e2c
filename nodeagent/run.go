package nodeagent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/handover"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Options are the agent's settings.
type Options struct {
	NodeName  string
	Namespace string
	// HostRoot is where the host's / is mounted.
	HostRoot string
	// Image is what this agent was started from, for a watchdog on a host without systemd.
	Image string
	// HealthAddress serves /healthz and /readyz; empty for none.
	HealthAddress  string
	PollInterval   time.Duration
	CanaryInterval time.Duration
	// SecretInterval is how often a Secret with credentials is read again.
	SecretInterval time.Duration
}

// BindFlags adds the agent's flags. NODE_NAME, POD_NAMESPACE and AGENT_IMAGE are what three of them default to.
func (o *Options) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.NodeName, "node-name", os.Getenv("NODE_NAME"), "This node's name in the cluster (env NODE_NAME).")
	fs.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "The release's namespace (env POD_NAMESPACE).")
	fs.StringVar(&o.HostRoot, "host-root", "/host", "Where the host's root directory is mounted.")
	fs.StringVar(&o.Image, "image", os.Getenv("AGENT_IMAGE"), "This agent's own image, for a watchdog where systemd cannot run one (env AGENT_IMAGE).")
	fs.StringVar(&o.HealthAddress, "health-probe-bind-address", "127.0.0.1:7767", "Where /healthz and /readyz are served; empty for nowhere.")
	fs.DurationVar(&o.PollInterval, "poll-interval", 30*time.Second, "How often the host is looked at without any event.")
	fs.DurationVar(&o.CanaryInterval, "canary-interval", time.Minute, "How often the flow of audit events is proved.")
	fs.DurationVar(&o.SecretInterval, "secret-interval", 3*time.Minute, "How often the Secret with the sink's credentials is read again.")
}

// Validate reports what is missing.
func (o *Options) Validate() error {
	switch {
	case o.NodeName == "":
		return errors.New("--node-name or NODE_NAME is not set")
	case o.Namespace == "":
		return errors.New("--namespace or POD_NAMESPACE is not set")
	case o.HostRoot == "":
		return errors.New("--host-root is empty")
	case o.PollInterval < time.Second || o.CanaryInterval < time.Second || o.SecretInterval < time.Second:
		return errors.New("--poll-interval, --canary-interval and --secret-interval must be at least 1s")
	}
	return nil
}

// Where every pod finds its service account (k8s.io/client-go rest.InClusterConfig reads the same files).
const (
	serviceAccountCA    = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
	serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path
)

const (
	// probeTimeout bounds a request to the local apiserver; the ones that wait for it have shorter ones of their own.
	probeTimeout = 5 * time.Second
	memoryLimit  = 48 << 20
	gcPercent    = 50
)

// Run is the agent's life: it returns when the context ends, or at once with an error where it cannot begin.
func Run(ctx context.Context, o Options, log *slog.Logger) error {
	if err := o.Validate(); err != nil {
		return err
	}
	frugal()
	host := hostfs.New(o.HostRoot)
	if err := CheckHostRoot(host); err != nil {
		return err
	}
	version := buildinfo.Version()
	client, err := kube.InCluster(version, log)
	if err != nil {
		return err
	}
	watch, err := newDirWatch(host, log)
	if err != nil {
		return err
	}
	proc := procfs.New("")
	kubelet := &hostKubelet{host: host, proc: proc}
	runtimes := cri.New(cri.Config{HostRoot: o.HostRoot, KubeletEndpoint: kubelet.runtimeEndpoint})
	defer func() { _ = runtimes.Close() }()
	local := &localHealth{config: health.Config{
		CAFile: serviceAccountCA, TokenFile: serviceAccountToken, Timeout: probeTimeout, UserAgent: buildinfo.UserAgent("nodeagent"),
		Mark: handover.Mark,
	}}
	bootID, err := proc.BootID()
	if err != nil {
		log.WarnContext(ctx, "Boot not known", "error", err)
	}
	status := newReporter(func(ctx context.Context, data map[string]string) error {
		return client.PatchStatus(ctx, o.Namespace, wire.StatusName(o.NodeName), data)
	}, log)
	units := systemd.New(o.HostRoot)
	engine := docker.New(host.OSPath)
	instances := &runtime{cri: runtimes, proc: proc, host: host, log: log}
	redirect := handover.New(handover.Config{KubeProxy: func() (bool, error) { return runs(proc, "kube-proxy") }, Log: log})
	if err := redirect.Stop(ctx); err != nil {
		log.WarnContext(ctx, "Redirect of an earlier life not removed; it expires by itself", "error", err)
	}
	a := &agent{
		grown: true, // by starting
		node:  o.NodeName, version: version, report: status.set, watch: watch.follow, log: log,
		pollEvery: o.PollInterval, canaryEvery: o.CanaryInterval,
		observer: &observer{
			host: host, kubelet: kubelet, health: local, log: log, secretEvery: o.SecretInterval,
			secrets:  planSecrets{client: client, namespace: o.Namespace},
			programs: func() []string { return owners(proc) },
			services: units, engine: engine, listens: local.listens,
			upgrade: &upgradeWatch{runtime: instances, ready: local.Ready, atWork: func() string { return upgrader(proc, time.Now()) }},
		},
		runner: &txn.Runner{
			Host: host, Runtime: instances, Health: local, BootID: bootID, Log: log,
			Explain: health.ExitReason, Uptime: uptime, Watchdog: newWatchdog(host, o.HostRoot, o.Image, kubelet),
			Kubelet:   kubeletUnit{proc: proc, host: host, systemd: units},
			Services:  services{systemd: units, cri: runtimes, proc: proc, host: host, log: log, engine: engine, runs: newChildRuns()},
			Rehearsal: newRehearsal(host, runtimes, proc, kubelet, local.config, log), Handover: redirect,
			Permitted: func(ctx context.Context, c txn.Change) (bool, error) {
				return permitted(ctx, func(ctx context.Context) (kube.ConfigMap, error) {
					return client.GetPlan(ctx, o.Namespace, wire.PlanName(o.NodeName))
				}, c)
			},
		},
		flow: newFlow(local, func(name string) (health.File, error) { return host.Open(name) }, log),
	}
	log.InfoContext(ctx, "Node agent", "version", version, "node", o.NodeName, "namespace", o.Namespace, "hostRoot", o.HostRoot)
	return a.live(ctx, o, status, watch, client.WatchPlan(ctx, o.Namespace, wire.PlanName(o.NodeName)))
}

// live runs the loop and what goes beside it, and waits for all of it to end.
func (a *agent) live(ctx context.Context, o Options, status *reporter, watch *dirWatch, plans <-chan kube.Update) error {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	defer wait.Wait()
	defer cancel()
	if o.HealthAddress != "" {
		stop, err := serveHealth(o.HealthAddress)
		if err != nil {
			return err
		}
		defer stop()
	}
	wait.Go(func() { status.run(ctx) })
	wait.Go(func() { watch.run(ctx) })
	a.run(ctx, plans, watch.changes)
	return nil
}

// serveHealth answers probes. The agent is alive while it can answer: it waits for an apiserver for minutes, and must not
// be killed for that.
func serveHealth(address string) (stop func(), err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve health probes: %w", err)
	}
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return func() { _ = server.Close() }, nil
}

// frugal keeps the agent small: a control-plane node's memory belongs to its control plane.
func frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
