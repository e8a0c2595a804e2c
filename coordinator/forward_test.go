package coordinator

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func TestNoNodeIsTouchedWhereTheBridgeForwardsTheLog(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1", "cp2")
	s.serve("10.96.0.20")
	c := intent()
	c.Backend, c.Distribution = "auto", detect.OpenShift4
	s.configure(c)
	s.expect("true Forwarding")
	if p := s.bridgePlan(); p == nil || p.Sources.File == nil || p.Sources.File.Paths[0] != "/var/log/kube-apiserver/audit.log" || !strings.Contains(p.Sink.URL, "10.96.0.20") {
		t.Errorf("the bridge's plan: %+v", p)
	}
	if s.plan("cp1") != nil || s.node("cp1").Labels[wire.LabelNodeAgent] != "" {
		t.Errorf("cp1 has a plan or a label: %+v, %v", s.plan("cp1"), s.node("cp1").Labels)
	}
	if data := s.data(wire.ClusterStatusName); !strings.Contains(data[wire.FlatMessage], "no node is changed") {
		t.Errorf("message %q", data[wire.FlatMessage])
	}
	var status wire.ClusterStatus
	if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil || status.Strategy != wire.StrategyForward {
		t.Errorf("status %+v, %v", status, err)
	}
	c.Backend = "webhook"
	s.configure(c)
	s.expect("false " + reason.OperatorNotFound)
	if p := s.bridgePlan(); p.Sources.File != nil {
		t.Errorf("the webhook is asked for, and the bridge reads %+v", p.Sources)
	}
}

func TestNodesThatWereEnabledAreRevertedBeforeTheirLogIsForwarded(t *testing.T) {
	t.Parallel()
	s := ready(t, "cp1")
	c := intent()
	c.Backend = "forward"
	s.configure(c)
	s.expect("false " + reason.BackendUnsupported) // the bridge has nothing to read
	c.Bridge.File = &wire.FileSource{Paths: []string{"/var/log/kubernetes/audit.log"}}
	s.configure(c)
	s.reconcile()
	if p := s.plan("cp1"); p == nil || p.Desired.Enabled {
		t.Fatalf("plan %+v", p)
	}
	s.say("cp1", wire.PhasePending)
	s.expect("false NodeChanging")
	s.say("cp1", wire.PhaseReverted)
	s.expect("true Forwarding")
	if s.node("cp1").Labels[wire.LabelNodeAgent] != "" {
		t.Error("the agent stays on a node that is as it was before")
	}
}

func TestWhatIsForwardedWithoutAnyMaster(t *testing.T) {
	t.Parallel()
	eks := func(c *wire.Config) { c.Bridge.EKS.Cluster = "prod" }
	for name, tt := range map[string]struct {
		distribution string
		change       func(*wire.Config)
		want, says   string
	}{
		"GKE":                               {detect.GKE, nil, "true Forwarding", "Cloud Logging"},
		"EKS whose name is known":           {detect.EKS, eks, "true Forwarding", "prod"},
		"EKS whose name is not":             {detect.EKS, nil, "false " + reason.DistributionUnsupported, "set bridge.eks.cluster"},
		"OpenShift 4 that is run by others": {detect.OpenShift4, nil, "false " + reason.NoControlPlaneNodes, "hosted elsewhere"},
		"a log without a sink":              {detect.GKE, func(c *wire.Config) { c.Sink.Service.Name = "nobody" }, "false " + reason.SinkNotFound, "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.serve("10.96.0.20")
			c := intent()
			c.Backend, c.Distribution = "auto", tt.distribution
			if tt.change != nil {
				tt.change(c)
			}
			s.configure(c)
			s.expect(tt.want)
			if text := s.data(wire.ClusterStatusName)[wire.FlatMessage]; !strings.Contains(text, tt.says) {
				t.Errorf("message %q, want %q in it", text, tt.says)
			}
		})
	}
}
