package file_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s-audit-enabler.io/bridge/event"
)

// typical is an event of about 1 KiB, as most are at level Metadata.
const typical = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"0c2f5d5e-6a0e-4f3c-9f0f-3f%010d","stage":"ResponseComplete",` +
	`"requestURI":"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/worker-17.example.internal?timeout=10s","verb":"update",` +
	`"user":{"username":"system:node:worker-17.example.internal","groups":["system:nodes","system:authenticated"],"extra":{"authentication.kubernetes.io/credential-id":["X509SHA256=8c5f6ab1d3a5be8e2b28d3ac1f2a1e5fbb0f8cc61da1a3db0e3b5ff25a6b1d61"]}},` +
	`"sourceIPs":["192.0.2.117"],"userAgent":"kubelet/v1.34.4 (linux/amd64) kubernetes/6ad0a05","objectRef":{"resource":"leases","namespace":"kube-node-lease",` +
	`"name":"worker-17.example.internal","uid":"5f0a3f1c-27b1-4a3c-8a5e-9b0b6e0b6f11","apiGroup":"coordination.k8s.io","apiVersion":"v1","resourceVersion":"8123457"},` +
	`"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-23T10:00:00.123456Z","stageTimestamp":"2026-11-23T10:00:00.130011Z",` +
	`"annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}` + "\n"

// plainly is what the bridge is measured against: lines are read, and their bytes posted in batches, without any safety.
func plainly(dir, url string) error {
	log, err := os.Open(filepath.Join(dir, "log", "audit.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	lines := bufio.NewReaderSize(log, 256<<10)
	var body []byte
	post := func() error {
		if body == nil {
			return nil
		}
		answer, err := http.Post(url, "application/json", bytes.NewReader(append(body, event.ListTail...)))
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		body = body[:0]
		return answer.Body.Close()
	}
	for n := 0; ; n++ {
		line, err := lines.ReadSlice('\n')
		if err == io.EOF {
			return post()
		}
		if err != nil {
			return err
		}
		if n%400 == 0 {
			if err := post(); err != nil {
				return err
			}
			body = append(body, event.ListHead...)
		} else {
			body = append(body, ',')
		}
		body = append(body, line...)
	}
}

// BenchmarkThroughput measures how long the bridge takes for a log on one core, beside a program that has no safety at all. Each is a
// process of its own, and the sink is this one.
func BenchmarkThroughput(b *testing.B) {
	const events = 300_000
	dir := b.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "log"), 0o700); err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	for i := range events {
		fmt.Fprintf(&text, typical, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "log", "audit.log"), text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	text = bytes.Buffer{}
	var got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Add(n)
	}))
	defer server.Close()
	size := int64(events * len(fmt.Sprintf(typical, 0)))
	run := func(mode string) (took time.Duration, peak float64) {
		if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
			b.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
			b.Fatal(err)
		}
		got.Store(0)
		c := exec.Command(os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), "GOMAXPROCS=1", bridgeDir+"="+dir, bridgeSink+"="+server.URL, bridgeMode+"="+mode)
		begin := time.Now()
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		for got.Load() < size {
			time.Sleep(time.Millisecond)
		}
		took, peak = time.Since(begin), memoryOf(b, c.Process.Pid)
		_ = c.Process.Kill()
		_ = c.Wait()
		return took, peak
	}
	var ratios, rates, peaks []float64
	for b.Loop() {
		bare, _ := run("plain")
		took, peak := run("")
		ratios, rates, peaks = append(ratios, took.Seconds()/bare.Seconds()), append(rates, events/took.Seconds()), append(peaks, peak)
	}
	for _, values := range [][]float64{ratios, rates, peaks} {
		slices.Sort(values)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ratios[len(ratios)/2], "times-bare")
	b.ReportMetric(rates[len(rates)/2], "events/s")
	b.ReportMetric(peaks[len(peaks)-1], "peak-MiB")
}

// memoryOf is the most memory that a process has had, in MiB; 0 for one that has ended.
func memoryOf(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib / 1024
		}
	}
	return 0
}
