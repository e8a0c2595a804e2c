// Package openshift4 decides what the operator of OpenShift 4's apiservers is to be told, and what it has made of it.
//
// The apiservers' manifests are written by the operator, revision by revision, and nothing else may edit them. What it can be told is
// spec.unsupportedConfigOverrides of kubeapiserver.operator.openshift.io/cluster, which it merges over what it has observed: mappings
// key by key, while a list replaces the whole list below it (openshift/library-go, pkg/operator/resource/resourcemerge). So a list of
// ours begins with what the operator has observed, or with what somebody else has put into the overrides, and its own feature gates are
// not lost. [Merge] makes the overrides and a [Record] of what was there, [Take] takes ours out again, and [Progress] says how far the
// operator has come; [HoldsUp], whether overrides are in the way of an upgrade. [Decide] puts
// these together, and all of them are pure; [Store] is the way to the API.
package openshift4
