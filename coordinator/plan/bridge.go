package plan

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/bridge/filter"
	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// receiverMinor is the newest minor version whose policy the bridge's receiver, which links the apiserver's own code, surely reads.
const receiverMinor = 34

// Bridge is what the bridge shall read, and where it posts: what is configured, and what the distribution's apiservers cannot send
// themselves. sinkURL is the resolved address, empty where there is none; then, and where nothing is to be read, the plan has no source, and
// says why. The refusal is PolicyInvalid.
func Bridge(c *wire.Config, distribution, namespace, sinkURL, whyNoSink string) (*wire.BridgePlan, *Refusal) {
	if !c.Enabled {
		return &wire.BridgePlan{Message: "enabled is false"}, nil
	}
	sources, message := bridgeSources(c, distribution)
	if sources.None() && !c.Bridge.Receiver {
		return &wire.BridgePlan{Message: message}, nil
	}
	if sinkURL == "" {
		return &wire.BridgePlan{Message: whyNoSink}, nil
	}
	p := &wire.BridgePlan{
		Message: message, Sources: sources, Gzip: c.Bridge.Gzip, Filter: c.Bridge.Filter,
		Sink: wire.Webhook{
			URL: sinkURL, CABundle: c.Sink.TLS.CABundle, ServerName: c.Sink.TLS.ServerName,
			InsecureSkipVerify: c.Sink.TLS.InsecureSkipVerify, CredentialsSecret: c.Sink.CredentialsSecret,
		},
	}
	if c.Bridge.Receiver {
		policy, refusal := Input{Config: c, Namespace: namespace}.policy(version.MajorMinor(1, receiverMinor))
		if refusal != nil {
			return nil, refusal
		}
		p.Sources.Receiver = &wire.ReceiverSource{Policy: policy.text}
	}
	return p, nil
}

// bridgeSources are the logs to be read.
func bridgeSources(c *wire.Config, distribution string) (sources wire.BridgeSources, message string) {
	sources.File = c.Bridge.File
	switch {
	case distribution == detect.EKS && c.Bridge.EKS.Cluster != "":
		sources.EKS = &c.Bridge.EKS
		return sources, "the audit log of the EKS cluster " + c.Bridge.EKS.Cluster
	case distribution == detect.GKE:
		sources.GKE = &c.Bridge.GKE
		return sources, "this is GKE: its audit log in Cloud Logging"
	case distribution == detect.OpenShift4 && sources.File == nil && slices.Contains([]string{"", BackendAuto, BackendForward}, c.Backend):
		sources.File = &wire.FileSource{Paths: []string{openShift4Log}}
		return sources, "this is OpenShift 4: the audit log on each master, " + openShift4Log
	case sources.File != nil:
		return sources, "as configured: " + strings.Join(sources.File.Paths, ", ") + " on each control-plane node"
	case !sources.None() || c.Bridge.Receiver:
		return sources, "as configured"
	case distribution == detect.EKS:
		return sources, "this is EKS, whose nodes do not tell the cluster's name: set bridge.eks.cluster"
	default:
		return sources, "no source is configured"
	}
}

func problemWithBridge(b wire.BridgeSettings) string {
	if _, err := filter.New(b.Filter, nil); err != nil {
		return fmt.Sprintf("bridge.filter.dropWhen: %v", err)
	}
	if b.File == nil {
		return ""
	}
	if len(b.File.Paths) == 0 {
		return "bridge.file.paths is empty; write the paths of audit logs there"
	}
	for i, name := range b.File.Paths {
		switch {
		case !path.IsAbs(name) || path.Clean(name) != name || path.Dir(name) == "/":
			return fmt.Sprintf("bridge.file.paths holds %q; write an absolute path of a file below a directory, without dots", name)
		case slices.Contains(b.File.Paths[:i], name):
			return fmt.Sprintf("bridge.file.paths holds %q twice", name)
		}
	}
	if from := []string{"", "oldest", "active", "end"}; !slices.Contains(from, b.File.From) {
		return fmt.Sprintf("bridge.file.from is %q; write one of oldest, active, end", b.File.From)
	}
	return ""
}
