package render

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// ClusterAPI renders a KubeadmControlPlane, whose files Cluster API brings to the nodes itself.
func ClusterAPI(o Options) (Output, error) {
	const kind = "KubeadmControlPlane"
	d := newDocument()
	if len(o.Base) > 0 {
		var err error
		if d, err = openDocument(o.Base, kind); err != nil {
			return Output{}, err
		}
	}
	s, err := settle(o, kubeadmPlaces(), scalar(d.root, "spec", "version"), "spec.version")
	if err != nil {
		return Output{}, err
	}
	f, err := capiForm(o.APIVersion, scalar(d.root, "apiVersion"))
	if err != nil {
		return Output{}, err
	}
	if len(o.Base) == 0 {
		put(d.root, "apiVersion", text(f.name))
		put(d.root, "kind", text(kind))
	}
	const config = "kubeadmConfigSpec"
	server, err := mappingAt(d.root, "spec", config, "clusterConfiguration", "apiServer")
	if err != nil {
		return Output{}, err
	}
	if err := apiServer(server, "spec."+config+".clusterConfiguration.apiServer", f, s); err != nil {
		return Output{}, err
	}
	files, err := listAt(d.root, "spec", config, "files")
	if err != nil {
		return Output{}, err
	}
	for _, file := range []File{{kubeadmPlaces().policy(), s.policy}, {kubeadmPlaces().webhook(), s.webhook}} {
		upsert(files, mapping(entry{"path", text(file.Path)}, entry{"owner", text("root:root")}, entry{"permissions", quoted("0600")}, entry{"content", text(string(file.Data))}),
			func(n *yaml.Node) bool { return scalar(n, "path") == file.Path })
	}
	out, err := d.bytes()
	if err != nil {
		return Output{}, err
	}
	notes := []string{
		"To be merged into the cluster's " + kind + ", which this command does with -f FILE; a merge patch would replace the lists in it.",
		"Cluster API then replaces the control-plane nodes one after another.",
	}
	if len(o.Base) > 0 {
		notes = notes[1:]
	}
	return output(o, out, nil, notes...), nil
}

// capiForm is the one of the user's file, the one that is asked for, or v1beta1, which all versions of Cluster API in use read.
func capiForm(asked, inFile string) (form, error) {
	forms := capiForms()
	switch {
	case inFile != "":
		f, err := pick(forms, inFile)
		if err != nil {
			return form{}, fmt.Errorf("the file that is given with -f has apiVersion %s; v1beta1 and v1beta2 of controlplane.cluster.x-k8s.io are known", inFile)
		}
		if asked != "" && asked != f.name && "controlplane.cluster.x-k8s.io/"+asked != f.name {
			return form{}, fmt.Errorf("--api-version=%s, but the file that is given with -f has %s; leave out the one or change the other", asked, inFile)
		}
		return f, nil
	case asked != "":
		return pick(forms, asked)
	}
	return forms[0], nil
}
