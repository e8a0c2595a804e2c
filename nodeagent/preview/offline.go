package preview

import (
	"cmp"
	"path"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/distribution"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/strategy/program"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Copy is the file of a node that says how its apiserver is started.
type Copy struct {
	// Path is where it lies on the node; empty for where that distribution has it.
	Path string
	// Data is nil where the node has none, which some distributions allow.
	Data []byte
}

// UsualPath is where a distribution has the file.
func UsualPath(name string) string {
	if p, ok := program.ByName(name); ok {
		return p.Config
	}
	if name == distribution.Kops {
		return "/etc/kubernetes/manifests/kube-apiserver.manifest"
	}
	return "/etc/kubernetes/manifests/kube-apiserver.yaml"
}

// Offline makes the change that a plan asks for from a copy of a node's file. What only the host knows is taken to be as usual: a
// service runs with its usual command line, and no other file has a say.
func Offline(p *wire.Plan, running *version.Version, c Copy) (*txn.Change, *strategy.Refusal) {
	c.Path = cmp.Or(c.Path, UsualPath(p.Distribution))
	host := hostfs.Files{}
	if c.Data != nil {
		host[c.Path] = c.Data
	}
	switch p.Strategy {
	case wire.StrategyStaticPod:
		m, refusal := staticpod.ReadManifest(host, c.Path)
		if refusal == nil {
			refusal = confirm(host, p.Distribution, m)
		}
		if refusal != nil {
			return nil, refusal
		}
		return staticpod.Propose(staticpod.Input{Manifest: m, Plan: p, Version: running})
	case wire.StrategyDropIn, wire.StrategyConfigFile, wire.StrategyArgsFile:
		by, ok := program.ByName(p.Distribution)
		if !ok {
			return nil, strategy.Refuse(reason.PlanInvalid, "there is no program known that starts the apiserver of %q", p.Distribution)
		}
		settings, refusal := by.Read(host, dropin.Command{Args: commandWith(c)})
		if refusal != nil {
			return nil, refusal
		}
		return settings.Propose(program.Input{Plan: p, Version: running})
	case wire.StrategyFile:
		return nil, strategy.Refuse(reason.DistributionUnsupported,
			"on %s no file of a node's is edited: one is put beside the audit log, and the operator is told of it; see kubectl audit-enabler plan of a cluster, or render openshift4", p.Distribution)
	case wire.StrategyContainer:
		return nil, strategy.Refuse(reason.DistributionUnsupported,
			"on %s the change is made to a container of the node's Docker Engine, and there is no file of it: see kubectl audit-enabler plan of a cluster, or render rke", p.Distribution)
	}
	return nil, strategy.Refuse(reason.PlanInvalid, "strategy %q is not known", p.Strategy)
}

// commandWith is the command line of a service that reads a file which may not be the usual one.
func commandWith(c Copy) []string {
	if c.Data == nil {
		return nil
	}
	return []string{"--config=" + c.Path}
}

// confirm refuses the manifest of another distribution, as the agent does.
func confirm(host hostfs.Reader, name string, m staticpod.Manifest) *strategy.Refusal {
	what := distribution.Mismatch(name, distribution.Look(host, path.Dir(m.Path), nil, m.Path, m.Data))
	if what == "" {
		return nil
	}
	return strategy.Refuse(reason.DistributionMismatch, "%s", what)
}
