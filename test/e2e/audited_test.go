package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// The audit settings that a user had before.
const (
	userPolicyPath  = "/etc/kubernetes/audit/mine.yaml"
	userWebhookPath = "/etc/kubernetes/audit/webhook.yaml"
	userLogPath     = "/var/log/kubernetes/mine.log"
	// userPolicy logs ConfigMaps and nothing else, which tells it from every other policy.
	userPolicy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: Metadata\n  resources: [{group: '', resources: [configmaps]}]\n- level: None\n"
	// userWebhook posts to an address; an apiserver whose webhook is dead takes half a minute longer to end.
	userWebhook = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://ADDRESS/k8s-audit'}}]\ncontexts: [{name: c, context: {cluster: c, user: ''}}]\ncurrent-context: c\n"
)

// auditedManifest is a kubeadm manifest with a user's audit settings, with or without a webhook.
func auditedManifest(t *testing.T, manifest string, webhook bool) string {
	t.Helper()
	flags := []string{"--audit-policy-file=" + userPolicyPath, "--audit-log-path=" + userLogPath, "--audit-log-maxage=7"}
	if webhook {
		flags = append(flags, "--audit-webhook-config-file="+userWebhookPath)
	}
	return below(t, manifest, []line{
		{"    - kube-apiserver\n", "    - " + strings.Join(flags, "\n    - ") + "\n"},
		{"    volumeMounts:\n", "    - {mountPath: /etc/kubernetes/audit, name: mine, readOnly: true} # my own audit\n    - {mountPath: /var/log/kubernetes, name: mine-log}\n"},
		{"  volumes:\n", "  - {hostPath: {path: /etc/kubernetes/audit, type: DirectoryOrCreate}, name: mine}\n  - {hostPath: {path: /var/log/kubernetes, type: DirectoryOrCreate}, name: mine-log}\n"},
	})
}

// line is one of a manifest, and what somebody has put below it.
type line struct{ anchor, text string }

// below is a manifest with something below some of its lines, each of which must stand there once.
func below(t *testing.T, manifest string, edits []line) string {
	t.Helper()
	for _, e := range edits {
		if strings.Count(manifest, e.anchor) != 1 {
			t.Fatalf("%q stands %d times in the manifest, want once:\n%s", e.anchor, strings.Count(manifest, e.anchor), manifest)
		}
		manifest = strings.Replace(manifest, e.anchor, e.anchor+e.text, 1)
	}
	return manifest
}

// rewrite replaces the manifest as an administrator would and waits for the apiserver that it describes.
func (s *scene) rewrite(t *testing.T, node, manifest string) {
	t.Helper()
	at := time.Now()
	must(t, s.WriteHost(node, stage.ManifestPath, manifest))
	must(t, stage.Until(within(t, 2*time.Minute), "the apiserver of the rewritten manifest is ready", func(ctx ctx) (bool, error) {
		if s.starts.Count(node, at) == 0 {
			return false, nil
		}
		_, err := s.Kubectl(ctx, "get", "--raw", "/readyz")
		return err == nil, err
	}))
}

// TestAuditedBefore installs over an apiserver that its user has audited already.
func TestAuditedBefore(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1, QuickRestarts: true})
	node := s.Nodes()[0]
	plain := s.host(t, node, stage.ManifestPath)
	must(t, s.ServeSink(t.Context(), ""))
	must(t, s.WriteHost(node, userPolicyPath, userPolicy))
	must(t, s.WriteHost(node, userWebhookPath, strings.Replace(userWebhook, "ADDRESS", s.Receiver.Address(), 1)))

	t.Run("somebody else's webhook is not touched", func(t *testing.T) {
		defer s.act(t)()
		audited := auditedManifest(t, plain, true)
		s.rewrite(t, node, audited)
		begin := time.Now()
		s.install(t, nil)
		_, err := s.WaitNode(within(t, 90*time.Second), node, "is refused", func(n wire.NodeStatus) bool {
			return n.Phase == wire.PhaseRefused && n.Reason == reason.WebhookNotOurs
		})
		must(t, err)
		s.reason(t, reason.NodeRefused)
		if diff := cmp.Diff(audited, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
		s.restarts(t, begin, 0)
	})
	audited := auditedManifest(t, plain, false)
	t.Run("the user's policy and log are kept, and the webhook is added", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, stage.Values{"paused": true}) // so that the kubelet does not see both edits at once
		s.rewrite(t, node, audited)
		s.reason(t, reason.Paused)
		begin := time.Now()
		s.install(t, nil)
		s.ready(t, oneRestart)
		n, err := s.WaitNode(within(t, decision), node, "says whose policy it is", func(n wire.NodeStatus) bool {
			c := stage.Condition(n.Conditions, reason.PolicyOurs)
			return c.Status == "False" && c.Reason == reason.PolicyNotOurs
		})
		must(t, err)
		if n.Phase != wire.PhaseApplied {
			t.Errorf("phase is %s, want %s", n.Phase, wire.PhaseApplied)
		}
		now := s.host(t, node, stage.ManifestPath)
		added, missing := addedLines(audited, now)
		if missing != "" {
			t.Errorf("the line %q is gone or changed", missing)
		}
		text := strings.Join(added, "\n")
		if !strings.Contains(text, "--audit-webhook-config-file=") || strings.Contains(text, "--audit-policy-file") || strings.Contains(text, "--audit-log-path") {
			t.Errorf("added lines, which should hold the webhook and neither policy nor log:\n%s", text)
		}
		s.restarts(t, begin, 1)
	})
	t.Run("what the user's policy logs arrives, and is still in the user's log", func(t *testing.T) {
		defer s.act(t)()
		s.kubectl(t, "create", "configmap", "mine")
		e := s.event(t, receiver.Verb("create"), receiver.Object("configmaps", "default", "mine"))
		if !strings.Contains(s.host(t, node, userLogPath), string(e.AuditID)) {
			t.Error("the event is not in the user's log")
		}
	})
	t.Run("disabled, the user's manifest is byte for byte what it was", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, stage.Values{"enabled": false})
		_, err := s.WaitReason(within(t, oneRestart), reason.Disabled)
		must(t, err)
		if diff := cmp.Diff(audited, s.host(t, node, stage.ManifestPath)); diff != "" {
			t.Errorf("manifest (-before +after):\n%s", diff)
		}
	})
}
