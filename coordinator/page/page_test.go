package page_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"k8s-audit-enabler.io/coordinator/page"
	"k8s-audit-enabler.io/coordinator/page/pagetest"
	"k8s-audit-enabler.io/internal/status"
)

var update = flag.Bool("update", false, "write the golden files")

func handler(t *testing.T, report *status.Report, failure error) http.Handler {
	t.Helper()
	p := &page.Page{
		Report:    func(context.Context) (*status.Report, error) { return report, failure },
		Namespace: pagetest.Namespace, Version: "0.9.0", Now: pagetest.Now, Log: slog.New(slog.DiscardHandler),
	}
	h, err := p.Handler()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(t *testing.T, h http.Handler, method, path, host string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
	r.Host = host
	h.ServeHTTP(w, r)
	return w
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, report := range map[string]*status.Report{
		"ready": pagetest.Ready(), "failed": pagetest.Failed(), "rolling": pagetest.Rolling(), "forged": pagetest.Forged(), "empty": pagetest.Empty(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := get(t, handler(t, report, nil), http.MethodGet, "/", "127.0.0.1:1")
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("answer %d, %s", w.Code, w.Header().Get("Content-Type"))
			}
			golden := filepath.Join("testdata", name+".html")
			if *update {
				if err := os.WriteFile(golden, w.Body.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), w.Body.String()); diff != "" {
				t.Errorf("page (-want +got); go test ./coordinator/page -update writes it anew:\n%s", diff)
			}
		})
	}
}

// TestNothingThatIsReportedBecomesMarkup looks at the parsed page: its elements are those of the template, and of their attributes none
// but those that hold text has what was reported.
func TestNothingThatIsReportedBecomesMarkup(t *testing.T) {
	t.Parallel()
	w := get(t, handler(t, pagetest.Forged(), nil), http.MethodGet, "/", "localhost:8082")
	root, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	scripts, shown := 0, 0
	for n := range root.Descendants() {
		if n.Type == html.TextNode && strings.Contains(n.Data, pagetest.Hostile) {
			shown++
		}
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "script" {
			scripts++
		}
		if n.Data == "img" || n.Data == "a" {
			t.Errorf("the page has an element %s", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s has an attribute %s", n.Data, a.Key)
			}
			if strings.Contains(a.Val, "alert") && a.Key != "aria-label" {
				t.Errorf("%s has what was reported in %s", n.Data, a.Key)
			}
		}
	}
	if scripts != 1 || shown == 0 {
		t.Errorf("%d scripts, want the page's own; what was reported is shown %d times", scripts, shown)
	}
}

func TestThePageLoadsNothingFromElsewhereAndIsFramedByNobody(t *testing.T) {
	t.Parallel()
	h := handler(t, pagetest.Ready(), nil)
	for path, kind := range map[string]string{"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript", "/icon.svg": "image/svg+xml"} {
		w := get(t, h, http.MethodGet, path, "[::1]:8082")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: %d, %s", path, w.Code, w.Header().Get("Content-Type"))
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "style-src 'self'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %s: %s", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
		for _, address := range regexp.MustCompile(`https?://[^"'\s<)]+`).FindAllString(w.Body.String(), -1) {
			if address != "http://www.w3.org/2000/svg" && address != pagetest.Ready().Cluster.Sink {
				t.Errorf("%s names %s", path, address)
			}
		}
	}
}

func TestOnlyReadingIsAnswered(t *testing.T) {
	t.Parallel()
	h := handler(t, pagetest.Ready(), nil)
	for request, want := range map[[2]string]int{
		{http.MethodGet, "/"}: 200, {http.MethodHead, "/"}: 200, {http.MethodPost, "/"}: 405, {http.MethodDelete, "/"}: 405,
		{http.MethodGet, "/page.html"}: 404, {http.MethodGet, "/page.go"}: 404, {http.MethodGet, "/metrics"}: 404,
	} {
		if w := get(t, h, request[0], request[1], "localhost"); w.Code != want {
			t.Errorf("%v: %d, want %d", request, w.Code, want)
		}
	}
}

// A name server of somebody else can let its name lead to this machine, and a page under that name would then read this one.
func TestAForeignNameIsNotAnswered(t *testing.T) {
	t.Parallel()
	h := handler(t, pagetest.Ready(), nil)
	for host, want := range map[string]int{
		"localhost:8082": 200, "localhost": 200, "127.0.0.1:8082": 200, "[::1]:8082": 200, "192.0.2.7:8082": 200,
		"rebound.example.com": 421, "rebound.example.com:8082": 421, "localhost.example.com": 421, "": 421,
	} {
		w := get(t, h, http.MethodGet, "/", host)
		if w.Code != want || want != 200 && strings.Contains(w.Body.String(), "cp1") {
			t.Errorf("host %q: %d, want %d", host, w.Code, want)
		}
	}
}

func TestWhyThereIsNoStatusIsSaid(t *testing.T) {
	t.Parallel()
	w := get(t, handler(t, nil, errors.New("no <b>such</b> ConfigMap")), http.MethodGet, "/", "localhost")
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "no &lt;b&gt;such&lt;/b&gt; ConfigMap") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestThePageIsServedOnALoopbackAddressOnly(t *testing.T) {
	t.Parallel()
	for address, ok := range map[string]bool{
		"127.0.0.1:8082": true, "[::1]:8082": true, "127.0.0.1:0": true,
		":8082": false, "0.0.0.0:8082": false, "10.0.0.1:8082": false, "[::]:8082": false, "localhost": false, "localhost:8082": false, "": false,
	} {
		if err := page.CheckAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
