// Package configfile is the way of configuring an apiserver whose flags stand in the one configuration file of its distribution, which
// a service reads when it starts: k0s, whose k0s.yaml holds them below spec.api.extraArgs.
//
// The file is the user's, with their comments in it, so it is edited as a manifest is: value by value, byte-exactly, and taken back
// byte by byte, or without what is ours where somebody has edited it since. [Read] gathers what the service would read at its next
// start; [Settings.Propose] and [Settings.ProposeRevert] turn that into a [txn.Change], or into a refusal with a reason a user can act
// upon. All but the reading is pure.
package configfile

import (
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// Product is a program that starts an apiserver from a configuration file.
type Product struct {
	// Name is the distribution's, as in plans, and the program's.
	Name string
	// Unit is the service that runs it on a control-plane node.
	Unit string
	// Elsewhere says what to do where no systemd runs it.
	Elsewhere string
	// config is the file that it reads where its command line names no other.
	config string
	// args are the keys that lead to the apiserver's arguments, a mapping of names without dashes.
	args []string
	// port is the key of the apiserver's port, beside the arguments.
	port []string
	// user is whom the apiserver runs as, where there is such a user.
	user string
}

// Products are all there are.
func Products() []Product {
	return []Product{{
		Name: "k0s", Unit: "k0scontroller.service", config: "/etc/k0s/k0s.yaml", user: "kube-apiserver",
		args: []string{"spec", "api", "extraArgs"}, port: []string{"spec", "api", "port"},
		Elsewhere: "set spec.api.extraArgs in its k0s.yaml, where whatever starts k0s reads it",
	}}
}

// ByName finds a product by its distribution.
func ByName(name string) (Product, bool) {
	for _, p := range Products() {
		if p.Name == name {
			return p, true
		}
	}
	return Product{}, false
}

// ByUnit finds a product by its service.
func ByUnit(unit string) (Product, bool) {
	for _, p := range Products() {
		if p.Unit == unit {
			return p, true
		}
	}
	return Product{}, false
}

// Refusal says why nothing is done.
type Refusal = strategy.Refusal
