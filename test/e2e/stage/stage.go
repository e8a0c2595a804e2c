package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"k8s-audit-enabler.io/test/helm"
	"k8s-audit-enabler.io/test/lab"
	"k8s-audit-enabler.io/test/receiver"
)

// Options of a stage.
type Options struct {
	// Nodes is the number of control planes.
	Nodes int
	// QuickRestarts lets the apiservers give up open watches after 2 s instead of 30 s when they end, which takes half a
	// minute off every restart. What a kubeadm user has is the default, false.
	QuickRestarts bool
	// PatientKubelet lets the kubelet start a container that ended again within seconds, however often it has ended.
	PatientKubelet bool
	// KubernetesVersion is the control planes'; empty for the lab's default.
	KubernetesVersion string
	// Second puts the stage beside another one on this machine.
	Second bool
	// Dir is a folder for files of the stage.
	Dir string
	// Log gets a line for each step.
	Log func(format string, args ...any)
}

// Stage is a lab cluster and what stands on it.
type Stage struct {
	Lab      *lab.Lab
	Receiver *receiver.Receiver
	// Kubeconfig is the administrator's, through the load balancer; Config and Client are made from it.
	Kubeconfig string
	Config     *rest.Config
	Client     kubernetes.Interface
	// KubectlPath and HelmPath are programs, Chart is a folder.
	KubectlPath, HelmPath, Chart string
	// Dir is a folder for files of the stage, Module the one with the lab's, the scenarios' and the receiver's source.
	Dir, Module string

	hosts  []host
	images images
}

// Boot boots a cluster, opens a receiver on its bridge and brings the images there. Close it when done, also after an
// error of a scenario; after an error of Boot nothing is left.
func Boot(ctx context.Context, o Options) (*Stage, error) {
	l, s, err := Raise(ctx, o)
	if err == nil {
		s.Receiver, err = receiver.Listen(net.JoinHostPort(l.Gateway(), "0"), receiver.Options{})
	}
	if err != nil && l != nil {
		err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Raise boots a cluster and brings the images there, without a receiver. After an error the lab, where there is one, is
// the caller's to take down.
func Raise(ctx context.Context, o Options) (*lab.Lab, *Stage, error) {
	l, err := lab.Open(labOptions(o))
	if err != nil {
		return nil, nil, err
	}
	if err := l.Up(ctx, o.Nodes); err != nil {
		return l, nil, err
	}
	s, err := attach(ctx, l, o)
	return l, s, err
}

// attach makes a stage of a lab that is up.
func attach(ctx context.Context, l *lab.Lab, o Options) (*Stage, error) {
	repository, err := Repository()
	if err != nil {
		return nil, err
	}
	s := &Stage{Lab: l, Dir: o.Dir, Module: filepath.Join(repository, "test"), Kubeconfig: l.Kubeconfig(), KubectlPath: l.Program("kubectl"), Chart: filepath.Join(repository, "charts", "k8s-audit-enabler")}
	if s.hosts, err = runningHosts(l); err != nil {
		return nil, err
	}
	if s.HelmPath, err = helm.Find(); err != nil {
		return nil, err
	}
	if s.Config, err = clientcmd.BuildConfigFromFlags("", s.Kubeconfig); err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	s.Config.QPS, s.Config.Burst = 1000, 1000
	s.Config.Proxy = noProxy
	if s.Client, err = kubernetes.NewForConfig(s.Config); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if s.images, err = findImages(filepath.Join(repository, "dist", "images")); err != nil {
		return nil, err
	}
	return s, s.loadImages(ctx)
}

// Join boots one more control plane and makes it a node of the stage, with the images on it.
func (s *Stage) Join(ctx context.Context, name string) error {
	if _, err := s.Lab.Join(ctx, name); err != nil {
		return err
	}
	var err error
	if s.hosts, err = runningHosts(s.Lab); err != nil {
		return err
	}
	return s.loadImages(ctx)
}

// Replace takes a control plane out of the cluster in order, destroys its host, and joins another one under the same name.
func (s *Stage) Replace(ctx context.Context, name string) error {
	h := s.find(name)
	if _, err := h.Exec(ctx, "kubeadm", "reset", "--force"); err != nil { // leaves etcd, too
		return err
	}
	if _, err := s.Kubectl(ctx, "delete", "node", name); err != nil {
		return err
	}
	if err := h.Remove(ctx); err != nil {
		return err
	}
	return s.Join(ctx, name)
}

// PowerCut ends a host at once, with its disk as it is, and boots it again.
func (s *Stage) PowerCut(ctx context.Context, node string) error {
	h := s.find(node)
	if err := h.Kill(ctx); err != nil {
		return err
	}
	if err := h.Start(ctx); err != nil {
		return err
	}
	var err error
	s.hosts, err = runningHosts(s.Lab)
	return err
}

// Kubeadm runs kubeadm on a host and returns what it said, its complaints included.
func (s *Stage) Kubeadm(ctx context.Context, node string, args ...string) (string, error) {
	cmd, err := s.find(node).Command(ctx, append([]string{"kubeadm"}, args...)...)
	if err != nil {
		return "", err
	}
	said, err := cmd.CombinedOutput()
	if err != nil {
		return string(said), fmt.Errorf("run kubeadm %s on %s: %w: %s", args[0], node, err, said)
	}
	return string(said), nil
}

// InstallKubernetes gives a host the programs and images of another version, as an upgrade's packages do.
func (s *Stage) InstallKubernetes(ctx context.Context, node, version string) error {
	return s.find(node).Install(ctx, version)
}

// Close takes everything down: the receiver and the lab.
func (s *Stage) Close(ctx context.Context) error {
	var errs []error
	if s.Receiver != nil {
		errs = append(errs, s.Receiver.Close())
	}
	return errors.Join(append(errs, s.Lab.Down(ctx))...)
}

// Nodes are the names of the control-plane nodes.
func (s *Stage) Nodes() []string {
	names := make([]string, len(s.hosts))
	for i, h := range s.hosts {
		names[i] = h.Name()
	}
	return names
}

// host is a host of the lab that runs all the time.
type host struct {
	*lab.Host
	root string
	pid  int
}

// runningHosts are the lab's control planes with what is known of them while they run.
func runningHosts(l *lab.Lab) ([]host, error) {
	var hosts []host
	for _, h := range l.Hosts() {
		if !h.ControlPlane() {
			continue
		}
		root, err := h.Root()
		if err != nil {
			return nil, err
		}
		pid, err := h.PID()
		if err != nil {
			return nil, err
		}
		hosts = append(hosts, host{h, root, pid})
	}
	return hosts, nil
}

func (s *Stage) find(node string) host {
	for _, h := range s.hosts {
		if h.Name() == node {
			return h
		}
	}
	panic("no host " + node)
}

// Address is a node's address, without a port.
func (s *Stage) Address(node string) string { return s.find(node).IP().String() }

// Init is the process id, on this machine, of a host's first process.
func (s *Stage) Init(node string) int { return s.find(node).pid }

// OnHost is a host's file as a path on this machine.
func (s *Stage) OnHost(node, path string) string { return filepath.Join(s.find(node).root, path) }

// Exec runs a command on a host and returns what it wrote to standard output.
func (s *Stage) Exec(ctx context.Context, node string, command ...string) (string, error) {
	out, err := s.find(node).Exec(ctx, command...)
	return string(out), err
}

// WatchApiservers counts the starts of each node's apiserver from now on.
func (s *Stage) WatchApiservers() (*Starts, error) {
	hosts := map[string]int{}
	for _, h := range s.hosts {
		hosts[h.Name()] = h.pid
	}
	return WatchStarts("kube-apiserver", hosts)
}

// WatchReady probes each node's apiserver at its own address, past the load balancer.
func (s *Stage) WatchReady(every time.Duration) *Probe {
	addresses := map[string]string{}
	for _, h := range s.hosts {
		addresses[h.Name()] = net.JoinHostPort(h.IP().String(), "6443")
	}
	return WatchReady(addresses, every)
}

// Label reads a label of a node; empty where it has none or cannot be read.
func (s *Stage) Label(ctx context.Context, node, label string) string {
	n, err := s.getNode(ctx, node)
	if err != nil {
		return ""
	}
	return n.Labels[label]
}

// SendCanary sends an administrator's request with the given audit ID to one node's apiserver, past the load balancer.
func (s *Stage) SendCanary(ctx context.Context, node, auditID string) error {
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	return s.request(ctx, client, node, "/api/v1/namespaces/default/configmaps/canary", auditID, http.StatusNotFound)
}

// SendAnonymous sends a request without credentials and with the given audit ID, which must be answered with 200.
func (s *Stage) SendAnonymous(ctx context.Context, node, path, auditID string) error {
	return s.request(ctx, oneShotClient(10*time.Second), node, path, auditID, http.StatusOK)
}

func (s *Stage) request(ctx context.Context, client *http.Client, node, path, auditID string, want int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(s.Address(node), "6443")+path, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Audit-ID", auditID)
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("send request to %s: status %d, want %d", path, resp.StatusCode, want)
	}
	return nil
}

// Repository is the repository's folder: the nearest one above the working folder that has the charts.
func Repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "charts", "k8s-audit-enabler", "Chart.yaml")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find repository: no charts/k8s-audit-enabler here or above")
		}
	}
}
