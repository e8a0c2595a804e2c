package auditpolicy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/apis/audit/install"
	"k8s.io/apiserver/pkg/apis/audit/validation"
)

// MaxSize is the largest policy text accepted, in bytes. A policy travels in a ConfigMap of at most 1 MiB together with
// the rest of a node's plan.
const MaxSize = 512 << 10

// Report is what a valid policy was found to be.
type Report struct {
	// Policy is the decoded policy, in the apiserver's internal form.
	Policy *audit.Policy
	// APIVersion is the one in the text.
	APIVersion string
	// Warnings are things that an apiserver accepts and a user hardly means.
	Warnings []string
}

// Validate checks that kube-apiserver of that version starts with the policy and understands all of it. Beyond what stops
// an apiserver, it refuses what one would silently ignore: misspelt, repeated and unknown fields, and a second document.
// The error is an *InvalidError, or ErrVersion.
func Validate(data []byte, v *version.Version) (*Report, error) {
	d, err := dialectOf(v)
	if err != nil {
		return nil, err
	}
	doc, invalid := openDocument(data)
	if invalid != nil {
		return nil, invalid
	}
	if apiVersion := doc.scalar("apiVersion"); !d.reads(apiVersion) {
		return nil, doc.invalid("apiVersion", fmt.Sprintf("%q is not read by kube-apiserver %s; write %s", apiVersion, minorOf(v), d.apiVersions[0]))
	}
	policy, invalid := decode(doc)
	if invalid != nil {
		return nil, invalid
	}
	if invalid := validatePolicy(doc, policy); invalid != nil {
		return nil, invalid
	}
	if invalid := d.check(doc, policy, v); invalid != nil {
		return nil, invalid
	}
	return &Report{Policy: policy, APIVersion: doc.scalar("apiVersion"), Warnings: warnings(policy)}, nil
}

// openDocument refuses text that is not one policy document, whatever is in it.
func openDocument(data []byte) (*document, *InvalidError) {
	if len(data) > MaxSize {
		return nil, &InvalidError{Line: 1, Detail: fmt.Sprintf("the policy has %d bytes; at most %d are accepted", len(data), MaxSize)}
	}
	doc, invalid := parseDocument(data)
	if invalid != nil {
		return nil, invalid
	}
	if key := doc.foldedKey("apiVersion"); key != nil {
		return nil, &InvalidError{Field: key.Value, Line: key.Line, Detail: "is written apiVersion", Ignored: true}
	}
	if apiVersion := doc.scalar("apiVersion"); !isPolicyVersion(apiVersion) {
		return nil, doc.invalid("apiVersion", fmt.Sprintf("%q is not an audit policy's; write %s", apiVersion, apiVersionV1))
	}
	// A missing kind is no error to the apiserver, which knows what it reads.
	if kind := doc.scalar("kind"); kind != "" && kind != "Policy" {
		return nil, doc.invalid("kind", fmt.Sprintf("%q is not Policy", kind))
	}
	if doc.second != 0 {
		return nil, &InvalidError{Line: doc.second, Detail: "a second document starts here, which the apiserver would not read; write one policy", Ignored: true}
	}
	return doc, nil
}

// strictField finds the field in the messages of the strict decoder.
var strictField = regexp.MustCompile(`field "([^"]+)"`)

// decode runs the apiserver's strict decoder. It knows audit.k8s.io/v1 only, whose fields are those of the older versions,
// so an older policy is read as v1.
func decode(doc *document) (*audit.Policy, *InvalidError) {
	text, invalid := withAPIVersion(doc, apiVersionV1)
	if invalid != nil {
		return nil, invalid
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	policy := &audit.Policy{}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
	_, _, err := decoder.Decode(text, nil, policy)
	if err == nil {
		return policy, nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return nil, doc.misshapen(err)
	}
	return nil, doc.strict(strict.Errors())
}

// strict turns the first finding of the strict decoder into an error and counts the others.
func (d *document) strict(findings []error) *InvalidError {
	text := findings[0].Error()
	invalid := &InvalidError{Line: 1, Detail: text}
	if m := strictField.FindStringSubmatch(text); m != nil {
		invalid = d.invalid(m[1], strings.TrimSpace(strings.Replace(text, m[0], "field", 1)))
		if name := lastName(m[1]); strings.HasPrefix(text, "unknown") {
			invalid.Detail = fmt.Sprintf("the policy has no field %q here%s", name, meant(m[1], name))
		}
	} else if key, path := repeated(d.root, ""); key != nil {
		invalid = &InvalidError{Field: path, Line: key.Line, Detail: "stands here a second time; only one can be meant"}
	}
	if n := len(findings) - 1; n > 0 {
		invalid.Detail += fmt.Sprintf(" (and %d more)", n)
	}
	invalid.Ignored = true
	return invalid
}

func (d *document) invalid(path, detail string) *InvalidError {
	return &InvalidError{Field: path, Line: d.line(path, nil), Detail: detail}
}

// validatePolicy runs the apiserver's own validation and the one check that its loader adds.
func validatePolicy(doc *document, policy *audit.Policy) *InvalidError {
	if errs := validation.ValidatePolicy(policy); len(errs) > 0 {
		invalid := doc.fieldError(errs[0])
		if n := len(errs) - 1; n > 0 {
			invalid.Detail += fmt.Sprintf(" (and %d more)", n)
		}
		return invalid
	}
	if len(policy.Rules) == 0 {
		return doc.invalid("rules", "the policy has no rules, and an apiserver does not start with such a one; write at least {level: Metadata}")
	}
	return nil
}

// fieldError places an error of the apiserver's validation, which leaves out the index of the item of resources.
func (d *document) fieldError(err *field.Error) *InvalidError {
	suits := func(item *yaml.Node) bool {
		if strings.HasSuffix(err.Field, ".resourceNames") {
			key, _ := child(item, "resources")
			names, _ := child(item, "resourceNames")
			return key == nil && names != nil
		}
		_, group := child(item, "group")
		group = resolve(group)
		return group != nil && group.Value == err.BadValue
	}
	return &InvalidError{Field: err.Field, Line: d.line(err.Field, suits), Detail: err.ErrorBody()}
}

// check refuses what is right in today's code and wrong in that version.
func (d dialect) check(doc *document, policy *audit.Policy, v *version.Version) *InvalidError {
	if !d.omitManagedFields {
		path := ""
		if policy.OmitManagedFields {
			path = "omitManagedFields"
		}
		for i, rule := range policy.Rules {
			if path == "" && rule.OmitManagedFields != nil {
				path = fmt.Sprintf("rules[%d].omitManagedFields", i)
			}
		}
		if path != "" {
			invalid := doc.invalid(path, fmt.Sprintf("is known from kube-apiserver 1.23 and would be ignored by %s; leave it out", minorOf(v)))
			invalid.Ignored = true
			return invalid
		}
	}
	if d.anyGroup {
		return nil
	}
	for i, rule := range policy.Rules {
		for j, group := range rule.Resources {
			if group.Group == "*" {
				return doc.invalid(fmt.Sprintf("rules[%d].resources[%d].group", i, j),
					fmt.Sprintf(`"*" for every group is known from kube-apiserver 1.36, and %s does not start with it; list the groups`, minorOf(v)))
			}
		}
	}
	return nil
}

// warnings finds rules that no request can reach and the mistake that copied policies carry.
func warnings(policy *audit.Policy) []string {
	var found []string
	catchAll := -1
	for i, rule := range policy.Rules {
		if catchAll >= 0 {
			found = append(found, fmt.Sprintf("rules[%d] is never reached: rules[%d] before it matches every request", i, catchAll))
			break
		}
		if len(rule.Users)+len(rule.UserGroups)+len(rule.Verbs)+len(rule.Namespaces)+len(rule.Resources)+len(rule.NonResourceURLs) == 0 {
			catchAll = i
		}
		for j, group := range rule.Resources {
			for _, name := range []string{"deployments", "daemonsets", "statefulsets", "replicasets"} {
				if group.Group == "" && slices.Contains(group.Resources, name) {
					found = append(found, fmt.Sprintf("rules[%d].resources[%d] never matches %s, which are not in the core group; write group: apps", i, j, name))
				}
			}
		}
	}
	return found
}

func minorOf(v *version.Version) string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

func lastName(path string) string {
	steps := parsePath(path)
	for _, s := range slices.Backward(steps) {
		if s.index < 0 {
			return s.name
		}
	}
	return path
}
