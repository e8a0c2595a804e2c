// Package staticpod is the way of configuring an apiserver that the kubelet runs from a manifest on its node: kubeadm, kind,
// kubespray, Cluster API, minikube, kops.
//
// It finds the manifest, and turns a plan and a manifest's content into a [txn.Change], or into a [Refusal] with a reason a
// user can act upon. What would stop an apiserver from starting is refused here, before anything is written: the policy by
// the apiserver's own code, the flags by the table of the running version, the kubeconfig by reading it back. All but the
// finding is pure.
package staticpod

import (
	"errors"
	"fmt"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
)

// Refusal says why nothing is done.
type Refusal struct {
	// Reason is one of package reason's.
	Reason string
	// Message says it to a person.
	Message string
}

// String is for logs and tests.
func (r *Refusal) String() string { return r.Reason + ": " + r.Message }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// NotFound is the refusal of a node without an apiserver manifest.
func NotFound(format string, args ...any) *Refusal {
	return refuse(reason.ManifestNotFound, format, args...)
}

// notUnderstood turns an error about a manifest's form into a refusal that names the file and the place.
func notUnderstood(path string, err error) *Refusal {
	var form *apiserver.NotUnderstoodError
	if errors.As(err, &form) {
		return refuse(form.ConditionReason(), "%s: %s", path, form.Error())
	}
	return refuse(reason.ManifestNotUnderstood, "%s: %v", path, err)
}
