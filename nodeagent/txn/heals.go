package txn

import "k8s-audit-enabler.io/internal/reason"

// Heals tells a failure that may go away by itself, such as a slow host or an etcd that is away, from one that the same
// configuration will always end in.
func Heals(why string) bool {
	switch why {
	case reason.CrashLooping, reason.NeverStarted, reason.PolicyRejected:
		return false
	default:
		return true
	}
}
