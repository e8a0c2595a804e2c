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
	case detect.K0s, detect.CanonicalKubernetes, detect.OpenShift3, detect.Minishift:
	case detect.RKE:
		if v, err := version.ParseGeneric(d.KubernetesVersion); err == nil && v.Major() == 1 && v.Minor() < oldestRKE {
			return "", "", &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf(
				"this is RKE with Kubernetes %s (%s): upgrade it to 1.%d or later, or set services.kube-api in cluster.yml yourself", v, d.Reason, oldestRKE)}
		}
	case detect.OpenShift4:
		if backend != BackendWebhook || !HasProfiles(d.KubernetesVersion) {
			return "", "", unsupported(d)
		}
	case detect.MicroK8s:
		if v, err := version.ParseGeneric(d.KubernetesVersion); err == nil && v.Major() == 1 && v.Minor() < oldestKubelite {
			return "", "", &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf(
				"this is %s %s (%s), whose apiserver is a service of its own: upgrade it to 1.%d or later, or write the audit flags into args/kube-apiserver yourself",
				d.Name, v, d.Reason, oldestKubelite)}
		}
	default:
		return "", "", unsupported(d)
	}
	switch backend {
	case BackendAuto, BackendWebhook:
		way := WayOf(d)
		return way, fmt.Sprintf(sentences()[way], d.Name), nil
	case BackendDynamic:
		if refusal := refuseDynamic(d); refusal != nil {
			return "", "", refusal
		}
		return wire.StrategyStaticPod, fmt.Sprintf(sentences()[wire.StrategyStaticPod], d.Name), nil
	case BackendForward:
		return "", "", &Refusal{Reason: reason.BackendUnsupported, Message: "backend forward needs an audit log that the bridge can read: set bridge.file.paths to those on the control-plane nodes"}
	default:
		return "", "", &Refusal{Reason: reason.BackendUnsupported, Message: fmt.Sprintf("backend %s does not exist for %s; write auto or webhook", backend, d.Name)}
	}
}

func unsupported(d detect.Distribution) *Refusal {
	return &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf("this is %s (%s): %s", d.Name, d.Reason, advice(d.Name))}
}

// oldestDropIn is the first minor version of Kubernetes 1.x whose RKE2 and k3s read config.yaml.d and append to lists.
const oldestDropIn = 21

// oldestKubelite is the first minor version of Kubernetes 1.x whose MicroK8s has apiserver and kubelet in one service, kubelite.
const oldestKubelite = 21

// oldestRKE is the first minor version of Kubernetes 1.x whose RKE is supported.
const oldestRKE = 13

// WayOf is how a distribution's apiservers are configured, or were where nothing is recognised any more.
func WayOf(d detect.Distribution) wire.Strategy {
	switch d.Name {
	case detect.RKE2, detect.K3s:
		return wire.StrategyDropIn
	case detect.K0s, detect.CanonicalKubernetes, detect.OpenShift3, detect.Minishift:
		return wire.StrategyConfigFile
	case detect.MicroK8s:
		return wire.StrategyArgsFile
	case detect.RKE:
		return wire.StrategyContainer
	case detect.OpenShift4:
		return wire.StrategyFile
	}
	return wire.StrategyStaticPod
}

// sentences say why a strategy is the one for a distribution, whose name is to be put in.
func sentences() map[wire.Strategy]string {
	return map[wire.Strategy]string{
		wire.StrategyStaticPod:  "%s runs kube-apiserver as a static pod that the kubelet restarts when its manifest changes",
		wire.StrategyDropIn:     "the service of %s starts kube-apiserver with what its config.yaml.d says",
		wire.StrategyConfigFile: "%s starts its apiserver with what its configuration file says",
		wire.StrategyContainer:  "%s runs kube-apiserver as a container of the Docker Engine, which is created anew with other arguments",
		wire.StrategyFile:       "the operator of %s tells its apiservers of a file, once it lies on all masters",
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
	case detect.OpenShift4:
		return "its operator owns the apiserver, and audit is on by default; write backend auto or forward, and the bridge on the masters forwards the log; or webhook, from OpenShift 4.6 on"
	case detect.EKS:
		return "the provider runs the control plane out of reach; set bridge.eks.cluster, and the bridge forwards its audit log"
	default:
		return "the provider runs the control plane out of reach; use the provider's own audit log"
	}
}
