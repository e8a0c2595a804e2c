// Package lab boots real control planes on one Linux machine, for end-to-end tests and demonstrations.
//
// A host is a set of namespaces (net, pid, mount, uts, ipc, cgroup) over an overlay of the machine's root, with systemd as
// its first process, containerd, kubelet and kube-proxy as units, on a bridge shared with the other hosts and with a
// balancer that stands for all apiservers. kubeadm makes a cluster of them, with the taints and the manifests it makes
// everywhere. A host can be halted, cut off from power and started again: what it keeps on disk is kept.
//
// The package promises to leave nothing behind: all processes of a lab sit in control groups that carry the lab's name,
// all mounts are in the hosts' own namespaces, all files below one folder, so that [Lab.Down] finds everything again, also
// after a run that was killed at any point. Two labs on one machine are told apart by bridge, subnets and folder.
//
// Root is needed, and the Debian packages that [InstallPackages] installs.
package lab
