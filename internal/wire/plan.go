package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// NodeIdentity says which machine is meant. A node may be deleted and come back under the same name as another machine,
// so the agent compares MachineID and SystemUUID with its host before it does anything.
type NodeIdentity struct {
	Name       string `json:"name"`
	UID        string `json:"uid"`
	MachineID  string `json:"machineID"`
	SystemUUID string `json:"systemUUID,omitempty"`
}

// Strategy is a way of configuring an apiserver.
type Strategy string

// Strategies.
const (
	StrategyStaticPod Strategy = "static-pod"
	// StrategyDropIn: a file of ours among those that a service reads, which is restarted.
	StrategyDropIn Strategy = "drop-in"
	// StrategyConfigFile: values of ours in the one file that a service reads, which is restarted.
	StrategyConfigFile Strategy = "config-file"
	// StrategyArgsFile: lines of ours in the file of flags that a service reads, which is restarted.
	StrategyArgsFile Strategy = "args-file"
	// StrategyContainer: arguments of ours in the container as which the apiserver runs, which is created anew.
	StrategyContainer Strategy = "container"
	// StrategyFile: a file that the apiserver is told of by somebody else, the operator that owns it. Nothing on the host restarts for it.
	StrategyFile Strategy = "file"
	// StrategyForward: no apiserver is configured; the bridge reads the audit log that there is. It is in no node's plan.
	StrategyForward Strategy = "forward"
	// StrategyOperator: the operator that owns the apiservers is told. It is in no node's plan.
	StrategyOperator Strategy = "operator"
)

// Plan is what one node shall be like, and, while a permit is in it, the leave to make it so.
type Plan struct {
	TypeMeta `json:",inline"`

	Node NodeIdentity `json:"node"`
	// Revision is the hash of Desired and Strategy: see [Plan.ComputeRevision].
	Revision string   `json:"revision"`
	Strategy Strategy `json:"strategy"`
	// Distribution is what the coordinator recognised, for the agent to confirm on the host.
	Distribution string `json:"distribution"`
	// KubernetesVersion is the apiserver version this plan was made for, as in v1.34.4. The agent refuses another minor version.
	KubernetesVersion string `json:"kubernetesVersion"`

	Desired Desired `json:"desired"`
	// ReadyTimeout bounds the wait for the changed apiserver.
	ReadyTimeout metav1.Duration `json:"readyTimeout"`
	// Rehearse and Handover are as in [RolloutSettings]; an empty one means that it is not done.
	Rehearse string `json:"rehearse,omitempty"`
	Handover string `json:"handover,omitempty"`
	// Drain is as in [RolloutSettings].
	Drain metav1.Duration `json:"drain,omitempty"`
	// EventsTo is where an AuditSink has the apiserver post its events, for the agent to look for in the apiserver's counters. It is
	// written nowhere on the host, and may change without a new revision.
	EventsTo string `json:"eventsTo,omitempty"`
	// Told is the file that the apiservers run with, all of them, where another than the agent tells them: with [StrategyFile] the agent
	// removes its earlier ones then. Like EventsTo it is no part of the revision.
	Told string `json:"told,omitempty"`
	// Permit, when present, allows its holder to change this node now.
	Permit *Permit `json:"permit,omitempty"`
}

// Backend is how events leave an apiserver.
type Backend string

// BackendDynamic has AuditSinks say where events go, without a restart when that changes. Apiservers from 1.13 to 1.18 have it.
const BackendDynamic Backend = "dynamic"

// Desired is the state a node shall have. Everything in it goes into the revision.
type Desired struct {
	// Enabled false: no setting of ours is left in the apiserver.
	Enabled bool `json:"enabled"`
	// Backend is [BackendDynamic], or empty for the webhook.
	Backend Backend `json:"backend,omitempty"`
	// Policy is the audit policy file's content, in the form this apiserver's version reads.
	Policy string `json:"policy,omitempty"`
	// Webhook is what the webhook kubeconfig is made of; nothing with [BackendDynamic].
	Webhook Webhook `json:"webhook"`
	// Flags are the apiserver's audit flags without those that hold a path of ours, in order.
	Flags []Flag `json:"flags,omitempty"`
	// Existing says what to do with audit settings that are not ours.
	Existing ExistingSettings `json:"existing"`
	// Canary is the user whose GET /livez the policy logs, or empty where the policy logs no canary.
	Canary string `json:"canary,omitempty"`
}

// Flag is one apiserver flag, name without dashes.
type Flag struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Webhook is the sink as the apiserver dials it.
type Webhook struct {
	URL                string `json:"url"`
	CABundle           string `json:"caBundle,omitempty"`
	ServerName         string `json:"serverName,omitempty"`
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`
	// CredentialsSecret names a Secret in the release's namespace, for the agent to get.
	CredentialsSecret string `json:"credentialsSecret,omitempty"`
}

// Permit is the leave to change one node. It has a holder and no clock: it ends when the coordinator takes it away.
type Permit struct {
	// HolderUID is the Node object's UID.
	HolderUID string `json:"holderUID"`
	// Fence grows with every permit given in this cluster. An agent never acts on a smaller one than it has seen.
	Fence int64 `json:"fence"`
	// Revision is the one that may be applied.
	Revision string `json:"revision"`
}

// ComputeRevision is the content hash of what the plan wants: "r" and 12 hexadecimal digits. The letter keeps YAML from
// reading it as a number. Permit, timeouts, node identity and how a change is made are not part of it.
func (p *Plan) ComputeRevision() (string, error) {
	text, err := yaml.Marshal(struct {
		Strategy Strategy `json:"strategy"`
		Desired  Desired  `json:"desired"`
	}{p.Strategy, p.Desired})
	if err != nil {
		return "", fmt.Errorf("hash plan of node %q: %w", p.Node.Name, err)
	}
	sum := sha256.Sum256(text)
	return "r" + hex.EncodeToString(sum[:6]), nil
}

// HasPermit reports whether the plan allows its own node to apply its own revision now.
func (p *Plan) HasPermit() bool {
	return p.Permit != nil && p.Permit.HolderUID == p.Node.UID && p.Permit.Revision == p.Revision
}
