package coordinator

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/bridge"
	"k8s-audit-enabler.io/test/integration/apiserver"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/receiver"
	"k8s-audit-enabler.io/test/secrets"
)

// services is the range of ClusterIPs: of the loopback, where an address of a Service can be listened at.
const (
	services      = "127.77.0.0/24"
	bridgeAddress = "127.77.0.9"
)

// TestEventsTakeTheDynamicBackend has a real apiserver with the dynamic backend, the coordinator with the chart's permissions and the bridge
// work together: what an AuditSink brings arrives without the contents of Secrets, the sink moves without a change of any node, and
// nothing is left when all is taken back.
func TestEventsTakeTheDynamicBackend(t *testing.T) {
	if apiserver.Version() != parts.DynamicKubernetes {
		t.Skipf("kube-apiserver %s has no dynamic backend", apiserver.Version())
	}
	s := startServer(t, "--service-cluster-ip-range="+services,
		"--audit-dynamic-configuration=true", "--feature-gates=DynamicAuditing=true", "--runtime-config=auditregistration.k8s.io/v1alpha1=true")
	c := furnish(t, s, "cp1")
	c.patchNode(t, "cp1", `{"metadata":{"labels":{"minikube.k8s.io/name":"minikube"}}}`)
	c.startBridge(t)
	agents := startAgents(t, c)
	first, second := listen(t), listen(t)
	config := defaults()
	config.Sink = wire.Sink{URL: sinkURL(first)}
	c.configure(t, config)
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.Complete)
	plan := c.plan(t, "cp1")
	if plan.Desired.Backend != wire.BackendDynamic || plan.Desired.Webhook.URL != "" {
		t.Fatalf("backend %q, webhook %q", plan.Desired.Backend, plan.Desired.Webhook.URL)
	}

	c.eventsArrive(t, first, "first")
	if secrets.Came(first, "first") {
		t.Error("the content of a Secret has left")
	}

	config.Sink.URL = sinkURL(second)
	c.configure(t, config)
	c.eventsArrive(t, second, "second")
	if secrets.Came(second, "second") {
		t.Error("the content of a Secret has left")
	}

	// That it would be seen, and that it leaves where somebody accepts it.
	config.Dynamic.AcceptSecretsInAudit = true
	c.configure(t, config)
	c.auditSinkPointsAt(t, sinkURL(second))
	c.eventsArrive(t, second, "third")
	if !secrets.Came(second, "third") {
		t.Error("an AuditSink that points at the sink itself sends no contents of Secrets; the test proves nothing")
	}
	if now := c.plan(t, "cp1"); now.Revision != plan.Revision || agents.count("cp1") != 1 {
		t.Errorf("%d changes of the node, from revision %s to %s", agents.count("cp1"), plan.Revision, now.Revision)
	}

	config.Enabled = false
	c.configure(t, config)
	c.awaitReason(t, reason.Disabled)
	if _, err := c.auditSink(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("the AuditSink is left: %v", err)
	}
}

func listen(t *testing.T) *receiver.Receiver {
	t.Helper()
	r, err := receiver.Listen("127.0.0.1:0", receiver.Options{})
	must(t)(r, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func sinkURL(r *receiver.Receiver) string { return "http://" + r.Address() + receiver.PathSysdig }

// startBridge runs the bridge's receiver at the address of its Service, with the plan that the coordinator writes, as the kubelet brings it.
func (c *cluster) startBridge(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", bridgeAddress+":0")
	must(t)(l, err)
	address, port := l.Addr().String(), int32(l.Addr().(*net.TCPAddr).Port) //nolint:forcetypeassert // a TCP listener's port
	must(t)(nil, l.Close())
	must(t)(c.admin.CoreV1().Services(namespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: wire.BridgeService},
		Spec:       corev1.ServiceSpec{ClusterIP: bridgeAddress, Ports: []corev1.ServicePort{{Name: wire.BridgeReceiverPort, Port: port}}},
	}, metav1.CreateOptions{}))
	dir := t.TempDir()
	program, file := filepath.Join(dir, "bridge"), filepath.Join(dir, "document.yaml")
	must(t)(nil, bridge.Build(t.Context(), "../../..", "bridge", program))
	ctx, cancel := context.WithCancel(context.Background())
	run := exec.CommandContext(ctx, program, "run", "--carry=receiver", "--plan-file="+file, "--state-dir="+filepath.Join(dir, "state"), "--bind-address=127.0.0.1:0", "--receiver-bind-address="+address)
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	run.Stdout, run.Stderr = t.Output(), t.Output()
	must(t)(nil, run.Start())
	mounted := make(chan error, 1)
	go func() { mounted <- bridge.Mount(ctx, c.admin, namespace, file) }()
	t.Cleanup(func() {
		cancel()
		_ = run.Wait()
		if err := <-mounted; err != nil {
			t.Error(err)
		}
	})
}

// eventsArrive makes a Secret and waits for its event.
func (c *cluster) eventsArrive(t *testing.T, r *receiver.Receiver, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t)(nil, secrets.Make(ctx, c.admin, r, name))
}

// auditSink returns the AuditSink's text.
func (c *cluster) auditSink(ctx context.Context) ([]byte, error) {
	return c.admin.CoreV1().RESTClient().Get().AbsPath("/apis/auditregistration.k8s.io/v1alpha1/auditsinks/" + auditsink.Name).DoRaw(ctx)
}

func (c *cluster) auditSinkPointsAt(t *testing.T, url string) {
	t.Helper()
	await(t, "an AuditSink for "+url, func() (bool, string) {
		text, err := c.auditSink(t.Context())
		return err == nil && bytes.Contains(text, []byte(`"`+url+`"`)), string(text)
	})
}
