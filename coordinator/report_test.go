package coordinator

import (
	"testing"

	"k8s-audit-enabler.io/internal/wire"
)

func TestThePageReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	if _, err := reportOf(t.Context(), s.api, testNamespace); err == nil {
		t.Error("a status although there is none")
	}
	s = ready(t, "cp2", "cp1")
	r, err := reportOf(t.Context(), s.api, testNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Headline(); got == "" || r.Namespace != testNamespace || r.Pending || len(r.Cluster.Steps) == 0 {
		t.Errorf("report %+v says %q", r, got)
	}
	if len(r.Nodes) != 2 || r.Nodes[0].Node.Name != "cp1" || r.Nodes[1].Phase != wire.PhaseApplied {
		t.Errorf("nodes: %+v", r.Nodes)
	}
}
