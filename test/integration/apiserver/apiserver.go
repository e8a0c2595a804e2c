// Package apiserver boots a real etcd and a real kube-apiserver for one test, with RBAC and five users, and takes them down
// after it. The programs are those of the lab, of the Kubernetes version named by K8S_AUDIT_ENABLER_TEST_KUBERNETES; they are
// built when they are missing.
package apiserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"k8s-audit-enabler.io/test/lab/parts"
)

// Namespace is the release's, whose ServiceAccounts the users are.
const Namespace = "audit"

// Tokens of the users: a cluster administrator, and the ServiceAccounts of coordinator, agent, uninstall and bridge.
const (
	AdminToken       = "admin-token"
	CoordinatorToken = "coordinator-token"
	AgentToken       = "agent-token"
	UninstallToken   = "uninstall-token"
	BridgeToken      = "bridge-token"
)

// Server is an API server that ends with the test.
type Server struct {
	// Address is host and port.
	Address string
	// Dir holds the server's files; its certificate is certs/apiserver.crt.
	Dir   string
	Admin kubernetes.Interface
}

// Config is a client configuration for the bearer of a token.
func (s *Server) Config(token string) *rest.Config {
	return &rest.Config{Host: "https://" + s.Address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 200, Burst: 400}
}

// Version is the Kubernetes version under test, as in v1.34.4.
func Version() string {
	return cmp.Or(os.Getenv("K8S_AUDIT_ENABLER_TEST_KUBERNETES"), parts.DefaultKubernetes)
}

// programs finds kube-apiserver and etcd, and builds what is missing.
func programs(t *testing.T) (apiserver, etcd string) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a real kube-apiserver")
	}
	cache, err := parts.Open(t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	recipe, err := parts.Kubernetes(Version())
	if err != nil {
		t.Fatal(err)
	}
	apiserver, err = cache.Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	etcd, err = cache.Build(t.Context(), parts.Etcd())
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(apiserver, "kube-apiserver"), filepath.Join(etcd, filepath.Base(parts.Etcd().Dir))
}

// Start boots etcd and kube-apiserver; more are arguments of kube-apiserver.
func Start(t *testing.T, more ...string) *Server {
	t.Helper()
	apiserver, etcd := programs(t)
	dir := t.TempDir()
	client, peer, secure := FreeAddress(t), FreeAddress(t), FreeAddress(t)
	start(t, etcd, filepath.Join(dir, "etcd.log"),
		"--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://"+client, "--advertise-client-urls=http://"+client,
		"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer, "--initial-cluster=default=http://"+peer,
		"--log-level=error")
	key := writeKey(t, dir)
	tokens := writeTokens(t, dir)
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	logFile := filepath.Join(dir, "kube-apiserver.log")
	if version.MustParseGeneric(Version()).LessThan(version.MustParseGeneric("v1.20.0")) {
		more = append(more, "--insecure-port=0") // 8080 belongs to somebody else
	}
	start(t, apiserver, logFile, append([]string{
		"--etcd-servers=http://" + client, "--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC", "--token-auth-file=" + tokens,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + key, "--service-account-key-file=" + key, "--api-audiences=api",
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
	}, more...)...)
	s := &Server{Address: secure, Dir: dir}
	s.Admin, err = kubernetes.NewForConfig(s.Config(AdminToken))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		// Events and nodes are accepted once the bootstrap hooks have run.
		_, err := s.Admin.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		if err == nil {
			return s
		}
		if time.Now().After(deadline) {
			tail, _ := os.ReadFile(logFile)
			t.Fatalf("kube-apiserver is not ready: %v\n%s", err, tail[max(0, len(tail)-4000):])
		}
	}
}

// start runs a program until the test ends.
func start(t *testing.T, program, logFile string, args ...string) {
	t.Helper()
	out, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = out, out
	// The program goes with the test, also when the test is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		_ = out.Close()
	})
}

// FreeAddress is one of the loopback that nobody listens at.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func writeKey(t *testing.T, dir string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "sa.key")
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeTokens(t *testing.T, dir string) string {
	t.Helper()
	account := func(token, name string) string {
		return fmt.Sprintf("%s,system:serviceaccount:%s:%s,%s,\"system:serviceaccounts,system:serviceaccounts:%s\"\n", token, Namespace, name, name, Namespace)
	}
	text := AdminToken + ",admin,admin,\"system:masters\"\n" + account(CoordinatorToken, "k8s-audit-enabler-coordinator") + account(AgentToken, "k8s-audit-enabler-agent") +
		account(UninstallToken, "k8s-audit-enabler-uninstall") + account(BridgeToken, "k8s-audit-enabler-bridge")
	path := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
