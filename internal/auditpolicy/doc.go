// Package auditpolicy makes and judges audit policies before they come near an apiserver.
//
// It exists because an apiserver does not start with a policy it cannot load, and what it can load depends on its version:
// a file that was right for 1.23 stops 1.24. The package renders the recommended policy for a version, brings a user's
// policy to the apiVersion that a version reads, and validates any policy with the apiserver's own code plus a table of
// what older versions do not know. Every refusal names the field and the line in the text that was given.
//
// The package links k8s.io/apiserver/pkg/apis/audit only, which is small, so that the node agent can use it. Evaluating a
// policy against requests needs more and is in the package evaluate below.
package auditpolicy
