package plan

import (
	"fmt"
	"path"
	"slices"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/wire"
)

// receiverMinor is the newest minor version whose policy the bridge's receiver, which links the apiserver's own code, surely reads.
const receiverMinor = 34

// Bridge is what the bridge shall read, and where it posts. sinkURL is the resolved address, empty where there is none; then, and where
// nothing is to be read, the plan has no source, and says why. The refusal is PolicyInvalid.
func Bridge(c *wire.Config, namespace, sinkURL, whyNoSink string) (*wire.BridgePlan, *Refusal) {
	switch {
	case !c.Enabled:
		return &wire.BridgePlan{Message: "enabled is false"}, nil
	case c.Bridge.File == nil && !c.Bridge.Receiver:
		return &wire.BridgePlan{Message: "no source is configured"}, nil
	case sinkURL == "":
		return &wire.BridgePlan{Message: whyNoSink}, nil
	}
	p := &wire.BridgePlan{
		Message: "as configured", Sources: wire.BridgeSources{File: c.Bridge.File},
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

func problemWithBridge(b wire.BridgeSettings) string {
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
