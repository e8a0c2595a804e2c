package render

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/auditflag"
)

func k0sPlaces() places {
	return places{dir: "/var/lib/k0s/audit", log: "/var/log/k0s/k8s_audit_events.log"}
}

// K0s renders spec.api.extraArgs of k0s' ClusterConfig, which each controller reads from a file of its own. k0s brings no files to the
// nodes; they are in the output's Files.
func K0s(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: k0s' ClusterConfig has one form; leave it out", o.APIVersion)
	}
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openDocument(o.Base, "ClusterConfig"); err != nil {
			return Output{}, err
		}
	} else {
		put(d.root, "apiVersion", text("k0s.k0sproject.io/v1beta1"))
		put(d.root, "kind", text("ClusterConfig"))
	}
	s, err := settle(o, k0sPlaces(), "", "")
	if err != nil {
		return Output{}, err
	}
	args, err := mappingAt(d.root, "spec", "api", "extraArgs")
	if err != nil {
		return Output{}, err
	}
	if err := extraArgs(args, "spec.api.extraArgs", k0sPlaces(), s, func(string) bool { return false }); err != nil {
		return Output{}, err
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	files := []File{{k0sPlaces().policy(), s.policy}, {k0sPlaces().webhook(), s.webhook}}
	return output(o, out, files,
		"On each controller: /etc/k0s/k0s.yaml with these arguments (with k0sctl: spec.k0s.config of its own file), and before it is restarted",
		files[0].Path+" and "+files[1].Path+" (mode 0600),",
		"owned by the user kube-apiserver, who must be able to write to /var/log/k0s, or the apiserver does not start.",
		"With --files DIR this command writes them into a directory of yours, to be copied there.",
		"Then, one controller after the other: systemctl restart k0scontroller",
	), nil
}

// extraArgs sets flags in a mapping, where all values are strings, but for those that are left to somebody else.
func extraArgs(args *yaml.Node, where string, at places, s settings, left func(flag string) bool) error {
	if err := conflict(where+" "+auditflag.WebhookConfigFile, scalar(args, auditflag.WebhookConfigFile), at.webhook()); err != nil {
		return err
	}
	if err := conflict(where+" "+auditflag.PolicyFile, scalar(args, auditflag.PolicyFile), at.policy()); err != nil {
		return err
	}
	log := scalar(args, auditflag.LogPath)
	ownLog := log != "" && log != at.log
	as := arguments{node: args}
	for _, flag := range s.flags {
		if ownLog && isLog(flag.Name) || as.get(flag.Name) != "" && !isFile(flag.Name) || left(flag.Name) {
			continue
		}
		as.set(flag.Name, flag.Value)
	}
	return nil
}
