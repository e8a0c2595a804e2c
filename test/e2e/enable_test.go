package e2e_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// marker is the content of a Secret, which must never arrive in any form.
const marker = "the-crown-jewels-of-the-shop"

// TestOneControlPlane is the life of one release on one control plane: what it refuses, how it enables, what arrives, how
// it rolls back, and how it goes.
func TestOneControlPlane(t *testing.T) {
	s := play(t, stage.Options{Nodes: 1})
	node := s.Nodes()[0]
	before := s.host(t, node, stage.ManifestPath)
	etc := s.snapshot(t, node, "/etc/kubernetes")
	begin := time.Now()

	t.Run("nothing is touched while the configuration cannot be carried out", func(t *testing.T) {
		defer s.act(t)()
		untouchable(t, s)
		if diff := cmp.Diff(etc, s.snapshot(t, node, "/etc/kubernetes")); diff != "" {
			t.Errorf("files under /etc/kubernetes changed (-before +after):\n%s", diff)
		}
		s.restarts(t, begin, 0)
	})
	t.Run("it goes on once everything is right, with one restart", func(t *testing.T) {
		defer s.act(t)()
		s.install(t, nil)
		status := s.ready(t, oneRestart)
		if got := s.Label(within(t, time.Minute), node, wire.LabelNodeAgent); got != wire.LabelNodeAgentValue {
			t.Errorf("node label %s is %q, want %q", wire.LabelNodeAgent, got, wire.LabelNodeAgentValue)
		}
		if status.Distribution.Name != "kubeadm" || len(status.Nodes) != 1 || status.Nodes[0].Phase != wire.PhaseApplied {
			t.Errorf("status = %+v, want one applied node of kubeadm", status)
		}
		s.restarts(t, begin, 1)
	})
	t.Run("the manifest differs only by what was added", func(t *testing.T) {
		defer s.act(t)()
		onlyAdditions(t, before, s.host(t, node, stage.ManifestPath))
	})
	t.Run("a canary sent to the apiserver arrives", func(t *testing.T) {
		defer s.act(t)()
		s.canary(t)
	})
	t.Run("the status says that events flow", func(t *testing.T) {
		defer s.act(t)()
		_, err := s.WaitNode(within(t, 2*time.Minute), node, "sees its events flow", func(n wire.NodeStatus) bool {
			c := stage.Condition(n.Conditions, reason.AuditFlowing)
			return c.Status == "True" && c.Reason == reason.Delivered
		})
		must(t, err)
	})
	t.Run("a Secret, a Pod and an exec into it are seen at the receiver, the Secret's content is not", func(t *testing.T) {
		defer s.act(t)()
		mainJob(t, s)
	})
	t.Run("the fields that detection rules read are there", func(t *testing.T) {
		defer s.act(t)()
		detectionRules(t, s)
	})
	t.Run("no Secret's content ever arrived", func(t *testing.T) {
		defer s.act(t)()
		noSecrets(t, s)
	})
	t.Run("a second release refuses to share the cluster", func(t *testing.T) {
		defer s.act(t)()
		secondRelease(t, s)
	})
	t.Run("a disk that cannot be written leaves the old files and says so, and is tried again", func(t *testing.T) {
		defer s.act(t)()
		unwritable(t, s)
	})
	t.Run("helm uninstall takes everything out, with one restart, and leaves nothing", func(t *testing.T) {
		defer s.act(t)()
		uninstalled(t, s, etc)
	})
	t.Run("an apiserver that does not start is taken back, with its last words", func(t *testing.T) {
		defer s.act(t)()
		rolledBack(t, s)
	})
	t.Run("helm uninstall where nothing is left to revert restarts nothing", func(t *testing.T) {
		defer s.act(t)()
		at := time.Now()
		must(t, s.Uninstall(within(t, 2*time.Minute), "--wait"))
		s.restarts(t, at, 0)
		nothingLeft(t, s, etc)
	})
}

// onlyAdditions fails the test unless every line of before stands in after, in its order, and what was added is ours.
func onlyAdditions(t *testing.T, before, after string) {
	t.Helper()
	added, missing := addedLines(before, after)
	if missing != "" {
		t.Fatalf("the line %q is gone or changed; diff (-before +after):\n%s", missing, cmp.Diff(before, after))
	}
	for _, line := range added {
		if strings.Contains(line, "audit") || strings.TrimSpace(line) == "annotations:" {
			continue
		}
		switch strings.TrimSpace(line) {
		case "readOnly: true", "type: DirectoryOrCreate", "type: Directory", "- hostPath:":
		default:
			t.Errorf("the line %q was added, which does not look like ours", line)
		}
	}
	for _, flag := range []string{"audit-policy-file", "audit-log-path", "audit-log-maxbackup=1", "audit-log-maxsize=10", "audit-webhook-config-file", "audit-webhook-batch-max-wait=5s"} {
		if n := strings.Count(after, "--"+flag); n != 1 {
			t.Errorf("--%s stands %d times in the manifest, want once", flag, n)
		}
	}
	if !strings.Contains(after, wire.AnnotationRevision) {
		t.Errorf("the annotation %s is not in the manifest", wire.AnnotationRevision)
	}
}

// mainJob does what the product is for: things happen, and are seen.
func mainJob(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	s.startSleeper(t)
	begin := time.Now()
	s.kubectl(t, "-n", "shop", "create", "secret", "generic", "till", "--from-literal=key="+marker)
	s.kubectl(t, "-n", "shop", "exec", "sleeper", "--", "/bin/busybox", "true")

	t.Run("the Secret's creation", func(t *testing.T) {
		e := s.event(t, receiver.Since(begin), receiver.Verb("create"), receiver.Object("secrets", "shop", "till"))
		if e.User.Username != "kubernetes-admin" || e.AuditID == "" || e.ResponseStatus == nil || e.ResponseStatus.Code != 201 {
			t.Errorf("event = %s, want kubernetes-admin's, with an audit ID and 201", e.Raw)
		}
		if e.RequestObject != nil || e.ResponseObject != nil {
			t.Errorf("event of a Secret has a body: %s", e.Raw)
		}
	})
	t.Run("the Pod's creation", func(t *testing.T) {
		e := s.event(t, receiver.Verb("create"), receiver.Object("pods", "shop", "sleeper"), stageIs("ResponseComplete"))
		wantFields(t, e, map[string]string{"requestObject.spec.containers.0.image": stage.BusyboxImage, "user.username": "kubernetes-admin"})
	})
	t.Run("the exec, with its command", func(t *testing.T) {
		e := s.event(t, receiver.Since(begin), receiver.Object("pods/exec", "shop", "sleeper"))
		if !strings.Contains(e.RequestURI, "command=") || !strings.Contains(e.RequestURI, "busybox") {
			t.Errorf("request URI is %q, want the command in it", e.RequestURI)
		}
	})
	t.Run("and no event of the stage RequestReceived", func(t *testing.T) {
		if got := s.Receiver.Events(stageIs("RequestReceived")); len(got) > 0 {
			t.Errorf("%d events of RequestReceived came, the first: %s", len(got), got[0].Raw)
		}
	})
}

// startSleeper makes the namespace shop with a running Pod in it.
func (s *scene) startSleeper(t *testing.T) {
	t.Helper()
	s.apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
	must(t, stage.Until(within(t, 3*time.Minute), "the namespace has its ServiceAccount", func(ctx ctx) (bool, error) {
		_, err := s.Kubectl(ctx, "-n", "shop", "get", "serviceaccount", "default")
		return err == nil, err
	}))
	s.apply(t, sleeper(s.Nodes()[0]))
	s.kubectl(t, "-n", "shop", "wait", "pod/sleeper", "--for=condition=Ready", "--timeout=50s")
}

// noSecrets looks for the Secret's content among all that arrived: as text, and as any alignment of base64.
func noSecrets(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	if n := s.Receiver.Stats().Forgotten; n > 0 {
		t.Fatalf("the receiver has forgotten %d events, so that nothing can be said", n)
	}
	if !s.Receiver.Contains([]byte(`"till"`)) {
		t.Error("not even the Secret's name arrived, so that its content's absence says nothing")
	}
	if s.Receiver.Contains([]byte(marker)) {
		t.Error("the Secret's content arrived as text")
	}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + marker))
		core := encoded[4 : len(encoded)-4]
		if s.Receiver.Contains([]byte(core)) {
			t.Errorf("the Secret's content arrived as base64, shifted by %d", shift)
		}
	}
}

// policyLogging is a valid policy that differs from others by its name for nothing but a path, so that its revision does.
func policyLogging(path string) string {
	return fmt.Sprintf("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: None\n  nonResourceURLs: [/healthz*, /livez*, /readyz*, %s]\n"+
		"- level: None\n  userGroups: ['system:nodes', 'system:serviceaccounts']\n- level: None\n  users: ['system:apiserver', 'system:kube-controller-manager', 'system:kube-scheduler']\n"+
		"- level: Metadata\n", path)
}

func customPolicy(text string) stage.Values {
	return stage.Values{"policy": stage.Values{"preset": "custom", "content": text}}
}
