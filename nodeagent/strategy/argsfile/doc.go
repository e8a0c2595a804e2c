// Package argsfile is the way of configuring an apiserver that a service starts with the flags in a file, one a line: MicroK8s, whose
// kubelite reads args/kube-apiserver of its snap.
//
// What is ours are lines between two comments, at the file's end when they are new, and where they are when they are not. They add to
// the others, of which none is touched, so that they are taken back by being cut out: the file is then byte for byte as it was, or as
// others have made it since. [Read] gathers what the service would read at its next start; [Settings.Propose] turns a plan and that
// into a [txn.Change], or into a refusal with a reason a user can act upon. All but the reading is pure.
package argsfile

const (
	// Name is the distribution's, as in plans.
	Name = "microk8s"
	// Unit is the service with apiserver and kubelet in it.
	Unit = "snap.microk8s.daemon-kubelite.service"
	// Path is the file. A refresh of the snap copies it, and has the link point to the copy.
	Path = snapData + "/args/kube-apiserver"
	// OldestMinor is the first minor version of Kubernetes 1.x whose MicroK8s has that service.
	OldestMinor = 21
	// Elsewhere says what to do where no systemd runs it.
	Elsewhere = "add the audit flags to args/kube-apiserver of its snap yourself, and restart it"
)

// Where the variables in the file point.
const (
	snapData   = "/var/snap/microk8s/current"
	snapCommon = "/var/snap/microk8s/common"
	snapRoot   = "/snap/microk8s/current"
)
