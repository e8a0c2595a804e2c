package render

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
)

func kubeadmPlaces() places {
	return places{dir: "/etc/kubernetes/audit", log: "/var/log/kubernetes/audit/audit.log"}
}

// form is a version of a configuration's API and what it looks like there.
type form struct {
	name string
	// first and last are the minor versions of Kubernetes that read it; no last for those that still do.
	first, last uint
	// list: extraArgs is a list of names and values, not a mapping.
	list bool
}

// kubeadmForms: k8s.io/kubernetes cmd/kubeadm/app/apis/kubeadm, oldest first.
func kubeadmForms() []form {
	return []form{
		{"kubeadm.k8s.io/v1beta1", 13, 21, false},
		{"kubeadm.k8s.io/v1beta2", 15, 26, false},
		{"kubeadm.k8s.io/v1beta3", 22, 0, false},
		{"kubeadm.k8s.io/v1beta4", 31, 0, true},
	}
}

func capiForms() []form {
	return []form{{"controlplane.cluster.x-k8s.io/v1beta1", 13, 0, false}, {"controlplane.cluster.x-k8s.io/v1beta2", 13, 0, true}}
}

// pick finds a form by its name, with or without its group.
func pick(forms []form, name string) (form, error) {
	var names []string
	for _, f := range forms {
		if f.name == name || path.Base(f.name) == name {
			return f, nil
		}
		names = append(names, path.Base(f.name))
	}
	return form{}, fmt.Errorf("apiVersion %q is not known; write --api-version with one of %s", name, strings.Join(names, ", "))
}

// reads reports whether a Kubernetes version reads the form.
func (f form) reads(v *version.Version) bool {
	return atLeast(v, f.first) && (f.last == 0 || !atLeast(v, f.last+1))
}

// newest is the newest form that a Kubernetes version reads.
func newest(forms []form, v *version.Version) (form, bool) {
	for _, f := range slices.Backward(forms) {
		if f.reads(v) {
			return f, true
		}
	}
	return form{}, false
}

// Kubeadm renders kubeadm's ClusterConfiguration. kubeadm brings no files to the nodes; they are in the output's Files.
func Kubeadm(o Options) (Output, error) {
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openDocument(o.Base, "ClusterConfiguration"); err != nil {
			return Output{}, err
		}
	}
	s, err := settle(o, kubeadmPlaces(), scalar(d.root, "kubernetesVersion"), "kubernetesVersion")
	if err != nil {
		return Output{}, err
	}
	f, err := kubeadmForm(o, s, scalar(d.root, "apiVersion"))
	if err != nil {
		return Output{}, err
	}
	if len(o.Base) == 0 {
		put(d.root, "apiVersion", text(f.name))
		put(d.root, "kind", text("ClusterConfiguration"))
		put(d.root, "kubernetesVersion", text(release(o.KubernetesVersion, s.version)))
	}
	server, err := mappingAt(d.root, "apiServer")
	if err != nil {
		return Output{}, err
	}
	if err := apiServer(server, "apiServer", f, s); err != nil {
		return Output{}, err
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	files := []File{{kubeadmPlaces().policy(), s.policy}, {kubeadmPlaces().webhook(), s.webhook}}
	return output(o, out, files,
		"Before kubeadm init, join or upgrade runs with this configuration on a control-plane node, that node must have "+files[0].Path,
		"and "+files[1].Path+" (mode 0600), or its apiserver does not start.",
		"With --files DIR this command writes them into a directory of yours, to be copied there.",
	), nil
}

// release is what kubeadm calls a version: the newest of a minor version has a name of its own.
func release(asked string, v *version.Version) string {
	if strings.Count(asked, ".") < 2 {
		return "stable-" + short(v)
	}
	return "v" + v.String()
}

// kubeadmForm is the one of the user's file, the one that is asked for, or the newest.
func kubeadmForm(o Options, s settings, inFile string) (form, error) {
	forms := kubeadmForms()
	usual, ok := newest(forms, s.version)
	if !ok {
		return form{}, fmt.Errorf("kubeadm %s has no v1beta form of its configuration; the node agent enables it without one, and kubeadm upgrade to 1.13 or later brings one", short(s.version))
	}
	if inFile != "" {
		f, err := pick(forms, inFile)
		if err != nil {
			return form{}, fmt.Errorf("the file that is given with -f has apiVersion %s, which is not one of kubeadm's v1beta1 to v1beta4; kubeadm config migrate makes a newer one of it", inFile)
		}
		if o.APIVersion != "" && path.Base(o.APIVersion) != path.Base(f.name) {
			return form{}, fmt.Errorf("--api-version=%s, but the file that is given with -f has %s; kubeadm config migrate makes another of it", o.APIVersion, inFile)
		}
		return f, read(f, s, usual)
	}
	if o.APIVersion == "" {
		return usual, nil
	}
	f, err := pick(forms, o.APIVersion)
	if err != nil {
		return form{}, err
	}
	return f, read(f, s, usual)
}

func read(f form, s settings, usual form) error {
	if f.reads(s.version) {
		return nil
	}
	return fmt.Errorf("kubeadm %s does not read %s; it reads %s", short(s.version), f.name, usual.name)
}

// apiServer sets flags and volumes in a kubeadm APIServer, which Cluster API has too.
func apiServer(server *yaml.Node, where string, f form, s settings) error {
	args, err := openArgs(server, f)
	if err != nil {
		return err
	}
	if err := conflict(where+".extraArgs "+auditflag.WebhookConfigFile, args.get(auditflag.WebhookConfigFile), kubeadmPlaces().webhook()); err != nil {
		return err
	}
	if err := conflict(where+".extraArgs "+auditflag.PolicyFile, args.get(auditflag.PolicyFile), kubeadmPlaces().policy()); err != nil {
		return err
	}
	log := args.get(auditflag.LogPath)
	ownLog := log != "" && log != kubeadmPlaces().log
	for _, flag := range s.flags {
		if ownLog && isLog(flag.Name) || args.get(flag.Name) != "" && !isFile(flag.Name) {
			continue
		}
		args.set(flag.Name, flag.Value)
	}
	volumes, err := listAt(server, "extraVolumes")
	if err != nil {
		return err
	}
	add := func(name, dir, kind string, readOnly bool) {
		entries := []entry{{"name", text(name)}, {"hostPath", text(dir)}, {"mountPath", text(dir)}}
		if readOnly {
			entries = append(entries, entry{"readOnly", plain("true", "!!bool")})
		}
		entries = append(entries, entry{"pathType", text(kind)})
		upsert(volumes, mapping(entries...), func(n *yaml.Node) bool { return scalar(n, "name") == name || scalar(n, "mountPath") == dir })
	}
	add("k8s-audit", kubeadmPlaces().dir, "Directory", true)
	if !ownLog {
		add("k8s-audit-log", path.Dir(kubeadmPlaces().log), "DirectoryOrCreate", false)
	}
	return nil
}

// arguments are extraArgs in either form.
type arguments struct {
	list bool
	node *yaml.Node
}

func openArgs(server *yaml.Node, f form) (arguments, error) {
	if f.list {
		n, err := listAt(server, "extraArgs")
		return arguments{true, n}, err
	}
	n, err := mappingAt(server, "extraArgs")
	return arguments{false, n}, err
}

func (a arguments) get(name string) string {
	if !a.list {
		return scalar(a.node, name)
	}
	for _, n := range a.node.Content {
		if scalar(n, "name") == name {
			return scalar(n, "value")
		}
	}
	return ""
}

func (a arguments) set(name, value string) {
	v := text(value)
	if number(value).Tag == "!!int" {
		v = quoted(value) // all values are strings there
	}
	if !a.list {
		put(a.node, name, v)
		return
	}
	upsert(a.node, mapping(entry{"name", text(name)}, entry{"value", v}), func(n *yaml.Node) bool { return scalar(n, "name") == name })
}
