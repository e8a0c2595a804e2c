// Package dropin is the way of configuring an apiserver that a service starts from files of its own: RKE2 and k3s, which read
// config.yaml and then config.yaml.d/*.yaml in the order of their names.
//
// What is ours is one file there. It appends to the list of the apiserver's arguments and replaces nothing, so that it is taken back
// by being removed. [Read] gathers what the service would read at its next start; [Settings.Propose] turns a plan and that into a
// [txn.Change], or into a refusal with a reason a user can act upon. What others have set is decided upon flag by flag, and a setting
// that would replace ours is refused before anything is written. All but the reading is pure.
package dropin

import (
	"path"
	"slices"
)

// Product is a program that starts an apiserver.
type Product struct {
	// Name is the distribution's, as in plans, and the program's.
	Name string
	// Unit is the service that runs it on a control-plane node.
	Unit string
	// config is the file that it reads where it is told no other, and configEnv the variable that tells it another one.
	config, configEnv string
	// data is its directory where it is told no other.
	data string
	// Pods: its apiserver is a static pod whose manifest it writes at each start; else it is part of its own process.
	Pods bool
	// audits: with a policy of its own it has defaults for the rest.
	audits bool
	// elsewhere says what to do where no systemd runs it.
	elsewhere string
}

// FileName is ours. Rancher's own files begin with 50, and what is read later wins.
const FileName = "90-k8s-audit-enabler.yaml"

// Products are all there are.
func Products() []Product {
	return []Product{
		{
			Name: "rke2", Unit: "rke2-server.service", config: "/etc/rancher/rke2/config.yaml", configEnv: "RKE2_CONFIG_FILE",
			data: "/var/lib/rancher/rke2", Pods: true, audits: true,
			elsewhere: "set the audit flags by kube-apiserver-arg in the rke2 configuration, where whatever starts rke2 reads it",
		},
		{
			Name: "k3s", Unit: "k3s.service", config: "/etc/rancher/k3s/config.yaml", configEnv: "K3S_CONFIG_FILE",
			data:      "/var/lib/rancher/k3s",
			elsewhere: "with k3d, create the cluster with --k3s-arg '--kube-apiserver-arg=...@server:*'; with OpenRC, set kube-apiserver-arg in /etc/rancher/k3s/config.yaml and restart it",
		},
	}
}

// ByName finds a product by its distribution.
func ByName(name string) (Product, bool) {
	return one(func(p Product) bool { return p.Name == name })
}

// ByUnit finds a product by its service.
func ByUnit(unit string) (Product, bool) {
	return one(func(p Product) bool { return p.Unit == unit })
}

func one(is func(Product) bool) (Product, bool) {
	all := Products()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return Product{}, false
}

// Config is the file that it reads where it is told no other.
func (p Product) Config() string { return p.config }

// Elsewhere says what to do where no systemd of the host runs it.
func (p Product) Elsewhere() string { return p.elsewhere }

// file is ours, beside a configuration file.
func file(config string) string { return path.Join(config+".d", FileName) }
