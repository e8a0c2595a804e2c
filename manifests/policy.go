// Package manifests holds what the project ships as plain files, inside the binaries: the recommended audit policy and the
// form of the webhook kubeconfig. They are files so that they can be read, compared and reviewed without a Go tool.
package manifests

import _ "embed" // for the files below

//go:embed policy/recommended.yaml
var recommendedPolicy string

//go:embed webhook/kubeconfig.yaml
var webhookKubeconfig string

// RecommendedPolicy is policy/recommended.yaml: the recommended audit policy in its newest form (audit.k8s.io/v1).
// internal/auditpolicy renders it for an apiserver version.
func RecommendedPolicy() []byte { return []byte(recommendedPolicy) }

// WebhookKubeconfig is webhook/kubeconfig.yaml, in which a line holds at most one ${placeholder}.
// internal/webhookconfig fills it in.
func WebhookKubeconfig() string { return webhookKubeconfig }
