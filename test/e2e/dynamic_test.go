package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/coordinator"
	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/bridge"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/receiver"
	"k8s-audit-enabler.io/test/secrets"
)

const (
	dynamicImage = "localhost/lab/kube-apiserver:" + parts.DynamicKubernetes
	// dynamicServices is of the loopback: the bridge listens at its Service's address, as no kube-proxy speaks this version.
	dynamicServices = "127.77.0.0/24"
	bridgeAddress   = "127.77.0.9"
	bridgePort      = 8443
	dynamicToken    = "dynamic-token"
	// dynamicDelivery is from a request to its event: an AuditSink is sent 400 events at a time, or what there is after half a minute.
	dynamicDelivery = 2 * time.Minute
)

// TestMinikubeWithTheDynamicBackend makes a kubeadm host one of minikube with Kubernetes 1.17 and has it enabled by an AuditSink. systemd, the
// kubelet, etcd and the apiserver, of that version and with the dynamic backend, are real, and so are agent, coordinator and bridge. They
// run as programs and not in pods: controller-manager and scheduler of today do not speak to an apiserver of 1.17.
func TestMinikubeWithTheDynamicBackend(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true, PatientKubelet: true})
	m := &minikube{scene: s, node: s.Nodes()[0]}
	m.serve(t)
	m.furnish(t)
	m.start(t)
	before := s.host(t, m.node, stage.ManifestPath)
	second, err := receiver.Listen(net.JoinHostPort(s.Lab.Gateway(), "0"), receiver.Options{})
	must(t, err)
	t.Cleanup(func() { _ = second.Close() })
	config := plan.ChartDefaults()
	config.Sink = wire.Sink{URL: "http://" + s.Receiver.Address() + receiver.PathSysdig}
	config.Rollout.Settle.Duration = time.Second

	t.Run("enabled by flags and an AuditSink, and one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		m.configure(t, config)
		m.reason(t, reason.Complete)
		t.Logf("enabled after %s", time.Since(begin).Round(time.Second))
		s.restarts(t, begin, 1)
		manifest := s.host(t, m.node, stage.ManifestPath)
		for _, want := range []string{"--feature-gates=TokenRequest=true,DynamicAuditing=true\n", "--runtime-config=auditregistration.k8s.io/v1alpha1=true\n", "--audit-dynamic-configuration=true\n"} {
			if !strings.Contains(manifest, want) || strings.Contains(manifest, "webhook-config") {
				t.Errorf("manifest without %q:\n%s", want, manifest)
			}
		}
	})
	t.Run("events arrive, and contents of Secrets do not", func(t *testing.T) {
		defer s.act(t)()
		must(t, secrets.Make(within(t, dynamicDelivery), m.client, s.Receiver, "first"))
		if secrets.Came(s.Receiver, "first") {
			t.Error("the content of a Secret has left")
		}
	})
	t.Run("the sink moves without a restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		config.Sink.URL = "http://" + second.Address() + receiver.PathSysdig
		m.configure(t, config)
		must(t, secrets.Make(within(t, dynamicDelivery), m.client, second, "second"))
		s.restarts(t, begin, 0)
		if secrets.Came(second, "second") {
			t.Error("the content of a Secret has left")
		}
	})
	t.Run("the manifest written anew, as by minikube start: put right at once", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		must(t, s.WriteHost(m.node, stage.ManifestPath, before))
		must(t, stage.Until(within(t, oneRestart), "our settings are in the manifest again", func(context.Context) (bool, error) {
			text, err := s.ReadHost(m.node, stage.ManifestPath)
			return strings.Contains(text, "DynamicAuditing=true"), err
		}))
		must(t, stage.Until(within(t, oneRestart), "AuditSinks are served again", func(ctx context.Context) (bool, error) {
			return m.auditSink(ctx) == nil && s.starts.Count(m.node, begin) > 0, nil
		}))
		must(t, secrets.Make(within(t, dynamicDelivery), m.client, second, "third"))
		s.restarts(t, begin, 1)
	})
	t.Run("taken back, nothing is left, after one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		config.Enabled = false
		m.configure(t, config)
		must(t, stage.Until(within(t, decision), "the AuditSink is gone, and the apiserver would still serve it", func(ctx context.Context) (bool, error) {
			return apierrors.IsNotFound(m.auditSink(ctx)) && s.starts.Count(m.node, begin) == 0, nil
		}))
		m.reason(t, reason.Disabled)
		s.restarts(t, begin, 1)
		if diff := cmp.Diff(before, s.host(t, m.node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
		if files := s.snapshot(t, m.node, "/var/lib/k8s_audit"); len(files) > 0 {
			t.Errorf("files are left: %v", files)
		}
	})
}

// minikube is a host with an apiserver of that version, in a keyspace of its own.
type minikube struct {
	*scene
	node   string
	client kubernetes.Interface
}

func (m *minikube) config() *rest.Config {
	return &rest.Config{
		Host: "https://" + net.JoinHostPort(m.Address(m.node), "6443"), BearerToken: dynamicToken, QPS: 200, Burst: 400,
		TLSClientConfig: rest.TLSClientConfig{CAFile: m.OnHost(m.node, "/etc/kubernetes/pki/ca.crt")},
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil }, //nolint:nilnil // no proxy
	}
}

// serve replaces kubeadm's apiserver by one of Kubernetes 1.17, with minikube's list of flags and a gate of the user's.
func (m *minikube) serve(t *testing.T) {
	t.Helper()
	cache, err := parts.Open(t.Logf)
	must(t, err)
	recipe, err := parts.Kubernetes(parts.DynamicKubernetes)
	must(t, err)
	built, err := cache.Build(t.Context(), recipe)
	must(t, err)
	const program = "/usr/local/bin/kube-apiserver"
	archive := filepath.Join(m.Dir, "dynamic.tar")
	must(t, stage.WriteImage(archive, parts.Image{Tag: dynamicImage, Programs: map[string]string{program: filepath.Join(built, "kube-apiserver")}}))
	must(t, m.Lab.ImportImages(t.Context(), archive))
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		must(t, os.Remove(m.OnHost(m.node, "/etc/kubernetes/manifests/"+name+".yaml")))
	}
	must(t, m.WriteHost(m.node, "/etc/kubernetes/pki/tokens.csv", dynamicToken+`,admin,admin,"system:masters"`+"\n"))

	var pod corev1.Pod
	must(t, yaml.Unmarshal([]byte(m.host(t, m.node, stage.ManifestPath)), &pod))
	c := &pod.Spec.Containers[0]
	flags := []string{program}
	for _, flag := range c.Command[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), "=")
		switch name {
		case "shutdown-watch-termination-grace-period": // of a later version
		case "service-cluster-ip-range":
			flags = append(flags, "--feature-gates=TokenRequest=true", "--service-cluster-ip-range="+dynamicServices)
		default:
			flags = append(flags, flag)
		}
	}
	c.Command = append(flags, "--etcd-prefix=/registry-1.17", "--insecure-port=0", "--token-auth-file=/etc/kubernetes/pki/tokens.csv")
	c.Image, c.ImagePullPolicy = dynamicImage, corev1.PullNever
	manifest, err := yaml.Marshal(pod)
	must(t, err)
	begin := time.Now()
	must(t, m.WriteHost(m.node, stage.ManifestPath, string(manifest)))
	m.client, err = kubernetes.NewForConfig(m.config())
	must(t, err)
	must(t, stage.Until(within(t, 3*time.Minute), "an apiserver of 1.17 serves", func(context.Context) (bool, error) {
		v, err := m.client.Discovery().ServerVersion()
		return err == nil && v.GitVersion == parts.DynamicKubernetes, nil
	}))
	m.run(t, m.node, "systemctl", "restart", "kubelet") // which registers its node when it starts
	patch := []byte(`{"metadata":{"labels":{"minikube.k8s.io/name":"minikube","node-role.kubernetes.io/master":""}}}`)
	must(t, stage.Until(within(t, 2*time.Minute), "the kubelet has registered its node", func(ctx context.Context) (bool, error) {
		_, err := m.client.CoreV1().Nodes().Patch(ctx, m.node, types.MergePatchType, patch, metav1.PatchOptions{})
		return err == nil, nil
	}))
	must(t, stage.Until(within(t, 2*time.Minute), "the apiserver's pod is shown, and ready", func(ctx context.Context) (bool, error) {
		p, err := m.client.CoreV1().Pods("kube-system").Get(ctx, "kube-apiserver-"+m.node, metav1.GetOptions{})
		return err == nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready, nil
	}))
	t.Logf("minikube serves after %s", time.Since(begin).Round(time.Second))
}

// furnish makes what Helm would, and installs agent and bridge as services of the host.
func (m *minikube) furnish(t *testing.T) {
	t.Helper()
	_, err := m.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: stage.ReleaseNamespace}}, metav1.CreateOptions{})
	must(t, err)
	_, err = m.client.CoreV1().Services(stage.ReleaseNamespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: wire.BridgeService},
		Spec:       corev1.ServiceSpec{ClusterIP: bridgeAddress, Ports: []corev1.ServicePort{{Name: wire.BridgeReceiverPort, Port: bridgePort}}},
	}, metav1.CreateOptions{})
	must(t, err)
	account := "/var/run/secrets/kubernetes.io/serviceaccount"
	m.run(t, m.node, "sh", "-c", "mkdir -p "+account+" && cp /etc/kubernetes/pki/ca.crt "+account+"/ca.crt && printf %s "+dynamicToken+" > "+account+"/token")
	m.service(t, "nodeagent", fmt.Sprintf("--node-name=%s --namespace=%s --host-root=/ --poll-interval=2s --canary-interval=5s", m.node, stage.ReleaseNamespace))
	m.service(t, "bridge", fmt.Sprintf("run --carry=receiver --plan-file=/root/bridge-plan.yaml --bind-address=127.0.0.1:0 --receiver-bind-address=%s:%d", bridgeAddress, bridgePort))
	m.run(t, m.node, "systemctl", "daemon-reload")
	m.run(t, m.node, "systemctl", "start", "bridge.service", "nodeagent.service")
	ctx, cancel := context.WithCancel(context.Background())
	mounted := make(chan error, 1)
	go func() {
		mounted <- bridge.Mount(ctx, m.client, stage.ReleaseNamespace, m.OnHost(m.node, "/root/bridge-plan.yaml"))
	}()
	t.Cleanup(func() {
		cancel()
		must(t, <-mounted)
	})
}

func (m *minikube) service(t *testing.T, name, args string) {
	t.Helper()
	file := filepath.Join(m.Dir, name)
	must(t, bridge.Build(t.Context(), filepath.Dir(m.Module), name, file))
	text, err := os.ReadFile(file)
	must(t, err)
	installed := "/usr/local/bin/" + name
	must(t, m.WriteHost(m.node, installed, string(text)))
	must(t, os.Chmod(m.OnHost(m.node, installed), 0o755))
	must(t, m.WriteHost(m.node, "/etc/systemd/system/"+name+".service", fmt.Sprintf(
		"[Service]\nRestart=always\nEnvironment=KUBERNETES_SERVICE_HOST=%s KUBERNETES_SERVICE_PORT=6443\nExecStart=%s %s\n", m.Address(m.node), installed, args)))
}

// start runs the coordinator until the test ends.
func (m *minikube) start(t *testing.T) {
	t.Helper()
	log, err := logging.New(t.Output(), logging.Options{Format: logging.FormatText, Level: "info"})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- coordinator.Run(ctx, coordinator.Options{Namespace: stage.ReleaseNamespace, PodName: "coordinator-0", MetricsAddress: "0", ProbeAddress: "0"}, m.config(), log)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("coordinator: %v", err)
		}
		if t.Failed() {
			out, _ := m.Exec(context.Background(), m.node, "journalctl", "--no-pager", "-n", "60", "-u", "nodeagent.service", "-u", "bridge.service")
			t.Log(out)
		}
	})
}

// configure writes the configuration, as Helm does.
func (m *minikube) configure(t *testing.T, config *wire.Config) {
	t.Helper()
	data, err := wire.Encode(wire.KindConfig, config)
	must(t, err)
	maps := m.client.CoreV1().ConfigMaps(stage.ReleaseNamespace)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: wire.ConfigName}, Data: data}
	if _, err = maps.Create(t.Context(), object, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(t.Context(), object, metav1.UpdateOptions{})
	}
	must(t, err)
}

// reason waits for the cluster's status to give a reason.
func (m *minikube) reason(t *testing.T, want string) {
	t.Helper()
	last := ""
	err := stage.Until(within(t, oneRestart), "the reason "+want, func(ctx context.Context) (bool, error) {
		object, err := m.client.CoreV1().ConfigMaps(stage.ReleaseNamespace).Get(ctx, wire.ClusterStatusName, metav1.GetOptions{})
		if err == nil {
			last = object.Data[wire.FlatReason] + ": " + object.Data[wire.FlatMessage]
		}
		return err == nil && object.Data[wire.FlatReason] == want, nil
	})
	if err != nil {
		t.Fatalf("%v; last: %s", err, last)
	}
}

// auditSink asks for the AuditSink.
func (m *minikube) auditSink(ctx context.Context) error {
	return m.client.CoreV1().RESTClient().Get().AbsPath("/apis/auditregistration.k8s.io/v1alpha1/auditsinks/" + auditsink.Name).Do(ctx).Error()
}
