// Package apiserver reads and edits what a kube-apiserver is started with: its static-pod manifest, its argument list, a
// configuration file of its distribution, and the kubelet's configuration that says where the manifest is.
//
// The manifest is the one file that can take a control plane down, and it belongs to somebody else: to kubeadm, to kops,
// to an administrator with comments in it. So nothing here decodes and encodes it again. [Edit] computes byte splices at
// the positions that the YAML parser reports, applies them, parses the result and proves that the difference between the
// two decoded documents is exactly what was intended; where it cannot prove that, it returns an error and no bytes.
// Comments, order, unknown fields, blank lines, line ends and quoting survive because they are never touched.
//
// [Revert] is the inverse: byte for byte the original when nobody else edited the file, and otherwise the current file
// without what [Edit] had put in. [EditSettings] and [RevertSettings] do the same for single values of a configuration
// file. [Decide] says, flag by flag, what may be done with audit settings that are already there. All of it is pure: bytes
// in, bytes and reasons out.
package apiserver

import (
	"fmt"

	"k8s-audit-enabler.io/internal/reason"
)

// NotUnderstoodReason says why a manifest cannot be edited.
type NotUnderstoodReason string

// Reasons of a [NotUnderstoodError].
const (
	// NotParsed: the file is not one YAML or JSON document.
	NotParsed NotUnderstoodReason = "does not parse"
	// NotAPod: the document is not a pod with metadata and containers.
	NotAPod NotUnderstoodReason = "not a pod"
	// NoContainer: no container runs kube-apiserver.
	NoContainer NotUnderstoodReason = "no kube-apiserver container"
	// TwoContainers: more than one container, or one shell script twice, runs kube-apiserver.
	TwoContainers NotUnderstoodReason = "two kube-apiserver containers"
	// UnknownForm: there is a kube-apiserver container, but it is started in a way that is not known.
	UnknownForm NotUnderstoodReason = "command form not understood"
	// NotEditable: the document is valid, but the place to edit cannot be edited without touching something else.
	NotEditable NotUnderstoodReason = "cannot be edited safely"
)

// NotUnderstoodError is returned for a manifest that cannot be edited safely. Nothing was changed.
type NotUnderstoodError struct {
	Reason NotUnderstoodReason
	// Line and Column count from 1; 0 where the place is not known.
	Line, Column int
	// Detail is a phrase for people.
	Detail string
}

// Error has the place first, as compilers do.
func (e *NotUnderstoodError) Error() string {
	place := ""
	switch {
	case e.Line > 0 && e.Column > 0:
		place = fmt.Sprintf("line %d, column %d: ", e.Line, e.Column)
	case e.Line > 0:
		place = fmt.Sprintf("line %d: ", e.Line)
	}
	if e.Detail == "" {
		return fmt.Sprintf("%s%s", place, e.Reason)
	}
	return fmt.Sprintf("%s%s: %s", place, e.Reason, e.Detail)
}

// ConditionReason is the reason for a node's condition.
func (*NotUnderstoodError) ConditionReason() string { return reason.ManifestNotUnderstood }
