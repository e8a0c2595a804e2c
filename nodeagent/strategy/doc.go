// Package strategy is what all ways of configuring an apiserver have in common: the files that a revision is made of, judged as the
// running version would judge them, and the refusal of what must not be written. The ways themselves are the packages below it.
//
// What would stop an apiserver from starting is refused here, before anything is written: the policy by the apiserver's own code,
// the flags by the table of the running version, the kubeconfig by reading it back. All of it is pure.
package strategy

import "fmt"

// Refusal says why nothing is done.
type Refusal struct {
	// Reason is one of package reason's.
	Reason string
	// Message says it to a person.
	Message string
}

// String is for logs and tests.
func (r *Refusal) String() string { return r.Reason + ": " + r.Message }

// Refuse makes a refusal.
func Refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
