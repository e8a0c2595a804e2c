// Package staticpod is the way of configuring an apiserver that the kubelet runs from a manifest on its node: kubeadm, kind,
// kubespray, Cluster API, minikube, kops.
//
// It finds the manifest, and turns a plan and a manifest's content into a [txn.Change], or into a [strategy.Refusal] with a reason a
// user can act upon. All but the finding is pure.
package staticpod

import (
	"errors"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

func refuse(reason, format string, args ...any) *strategy.Refusal {
	return strategy.Refuse(reason, format, args...)
}

// NotFound is the refusal of a node without an apiserver manifest.
func NotFound(format string, args ...any) *strategy.Refusal {
	return refuse(reason.ManifestNotFound, format, args...)
}

// notUnderstood turns an error about a manifest's form into a refusal that names the file and the place.
func notUnderstood(path string, err error) *strategy.Refusal {
	var form *apiserver.NotUnderstoodError
	if errors.As(err, &form) {
		return refuse(form.ConditionReason(), "%s: %s", path, form.Error())
	}
	return refuse(reason.ManifestNotUnderstood, "%s: %v", path, err)
}
