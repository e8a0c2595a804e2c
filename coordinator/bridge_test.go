package coordinator

import (
	"testing"

	"k8s-audit-enabler.io/internal/wire"
)

func (s *scene) bridgePlan() *wire.BridgePlan {
	s.t.Helper()
	data := s.data(wire.BridgePlanName)
	if data == nil {
		return nil
	}
	var p wire.BridgePlan
	if err := wire.Decode(data, wire.KindBridgePlan, &p); err != nil {
		s.t.Fatal(err)
	}
	return &p
}

func TestTheBridgesPlanFollowsTheConfigurationAndTheSink(t *testing.T) {
	t.Parallel()
	s := newScene(t, "cp1")
	c := intent()
	s.serve("10.96.0.7")
	s.configure(c)
	s.reconcile()
	if p := s.bridgePlan(); p != nil {
		t.Errorf("a plan for a bridge that nobody asked for: %+v", p)
	}
	c.Bridge.File = &wire.FileSource{Paths: []string{"/var/log/kube-apiserver/audit.log"}}
	s.configure(c)
	s.reconcile()
	first := s.bridgePlan()
	if first == nil || first.Sources.File == nil || first.Sink.URL == "" {
		t.Fatalf("plan %+v", first)
	}
	c.Sink = wire.Sink{URL: "http://192.0.2.1/k8s_audit"}
	s.configure(c)
	s.reconcile()
	if p := s.bridgePlan(); p.Sink.URL == first.Sink.URL {
		t.Errorf("the sink's new address is not told: %s", p.Sink.URL)
	}
	writes := s.writes
	s.reconcile()
	if s.writes != writes {
		t.Error("the plan is written though nothing changed")
	}
	c.Bridge.File = nil
	s.configure(c)
	s.reconcile()
	if p := s.bridgePlan(); !p.Sources.None() || p.Message == "" {
		t.Errorf("plan %+v, want one without a source", p)
	}
}
