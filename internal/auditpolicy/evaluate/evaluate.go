// Package evaluate asks the apiserver's own evaluator what an audit policy does with a request.
//
// It is apart from auditpolicy because that evaluator brings the apiserver's metrics with it, which the node agent shall
// not link.
package evaluate

import (
	"slices"

	"k8s.io/apiserver/pkg/apis/audit"
	apiserver "k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Request is what a policy's rules look at.
type Request struct {
	User   string
	Groups []string
	// Verb is the API verb (get, list, watch, create, update, patch, delete, deletecollection), or the lower-case HTTP
	// method where Path is set.
	Verb string
	// Path is set for requests that are not about a resource.
	Path string

	// Group is the API group; empty is the core group.
	Group       string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
}

// Outcome is what is recorded of a request.
type Outcome struct {
	// Level is None, Metadata, Request or RequestResponse.
	Level audit.Level
	// Stages are those at which an event is recorded, in the order of time. Empty where Level is None.
	Stages []audit.Stage
	// OmitManagedFields reports whether recorded bodies lose their managedFields.
	OmitManagedFields bool
}

// Evaluator answers for one policy, for many requests.
type Evaluator struct{ evaluator apiserver.PolicyRuleEvaluator }

// New makes an evaluator. The policy given is not changed.
func New(p *audit.Policy) Evaluator {
	return Evaluator{policy.NewPolicyRuleEvaluator(p.DeepCopy())}
}

// Policy answers for one policy. The policy given is not changed.
func Policy(p *audit.Policy, r Request) Outcome { return New(p).Request(r) }

// Request says what is recorded of a request.
func (e Evaluator) Request(r Request) Outcome {
	config := e.evaluator.EvaluatePolicyRule(r.attributes())
	outcome := Outcome{Level: config.Level, OmitManagedFields: config.OmitManagedFields}
	if config.Level == audit.LevelNone {
		return outcome
	}
	for _, stage := range []audit.Stage{audit.StageRequestReceived, audit.StageResponseStarted, audit.StageResponseComplete, audit.StagePanic} {
		if !slices.Contains(config.OmitStages, stage) {
			outcome.Stages = append(outcome.Stages, stage)
		}
	}
	return outcome
}

// LogsCanary reports whether the policy records the completion of the canary request, GET /livez by that ServiceAccount
// user. A policy of the user's may well not, and then delivery has to be proved otherwise.
func LogsCanary(p *audit.Policy, canaryUser string) bool {
	outcome := Policy(p, Request{
		User:   canaryUser,
		Groups: serviceAccountGroups(canaryUser),
		Verb:   "get",
		Path:   "/livez",
	})
	return slices.Contains(outcome.Stages, audit.StageResponseComplete)
}

func (r Request) attributes() authorizer.Attributes {
	return authorizer.AttributesRecord{
		User:            &user.DefaultInfo{Name: r.User, Groups: r.Groups},
		Verb:            r.Verb,
		Path:            r.Path,
		ResourceRequest: r.Path == "",
		APIGroup:        r.Group,
		Resource:        r.Resource,
		Subresource:     r.Subresource,
		Namespace:       r.Namespace,
		Name:            r.Name,
	}
}
