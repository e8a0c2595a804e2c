// Package eks reads the audit events of an EKS cluster out of CloudWatch Logs.
//
// A message there is the apiserver's own event, but one of more than 256 KiB is cut off. [Repair] saves of such an event everything
// before the cut: who did what to which object, which stands before the bodies, and says in an annotation that it was cut.
package eks
