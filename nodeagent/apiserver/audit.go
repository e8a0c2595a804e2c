package apiserver

import (
	"path"
	"strings"

	"k8s-audit-enabler.io/internal/wire"
)

// The flags that carry an audit setting's file.
const (
	FlagPolicy      = "audit-policy-file"
	FlagLog         = "audit-log-path"
	FlagWebhook     = "audit-webhook-config-file"
	flagDynamic     = "audit-dynamic-configuration"
	flagWebhookMode = "audit-webhook-mode"
	modeBatch       = "batch"
)

// Audit is what an apiserver's flags say about auditing.
type Audit struct {
	// Policy, Log and Webhook are the files, empty where there is none.
	Policy, Log, Webhook string
	// Dynamic is set where the apiserver takes AuditSink objects (1.13–1.18).
	Dynamic bool
	// Flags are all --audit-* flags in their order, those above included; of a repeated flag only the last.
	Flags []Flag
	// Revision is the revision of ours that these flags are from, empty where none is.
	Revision string
}

// Existing reads the audit settings from a list of flags. revision is what the revision annotation says
// ([Manifest.Revision]), or empty.
func Existing(args Args, revision string) Audit {
	a := Audit{Revision: revision}
	a.Policy, _ = args.Lookup(FlagPolicy)
	a.Log, _ = args.Lookup(FlagLog)
	a.Webhook, _ = args.Lookup(FlagWebhook)
	dynamic, _ := args.Lookup(flagDynamic)
	a.Dynamic = dynamic == "true"
	for i, arg := range args {
		if _, again := args[i+1:].last(arg.Name); again || !strings.HasPrefix(arg.Name, "audit-") {
			continue
		}
		value, _ := args.Lookup(arg.Name)
		a.Flags = append(a.Flags, Flag{Name: arg.Name, Value: value})
	}
	return a
}

// flag is an existing flag's value.
func (a Audit) flag(name string) (string, bool) {
	for _, f := range a.Flags {
		if f.Name == name {
			return f.Value, true
		}
	}
	return "", false
}

// Owner says whose a setting is.
type Owner string

// Owners.
const (
	// OwnerNone: the setting is not there.
	OwnerNone Owner = "none"
	// OwnerOurs: an earlier revision of ours set it.
	OwnerOurs Owner = "ours"
	// OwnerDistribution: the distribution sets it by itself.
	OwnerDistribution Owner = "distribution"
	// OwnerUser: a person or their automation set it.
	OwnerUser Owner = "user"
)

// Origin is the distribution that made the manifest or container, as far as its audit defaults matter. One that is not
// known here has no defaults, and everything there is the user's.
type Origin string

// Origins with audit defaults of their own, and the plain one.
const (
	OriginKubeadm   Origin = "kubeadm"
	OriginKops      Origin = "kops"
	OriginKubespray Origin = "kubespray"
	OriginRKE       Origin = "rke"
	OriginRKE2      Origin = "rke2"
)

// defaults are the files that a distribution sets when it enables auditing with its own defaults.
type defaults struct{ policies, logs []string }

// defaultsOf: kubespray's roles/kubernetes/control-plane and rke's cluster/defaults.go. kubeadm has none, and kops'
// spec.kubeAPIServer.audit* fields are written by the cluster's user.
func defaultsOf(origin Origin) defaults {
	switch origin {
	case OriginKubespray:
		return defaults{
			policies: []string{"/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml"},
			logs:     []string{"/var/log/kubernetes/audit/kube-apiserver-audit.log", "/var/log/audit/kube-apiserver-audit.log"},
		}
	case OriginRKE:
		return defaults{
			policies: []string{"/etc/kubernetes/audit-policy.yaml"},
			logs:     []string{"/var/log/kube-audit/audit-log.json"},
		}
	case OriginRKE2: // whose own policy logs nothing, and counts as none
		return defaults{logs: []string{"/var/lib/rancher/rke2/server/logs/audit.log"}}
	}
	return defaults{}
}

// owner tells whose file it is.
func (a Audit) owner(file string, known []string) Owner {
	switch {
	case file == "":
		return OwnerNone
	case a.Revision != "" && strings.HasPrefix(path.Clean(file), AuditDir+"/"):
		return OwnerOurs
	}
	for _, k := range known {
		if file == k {
			return OwnerDistribution
		}
	}
	return OwnerUser
}

// ExistingOptions are the user's overrides. It is the wire's type.
type ExistingOptions = wire.ExistingSettings
