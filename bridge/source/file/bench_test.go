package file_test

import (
	"bufio"
	"bytes"
	"errors"
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

// bridgeProcess starts this program as a bridge on one core. The function ends it.
func bridgeProcess(b *testing.B, dir, sink, mode string) (pid int, end func()) {
	b.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), "GOMAXPROCS=1", bridgeDir+"="+dir, bridgeSink+"="+sink, bridgeMode+"="+mode)
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	return c.Process.Pid, func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}
}

// bridgeHome is a directory with a log of so many events, and how long that log is.
func bridgeHome(b *testing.B, events int) (dir string, size int64) {
	b.Helper()
	dir = b.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "log"), 0o700), os.Mkdir(filepath.Join(dir, "state"), 0o700)); err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	for i := range events {
		fmt.Fprintf(&text, typical, i)
	}
	if err := os.WriteFile(filepath.Join(dir, "log", "audit.log"), text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	return dir, int64(text.Len())
}

// BenchmarkThroughput measures how long the bridge takes for a log on one core, beside a program that has no safety at all. Each is a
// process of its own, and the sink is this one.
func BenchmarkThroughput(b *testing.B) {
	const events = 300_000
	dir, size := bridgeHome(b, events)
	var got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Add(n)
	}))
	defer server.Close()
	run := func(mode string) (took time.Duration, peak float64) {
		state := filepath.Join(dir, "state")
		if err := errors.Join(os.RemoveAll(state), os.Mkdir(state, 0o700)); err != nil {
			b.Fatal(err)
		}
		got.Store(0)
		begin := time.Now()
		pid, end := bridgeProcess(b, dir, server.URL, mode)
		defer end()
		for got.Load() < size {
			time.Sleep(time.Millisecond)
		}
		return time.Since(begin), memoryOf(b, pid)
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

// BenchmarkLatency measures, at 1,000 events a second, how long after its line was written an event is at the sink.
func BenchmarkLatency(b *testing.B) {
	const perSecond, events = 1000, 20_000
	var all []time.Duration
	for b.Loop() {
		dir, _ := bridgeHome(b, 0)
		written, arrived, total := make([]time.Time, events), make([]time.Time, events), atomic.Int64{}
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			at := time.Now()
			for _, part := range strings.Split(string(body), `"auditID":"0c2f5d5e-6a0e-4f3c-9f0f-3f`)[1:] {
				id, err := strconv.Atoi(part[:10])
				if err == nil && arrived[id].IsZero() { // one request at a time
					arrived[id] = at
					total.Add(1)
				}
			}
		}))
		_, end := bridgeProcess(b, dir, server.URL, "")
		log, err := os.OpenFile(filepath.Join(dir, "log", "audit.log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			b.Fatal(err)
		}
		for begin, n := time.Now(), 0; n < events; time.Sleep(time.Millisecond) {
			for ; n < events && time.Duration(n)*time.Second/perSecond <= time.Since(begin); n++ {
				written[n] = time.Now()
				if _, err := fmt.Fprintf(log, typical, n); err != nil {
					b.Fatal(err)
				}
			}
		}
		for deadline := time.Now().Add(time.Minute); total.Load() < events; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("%d of %d events have arrived", total.Load(), events)
			}
		}
		end()
		server.Close()
		_ = log.Close()
		for n := range events {
			all = append(all, arrived[n].Sub(written[n]))
		}
	}
	slices.Sort(all)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(all[len(all)/2])/float64(time.Millisecond), "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100])/float64(time.Millisecond), "p99-ms")
}

// BenchmarkSinkDown measures the memory of a bridge whose sink takes nothing while a long log waits that is rotated meanwhile. What waits is
// in the log and not in memory, so that an hour of it is not more than these seconds.
func BenchmarkSinkDown(b *testing.B) {
	const events = 300_000
	var peaks []float64
	for b.Loop() {
		dir, _ := bridgeHome(b, events)
		var attempts atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			attempts.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		pid, end := bridgeProcess(b, dir, server.URL, "")
		path := filepath.Join(dir, "log", "audit.log")
		for n := range 20 {
			time.Sleep(time.Second)
			if err := errors.Join(os.Rename(path, fmt.Sprintf("%s-2026-11-23T10-00-%02d.000.log", strings.TrimSuffix(path, ".log"), n)), os.WriteFile(path, fmt.Appendf(nil, typical, n), 0o600)); err != nil {
				b.Fatal(err)
			}
		}
		if attempts.Load() == 0 {
			b.Fatal("the sink was not asked")
		}
		peaks = append(peaks, memoryOf(b, pid))
		end()
		server.Close()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(slices.Max(peaks), "down-MiB")
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
