// Package distribution holds the coordinator's answer against the host. Recognition sees a cluster from its API, where a wrong guess,
// or a wrong word in the values, would have a file edited that another program owns; so before the agent writes anything, it
// looks whether the host is what the plan says.
//
// A host is refused for what must not be there rather than for what should be: people move kubeadm's directories and rename its
// files, and no host that is right may be refused. What an earlier installation has left behind counts for nothing: only programs that
// run, and the manifest that the kubelet reads, tell whose the apiserver is. [Look] gathers, [Mismatch] judges and is pure.
package distribution
