package plan

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/auditpolicy/evaluate"
	"k8s-audit-enabler.io/internal/reason"
)

// policy is the audit policy's text for a version, and the canary user where it logs one.
type policy struct {
	text   string
	canary string
}

func (in Input) policy(v *version.Version) (policy, *Refusal) {
	canary := fmt.Sprintf("system:serviceaccount:%s:%s", in.Namespace, AgentServiceAccount)
	text := []byte(in.Config.Policy.Content)
	if in.Config.Policy.Preset != presetCustom {
		var err error
		if text, err = auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: canary}); err != nil {
			return policy{}, policyRefusal("the recommended policy", v, err)
		}
	}
	text, report, err := auditpolicy.Prepare(text, v)
	if err != nil {
		return policy{}, policyRefusal("policy.content", v, err)
	}
	p := policy{text: string(text)}
	if evaluate.LogsCanary(report.Policy, canary) {
		p.canary = canary
	}
	return p, nil
}

// policyRefusal names the field and the line. A version that nothing is known about is the configuration's matter only in
// that nothing can be planned with it.
func policyRefusal(what string, v *version.Version, err error) *Refusal {
	if errors.Is(err, auditpolicy.ErrVersion) {
		return &Refusal{Reason: reason.DistributionUnsupported, Message: fmt.Sprintf("kube-apiserver %s: %v", v, err)}
	}
	return &Refusal{Reason: reason.PolicyInvalid, Message: fmt.Sprintf("%s for kube-apiserver %d.%d: %v", what, v.Major(), v.Minor(), err)}
}
