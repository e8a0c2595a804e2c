package wire

// BridgePlan says which sources the bridge reads, and where it posts. Without a source it idles.
type BridgePlan struct {
	TypeMeta `json:",inline"`

	Sources BridgeSources `json:"sources"`
	// Sink is what the bridge posts to. Its secret is mounted into the bridge's pods.
	Sink Webhook `json:"sink"`
	// Gzip true compresses what is posted, if the sink understands that.
	Gzip bool `json:"gzip,omitempty"`
	// Filter says which events are not posted.
	Filter EventFilter `json:"filter,omitzero"`
	// Message says to a person why this is the plan.
	Message string `json:"message,omitempty"`
}

// BridgeSources are what the bridge may read. Those that are nil are not.
type BridgeSources struct {
	File     *FileSource     `json:"file,omitempty"`
	Receiver *ReceiverSource `json:"receiver,omitempty"`
	EKS      *EKSSource      `json:"eks,omitempty"`
	GKE      *GKESource      `json:"gke,omitempty"`
}

// GKESource is the audit log of a GKE cluster in Cloud Logging. What is empty, the metadata server of the node tells.
type GKESource struct {
	Project  string `json:"project,omitempty"`
	Location string `json:"location,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	// DataAccess true reads the log of what was read, too.
	DataAccess bool `json:"dataAccess,omitempty"`
}

// EKSSource is the audit log of an EKS cluster in CloudWatch Logs.
type EKSSource struct {
	Cluster string `json:"cluster"`
	// Region is the cluster's; empty for that of the instance that the bridge runs on.
	Region string `json:"region,omitempty"`
}

// EventFilter says which events are dropped before they are delivered. The zero value drops none.
type EventFilter struct {
	// DropLoopback drops events all of whose source addresses are loopback.
	DropLoopback bool `json:"dropLoopback,omitempty"`
	// DropWhen is a condition in CEL about the variable event. Events for which it is true are dropped.
	DropWhen string `json:"dropWhen,omitempty"`
}

// FileSource is audit logs on control-plane nodes.
type FileSource struct {
	// Paths are those of the logs, on the host. A node that has none of one waits for it.
	Paths []string `json:"paths"`
	// From is oldest, active or end: what is read of a log that was never read before.
	From string `json:"from,omitempty"`
}

// ReceiverSource is EventLists that apiservers send.
type ReceiverSource struct {
	// Policy is the audit policy that is applied to them, of audit.k8s.io/v1. Empty: everything is passed on.
	Policy string `json:"policy,omitempty"`
}

// Cloud reports whether there is a source that only one bridge should read.
func (s BridgeSources) Cloud() bool { return s.EKS != nil || s.GKE != nil }

// None reports whether there is no source.
func (s BridgeSources) None() bool { return s == BridgeSources{} }
