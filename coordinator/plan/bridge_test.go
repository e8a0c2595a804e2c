package plan

import (
	"strings"
	"testing"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func TestTheBridgeIdlesWithAReasonUntilItHasASourceAndASink(t *testing.T) {
	t.Parallel()
	logs := &wire.FileSource{Paths: []string{"/var/log/kube-apiserver/audit.log"}}
	tests := map[string]struct {
		config         wire.Config
		url            string
		file, receiver bool
		message        string
	}{
		"a log":                   {wire.Config{Enabled: true, Bridge: wire.BridgeSettings{File: logs}}, "http://192.0.2.1/x", true, false, ""},
		"a receiver":              {wire.Config{Enabled: true, Bridge: wire.BridgeSettings{Receiver: true}}, "http://192.0.2.1/x", false, true, ""},
		"both, compressed":        {wire.Config{Enabled: true, Bridge: wire.BridgeSettings{File: logs, Receiver: true, Gzip: true}}, "http://192.0.2.1/x", true, true, ""},
		"no source":               {wire.Config{Enabled: true}, "http://192.0.2.1/x", false, false, "no source"},
		"no sink":                 {wire.Config{Enabled: true, Bridge: wire.BridgeSettings{File: logs}}, "", false, false, "the Service is away"},
		"all of it is taken back": {wire.Config{Bridge: wire.BridgeSettings{File: logs, Receiver: true}}, "http://192.0.2.1/x", false, false, "enabled is false"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, refusal := Bridge(&test.config, detect.Kubeadm, "audit", test.url, "the Service is away")
			if refusal != nil {
				t.Fatal(refusal)
			}
			if (p.Sources.File != nil) != test.file || (p.Sources.Receiver != nil) != test.receiver || !strings.Contains(p.Message, test.message) {
				t.Errorf("%+v", p)
			}
			if test.file || test.receiver {
				if p.Sink.URL != test.url || p.Gzip != test.config.Bridge.Gzip {
					t.Errorf("sink %+v, compressed %v", p.Sink, p.Gzip)
				}
			}
			if test.receiver && !strings.Contains(p.Sources.Receiver.Policy, "kind: Policy") {
				t.Errorf("the receiver's policy is %q", p.Sources.Receiver.Policy)
			}
		})
	}
}

func TestAReceiverIsNotPlannedWithAPolicyThatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	c := wire.Config{Enabled: true, Bridge: wire.BridgeSettings{Receiver: true}, Policy: wire.PolicyChoice{Preset: presetCustom, Content: "kind: Policy\napiVersion: audit.k8s.io/v1\nrules: [{level: Most}]\n"}}
	if _, refusal := Bridge(&c, detect.Kubeadm, "audit", "http://192.0.2.1/", ""); refusal == nil || refusal.Reason != reason.PolicyInvalid {
		t.Errorf("%v", refusal)
	}
}

func TestACloudsLogIsReadWhereTheClusterIsThatClouds(t *testing.T) {
	t.Parallel()
	named := wire.Config{Enabled: true, Bridge: wire.BridgeSettings{EKS: wire.EKSSource{Cluster: "prod", Region: "eu-central-1"}}}
	disabled := named
	disabled.Enabled = false
	tests := map[string]struct {
		config       wire.Config
		distribution string
		cloud        bool
		message      string
	}{
		"EKS with its name":               {named, detect.EKS, true, "the EKS cluster prod"},
		"EKS whose name nobody has given": {wire.Config{Enabled: true}, detect.EKS, false, "set bridge.eks.cluster"},
		"GKE, which tells its name":       {wire.Config{Enabled: true}, detect.GKE, true, "Cloud Logging"},
		"no EKS":                          {named, detect.Kubeadm, false, "no source"},
		"all of it is taken back":         {disabled, detect.EKS, false, "enabled is false"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, refusal := Bridge(&test.config, test.distribution, "audit", "http://192.0.2.1/x", "")
			if refusal != nil {
				t.Fatal(refusal)
			}
			if p.Sources.Cloud() != test.cloud || !strings.Contains(p.Message, test.message) {
				t.Errorf("%+v", p)
			}
		})
	}
}

func TestAFilterThatCannotBeMeantIsRefusedAndAnotherIsPlanned(t *testing.T) {
	t.Parallel()
	c := wire.Config{Enabled: true, Bridge: wire.BridgeSettings{Receiver: true, Filter: wire.EventFilter{DropLoopback: true, DropWhen: `event.verb == "get"`}}}
	p, refusal := Bridge(&c, detect.Kubeadm, "audit", "http://192.0.2.1/", "")
	if refusal != nil || p.Filter != c.Bridge.Filter || problemWithBridge(c.Bridge) != "" {
		t.Errorf("%+v, %v, %s", p, refusal, problemWithBridge(c.Bridge))
	}
	c.Bridge.Filter.DropWhen = `event.verb = "get"`
	if problem := problemWithBridge(c.Bridge); !strings.HasPrefix(problem, "bridge.filter.dropWhen: compile expression: ERROR") {
		t.Error(problem)
	}
}

func TestPathsThatCannotBeLogsAreRefused(t *testing.T) {
	t.Parallel()
	for _, paths := range [][]string{nil, {"audit.log"}, {"/audit.log"}, {"/var/../audit.log"}, {"/var/log/a", "/var/log/a"}} {
		if problemWithBridge(wire.BridgeSettings{File: &wire.FileSource{Paths: paths}}) == "" {
			t.Errorf("%v are taken", paths)
		}
	}
	if problem := problemWithBridge(wire.BridgeSettings{File: &wire.FileSource{Paths: []string{"/var/log/kube-apiserver/audit.log"}, From: "end"}}); problem != "" {
		t.Error(problem)
	}
}
