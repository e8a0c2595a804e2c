package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
)

type ctx = context.Context

// sinkServices are what a sink must not be; each is deleted again.
var sinkServices = map[string]struct{ spec, reason string }{
	"headless":     {"clusterIP: None, ports: [{port: 7765}]", reason.SinkHasNoClusterIP},
	"ExternalName": {"type: ExternalName, externalName: example.org", reason.SinkHasNoClusterIP},
	"another port": {"ports: [{port: 80}]", reason.SinkPortNotFound},
}

// untouchable installs the release with everything wrong that can be put right while it is there, one after the other. It
// ends with the sink's Service there, and a bad policy.
func untouchable(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	t.Run("helm refuses a misspelt value", func(t *testing.T) {
		err := s.Install(within(t, time.Minute), stage.Values{"sink": stage.Values{"sevrice": stage.Values{"name": "x"}}})
		if err == nil || !strings.Contains(err.Error(), "sevrice") {
			t.Errorf("err = %v, want one that names the key", err)
		}
	})
	t.Run("SinkNotFound where the Service is missing", func(t *testing.T) {
		s.install(t, nil)
		s.reason(t, reason.SinkNotFound)
	})
	s.apply(t, "{apiVersion: v1, kind: Namespace, metadata: {name: "+stage.SinkNamespace+"}}")
	for name, c := range sinkServices {
		t.Run(c.reason+" where the Service is "+name, func(t *testing.T) {
			s.apply(t, "{apiVersion: v1, kind: Service, metadata: {name: "+stage.SinkService+", namespace: "+stage.SinkNamespace+"}, spec: {"+c.spec+"}}")
			s.reason(t, c.reason)
			must(t, s.RemoveSink(within(t, time.Minute)))
			s.reason(t, reason.SinkNotFound)
		})
	}
	for name, url := range map[string]string{
		"is not http":          "ftp://192.0.2.1/k8s_audit",
		"holds credentials":    "http://user:pass@192.0.2.1/k8s_audit",
		"is a cluster's names": "http://sysdig-agent.sysdig-agent.svc:7765/k8s_audit",
	} {
		t.Run("the sink's URL is refused when it "+name, func(t *testing.T) {
			err := s.Install(within(t, time.Minute), stage.Values{"sink": stage.Values{"url": url}})
			if err != nil {
				return // helm has refused it by its schema, before anything was sent
			}
			status := s.reason(t, reason.SinkInvalid)
			for _, c := range status.Conditions {
				if strings.Contains(c.Message, "pass") {
					t.Errorf("the condition %s repeats the password: %s", c.Type, c.Message)
				}
			}
		})
	}
	s.install(t, nil)
	s.reason(t, reason.SinkNotFound)
	t.Run("PolicyInvalid with the field and the line, once all else is well", func(t *testing.T) {
		bad := strings.Replace(policyLogging("/nowhere"), "level: Metadata", "level: Everything", 1)
		s.install(t, customPolicy(bad))
		must(t, s.ServeSink(within(t, time.Minute), ""))
		s.reason(t, reason.PolicyInvalid)
		_, flat, err := s.Status(t.Context())
		must(t, err)
		if message := flat[wire.FlatMessage]; !strings.Contains(message, "level") || !strings.Contains(message, "line") {
			t.Errorf("message is %q, want the field and the line", message)
		}
	})
}

// secondRelease installs another release beside the first, which must refuse and leave the first one's nodes alone.
func secondRelease(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	begin := time.Now()
	node := s.Nodes()[0]
	manifest := s.host(t, node, stage.ManifestPath)
	err := s.InstallAs(within(t, time.Minute), "second", "second", nil)
	if err == nil {
		must(t, stage.Until(within(t, decision), "the second release refuses", func(ctx ctx) (bool, error) {
			out, err := s.Kubectl(ctx, "-n", "second", "get", "configmap", wire.ClusterStatusName, "-o", "jsonpath={.data.reason}")
			return out == reason.AnotherRelease, err
		}))
		_, err = s.Helm(within(t, time.Minute), "uninstall", "second", "--namespace", "second", "--wait")
		must(t, err)
	} else if !strings.Contains(err.Error(), "release") {
		t.Errorf("err = %v, want one that speaks of the other release", err)
	}
	if s.host(t, node, stage.ManifestPath) != manifest {
		t.Error("the manifest changed")
	}
	if got := s.Label(within(t, time.Minute), node, wire.LabelNodeAgent); got != wire.LabelNodeAgentValue {
		t.Errorf("node label is %q, the first release's is gone", got)
	}
	s.restarts(t, begin, 0)
	s.ready(t, decision)
}

// unwritable asks for another policy while the folder of our files is on a full file system, and then on a read-only one,
// and at last on its own again.
func unwritable(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	node := s.Nodes()[0]
	const folder = "/var/lib/k8s_audit"
	applied := s.ready(t, decision).Nodes[0].AppliedRevision
	manifest, ours := s.host(t, node, stage.ManifestPath), s.snapshot(t, node, folder)
	begin := time.Now()
	mended := false
	mend := func() {
		if mended {
			return
		}
		mended = true
		_, err := s.Exec(context.WithoutCancel(t.Context()), node, "sh", "-c", "umount "+folder+"; umount "+folder+"; umount /root/readonly; umount /root/full; rmdir /root/readonly /root/full")
		if err != nil {
			t.Error(err)
		}
	}
	defer mend()
	for _, c := range []struct{ name, do, says string }{
		{"full", "mkdir /root/full && mount -t tmpfs -o size=64k tmpfs /root/full && cp -a " + folder + "/r* /root/full/ && mount --bind /root/full " + folder, "free"},
		// A mount's read-only flag reaches the agent's mounts with a new mount only.
		{"read-only", "mkdir /root/readonly && mount --bind " + folder + " /root/readonly && mount -o remount,bind,ro /root/readonly && mount --bind /root/readonly " + folder, "read-only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Exec(t.Context(), node, "sh", "-c", c.do)
			must(t, err)
			s.install(t, customPolicy(policyLogging("/"+c.name)))
			n, err := s.WaitNode(within(t, 90*time.Second), node, "says that its host cannot be written", func(n wire.NodeStatus) bool {
				return n.Reason == reason.HostNotWritable && strings.Contains(n.Message, c.says)
			})
			must(t, err)
			if n.AppliedRevision != applied {
				t.Errorf("applied revision is %s, want still %s", n.AppliedRevision, applied)
			}
		})
	}
	if s.host(t, node, stage.ManifestPath) != manifest {
		t.Error("the manifest changed")
	}
	mend()
	t.Run("and the change is made by itself when it can be", func(t *testing.T) {
		s.revision(t, applied, oneRestart)
		s.restarts(t, begin, 1)
		now := s.snapshot(t, node, folder)
		for path, state := range ours {
			if got, still := now[path]; still && !strings.Contains(path, "/log/") && got != state {
				t.Errorf("%s was %q and is %q", path, state, got)
			}
		}
	})
}
