package health

import (
	"strings"

	"k8s-audit-enabler.io/internal/reason"
)

// ExitReason finds in the last log lines of an apiserver why it has exited; empty where they tell none that is known.
//
// Every version wraps what is wrong with the policy file with the words "audit policy file"
// (k8s.io/apiserver/pkg/server/options/audit.go: "loading audit policy file", and apiserver/pkg/audit/policy/reader.go).
func ExitReason(lines []string) string {
	for _, line := range lines {
		if strings.Contains(strings.ToLower(line), "audit policy file") {
			return reason.PolicyRejected
		}
	}
	return ""
}
