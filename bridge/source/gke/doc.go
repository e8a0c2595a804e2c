// Package gke turns what Google Cloud Logging holds of a GKE cluster's audit log back into Kubernetes audit events.
//
// Google takes the apiserver's event apart and stores an AuditLog of its own form. [Convert] puts together what a rule on
// Kubernetes audit events looks at: API group, request URI, HTTP status, stage, level and bodies as the apiserver would have
// written them. What Google has dropped stays missing: a user's groups and UID, the bodies of Secrets and ConfigMaps, and the
// command of an exec. Reads are there only where the project records data access.
package gke
