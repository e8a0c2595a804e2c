package e2e_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

// uninstalled takes an enabled release away with nothing but `helm uninstall`: its hook has the node reverted, with the only
// apiserver restarting under it, and nothing of the release stays, on the host or in the cluster.
func uninstalled(t *testing.T, s *scene, etc stage.Snapshot) { //nolint:thelper // an act, whose lines matter
	begin := time.Now()
	// Helm 4's own way to wait gives up when an apiserver that has just started refuses it for a moment.
	must(t, s.Uninstall(within(t, oneRestart), "--wait=legacy"))
	t.Logf("uninstalled within %.0f s", time.Since(begin).Seconds())
	s.restarts(t, begin, 1)
	nothingLeft(t, s, etc)
}

// nothingLeft compares the host's files with those before, and looks for anything of ours in the cluster.
func nothingLeft(t *testing.T, s *scene, etc stage.Snapshot) {
	t.Helper()
	node := s.Nodes()[0]
	if diff := cmp.Diff(etc, s.snapshot(t, node, "/etc/kubernetes")); diff != "" {
		t.Errorf("files under /etc/kubernetes (-before +after):\n%s", diff)
	}
	left, err := s.Exec(t.Context(), node, "sh", "-c", "ls -d /var/lib/k8s_audit /var/lib/k8s-audit-enabler /etc/systemd/system/*audit-enabler* /etc/systemd/system/*/*audit-enabler* 2>/dev/null || true")
	must(t, err)
	if left != "" {
		t.Errorf("left on the host: %s", left)
	}
	if text := s.kubectl(t, "get", "node", node, "-o", "jsonpath={.metadata.labels} {.metadata.annotations}"); strings.Contains(text, "k8s-audit-enabler.io") {
		t.Errorf("label or annotation %s left on the node: %s", wire.LabelNodeAgent, text)
	}
	// What the coordinator made goes with the configuration, and pods go with their owners, once the controller-manager is
	// back after the restart of the only apiserver.
	must(t, stage.Until(within(t, oneRestart), "nothing of the release is in the cluster", func(ctx ctx) (bool, error) {
		ours, err := s.Kubectl(ctx, "-n", stage.ReleaseNamespace, "get", "configmaps,leases,jobs,pods,deployments,daemonsets,roles,rolebindings,serviceaccounts,secrets", "-o", "name")
		if err != nil {
			return false, err
		}
		wide, err := s.Kubectl(ctx, "get", "clusterroles,clusterrolebindings,priorityclasses", "-o", "name")
		if err != nil {
			return false, err
		}
		system, err := s.Kubectl(ctx, "-n", "kube-system", "get", "roles,rolebindings,configmaps", "-o", "name")
		if err != nil {
			return false, err
		}
		names := slices.DeleteFunc(strings.Fields(ours), func(name string) bool {
			return name == "configmap/kube-root-ca.crt" || name == "serviceaccount/default"
		})
		for _, name := range strings.Fields(wide + "\n" + system) {
			if strings.Contains(name, "audit-enabler") {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			return false, errors.New("left: " + strings.Join(names, " "))
		}
		return true, nil
	}))
	if !s.starts.Alive(node) {
		t.Error("the apiserver is not running")
	}
}
