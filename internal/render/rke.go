package render

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
)

// rkePlaces are in a directory that extra_binds shows to the apiserver's container.
func rkePlaces() places {
	return places{dir: "/var/lib/k8s_audit", log: "/var/lib/k8s_audit/k8s_audit_events.log"}
}

const (
	// rkeBySelf is the key under which Rancher has a cluster.yml in its own cluster object.
	rkeBySelf = "rancher_kubernetes_engine_config"
	rkeOldest = 13
)

// RKE renders services.kube-api of RKE's cluster.yml, also as part of Rancher's own file. RKE brings no files to the nodes; they are in the
// output's Files.
func RKE(o Options) (Output, error) {
	if o.APIVersion != "" {
		return Output{}, fmt.Errorf("--api-version=%s: RKE's cluster.yml has one form; leave it out", o.APIVersion)
	}
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openOnly(o.Base); err != nil {
			return Output{}, err
		}
	}
	root := d.root
	if inner := child(root, rkeBySelf); inner != nil {
		root = inner
	}
	if len(o.Base) > 0 && child(root, "nodes") == nil && child(root, "services") == nil && child(root, "kubernetes_version") == nil {
		return Output{}, errors.New("the file that is given with -f has neither nodes nor services, as a cluster.yml of RKE has")
	}
	at := rkePlaces()
	s, err := settle(o, at, scalar(root, "kubernetes_version"), "kubernetes_version")
	if err != nil {
		return Output{}, err
	}
	if !atLeast(s.version, rkeOldest) {
		return Output{}, fmt.Errorf("RKE with Kubernetes %s is not supported; upgrade it to 1.%d or later", short(s.version), rkeOldest)
	}
	server, err := mappingAt(root, "services", "kube-api")
	if err != nil {
		return Output{}, err
	}
	audits := rkeAudits(server, s.version)
	ownPolicy := audits && child(child(child(server, "audit_log"), "configuration"), "policy") != nil
	args, err := mappingAt(server, "extra_args")
	if err != nil {
		return Output{}, err
	}
	left := func(flag string) bool { return audits && isLog(flag) || ownPolicy && flag == auditflag.PolicyFile }
	if err := extraArgs(args, "services.kube-api.extra_args", at, s, left); err != nil {
		return Output{}, err
	}
	binds, err := listAt(server, "extra_binds")
	if err != nil {
		return Output{}, err
	}
	bind := at.dir + ":" + at.dir
	if !slices.ContainsFunc(binds.Content, func(n *yaml.Node) bool { return n.Value == bind || n.Value == bind+":z" }) {
		binds.Content = append(binds.Content, text(bind))
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	files := []File{{at.policy(), s.policy}, {at.webhook(), s.webhook}}
	if ownPolicy {
		files = files[1:]
	}
	return output(o, out, files, rkeNotes(files, audits, ownPolicy)...), nil
}

func rkeNotes(files []File, audits, ownPolicy bool) []string {
	notes := []string{"On each control-plane node, before rke up, or the apiserver does not start:"}
	for _, f := range files {
		notes = append(notes, "  "+f.Path+" (mode 0600)")
	}
	notes = append(notes, "With --files DIR this command writes them into a directory of yours, to be copied there.")
	switch {
	case ownPolicy:
		notes = append(notes,
			"The policy in services.kube-api.audit_log.configuration.policy is kept, and says what the sink gets; it must log what that needs. For the",
			"recommended one, put the text of that policy there, or take the key out and run this command again.")
	case audits:
		notes = append(notes,
			"RKE's own audit_log stays on and goes on writing /var/log/kube-audit/audit-log.json, now with this policy: extra_args win over what audit_log",
			"sets. To have RKE bring the policy to the nodes itself, put its text into audit_log.configuration.policy, without audit-policy-file in extra_args.")
	}
	return append(notes, "Then: rke up, which creates each apiserver's container anew; in Rancher, save the cluster's YAML.")
}

// rkeAudits reports whether RKE's own audit log is on: as the file says, or by default since certain patch releases (github.com/rancher/rke,
// cluster/defaults.go).
func rkeAudits(server *yaml.Node, v *version.Version) bool {
	switch scalar(child(server, "audit_log"), "enabled") {
	case "true":
		return true
	case "false":
		return false
	}
	first := map[uint]string{15: "1.15.11", 16: "1.16.8", 17: "1.17.4"}[v.Minor()]
	if first == "" {
		return atLeast(v, 18)
	}
	return v.AtLeast(version.MustParseGeneric(first))
}
