package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/distribution"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// localHealth asks the apiserver that the manifest starts, wherever that says it listens.
type localHealth struct {
	config health.Config

	mu     sync.Mutex
	client *health.Client
}

// follow takes the address from a manifest. One that cannot be read leaves it as it was.
func (h *localHealth) follow(manifest []byte) {
	m, err := apiserver.ParseManifest(manifest)
	if err != nil {
		return
	}
	args := m.Args()
	h.listens(args.BindAddress(), fmt.Sprint(args.SecurePort()))
}

// listens is told where the apiserver listens.
func (h *localHealth) listens(bind, port string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	address := health.Address(bind, port)
	if h.client != nil && h.config.Address == address {
		return
	}
	h.config.Address = address
	h.client = health.New(h.config)
}

func (h *localHealth) get() *health.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == nil {
		h.config.Address = health.Address("", "")
		h.client = health.New(h.config)
	}
	return h.client
}

// Ready implements [txn.Health].
func (h *localHealth) Ready(ctx context.Context) error { return verdict(h.get().Readyz(ctx)) }

// Live implements [txn.Health].
func (h *localHealth) Live(ctx context.Context) error { return verdict(h.get().Livez(ctx)) }

// Version implements localApiserver.
func (h *localHealth) Version(ctx context.Context) (string, error) { return h.get().Version(ctx) }

func verdict(v health.Verdict, err error) error {
	if err != nil {
		return err
	}
	if !v.OK {
		return errors.New(v.String())
	}
	return nil
}

// hostKubelet reads the kubelet's settings from its process, and remembers them while there is none.
type hostKubelet struct {
	host *hostfs.FS
	proc *procfs.FS

	mu   sync.Mutex
	last procfs.Kubelet
	path string
}

// StaticPodPath implements [Kubelet].
func (k *hostKubelet) StaticPodPath(context.Context) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, err := k.proc.Kubelet(smallFiles{k.host})
	if err == nil {
		k.last = found
		var dir string
		if dir, err = apiserver.StaticPodPath(found.Args, apiserver.HostReader{ReadFile: smallFiles{k.host}.ReadFile, ReadDir: k.names}); err == nil {
			k.path = dir
		}
	}
	if k.path != "" {
		return k.path, nil // a kubelet that is away for a moment has not moved its directory
	}
	return "", err
}

// runtimeEndpoint is what the kubelet was told.
func (k *hostKubelet) runtimeEndpoint() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last.RuntimeEndpoint
}

func (k *hostKubelet) names(dir string) ([]string, error) {
	infos, err := k.host.ReadDir(dir)
	var names []string
	for _, i := range infos {
		names = append(names, i.Name)
	}
	return names, err
}

// smallFiles reads configuration files of the host.
type smallFiles struct{ host *hostfs.FS }

// ReadFile implements [procfs.Host].
func (s smallFiles) ReadFile(name string) ([]byte, error) { return s.host.ReadFile(name, 1<<20) }

// planSecrets implements [Secrets].
type planSecrets struct {
	client    *kube.Client
	namespace string
}

// Secret implements [Secrets].
func (s planSecrets) Secret(ctx context.Context, name string) (map[string][]byte, error) {
	data, _, err := s.client.GetSecret(ctx, s.namespace, name)
	return data, err
}

// runtime tells which apiservers run: the container runtime says it, and where none can be asked, the process table.
type runtime struct {
	cri  *cri.Client
	proc *procfs.FS
	host *hostfs.FS
	log  *slog.Logger

	blind bool
	seen  map[string]map[int]bool
}

// Instances implements [txn.Runtime], newest first. It is called by one goroutine at a time.
func (r *runtime) Instances(ctx context.Context) ([]txn.Instance, error) {
	sandboxes, err := r.cri.ApiserverSandboxes(ctx)
	if errors.Is(err, cri.ErrNoRuntime) {
		if !r.blind {
			r.log.WarnContext(ctx, "No container runtime can be asked; the host's process table is used instead", "error", err)
		}
		r.blind = true
		return r.processes()
	}
	r.blind = false
	if err != nil {
		return nil, err
	}
	return describeAll(ctx, r.cri, sandboxes)
}

// describeAll turns sandboxes into instances, in their order.
func describeAll(ctx context.Context, runtimes *cri.Client, sandboxes []cri.Sandbox) ([]txn.Instance, error) {
	var found []txn.Instance
	for _, s := range sandboxes {
		i := txn.Instance{ID: s.ID, Revision: s.Revision, Ready: s.Ready}
		containers, err := runtimes.Containers(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		describe(&i, containers)
		found = append(found, i)
	}
	return found, nil
}

// describe adds what a sandbox's containers say, newest first. The kubelet keeps the last one that ended; their number is
// in Attempt. What one that ended has logged tells more than what its successor has so far.
func describe(i *txn.Instance, containers []cri.Container) {
	ended := false
	for _, c := range containers {
		if apiserver.Companion(c.Name) {
			continue
		}
		exits := int(c.Attempt)
		if c.State == cri.ContainerExited {
			exits++
		}
		i.Exits = max(i.Exits, exits)
		i.Running = i.Running || c.State == cri.ContainerRunning
		if i.LogPath == "" || c.State == cri.ContainerExited && !ended {
			i.LogPath = c.LogPath
		}
		ended = ended || c.State == cri.ContainerExited
	}
}

// processes takes each kube-apiserver process for an instance; its revision is in the path of its policy or webhook file.
// Those that have been seen and are gone are the exits.
func (r *runtime) processes() ([]txn.Instance, error) {
	found, err := r.proc.Find("kube-apiserver")
	if err != nil {
		return nil, err
	}
	if r.seen == nil {
		r.seen = map[string]map[int]bool{}
	}
	var list []txn.Instance
	for _, p := range found {
		if apiserver.ParseArgs(p.Args[1:]).OfRehearsal() {
			continue
		}
		revision := revisionOf(p.Args)
		if r.seen[revision] == nil {
			r.seen[revision] = map[int]bool{}
		}
		r.seen[revision][p.PID] = true
		list = append([]txn.Instance{{
			ID: fmt.Sprintf("process-%d-%d", p.PID, p.StartTicks), Revision: revision, Ready: true, Running: true,
		}}, list...)
	}
	for i := range list {
		list[i].Exits = len(r.seen[list[i].Revision]) - 1
	}
	return list, nil
}

// revisionOf finds the revision directory that an apiserver's arguments point into.
func revisionOf(args []string) string {
	for _, a := range args {
		for _, dir := range hostfs.DataDirs() {
			_, rest, ok := strings.Cut(a, dir+"/")
			revision, _, inDir := strings.Cut(rest, "/")
			if ok && inDir && revision != path.Base(txn.LogDir) {
				return revision
			}
		}
	}
	return ""
}

// Stop implements [txn.Runtime]. A process without a runtime belongs to something that this agent does not know.
func (r *runtime) Stop(ctx context.Context, i txn.Instance) error {
	if r.blind {
		return errors.New("stop apiserver: no container runtime can be asked")
	}
	return r.cri.StopSandbox(ctx, i.ID)
}

// LogTail implements [txn.Runtime].
func (r *runtime) LogTail(_ context.Context, i txn.Instance, lines int) ([]string, error) {
	if i.LogPath == "" {
		return nil, nil
	}
	return cri.LogTail(func(name string) (io.ReadSeekCloser, error) { return r.host.Open(name) }, i.LogPath, lines)
}

// Canary implements [Apiserver].
func (h *localHealth) Canary(ctx context.Context) (string, error) { return h.get().Canary(ctx) }

// Deliveries implements [Apiserver].
func (h *localHealth) Deliveries(ctx context.Context, sinkHost string) (health.Counters, error) {
	return h.get().Deliveries(ctx, sinkHost)
}

// maxUpgrade is the longest that a program is waited for: one that was forgotten in a terminal would keep the node as it is.
const maxUpgrade = 30 * time.Minute

// upgrader names a program that is at work on this node's control plane.
func upgrader(proc *procfs.FS, now time.Time) string {
	found, err := proc.Find("kubeadm")
	if err != nil {
		return ""
	}
	for _, p := range found {
		if len(p.Args) > 1 && slices.Contains([]string{"upgrade", "init", "join"}, p.Args[1]) && now.Sub(p.Started) < maxUpgrade {
			return "kubeadm " + p.Args[1]
		}
	}
	return ""
}

// runs reports whether a program runs on this host.
func runs(proc *procfs.FS, name string) (bool, error) {
	found, err := proc.Find(name)
	return len(found) > 0, err
}

// owners are the command lines of the host's own programs that run apiservers in a way of theirs.
func owners(proc *procfs.FS) []string {
	found, err := proc.Own(distribution.Owner)
	if err != nil {
		return nil
	}
	var lines []string
	for _, args := range found {
		lines = append(lines, strings.Join(args, " "))
	}
	return lines
}
