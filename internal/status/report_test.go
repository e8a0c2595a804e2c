package status_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

func object[D wire.Document](t *testing.T, kind, node string, document D) corev1.ConfigMap {
	t.Helper()
	data, err := wire.Encode(kind, document)
	if err != nil {
		t.Fatal(err)
	}
	return corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "audit", Annotations: map[string]string{wire.AnnotationNode: node}}, Data: data}
}

func TestEachNodeSpeaksForItselfAndTheCoordinatorForTheRest(t *testing.T) {
	t.Parallel()
	summary := object(t, wire.KindClusterStatus, "", &wire.ClusterStatus{
		Request: "1",
		Nodes: []wire.NodeSummary{
			{Name: "cp1", Phase: wire.PhasePending, Reason: reason.WaitingForAgent},
			{Name: "cp3", Phase: wire.PhaseApplied, Reason: reason.Live, AppliedRevision: "7", Message: "the operator's"},
		},
	})
	silent := corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "audit", Annotations: map[string]string{wire.AnnotationNode: "cp2"}}}
	said := object(t, wire.KindNodeStatus, "cp1", &wire.NodeStatus{Node: wire.NodeIdentity{Name: "cp1"}, Phase: wire.PhaseVerifying, Reason: reason.AwaitingApiserver})
	r, err := status.New(&summary, []corev1.ConfigMap{silent, said}, &request.Asked{Request: wire.Request{Paused: true}, Version: "2"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range r.Nodes {
		got = append(got, n.Node.Name+" "+string(n.Phase)+" "+n.Reason+" "+n.AppliedRevision)
	}
	if diff := cmp.Diff([]string{"cp1 Verifying AwaitingApiserver ", "cp2 Pending WaitingForAgent ", "cp3 Applied Live 7"}, got); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if !r.Pending || r.Asked() != "paused" || r.Namespace != "audit" {
		t.Errorf("pending %v, asked %q, namespace %q", r.Pending, r.Asked(), r.Namespace)
	}
}

func TestAStatusThatCannotBeReadHidesNoOther(t *testing.T) {
	t.Parallel()
	summary := object(t, wire.KindClusterStatus, "", &wire.ClusterStatus{})
	broken := object(t, wire.KindNodeStatus, "cp1", &wire.NodeStatus{})
	broken.Name, broken.Data[wire.DocumentKey] = "audit-status-cp1", "phase: ["
	said := object(t, wire.KindNodeStatus, "cp2", &wire.NodeStatus{Node: wire.NodeIdentity{Name: "cp2"}, Phase: wire.PhaseApplied, Reason: reason.Live})
	r, err := status.New(&summary, []corev1.ConfigMap{broken, said}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes) != 2 || r.Nodes[1].Phase != wire.PhaseApplied {
		t.Fatalf("nodes %+v", r.Nodes)
	}
	if n := r.Nodes[0]; n.Node.Name != "cp1" || n.Phase != wire.PhasePending || n.Reason != reason.WaitingForAgent || !strings.Contains(n.Message, "ConfigMap audit-status-cp1 cannot be read: ") {
		t.Errorf("the first is %+v", n)
	}
}
