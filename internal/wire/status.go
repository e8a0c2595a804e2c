package wire

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Phase is where a node stands.
type Phase string

// Phases of a node. A node is settled in Applied, Reverted and Refused; it holds up the rollout in Failed and RolledBack.
const (
	// PhasePending: the plan is not applied and the agent waits for a permit.
	PhasePending Phase = "Pending"
	// PhaseApplying: files are being written.
	PhaseApplying Phase = "Applying"
	// PhaseVerifying: the manifest is swapped, the new apiserver is awaited.
	PhaseVerifying Phase = "Verifying"
	// PhaseApplied: the plan's revision is live.
	PhaseApplied Phase = "Applied"
	// PhaseReverted: nothing of ours is left in the apiserver, as the plan wants.
	PhaseReverted Phase = "Reverted"
	// PhaseRolledBack: the new configuration did not work; the old one is live again.
	PhaseRolledBack Phase = "RolledBack"
	// PhaseRefused: nothing was touched, for the reason given.
	PhaseRefused Phase = "Refused"
	// PhaseFailed: something went wrong that the agent could not put right by itself.
	PhaseFailed Phase = "Failed"
)

// Final reports whether a permit is answered for with this phase: nothing is going on, and nothing is waited for.
func (p Phase) Final() bool {
	switch p {
	case PhaseApplied, PhaseReverted, PhaseRolledBack, PhaseRefused, PhaseFailed:
		return true
	default:
		return false
	}
}

// NodeStatus is what a node's agent says of its node.
type NodeStatus struct {
	TypeMeta `json:",inline"`

	Node  NodeIdentity `json:"node"`
	Phase Phase        `json:"phase"`
	// Reason is one of package reason's; Message says the same to a person.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// PlanRevision is the plan's revision that this status answers.
	PlanRevision string `json:"planRevision,omitempty"`
	// AppliedRevision is the plan revision that is live, empty where nothing of ours is.
	AppliedRevision string `json:"appliedRevision,omitempty"`
	// Fence is the highest permit the agent has acted on.
	Fence int64 `json:"fence,omitempty"`
	// Answered is the highest permit this agent is done with. It will not act on it, or on an older one, again.
	Answered int64 `json:"answered,omitempty"`
	// Apiserver is the one that runs on this node.
	Apiserver  ApiserverStatus    `json:"apiserver,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// LastError survives later phases until the next success.
	LastError *LastError `json:"lastError,omitempty"`
	// AgentVersion is the node agent's.
	AgentVersion string `json:"agentVersion,omitempty"`
	// WebhookFile is the file that lies there for the apiserver to be told of, where the agent does not tell it; empty elsewhere.
	WebhookFile string `json:"webhookFile,omitempty"`
	// Preview is what the change would do that waits; nil where none does.
	Preview *Preview `json:"preview,omitempty"`
}

// ApiserverStatus describes the kube-apiserver of one node.
type ApiserverStatus struct {
	// Version as the apiserver itself reports it, for example v1.34.4.
	Version string `json:"version,omitempty"`
	// Restarts counts the restarts the agent has caused since it was installed.
	Restarts int `json:"restarts,omitempty"`
	// LastUnavailable is how long the last restart kept the apiserver from being ready.
	LastUnavailable metav1.Duration `json:"lastUnavailable,omitempty"`
}

// LastError is what went wrong, with the failed apiserver's last log lines.
type LastError struct {
	Reason  string      `json:"reason"`
	Message string      `json:"message"`
	LogTail []string    `json:"logTail,omitempty"`
	Time    metav1.Time `json:"time"`
}

// Flat keys of the cluster status ConfigMap, for tools that cannot read YAML inside a string.
const (
	FlatReady    = "ready"
	FlatReason   = "reason"
	FlatMessage  = "message"
	FlatRevision = "revision"
	// FlatStalled tells a rollout that goes on by itself from one that waits for a person.
	FlatStalled = "stalled"
	// FlatConfig is the resourceVersion of the configuration that the status takes into account.
	FlatConfig = "configVersion"
)

// ClusterStatus is the coordinator's summary.
type ClusterStatus struct {
	TypeMeta `json:",inline"`

	Distribution DistributionStatus `json:"distribution"`
	Strategy     Strategy           `json:"strategy,omitempty"`
	// Backend is how events leave the apiservers: webhook or dynamic. BackendReason says in a sentence why.
	Backend       string `json:"backend,omitempty"`
	BackendReason string `json:"backendReason,omitempty"`
	// Sink is the URL the apiservers post to, without credentials.
	Sink string `json:"sink,omitempty"`
	// Revision is the one that all nodes shall have; with mixed versions the newest node's.
	Revision string `json:"revision,omitempty"`
	// Request is the resourceVersion of the request that this status takes into account; empty where there is none.
	Request string `json:"request,omitempty"`
	// Fence is the highest permit given so far. Numbers go on from here although the plans that held them are gone.
	Fence int64 `json:"fence,omitempty"`
	// Turn is whose turn it is, or was last.
	Turn  *Turn         `json:"turn,omitempty"`
	Nodes []NodeSummary `json:"nodes,omitempty"`
	// Steps are those of the last rollout, the oldest first. Of a long one the first are left out.
	Steps      []Step             `json:"steps,omitempty"`
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Turn reserves a permit's number for a node. It is written before the permit, into the one document that all coordinators
// write, so that two of them can never give permits to two nodes.
type Turn struct {
	Node      string `json:"node"`
	HolderUID string `json:"holderUID"`
	Fence     int64  `json:"fence"`
	// Over: the node has answered for its permit. Until then no other node gets one, although the permit was withdrawn: the
	// node may have begun before it saw that.
	Over bool `json:"over,omitempty"`
}

// Step is when a node's phase or reason became another, as the coordinator saw it.
type Step struct {
	Time   metav1.Time `json:"time"`
	Node   string      `json:"node"`
	Phase  Phase       `json:"phase"`
	Reason string      `json:"reason,omitempty"`
}

// DistributionStatus says what was recognised, and why.
type DistributionStatus struct {
	Name              string `json:"name"`
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// Reason names the evidence, in a sentence.
	Reason string `json:"reason"`
}

// NodeSummary is one control-plane node in the cluster status.
type NodeSummary struct {
	Name            string `json:"name"`
	Phase           Phase  `json:"phase"`
	Reason          string `json:"reason,omitempty"`
	Message         string `json:"message,omitempty"`
	Revision        string `json:"revision,omitempty"`
	AppliedRevision string `json:"appliedRevision,omitempty"`
	AuditFlowing    string `json:"auditFlowing,omitempty"`
	// HasPermit: this node may change now.
	HasPermit bool `json:"hasPermit,omitempty"`
}

// Preview is what a change would do to a node. It holds no credential.
type Preview struct {
	// Revision is what would be live; empty where our settings would be taken out.
	Revision string     `json:"revision,omitempty"`
	Files    []FileDiff `json:"files,omitempty"`
	// Flags are those of the apiserver that would be set.
	Flags []Flag `json:"flags,omitempty"`
	// Restart and Unavailable say in a sentence what is restarted, and for how long whom it keeps waiting.
	Restart     string `json:"restart"`
	Unavailable string `json:"unavailable"`
	// Kept says which settings of others stay.
	Kept string `json:"kept,omitempty"`
}

// FileDiff is what would change in one file.
type FileDiff struct {
	Path string `json:"path"`
	// Diff is unified; empty where nothing would change.
	Diff string `json:"diff,omitempty"`
	// Cut is how many lines of it were left out.
	Cut int `json:"cut,omitempty"`
}
