package health

import (
	"strings"

	"k8s-audit-enabler.io/internal/reason"
)

// ExitReason finds in the last log lines of an apiserver why it has exited; empty where they tell none that is known.
//
// Every version wraps what is wrong with the policy file with the words "audit policy file"
// (k8s.io/apiserver/pkg/server/options/audit.go: "loading audit policy file", and apiserver/pkg/audit/policy/reader.go). One
// that does not find its etcd within 20 s ends with "error creating storage factory" (pkg/controlplane), before 1.22 with
// "Unable to create storage backend" (k8s.io/apiserver/pkg/registry/generic/registry/storage_factory.go).
func ExitReason(lines []string) string {
	for _, line := range lines {
		line = strings.ToLower(line)
		switch {
		case strings.Contains(line, "audit policy file"):
			return reason.PolicyRejected
		case strings.Contains(line, "error creating storage factory"), strings.Contains(line, "unable to create storage backend"):
			return reason.EtcdUnhealthy
		}
	}
	return ""
}
