package e2e_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

// nothingLeft fails the test where anything of ours is left.
func nothingLeft(t *testing.T, s *scene, etc stage.Snapshot) {
	t.Helper()
	must(t, s.nothingLeft(within(t, oneRestart), etc))
}

// nothingLeft compares the host's files with those before, and waits until nothing of ours is in the cluster. The error says what is.
func (s *scene) nothingLeft(ctx context.Context, etc stage.Snapshot) error {
	node := s.Nodes()[0]
	now, err := s.SnapshotHost(node, "/etc/kubernetes")
	if err != nil {
		return err
	}
	var left []string
	if diff := cmp.Diff(etc, now); diff != "" {
		left = append(left, "files under /etc/kubernetes (-before +after):\n"+diff)
	}
	files, err := s.Exec(ctx, node, "sh", "-c", "ls -d /var/lib/k8s_audit /var/lib/k8s-audit-enabler /etc/systemd/system/*audit-enabler* /etc/systemd/system/*/*audit-enabler* 2>/dev/null || true")
	if err != nil {
		return err
	}
	left = append(left, strings.Fields(files)...)
	marks, err := s.Kubectl(ctx, "get", "node", node, "-o", "jsonpath={.metadata.labels} {.metadata.annotations}")
	if err != nil {
		return err
	}
	if strings.Contains(marks, "k8s-audit-enabler.io") {
		left = append(left, "on the node: "+marks)
	}
	if !s.starts.Alive(node) {
		left = append(left, "no apiserver that runs")
	}
	if len(left) > 0 {
		return errors.New("left: " + strings.Join(left, "\n"))
	}
	// What the coordinator made goes with the configuration, and pods go with their owners, once the controller-manager is
	// back after the restart of the only apiserver.
	return stage.Until(ctx, "nothing of the release is in the cluster", func(ctx context.Context) (bool, error) {
		ours, err := s.Kubectl(ctx, "-n", stage.ReleaseNamespace, "get", "configmaps,leases,jobs,pods,deployments,daemonsets,roles,rolebindings,serviceaccounts,secrets", "-o", "name")
		if err != nil {
			return false, err
		}
		wide, err := s.Kubectl(ctx, "get", "clusterroles,clusterrolebindings,priorityclasses", "-o", "name")
		if err != nil {
			return false, err
		}
		for _, other := range []string{"kube-system", "default"} {
			objects, err := s.Kubectl(ctx, "-n", other, "get", "configmaps,roles,rolebindings,serviceaccounts,pods", "-o", "name")
			if err != nil {
				return false, err
			}
			wide += "\n" + objects
		}
		names := slices.DeleteFunc(strings.Fields(ours), func(name string) bool {
			return name == "configmap/kube-root-ca.crt" || name == "serviceaccount/default"
		})
		for _, name := range strings.Fields(wide) {
			if strings.Contains(name, "audit") {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			return false, errors.New("left: " + strings.Join(names, " "))
		}
		return true, nil
	})
}
