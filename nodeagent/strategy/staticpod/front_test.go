package staticpod

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/nodeagent/txn"
)

func TestAChangeKnowsWhereClientsReachTheRunningApiserver(t *testing.T) {
	t.Parallel()
	manifest := bytes.ReplaceAll(kubeadm(t), []byte("--secure-port=6443"), []byte("--secure-port=8443"))
	in := input(t, manifest, nil)
	want := txn.Front{Port: 8443, Services: []string{"10.96.0.1:443"}}
	apply, refusal := Propose(in)
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(want, apply.Front); diff != "" {
		t.Errorf("apply (-want +got):\n%s", diff)
	}
	revert, refusal := ProposeRevert(Manifest{Path: manifestPath, Data: apply.New}, in.Plan, liveAfter(apply))
	if refusal != nil {
		t.Fatal(refusal)
	}
	if diff := cmp.Diff(want, revert.Front); diff != "" {
		t.Errorf("revert (-want +got):\n%s", diff)
	}
}
