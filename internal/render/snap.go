package render

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

// snap is a distribution that a file configures when its snap is set up: with flags in one mapping, and files in another.
type snap struct {
	// name is the product's, file what its configuration is called, and args and files are the two mappings.
	name, file, args, files string
	// first is the first minor version that takes it.
	first uint
	// empty is what there is beside the two.
	empty map[string]string
	// at is where the snap writes the files, and may write the log, strictly confined or not.
	at    places
	notes []string
}

// MicroK8s renders extraKubeAPIServerArgs and extraConfigFiles of a launch configuration.
func MicroK8s(o Options) (Output, error) {
	return snap{
		name: "MicroK8s", file: "launch configuration", args: "extraKubeAPIServerArgs", files: "extraConfigFiles", first: 27,
		empty: map[string]string{"version": "0.1.0"},
		at:    places{dir: "/var/snap/microk8s/current/args", log: "/var/snap/microk8s/common/audit/k8s_audit_events.log"},
		notes: []string{
			"On each node of the control plane: /var/snap/microk8s/common/.microk8s.yaml before the snap is installed,",
			`or, one node after the other: snap set microk8s config="$(cat launch.yaml)"`,
		},
	}.render(o)
}

// CanonicalKubernetes renders extra-node-kube-apiserver-args and extra-node-config-files of a bootstrap or join configuration.
func CanonicalKubernetes(o Options) (Output, error) {
	return snap{
		name: "Canonical Kubernetes", file: "bootstrap configuration", args: "extra-node-kube-apiserver-args", files: "extra-node-config-files", first: 30,
		at: places{dir: "/var/snap/k8s/common/args/conf.d", log: "/var/snap/k8s/common/audit/k8s_audit_events.log"},
		notes: []string{
			"For the first node: k8s bootstrap --file bootstrap.yaml",
			"For each other one of the control plane: k8s join-cluster --file bootstrap.yaml TOKEN",
		},
	}.render(o)
}

func (p snap) render(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: the %s of %s has one form for this; leave it out", o.APIVersion, p.file, p.name)
	}
	s, err := settle(o, p.at, "", "")
	if err != nil {
		return Output{}, err
	}
	if !atLeast(s.version, p.first) {
		return Output{}, fmt.Errorf("%s %s takes no %s; upgrade it to 1.%d or later, or write the flags into args/kube-apiserver", p.name, short(s.version), p.file, p.first)
	}
	d := newDocument()
	if len(o.Base) > 0 {
		if d, err = openOnly(o.Base); err != nil {
			return Output{}, err
		}
	} else {
		for key, value := range p.empty {
			put(d.root, key, text(value))
		}
	}
	args, err := mappingAt(d.root, p.args)
	if err != nil {
		return Output{}, err
	}
	if err := p.arguments(args, s); err != nil {
		return Output{}, err
	}
	files, err := mappingAt(d.root, p.files)
	if err != nil {
		return Output{}, err
	}
	put(files, PolicyFile, text(string(s.policy)))
	put(files, WebhookFile, text(string(s.webhook)))
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	return output(o, out, nil, p.notes...), nil
}

// arguments sets flags in a mapping whose keys have their dashes.
func (p snap) arguments(args *yaml.Node, s settings) error {
	given := func(name string) string { return scalar(args, "--"+name) }
	if err := conflict(p.args+" --"+auditflag.WebhookConfigFile, given(auditflag.WebhookConfigFile), p.at.webhook()); err != nil {
		return err
	}
	if err := conflict(p.args+" --"+auditflag.PolicyFile, given(auditflag.PolicyFile), p.at.policy()); err != nil {
		return err
	}
	ownLog := given(auditflag.LogPath) != "" && given(auditflag.LogPath) != p.at.log
	for _, flag := range s.flags {
		if ownLog && isLog(flag.Name) || given(flag.Name) != "" && !isFile(flag.Name) {
			continue
		}
		put(args, "--"+flag.Name, text(flag.Value))
	}
	return nil
}
