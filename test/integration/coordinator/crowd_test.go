package coordinator

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
)

// TestMemoryInALargeCluster runs the program itself: a test's process holds much else.
func TestMemoryInALargeCluster(t *testing.T) {
	const (
		workers       = 4900
		controlPlanes = 100
		goalMiB       = 64
	)
	if testing.Short() {
		t.Skip("makes thousands of nodes")
	}
	var names []string
	for i := range controlPlanes {
		names = append(names, fmt.Sprintf("cp%03d", i))
	}
	c := newCluster(t, names...)
	c.addWorkers(t, workers)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	pid, metrics := c.runProgram(t)
	c.awaitReason(t, reason.WaitingForAgent)
	await(t, "the last plan", func() (bool, string) {
		list, err := c.admin.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindPlan})
		return err == nil && len(list.Items) == controlPlanes, "plans are missing"
	})
	time.Sleep(5 * time.Second)
	checkMetrics(t, metrics, controlPlanes)
	resident, peak := memory(t, pid)
	t.Logf("%d nodes, %d control planes: %d MiB resident, %d at most", workers+controlPlanes, controlPlanes, resident, peak)
	if resident > goalMiB {
		t.Errorf("%d MiB resident, want at most %d", resident, goalMiB)
	}
}

func (c *cluster) addWorkers(t *testing.T, n int) {
	t.Helper()
	work := make(chan int)
	errs := make([]error, 8)
	var all sync.WaitGroup
	for w := range errs {
		all.Go(func() {
			for i := range work {
				_, err := c.admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
					Name:        fmt.Sprintf("worker%04d", i),
					Annotations: map[string]string{"padding": strings.Repeat("x", 4000)},
				}}, metav1.CreateOptions{})
				if err != nil {
					errs[w] = err
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	all.Wait()
	for _, err := range errs {
		must(t)(nil, err)
	}
}

// checkMetrics holds that the program serves what is documented, of every node.
func checkMetrics(t *testing.T, url string, nodes int) {
	t.Helper()
	response, err := http.Get(url) //nolint:noctx // a test's own program
	must(t)(response, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t)(nil, err)
	for _, want := range []string{
		fmt.Sprintf("k8s_audit_enabler_nodes %d\n", nodes), "k8s_audit_enabler_reason_info{reason=\"WaitingForAgent\"} 1\n",
		fmt.Sprintf("k8s_audit_enabler_node_phase{node=\"cp%03d\",phase=\"Pending\"} 1\n", nodes-1), "controller_runtime_reconcile_total{",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics does not say %s", want)
		}
	}
}

// runProgram builds and starts the coordinator, and returns its process id and where it serves metrics.
func (c *cluster) runProgram(t *testing.T) (pid int, metrics string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "coordinator")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./cmd/coordinator")
	build.Dir = filepath.Join("..", "..", "..") // a module of its own
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}], clusters: [{name: x, cluster: {server: 'https://%s', insecure-skip-tls-verify: true}}], users: [{name: x, user: {token: %s}}]}", c.address, coordinatorToken)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := apiserver.FreeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--namespace="+namespace, "--kubeconfig="+kubeconfig, "--metrics-bind-address="+address, "--health-probe-bind-address=127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid, "http://" + address + "/metrics"
}

// memory is what a process holds and held at most, in MiB.
func memory(t *testing.T, pid int) (resident, peak int) {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(t)(file, err)
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.Atoi(fields[1])
		switch fields[0] {
		case "VmRSS:":
			resident = kib / 1024
		case "VmHWM:":
			peak = kib / 1024
		}
	}
	return resident, peak
}
