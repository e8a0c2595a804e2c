package plan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Strategy chooses the way of configuring a distribution's apiservers, with the reason in a sentence; or refuses with
// DistributionUnknown, DistributionUnsupported or BackendUnsupported.
func Strategy(d detect.Distribution, backend string) (wire.Strategy, string, *Refusal) {
	switch d.Name {
	case "":
		return "", "", &Refusal{Reason: reason.DistributionUnknown, Message: d.Reason + "; set distribution in the values if it is one of the supported ones"}
	case detect.Kubeadm, detect.Kind, detect.Kubespray, detect.ClusterAPI, detect.Minikube, detect.Kops:
	case detect.RKE2, detect.K3s:
		if v, err := version.ParseGeneric(d.KubernetesVersion); err == nil && v.Major() == 1 && v.Minor() < oldestDropIn {
			return "", "", &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf(
				"this is %s %s (%s), which reads no config.yaml.d: upgrade it to 1.%d or later, or write the audit flags into its config.yaml yourself", d.Name, v, d.Reason, oldestDropIn)}
		}
	case detect.K0s, detect.OpenShift3, detect.Minishift:
	case detect.MicroK8s:
		if v, err := version.ParseGeneric(d.KubernetesVersion); err == nil && v.Major() == 1 && v.Minor() < oldestKubelite {
			return "", "", &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf(
				"this is %s %s (%s), whose apiserver is a service of its own: upgrade it to 1.%d or later, or write the audit flags into args/kube-apiserver yourself",
				d.Name, v, d.Reason, oldestKubelite)}
		}
	default:
		return "", "", &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf("this is %s (%s): %s", d.Name, d.Reason, advice(d.Name))}
	}
	switch backend {
	case BackendAuto, BackendWebhook:
		way := WayOf(d)
		return way, fmt.Sprintf(sentences()[way], d.Name), nil
	case BackendDynamic:
		return "", "", &Refusal{Reason: reason.BackendUnsupported, Message: "backend dynamic needs AuditSink objects, which this version does not make; write auto or webhook"}
	default:
		return "", "", &Refusal{Reason: reason.BackendUnsupported, Message: fmt.Sprintf("backend %s does not exist for %s; write auto or webhook", backend, d.Name)}
	}
}

// oldestDropIn is the first minor version of Kubernetes 1.x whose RKE2 and k3s read config.yaml.d and append to lists.
const oldestDropIn = 21

// oldestKubelite is the first minor version of Kubernetes 1.x whose MicroK8s has apiserver and kubelet in one service, kubelite.
const oldestKubelite = 21

// WayOf is how a distribution's apiservers are configured, or were where nothing is recognised any more.
func WayOf(d detect.Distribution) wire.Strategy {
	switch d.Name {
	case detect.RKE2, detect.K3s:
		return wire.StrategyDropIn
	case detect.K0s, detect.OpenShift3, detect.Minishift:
		return wire.StrategyConfigFile
	case detect.MicroK8s:
		return wire.StrategyArgsFile
	}
	return wire.StrategyStaticPod
}

// sentences say why a strategy is the one for a distribution, whose name is to be put in.
func sentences() map[wire.Strategy]string {
	return map[wire.Strategy]string{
		wire.StrategyStaticPod:  "%s runs kube-apiserver as a static pod that the kubelet restarts when its manifest changes",
		wire.StrategyDropIn:     "the service of %s starts kube-apiserver with what its config.yaml.d says",
		wire.StrategyConfigFile: "%s starts its apiserver with what its configuration file says",
		wire.StrategyArgsFile:   "the service of %s starts kube-apiserver with the flags in its args/kube-apiserver",
	}
}

// advice says what to do where apiservers are not configured from here.
func advice(name string) string {
	switch name {
	case detect.Talos:
		return "the machine configuration owns the apiserver; set cluster.apiServer.extraArgs and auditPolicy there"
	case detect.Deckhouse:
		return "its control-plane-manager owns the apiserver's manifest; use its audit policy Secret kube-system/audit-policy"
	case detect.Gardener:
		return "the control plane runs in the seed cluster; set the audit policy in the Shoot resource"
	case detect.SelfHosted:
		return "the apiserver is an ordinary pod; add the audit flags to the workload that makes it"
	case detect.RKE:
		return "the apiserver is a container that rke creates; set services.kube-api in cluster.yml"
	case detect.OpenShift4:
		return "its operator owns the apiserver; audit is on by default, forward the log with the cluster logging operator"
	default:
		return "the provider runs the control plane out of reach; use the provider's own audit log"
	}
}
