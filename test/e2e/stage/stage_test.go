package stage

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/test/lab/parts"
)

func TestValuesAreLaidOverOthersKeyByKey(t *testing.T) {
	t.Parallel()
	base := Values{"image": Values{"registry": "localhost", "tag": "1"}, "enabled": true}
	got := base.With(Values{"image": Values{"tag": "2"}, "sink": Values{"url": "http://192.0.2.1/"}, "enabled": false})
	want := Values{"image": Values{"registry": "localhost", "tag": "2"}, "sink": Values{"url": "http://192.0.2.1/"}, "enabled": false}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Values{"image": Values{"registry": "localhost", "tag": "1"}, "enabled": true}, base); diff != "" {
		t.Errorf("the values underneath changed (-want +got):\n%s", diff)
	}
}

func TestEachStartOfAProgramIsCountedOnItsHost(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Skip(err)
	}
	const comm = "stage-sleeper"
	program := filepath.Join(t.TempDir(), comm)
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func() func() {
		cmd := exec.Command(program, "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	}
	first := run()
	defer first()
	time.Sleep(50 * time.Millisecond)
	starts, err := WatchStarts(comm, map[string]int{"here": os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	defer starts.Stop()
	begin := time.Now()
	if !starts.Alive("here") {
		t.Error("the program runs and is not seen")
	}
	first()
	for range 2 {
		stop := run()
		time.Sleep(3 * lookEvery)
		stop()
	}
	if got := starts.Count("here", begin); got != 2 {
		t.Errorf("%d starts were counted, want the 2 after the beginning", got)
	}
	if starts.Alive("here") {
		t.Error("the program has ended and is still seen")
	}
}

func TestTheProbeAddsUpWhatWasNotReady(t *testing.T) {
	t.Parallel()
	var ready atomic.Bool
	ready.Store(true)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || !ready.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "https://")
	p := WatchReady(map[string]string{"a": address, "b": address}, 10*time.Millisecond)
	time.Sleep(100 * time.Millisecond)
	if total, times := p.Unready("a"); total != 0 || times != 0 || !p.AllReady() {
		t.Errorf("a ready server was unready for %s in %d times", total, times)
	}
	ready.Store(false)
	time.Sleep(300 * time.Millisecond)
	ready.Store(true)
	time.Sleep(200 * time.Millisecond)
	p.Stop()
	total, times := p.Unready("a")
	if total < 200*time.Millisecond || total > 450*time.Millisecond || times != 1 {
		t.Errorf("unready for %s in %d times, want about 300ms in one", total, times)
	}
	if p.MostTogether() != 2 {
		t.Errorf("%d were unready together, want 2", p.MostTogether())
	}
}

func TestTrafficReportsEachFailure(t *testing.T) {
	t.Parallel()
	n := 0
	traffic := SendTraffic(time.Millisecond, func(context.Context) error {
		if n++; n == 3 {
			return errors.New("refused")
		}
		return nil
	})
	time.Sleep(100 * time.Millisecond)
	sent, failures := traffic.Stop()
	if sent < 4 || len(failures) != 1 || !strings.Contains(failures[0], "refused") {
		t.Errorf("%d sent, failures %q, want one", sent, failures)
	}
}

func TestImagesAreFoundByWhatTheirArchivesSay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "p")
	if err := os.WriteFile(program, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := findImages(dir); err == nil || !strings.Contains(err.Error(), "make images") {
		t.Errorf("err = %v, want what to type", err)
	}
	for file, tag := range map[string]string{imageFile("a"): "localhost/a:1.2", "a-otherarch.tar": "localhost/a:9"} {
		if err := WriteImage(filepath.Join(dir, file), parts.Image{Tag: tag, Programs: map[string]string{"/p": program}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := findImages(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := images{archives: Archives{"a": filepath.Join(dir, imageFile("a"))}, registry: "localhost", tag: "1.2"}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(images{})); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestOneShotClientsDoNotShareConnections(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen[r.RemoteAddr] = true }))
	server.TLS = &tls.Config{}
	server.StartTLS()
	defer server.Close()
	client := oneShotClient(time.Second)
	for range 3 {
		resp, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if len(seen) != 3 {
		t.Errorf("%d connections for 3 requests", len(seen))
	}
}
