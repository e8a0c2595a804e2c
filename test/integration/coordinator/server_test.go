package coordinator

import (
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

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	namespace        = "audit"
	adminToken       = "admin-token"
	coordinatorToken = "coordinator-token"
	agentToken       = "agent-token"
)

// server is an API server that ends with the test.
type server struct {
	address string
	admin   kubernetes.Interface
}

// config is a client configuration for the bearer of a token.
func (s *server) config(token string) *rest.Config {
	return &rest.Config{Host: "https://" + s.address, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 200, Burst: 400}
}

// part finds a program in the folder of parts.
func part(t *testing.T, patterns ...string) string {
	t.Helper()
	folder := os.Getenv("K8S_AUDIT_ENABLER_PARTS")
	if folder == "" {
		t.Skip("K8S_AUDIT_ENABLER_PARTS is not set")
	}
	for _, pattern := range patterns {
		for _, path := range []string{filepath.Join(folder, pattern), filepath.Join(folder, "*", pattern)} {
			found, err := filepath.Glob(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := len(found) - 1; i >= 0; i-- {
				if info, err := os.Stat(found[i]); err == nil && info.Mode().IsRegular() {
					return found[i]
				}
			}
		}
	}
	t.Skipf("no %v in %s", patterns, folder)
	return ""
}

// startServer boots etcd and kube-apiserver with RBAC and three users; more are arguments of kube-apiserver.
func startServer(t *testing.T, more ...string) *server {
	t.Helper()
	apiserver, etcd := part(t, "kube-apiserver"), part(t, "etcd", "etcd-v*")
	dir := t.TempDir()
	client, peer, secure := freePort(t), freePort(t), freePort(t)
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
	start(t, apiserver, logFile, append([]string{
		"--etcd-servers=http://" + client, "--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC", "--token-auth-file=" + tokens,
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + key, "--service-account-key-file=" + key, "--api-audiences=api",
		"--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
	}, more...)...)
	s := &server{address: secure}
	s.admin, err = kubernetes.NewForConfig(s.config(adminToken))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		// Events and nodes are accepted once the bootstrap hooks have run.
		_, err := s.admin.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
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

func freePort(t *testing.T) string {
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
		return fmt.Sprintf("%s,system:serviceaccount:%s:%s,%s,\"system:serviceaccounts,system:serviceaccounts:%s\"\n", token, namespace, name, name, namespace)
	}
	text := adminToken + ",admin,admin,\"system:masters\"\n" + account(coordinatorToken, "k8s-audit-enabler-coordinator") + account(agentToken, "k8s-audit-enabler-agent")
	path := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
