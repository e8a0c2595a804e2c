package health

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// apiserver is a fake one behind real TLS, with what it was asked.
type apiserver struct {
	*httptest.Server
	ca, token string

	mu       sync.Mutex
	requests []*http.Request
}

func newApiserver(t *testing.T, handler http.HandlerFunc) *apiserver {
	t.Helper()
	a := &apiserver{ca: filepath.Join(t.TempDir(), "ca.crt"), token: filepath.Join(t.TempDir(), "token")}
	a.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.requests = append(a.requests, r)
		a.mu.Unlock()
		handler(w, r)
	}))
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.Close)
	a.writeCA(t, a.ca)
	a.writeToken(t, "first\n")
	return a
}

func (a *apiserver) writeCA(t *testing.T, file string) {
	t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *apiserver) writeToken(t *testing.T, token string) {
	t.Helper()
	if err := os.WriteFile(a.token, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

// client's server name is one that httptest's certificate is valid for.
func (a *apiserver) client() *Client {
	return New(Config{
		Address: strings.TrimPrefix(a.URL, "https://"), CAFile: a.ca, TokenFile: a.token,
		ServerName: "example.com", UserAgent: "agent/test", Timeout: 5 * time.Second,
	})
}

func (a *apiserver) asked() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// answer always gives the same answer to the paths it knows.
func answer(paths map[string]int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		code, ok := paths[r.URL.Path]
		if !ok {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "said %d", code)
	}
}

func TestReadyz(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		paths map[string]int
		want  Verdict
	}{
		"ready":                       {map[string]int{"/readyz": 200}, Verdict{OK: true, Code: 200, Path: "/readyz", Body: "said 200"}},
		"not ready":                   {map[string]int{"/readyz": 500, "/healthz": 200}, Verdict{Code: 500, Path: "/readyz", Body: "said 500"}},
		"before 1.16 there is none":   {map[string]int{"/healthz": 200}, Verdict{OK: true, Code: 200, Path: "/healthz", Body: "said 200"}},
		"refused shows that it is up": {map[string]int{"/readyz": 403, "/healthz": 200}, Verdict{Refused: true, Code: 403, Path: "/readyz", Body: "said 403"}},
		"unknown token":               {map[string]int{"/readyz": 401}, Verdict{Refused: true, Code: 401, Path: "/readyz", Body: "said 401"}},
		"a redirect is no answer":     {map[string]int{"/readyz": 307}, Verdict{Code: 307, Path: "/readyz", Body: "said 307"}},
		"overloaded":                  {map[string]int{"/readyz": 429}, Verdict{Code: 429, Path: "/readyz", Body: "said 429"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApiserver(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/healthz")
				answer(tt.paths)(w, r)
			})
			got, err := a.client().Readyz(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdict (-want +got):\n%s", diff)
			}
		})
	}
}

func TestVerdictInWords(t *testing.T) {
	t.Parallel()
	tests := map[string]Verdict{
		"/readyz is ok": {OK: true, Path: "/readyz"},
		"/readyz answers 403: the process is up, its health unknown": {Refused: true, Code: 403, Path: "/readyz"},
		"/livez answers 500: [-]etcd failed":                         {Code: 500, Path: "/livez", Body: "[-]etcd failed\n"},
	}
	for want, v := range tests {
		if got := v.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}

func TestEachRequestIsFreshAndAuthorised(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, answer(map[string]int{"/livez": 200}))
	c := a.client()
	for _, token := range []string{"first", "second"} {
		a.writeToken(t, token+"\n")
		if v, err := c.Livez(t.Context()); err != nil || !v.OK {
			t.Fatalf("verdict %v, err %v", v, err)
		}
	}
	asked := a.asked()
	if asked[0].RemoteAddr == asked[1].RemoteAddr {
		t.Error("the second request came over the first one's connection")
	}
	for i, want := range []string{"Bearer first", "Bearer second"} {
		if got := asked[i].Header.Get("Authorization"); got != want {
			t.Errorf("request %d: Authorization %q, want %q", i, got, want)
		}
		if asked[i].ProtoMajor != 1 || !asked[i].Close || asked[i].UserAgent() != "agent/test" {
			t.Errorf("request %d: %s from %q, closes %v", i, asked[i].Proto, asked[i].UserAgent(), asked[i].Close)
		}
	}
}

func TestAnotherServerIsNotBelieved(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, answer(map[string]int{"/readyz": 200}))
	c := a.client()
	c.config.ServerName = "" // New's default, which httptest's certificate lacks
	if _, err := New(c.config).Readyz(t.Context()); err == nil {
		t.Error("a certificate for another name was accepted")
	}
	if err := os.WriteFile(a.ca, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.client().Readyz(t.Context()); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("without a CA: %v", err)
	}
	if len(a.asked()) != 0 {
		t.Error("a token was sent to a server that is not verified")
	}
}

func TestNoAnswerIsAnErrorInTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	a := newApiserver(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	c := a.client()
	c.config.Timeout = 100 * time.Millisecond
	if _, err := c.Readyz(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestAClosedPortIsToldFromAServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, func(http.ResponseWriter, *http.Request) {})
	c := a.client()
	a.Close()
	if _, err := c.Readyz(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("err = %v, want one that says that the connection was refused", err)
	}
}

func TestABodyIsBounded(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
	})
	v, err := a.client().Readyz(t.Context())
	if err != nil || len(v.Body) != maxBody {
		t.Errorf("%d bytes, err %v", len(v.Body), err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	a := newApiserver(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"major":"1","minor":"34","gitVersion":"v1.34.4","platform":"linux/amd64"}`))
	})
	if got, err := a.client().Version(t.Context()); err != nil || got != "v1.34.4" {
		t.Errorf("version %q, err %v", got, err)
	}
	refused := newApiserver(t, answer(map[string]int{"/version": 403}))
	if _, err := refused.client().Version(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
}

func TestCanaryCarriesItsOwnID(t *testing.T) {
	t.Parallel()
	for _, code := range []int{200, 403, 404, 500} {
		a := newApiserver(t, answer(map[string]int{"/livez": code}))
		id, err := a.client().Canary(t.Context())
		if err != nil || id == "" {
			t.Fatalf("status %d: id %q, err %v", code, id, err)
		}
		got := a.asked()[0]
		if got.Header.Get("Audit-ID") != id || got.URL.Path != "/livez" {
			t.Errorf("%s with Audit-ID %q, want %q", got.URL.Path, got.Header.Get("Audit-ID"), id)
		}
	}
	unknown := newApiserver(t, answer(map[string]int{"/livez": 401}))
	if _, err := unknown.client().Canary(t.Context()); !errors.Is(err, ErrRefused) {
		t.Errorf("unknown user: %v", err)
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := []struct{ bind, port, want string }{
		{"", "", "127.0.0.1:6443"},
		{"0.0.0.0", "8443", "127.0.0.1:8443"},
		{"::", "6443", "127.0.0.1:6443"},
		{"192.0.2.7", "6443", "192.0.2.7:6443"},
		{"2001:db8::7", "6443", "[2001:db8::7]:6443"},
		{"$(HOST_IP)", "6443", "127.0.0.1:6443"},
	}
	for _, tt := range tests {
		if got := Address(tt.bind, tt.port); got != tt.want {
			t.Errorf("Address(%q, %q) = %q, want %q", tt.bind, tt.port, got, tt.want)
		}
	}
}
