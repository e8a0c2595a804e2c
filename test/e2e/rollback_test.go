package e2e_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// auditLog is where the apiserver writes our log on the host.
const auditLog = "/var/lib/k8s_audit/log/k8s_audit_events.log"

// rolledBack enables on a host where the audit log's place is taken by a folder: no validation of a configuration sees
// that, and the apiserver ends at once with "is a directory". It begins without a release and ends with one that is disabled.
func rolledBack(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	node := s.Nodes()[0]
	before := s.host(t, node, stage.ManifestPath)
	_, err := s.Exec(t.Context(), node, "sh", "-c", "rm -rf "+auditLog+" && mkdir -p "+auditLog)
	must(t, err)
	s.install(t, stage.Values{"enabled": true})
	n, err := s.WaitNode(within(t, oneRestart), node, "was rolled back", func(n wire.NodeStatus) bool { return n.Phase == wire.PhaseRolledBack })
	must(t, err)
	if n.Reason != reason.CrashLooping {
		t.Errorf("reason is %s, want %s", n.Reason, reason.CrashLooping)
	}
	if n.LastError == nil || !strings.Contains(strings.Join(n.LastError.LogTail, "\n"), "is a directory") {
		t.Errorf("last error is %+v, want the apiserver's last words in it", n.LastError)
	}
	if n.AppliedRevision != "" {
		t.Errorf("applied revision is %s, want none", n.AppliedRevision)
	}
	if diff := cmp.Diff(before, s.host(t, node, stage.ManifestPath)); diff != "" {
		t.Errorf("manifest (-before +after):\n%s", diff)
	}
	s.kubectl(t, "get", "--raw", "/readyz")
	s.reason(t, reason.NodeFailed)

	_, err = s.Exec(t.Context(), node, "rm", "-rf", auditLog)
	must(t, err)
	s.install(t, stage.Values{"enabled": false})
	_, err = s.WaitReason(within(t, oneRestart), reason.Disabled)
	must(t, err)
}
