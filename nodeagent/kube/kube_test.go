package kube

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
)

// single answers one kind of request and remembers the last.
type single struct {
	*Client
	method, path, contentType, body, userAgent string
}

func newSingle(t *testing.T, code int, answer string) *single {
	t.Helper()
	s := &single{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.method, s.path, s.contentType, s.body, s.userAgent = r.Method, r.URL.Path, r.Header.Get("Content-Type"), string(body), r.UserAgent()
		if code != http.StatusOK {
			status(w, code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL}, "v9", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Client = c
	return s
}

func TestGetPlan(t *testing.T) {
	t.Parallel()
	s := newSingle(t, http.StatusOK, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"p","uid":"u","resourceVersion":"7",`+
		`"annotations":{"a":"b"},"unknownToUs":1},"data":{"document.yaml":"x"},"immutable":false}`)
	got, err := s.GetPlan(t.Context(), "ns", "p")
	if err != nil {
		t.Fatal(err)
	}
	want := ConfigMap{Name: "p", UID: "u", ResourceVersion: "7", Annotations: map[string]string{"a": "b"}, Data: map[string]string{"document.yaml": "x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if s.path != "/api/v1/namespaces/ns/configmaps/p" || s.userAgent != "k8s-audit-enabler-nodeagent/v9" {
		t.Errorf("asked %s as %q", s.path, s.userAgent)
	}
}

func TestPatchStatusIsAMergePatchOfTheDataOnly(t *testing.T) {
	t.Parallel()
	s := newSingle(t, http.StatusOK, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"p"}}`)
	if err := s.PatchStatus(t.Context(), "ns", "p", map[string]string{"document.yaml": "a\nb"}); err != nil {
		t.Fatal(err)
	}
	if s.method != http.MethodPatch || s.path != "/api/v1/namespaces/ns/configmaps/p" || s.contentType != "application/merge-patch+json" {
		t.Errorf("%s %s as %s", s.method, s.path, s.contentType)
	}
	if want := `{"data":{"document.yaml":"a\nb"}}`; s.body != want {
		t.Errorf("body %s, want %s", s.body, want)
	}
}

func TestGetSecret(t *testing.T) {
	t.Parallel()
	s := newSingle(t, http.StatusOK, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","resourceVersion":"8"},"data":{"token":"aHVudGVyMg=="}}`)
	data, version, err := s.GetSecret(t.Context(), "ns", "s")
	if err != nil || version != "8" || string(data["token"]) != "hunter2" {
		t.Errorf("data %q, version %q, err %v", data, version, err)
	}
	if s.path != "/api/v1/namespaces/ns/secrets/s" {
		t.Errorf("asked %s", s.path)
	}
}

func TestFailuresHaveAKind(t *testing.T) {
	t.Parallel()
	for code, kind := range map[int]error{404: ErrNotFound, 403: ErrForbidden, 401: ErrForbidden, 500: ErrUnavailable, 503: ErrUnavailable, 429: ErrUnavailable, 409: nil} {
		s := newSingle(t, code, "")
		_, planErr := s.GetPlan(t.Context(), "ns", "p")
		_, _, secretErr := s.GetSecret(t.Context(), "ns", "p")
		for _, err := range []error{planErr, secretErr, s.PatchStatus(t.Context(), "ns", "p", nil)} {
			if err == nil {
				t.Fatalf("status %d: no error", code)
			}
			for _, k := range []error{ErrNotFound, ErrForbidden, ErrUnavailable} {
				if errors.Is(err, k) != (k == kind) {
					t.Errorf("status %d: %v is %q: %v", code, err, k, errors.Is(err, k))
				}
			}
		}
	}
}

func TestNoServerIsUnavailable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(nil)
	address := server.URL
	server.Close()
	c, err := New(&rest.Config{Host: address}, "v9", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetPlan(t.Context(), "ns", "p"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("err = %v", err)
	}
}
