package file_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/metrics"
	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/bridge/source/file"
)

const (
	bridgeDir  = "K8S_AUDIT_ENABLER_TEST_BRIDGE_DIR"
	bridgeSink = "K8S_AUDIT_ENABLER_TEST_BRIDGE_SINK"
	bridgeMode = "K8S_AUDIT_ENABLER_TEST_BRIDGE_MODE"
)

// TestMain is the bridge where the test that kills it has started it.
func TestMain(m *testing.M) {
	if dir := os.Getenv(bridgeDir); dir != "" && os.Getenv(bridgeMode) == "plain" {
		if err := plainly(dir, os.Getenv(bridgeSink)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(time.Minute) // until it is killed
	} else if dir != "" {
		s, err := sink.New(sink.Config{URL: os.Getenv(bridgeSink)})
		if err == nil {
			err = follow(context.Background(), dir, s, metrics.New(), file.FromOldest, delivery.DefaultLimits())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestABridgeThatIsKilledLosesNothing kills a bridge with SIGKILL at random while events flow and the log is rotated.
func TestABridgeThatIsKilledLosesNothing(t *testing.T) {
	t.Parallel()
	kills, events := 10, 40_000
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") != "" {
		kills, events = 200, 1_000_000
	}
	s := newScene(t)
	taken := make([]int, events)
	total := make(chan int, 1)
	total <- 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n := <-total
		defer func() { total <- n }()
		for _, part := range strings.Split(string(body), `"auditID":"`)[1:] {
			var id int
			_, _ = fmt.Sscanf(part, "%06d", &id)
			taken[id]++
			n++
		}
	}))
	defer server.Close()
	start := func() *exec.Cmd {
		c := exec.Command(os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), bridgeDir+"="+s.dir, bridgeSink+"="+server.URL)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	kill := func(c *exec.Cmd) {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	for i := range kills {
		c := start()
		for range 5 {
			s.write(events / kills / 5)
			time.Sleep(rand.N(20 * time.Millisecond))
		}
		s.rotate(i)
		kill(c)
	}
	s.write(events - s.written)
	last := start()
	defer kill(last)
	done := func() bool {
		n := <-total
		defer func() { total <- n }()
		return taken[events-1] > 0
	}
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the last event has not arrived")
		}
	}
	n := <-total
	for id, times := range taken {
		if times == 0 {
			t.Fatalf("event %d is lost", id)
		}
	}
	if most := kills * (checkpoint.Unsaved + 3*delivery.DefaultLimits().Events); n-events > most {
		t.Errorf("%d events came again, more than %d kills may cause", n-events, kills)
	}
	t.Logf("%d kills, %d events: none lost, %d came again", kills, events, n-events)
}
