// Package configfile is the way of configuring an apiserver whose flags stand in the one configuration file of its distribution, which
// is read when it starts: k0s, whose k0s.yaml holds them below spec.api.extraArgs; OpenShift 3.11, whose master-config.yaml holds
// them as auditConfig, or on Minishift as lists of arguments; and Canonical Kubernetes, whose args/kube-apiserver has one on each line.
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
	// Pods: its apiserver is a static pod that reads the file itself, and Unit names what is run to have it start anew.
	Pods bool
	// At is where the files of revisions lie.
	At strategy.Places
	// config is the file that it reads where its command line names no other.
	config string
	// form is how the file says what the apiserver is told.
	form form
	// user is whom the apiserver runs as, where there is such a user; empty for root.
	user string
}

// MasterRestart is the unit in which the masters of OpenShift 3.11 are restarted.
const MasterRestart = "k8s-audit-enabler-master-restart.service"

// snapCommon is the directory that all releases of the snap k8s share, and which it may read whether it is confined or not.
const snapCommon = "/var/snap/k8s/common"

// Products are all there are.
func Products() []Product {
	const minishift = "/var/lib/minishift/base/kube-apiserver"
	return []Product{
		{
			Name: "k0s", Unit: "k0scontroller.service", At: strategy.UsualPlaces(), config: "/etc/k0s/k0s.yaml", user: "kube-apiserver",
			form:      document{mapping{args: []string{"spec", "api", "extraArgs"}, port: []string{"spec", "api", "port"}}},
			Elsewhere: "set spec.api.extraArgs in its k0s.yaml, where whatever starts k0s reads it",
		},
		{
			Name: "canonical-kubernetes", Unit: "snap.k8s.kube-apiserver.service", config: snapCommon + "/args/kube-apiserver", form: lines{},
			At:        strategy.Places{Host: snapCommon + "/k8s_audit", Apiserver: snapCommon + "/k8s_audit"},
			Elsewhere: "add the audit flags to args/kube-apiserver of its snap yourself, and restart it",
		},
		{
			Name: "openshift-3", Unit: MasterRestart, Pods: true, config: "/etc/origin/master/master-config.yaml", form: document{auditConfig{}},
			At: strategy.Places{Host: "/etc/origin/master/k8s_audit", Apiserver: "/etc/origin/master/k8s_audit"},
		},
		{
			Name: "minishift", Unit: "k8s-audit-enabler-minishift-restart.service", Pods: true, config: minishift + "/master-config.yaml", form: document{lists{}},
			At: strategy.Places{Host: minishift + "/k8s_audit", Apiserver: "/etc/origin/master/k8s_audit"},
		},
	}
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

// Config is the file that it reads where it is told no other.
func (p Product) Config() string { return p.config }
