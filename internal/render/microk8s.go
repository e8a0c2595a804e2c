package render

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

// microK8sPlaces are where the snap may read and write, strictly confined or not. Its launch configuration writes files into args.
func microK8sPlaces() places {
	return places{dir: "/var/snap/microk8s/current/args", log: "/var/snap/microk8s/common/audit/k8s_audit_events.log"}
}

// firstLaunch is the first minor version of MicroK8s that takes a launch configuration.
const firstLaunch = 27

// MicroK8s renders extraKubeAPIServerArgs and extraConfigFiles of a launch configuration.
func MicroK8s(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: the launch configuration of MicroK8s has one form for this; leave it out", o.APIVersion)
	}
	s, err := settle(o, microK8sPlaces(), "", "")
	if err != nil {
		return Output{}, err
	}
	if !atLeast(s.version, firstLaunch) {
		return Output{}, fmt.Errorf("MicroK8s %s takes no launch configuration; upgrade it to 1.%d or later, or write the flags into args/kube-apiserver", short(s.version), firstLaunch)
	}
	d := newDocument()
	if len(o.Base) > 0 {
		if d, err = openOnly(o.Base); err != nil {
			return Output{}, err
		}
	} else {
		put(d.root, "version", text("0.1.0"))
	}
	args, err := mappingAt(d.root, "extraKubeAPIServerArgs")
	if err != nil {
		return Output{}, err
	}
	if err := microK8sArgs(args, s); err != nil {
		return Output{}, err
	}
	files, err := mappingAt(d.root, "extraConfigFiles")
	if err != nil {
		return Output{}, err
	}
	put(files, PolicyFile, text(string(s.policy)))
	put(files, WebhookFile, text(string(s.webhook)))
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	return output(o, out, nil,
		"On each node of the control plane: /var/snap/microk8s/common/.microk8s.yaml before the snap is installed,",
		`or, one node after the other: snap set microk8s config="$(cat launch.yaml)"`,
	), nil
}

// microK8sArgs sets flags in a mapping whose keys have their dashes.
func microK8sArgs(args *yaml.Node, s settings) error {
	given := func(name string) string { return scalar(args, "--"+name) }
	at := microK8sPlaces()
	if err := conflict("extraKubeAPIServerArgs --"+auditflag.WebhookConfigFile, given(auditflag.WebhookConfigFile), at.webhook()); err != nil {
		return err
	}
	if err := conflict("extraKubeAPIServerArgs --"+auditflag.PolicyFile, given(auditflag.PolicyFile), at.policy()); err != nil {
		return err
	}
	ownLog := given(auditflag.LogPath) != "" && given(auditflag.LogPath) != at.log
	for _, flag := range s.flags {
		if ownLog && isLog(flag.Name) || given(flag.Name) != "" && !isFile(flag.Name) {
			continue
		}
		put(args, "--"+flag.Name, text(flag.Value))
	}
	return nil
}
