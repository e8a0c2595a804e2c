package watchdog

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnApiserverServesWhereverItTurnsStrangersAway(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		// codes are the answers by path; others are not found.
		codes map[string]int
		fails string
	}{
		"it is ready":                             {codes: map[string]int{"/readyz": 200}},
		"it knows no anonymous users":             {codes: map[string]int{"/readyz": 401}},
		"they may not ask":                        {codes: map[string]int{"/readyz": 403}},
		"it is from before there was a readiness": {codes: map[string]int{"/healthz": 200}},
		"it is not ready":                         {codes: map[string]int{"/readyz": 500}, fails: "/readyz answers 500: etcd failed"},
		"it is from before and not ready":         {codes: map[string]int{"/healthz": 500}, fails: "/healthz answers 500"},
		"it is no apiserver":                      {fails: "/healthz answers 404"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("it was sent credentials")
				}
				code, ok := c.codes[r.URL.Path]
				if !ok {
					code = http.StatusNotFound
				}
				w.WriteHeader(code)
				_, _ = w.Write([]byte("etcd failed"))
			}))
			defer server.Close()
			err := Serving{Address: server.Listener.Addr().String()}.Ready(t.Context())
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("error is %v, want %q in it", err, c.fails)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewTLSServer(http.NotFoundHandler())
		address := server.Listener.Addr().String()
		server.Close()
		if err := (Serving{Address: address}).Live(t.Context()); err == nil {
			t.Error("it serves, although nobody listens")
		}
	})
}
