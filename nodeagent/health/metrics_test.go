package health

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// metricsText is cut from what a kube-apiserver 1.34 says after its sink was away for a while.
const metricsText = `# HELP apiserver_audit_error_total [ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.
# TYPE apiserver_audit_error_total counter
apiserver_audit_error_total{plugin="buffered"} 3
apiserver_audit_error_total{plugin="webhook"} 12
# HELP apiserver_audit_event_total [ALPHA] Counter of audit events generated and sent to the audit backend.
# TYPE apiserver_audit_event_total counter
apiserver_audit_event_total 4711
# HELP rest_client_requests_total [ALPHA] Number of HTTP requests, partitioned by status code, method, and host.
# TYPE rest_client_requests_total counter
rest_client_requests_total{code="200",host="10.96.0.7:7765",method="POST"} 41
rest_client_requests_total{code="204",host="10.96.0.7:7765",method="POST"} 1
rest_client_requests_total{code="503",host="10.96.0.7:7765",method="POST"} 2
rest_client_requests_total{code="<error>",host="10.96.0.7:7765",method="POST"} 5
rest_client_requests_total{code="200",host="10.96.0.7:7765",method="GET"} 1000
rest_client_requests_total{code="200",host="[::1]:6443",method="POST"} 1000
rest_client_requests_total{code="200",host="10.96.0.7:77650",method="POST"} 1000
rest_client_requests_totally_else{code="200",host="10.96.0.7:7765",method="POST"} 1000
`

func TestDeliveriesCountsTheSinkOnly(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" || !strings.Contains(r.Header.Get("Accept"), "text/plain") {
			http.Error(w, "no", http.StatusNotAcceptable)
			return
		}
		_, _ = w.Write([]byte(metricsText))
	})
	got, err := a.client().Deliveries(t.Context(), "10.96.0.7:7765")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Counters{Delivered: 42, Failed: 7, AuditWebhookErrors: 12}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestDeliveriesTellsARefusalFromASilentSink(t *testing.T) {
	t.Parallel()
	refused := newApiserver(t, answer(map[string]int{"/metrics": 403}))
	if _, err := refused.client().Deliveries(t.Context(), "a"); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	cut := newApiserver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write([]byte(metricsText))
	})
	if _, err := cut.client().Deliveries(t.Context(), "10.96.0.7:7765"); err == nil {
		t.Error("an answer that breaks off was taken for a whole one")
	}
}

func TestReadCountersNeedsLittleMemory(t *testing.T) {
	// Not parallel: it measures allocation.
	line := "apiserver_request_duration_seconds_bucket{component=\"apiserver\",le=\"0.05\",resource=\"pods\"} 17\n"
	text := strings.Repeat(line, 50_000) + "x{y=\"" + strings.Repeat("z", 1<<20) + "\"} 1\n" + metricsText
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := readCounters(strings.NewReader(text), "10.96.0.7:7765")
	runtime.ReadMemStats(&after)
	if err != nil || got.Delivered != 42 {
		t.Fatalf("counters %v, err %v", got, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("allocated %d bytes for %d bytes of text", used, len(text))
	}
}

func TestParseSample(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line string
		want sample
		ok   bool
	}{
		"labels":                  {`m{a="1",b="2"} 3`, sample{"m", map[string]string{"a": "1", "b": "2"}, 3}, true},
		"no labels":               {"m 3", sample{"m", nil, 3}, true},
		"empty labels":            {"m{} 3", sample{"m", map[string]string{}, 3}, true},
		"a comma at the end":      {`m{a="1",} 3`, sample{"m", map[string]string{"a": "1"}, 3}, true},
		"a time stamp":            {`m{a="1"} 3 1700000000000`, sample{"m", map[string]string{"a": "1"}, 3}, true},
		"escapes":                 {`m{a="q\"}\\\n"} 3`, sample{"m", map[string]string{"a": "q\"}\\\n"}, 3}, true},
		"an exponent":             {"m 1.5e+06", sample{"m", nil, 1.5e6}, true},
		"a comment":               {"# TYPE m counter", sample{}, false},
		"not a number":            {"m NaN", sample{}, false},
		"a counter below nothing": {"m -1", sample{}, false},
		"cut in a label":          {`m{a="1`, sample{}, false},
		"cut in an escape":        {`m{a="1\`, sample{}, false},
		"cut before the value":    {`m{a="1"}`, sample{}, false},
		"empty":                   {"", sample{}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := parseSample(tt.line)
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(sample{})); diff != "" || ok != tt.ok {
				t.Errorf("ok = %v, sample (-want +got):\n%s", ok, diff)
			}
		})
	}
}

func TestSinkHost(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"http://10.96.0.7:7765/k8s_audit": "10.96.0.7:7765",
		"https://[fd00::7]:443/x":         "[fd00::7]:443",
		"https://audit.example.com/x":     "audit.example.com",
	} {
		if got, err := SinkHost(url); err != nil || got != want {
			t.Errorf("SinkHost(%q) = %q, %v", url, got, err)
		}
	}
	if _, err := SinkHost("http://user:hunter2@exa mple/"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("err = %v", err)
	}
}

func FuzzParseSample(f *testing.F) {
	for line := range strings.Lines(metricsText) {
		f.Add(line)
	}
	f.Add(`m{a="\`)
	f.Fuzz(func(t *testing.T, line string) {
		s, ok := parseSample(line)
		if ok && (s.name == "" || s.value < 0 || math.IsNaN(s.value)) {
			t.Errorf("%q became %+v", line, s)
		}
		if _, err := readCounters(strings.NewReader(line), "10.96.0.7:7765"); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	})
}

func FuzzLabelsSurvive(f *testing.F) {
	f.Add("<error>", 1.5)
	f.Add("a\"b\\c\nd}", 0.0)
	f.Fuzz(func(t *testing.T, value string, n float64) {
		if n < 0 || math.IsNaN(n) {
			return
		}
		escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
		s, ok := parseSample(fmt.Sprintf(`m{a="%s",b="x"} %g`, escaped, n))
		if !ok || s.labels["a"] != value || s.labels["b"] != "x" || s.value != n {
			t.Errorf("%q, %g became %+v", value, n, s)
		}
	})
}
