package coordinator

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

func TestWhatTheServerIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version, groups string
		want            string
		leases          bool
		refused         bool
	}{
		"a current one":                {`{"gitVersion":"v1.34.4"}`, `{"kind":"APIGroupList","groups":[{"name":"coordination.k8s.io","versions":[{"groupVersion":"coordination.k8s.io/v1","version":"v1"}]}]}`, "1.34.4", true, false},
		"one with the beta of Leases":  {`{"gitVersion":"v1.13.12"}`, `{"kind":"APIGroupList","groups":[{"name":"coordination.k8s.io","versions":[{"groupVersion":"coordination.k8s.io/v1beta1","version":"v1beta1"}]}]}`, "1.13.12", false, false},
		"one without Leases":           {`{"gitVersion":"v1.11.0+d4cacc0"}`, `{"kind":"APIGroupList","groups":[]}`, "1.11.0", false, false},
		"one whose version is unknown": {`{"gitVersion":"latest"}`, `{"kind":"APIGroupList","groups":[]}`, "", false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mux := http.NewServeMux()
			answer := func(path, body string) {
				mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(body))
				})
			}
			answer("/version", tt.version)
			answer("/apis", tt.groups)
			answer("/api", `{"kind":"APIVersions","versions":["v1"]}`)
			web := httptest.NewServer(mux)
			defer web.Close()
			client, err := discovery.NewDiscoveryClientForConfig(&rest.Config{Host: web.URL})
			if err != nil {
				t.Fatal(err)
			}
			s, err := askServer(client)
			if (err != nil) != tt.refused {
				t.Fatalf("err = %v", err)
			}
			if err == nil && (s.version.String() != tt.want || s.leases != tt.leases) {
				t.Errorf("version %s, leases %v; want %s, %v", s.version, s.leases, tt.want, tt.leases)
			}
		})
	}
}
