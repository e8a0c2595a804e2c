package e2e_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// TestWhatAScriptHasSetIsTakenOver installs over an apiserver that enable-k8s-audit.sh has edited, whose files lie where ours do.
func TestWhatAScriptHasSetIsTakenOver(t *testing.T) {
	if os.Getenv("K8S_AUDIT_ENABLER_TEST_LONG") == "" {
		t.Skip("takes long; runs with K8S_AUDIT_ENABLER_TEST_LONG")
	}
	const folder = "/var/lib/k8s_audit"
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
	node := s.Nodes()[0]
	must(t, s.ServeSink(t.Context(), ""))
	must(t, s.WriteHost(node, folder+"/audit-policy.yaml", userPolicy))
	must(t, s.WriteHost(node, folder+"/webhook-config.yaml", strings.Replace(userWebhook, "ADDRESS", s.Receiver.Address(), 1)))
	scripted := below(t, s.host(t, node, stage.ManifestPath), []line{
		{"    - kube-apiserver\n", "    - --audit-log-path=" + folder + "/k8s_audit_events.log\n    - --audit-policy-file=" + folder + "/audit-policy.yaml\n" +
			"    - --audit-log-maxbackup=1\n    - --audit-log-maxsize=10\n" +
			"    - --audit-webhook-config-file=" + folder + "/webhook-config.yaml\n    - --audit-webhook-batch-max-wait=5s\n"},
		{"    volumeMounts:\n", "    - mountPath: " + folder + "/\n      name: data\n"},
		{"  volumes:\n", "  - hostPath:\n      path: " + folder + "\n    name: data\n"},
	})
	s.rewrite(t, node, scripted)

	t.Run("nothing happens before it is said what shall", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, nil)
		_, err := s.WaitNode(within(t, 90*time.Second), node, "is refused", func(n wire.NodeStatus) bool { return n.Reason == reason.WebhookNotOurs })
		must(t, err)
		if diff := cmp.Diff(scripted, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
	})
	t.Run("all of it is replaced in one restart", func(t *testing.T) {
		defer s.act(t)()
		begin := time.Now()
		s.install(t, stage.Values{"existing": stage.Values{"policy": "replace", "log": "replace", "webhook": "replace"}})
		s.ready(t, oneRestart)
		s.restarts(t, begin, 1)
		// The script's policy logs ConfigMaps alone.
		s.kubectl(t, "create", "namespace", "after")
		s.event(t, receiver.Verb("create"), receiver.Object("namespaces", "", "after"))
	})
	t.Run("a revert goes back to the script's settings, whose files are there", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, stage.Values{"enabled": false})
		_, err := s.WaitReason(within(t, oneRestart), reason.Disabled)
		must(t, err)
		if diff := cmp.Diff(scripted, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
		if policy := s.host(t, node, folder+"/audit-policy.yaml"); policy != userPolicy {
			t.Errorf("the script's policy is now:\n%s", policy)
		}
		s.kubectl(t, "create", "configmap", "again")
		s.event(t, receiver.Verb("create"), receiver.Object("configmaps", "default", "again"))
	})
}
