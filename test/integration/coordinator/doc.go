// Package coordinator runs the coordinator against a real kube-apiserver with a real etcd, with exactly the permissions that
// the chart gives it, and with agents that only play their part.
package coordinator
