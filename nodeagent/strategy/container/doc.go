// Package container is the way of configuring an apiserver that runs as a container of the Docker Engine, and that no kubelet looks
// after: RKE, from Kubernetes 1.13.
//
// A container's arguments cannot be changed, so it is created anew: [Recreate] does that in the order in which RKE itself does it, with
// other arguments and everything else as it was. What it shall be like is written down before, in one file of ours, which is to the
// container what a manifest is to a static pod: the transaction swaps the file, and bringing the container into line with it stands for the
// restart. That is done by looking, not by remembering: whatever was cut short anywhere, done again it comes to the same end. The file's
// absence means a container without anything of ours.
//
// Our container says in labels which file it was made from, and what stood there before, so that the way back needs nothing else.
//
// [Read] gathers what there is, and [Settings.Propose] turns a plan and that into a [txn.Change], or into a refusal with a reason a
// user can act upon. All but the reading and the recreating is pure.
package container

import "k8s-audit-enabler.io/nodeagent/txn"

const (
	// Distribution is RKE's name in plans.
	Distribution = "rke"
	// Name is the container's.
	Name = "kube-apiserver"
	// OldName is what the container before it is called while a change is open. RKE has a name of its own for that, which we leave
	// to it: a container of that name would stop its next update.
	OldName = "k8s-audit-enabler-old-kube-apiserver"
	// File says what the container shall be like.
	File = txn.ContainerFile
	// Unit is what stands for a service's name.
	Unit = txn.ContainerUnit
	// OldestMinor is the first minor version of Kubernetes 1.x whose RKE is supported.
	OldestMinor = 13
)

// labelOfRKE is on the container, with its name.
const labelOfRKE = "io.rancher.rke.container.name"

// Labels of ours.
const (
	// labelRevision is the revision whose files and flags the container was created with.
	labelRevision = "k8s-audit-enabler.io/revision"
	// labelFile is the hash of the file that it was created from.
	labelFile = "k8s-audit-enabler.io/file"
	// labelFrom is the container that it was made from.
	labelFrom = "k8s-audit-enabler.io/from"
	// labelOriginal is what stood there before anything of ours did.
	labelOriginal = "k8s-audit-enabler.io/original"
)

// Where RKE has what we use.
const (
	// etcKubernetes is bound into the container.
	etcKubernetes = "/etc/kubernetes"
	// dirName is our directory in it.
	dirName = "k8s-audit-enabler"
	// policyOfRKE is its policy of its own, or the one that cluster.yml gives.
	policyOfRKE = etcKubernetes + "/audit-policy.yaml"
)
