// Package auditflag knows the audit flags of kube-apiserver: which version has which, what each defaults to, and which of
// them this project sets to what.
//
// An apiserver exits at an unknown flag, so a flag that this package does not list for a version is never written for it.
// The table was read from pkg/server/options/audit.go of k8s.io/apiserver 0.17, 0.19–0.24, 0.30 and 0.35–0.37, and below
// that from the changes that introduced each flag. The oldest version it speaks about is 1.11.
package auditflag
