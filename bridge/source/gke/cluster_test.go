package gke_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/compute/metadata"

	"k8s-audit-enabler.io/bridge/source/gke"
)

// TestTheNodeTellsWhatNobodyHasSet asks a metadata server by its own client.
func TestTheNodeTellsWhatNobodyHasSet(t *testing.T) {
	node := map[string]string{
		"/computeMetadata/v1/project/project-id":                   "acme",
		"/computeMetadata/v1/instance/attributes/cluster-name":     "prod\n",
		"/computeMetadata/v1/instance/attributes/cluster-location": "europe-west3",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, found := node[r.URL.Path]
		if !found || r.Header.Get("Metadata-Flavor") != "Google" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		_, _ = w.Write([]byte(value))
	}))
	defer server.Close()
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(server.URL, "http://"))
	for _, test := range []struct{ set, want gke.Cluster }{
		{gke.Cluster{}, gke.Cluster{Project: "acme", Location: "europe-west3", Name: "prod"}},
		{gke.Cluster{Project: "other", Name: "b"}, gke.Cluster{Project: "other", Location: "europe-west3", Name: "b"}},
	} {
		if got, err := gke.Complete(t.Context(), test.set, metadata.NewClient(nil)); err != nil || got != test.want {
			t.Errorf("%+v becomes %+v, want %+v; %v", test.set, got, test.want, err)
		}
	}
	delete(node, "/computeMetadata/v1/instance/attributes/cluster-location")
	if _, err := gke.Complete(t.Context(), gke.Cluster{}, metadata.NewClient(nil)); err == nil || !strings.Contains(err.Error(), "bridge.gke.location") {
		t.Errorf("error %v", err)
	}
}
