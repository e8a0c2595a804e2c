// Package coordinator runs the coordinator against a real kube-apiserver with a real etcd, with exactly the permissions that
// the chart gives it, and with agents that only play their part.
//
// The tests need K8S_AUDIT_ENABLER_PARTS: a folder with kube-apiserver and etcd in it, or in folders of it.
package coordinator
