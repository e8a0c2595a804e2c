// Package parts makes what the lab is put together from: Kubernetes, etcd, the pause program and the balancer, built from
// source, and the images that kubeadm expects to find.
//
// The sources are Go modules named by a go.mod and go.sum in test/parts; nothing but the Go module proxy is asked. What is
// built lies in a cache outside the repository, in a folder whose name carries a hash of everything that went into it: a
// part is there complete or not at all, and is built again only when its recipe or the Go version changes.
package parts
