package wire

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Config is the user's intent, as Helm renders it from the chart's values.
type Config struct {
	TypeMeta `json:",inline"`

	// Release is the Helm release's name; with the namespace it tells two installations in one cluster apart.
	Release string `json:"release"`
	// Generation is the Helm release's revision. It grows with every upgrade, so that an uninstall's request ends with the next.
	Generation int64 `json:"generation,omitempty"`
	// Enabled false means: take our settings out of every apiserver again.
	Enabled bool `json:"enabled"`
	// Paused true means: report, but give no permit.
	Paused bool `json:"paused,omitempty"`
	// Distribution is "auto" or a distribution's name that overrides detection.
	Distribution string `json:"distribution"`
	// Backend is auto, webhook, dynamic or forward.
	Backend string `json:"backend"`

	Sink     Sink             `json:"sink"`
	Policy   PolicyChoice     `json:"policy"`
	Log      LogSettings      `json:"log"`
	Webhook  WebhookSettings  `json:"webhook"`
	Rollout  RolloutSettings  `json:"rollout"`
	Existing ExistingSettings `json:"existing"`
	Bridge   BridgeSettings   `json:"bridge,omitempty"`
	Dynamic  DynamicSettings  `json:"dynamic,omitempty"`

	OpenShift4 OpenShift4Settings `json:"openshift4,omitempty"`
}

// OpenShift4Settings are about OpenShift 4 only.
type OpenShift4Settings struct {
	// AuditProfile is what spec.audit.profile of the cluster's apiservers shall be while their log is forwarded; AsBefore gives back what
	// it was, and empty leaves it alone.
	AuditProfile string `json:"auditProfile,omitempty"`
}

// DynamicSettings are the dynamic backend's, which apiservers from 1.13 to 1.18 have.
type DynamicSettings struct {
	AuditSink AuditSinkSettings `json:"auditSink,omitempty"`
	// AcceptSecretsInAudit true has apiservers post to the sink itself. An AuditSink knows one level for all resources, so that
	// the contents of Secrets leave with the events; false has the bridge's receiver apply the audit policy first.
	AcceptSecretsInAudit bool `json:"acceptSecretsInAudit,omitempty"`
	// ReceiverTLS: the bridge's receiver speaks HTTPS. ReceiverCABundle is PEM of who signed its certificate.
	ReceiverTLS      bool   `json:"receiverTLS,omitempty"`
	ReceiverCABundle string `json:"receiverCABundle,omitempty"`
}

// AuditSinkSettings are what an AuditSink says beside the address; zero values stand for this project's own.
type AuditSinkSettings struct {
	Level         string   `json:"level,omitempty"`
	Stages        []string `json:"stages,omitempty"`
	ThrottleQPS   int      `json:"throttleQPS,omitempty"`
	ThrottleBurst int      `json:"throttleBurst,omitempty"`
}

// BridgeSettings say what the bridge reads, where the apiservers' own webhook is not the way.
type BridgeSettings struct {
	// File names audit logs on the control-plane nodes.
	File *FileSource `json:"file,omitempty"`
	// EKS says what the nodes of an EKS cluster do not.
	EKS EKSSource `json:"eks,omitempty"`
	// GKE says what a GKE cluster's metadata server does not.
	GKE GKESource `json:"gke,omitempty"`
	// Receiver true means: take EventLists from apiservers, apply the audit policy, and pass them on.
	Receiver bool `json:"receiver,omitempty"`
	// Gzip true compresses what the bridge posts, if the sink understands that.
	Gzip bool `json:"gzip,omitempty"`
	// Filter says which events the bridge does not post.
	Filter EventFilter `json:"filter,omitzero"`
}

// Sink is the receiver of audit events: a Service of this cluster or a URL, one of the two.
type Sink struct {
	// URL is http(s)://host[:port]/path with a host that the apiserver itself can resolve. Empty: Service is used.
	URL string `json:"url,omitempty"`
	// Service is resolved to its ClusterIP, because an apiserver cannot resolve cluster DNS names.
	Service *ServiceSink `json:"service,omitempty"`
	TLS     SinkTLS      `json:"tls,omitempty"`
	// CredentialsSecret names a Secret in the release's namespace with the keys token, or tls.crt and tls.key, or ca.crt.
	CredentialsSecret string `json:"credentialsSecret,omitempty"`
}

// ServiceSink names a Service and what to ask of it.
type ServiceSink struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Port is the Service port's number or name.
	Port intstr.IntOrString `json:"port"`
	// Path is the URL path, with its leading slash.
	Path string `json:"path"`
	// Scheme is http or https.
	Scheme string `json:"scheme"`
}

// SinkTLS holds what is public about the sink's TLS. Keys and tokens are in the CredentialsSecret.
type SinkTLS struct {
	// CABundle is PEM.
	CABundle           string `json:"caBundle,omitempty"`
	ServerName         string `json:"serverName,omitempty"`
	InsecureSkipVerify bool   `json:"insecureSkipVerify,omitempty"`
}

// PolicyChoice is the recommended policy or one of the user's.
type PolicyChoice struct {
	// Preset is "recommended" or, where Content is given, "custom".
	Preset string `json:"preset"`
	// Content is an audit.k8s.io Policy, as text.
	Content string `json:"content,omitempty"`
}

// LogSettings are the log backend's.
type LogSettings struct {
	MaxBackup int `json:"maxBackup"`
	MaxSizeMB int `json:"maxSizeMB"`
}

// WebhookSettings are the webhook backend's; zero values leave the apiserver's defaults.
type WebhookSettings struct {
	BatchMaxWait    metav1.Duration `json:"batchMaxWait"`
	BatchMaxSize    int             `json:"batchMaxSize,omitempty"`
	BatchBufferSize int             `json:"batchBufferSize,omitempty"`
	ThrottleQPS     int             `json:"throttleQPS,omitempty"`
	ThrottleBurst   int             `json:"throttleBurst,omitempty"`
	InitialBackoff  metav1.Duration `json:"initialBackoff,omitempty"`
	Truncate        *Truncate       `json:"truncate,omitempty"`
}

// Truncate bounds the size of what is sent; sizes in bytes, zero for the apiserver's default.
type Truncate struct {
	MaxEventSize int `json:"maxEventSize,omitempty"`
	MaxBatchSize int `json:"maxBatchSize,omitempty"`
}

// RolloutSettings pace the change from node to node.
type RolloutSettings struct {
	// ReadyTimeout is how long a changed apiserver may take to become ready before it is rolled back.
	ReadyTimeout metav1.Duration `json:"readyTimeout"`
	// Settle is how long all apiservers must have been ready before the next node changes, so that load balancers notice.
	Settle metav1.Duration `json:"settle"`
	// SinkDebounce is how long a changed sink address must stay the same before it is rolled out.
	SinkDebounce metav1.Duration `json:"sinkDebounce"`
	// Rehearse is auto, always or never: whether a configuration runs as a second apiserver first.
	Rehearse string `json:"rehearse,omitempty"`
	// Handover is auto or off: whether the rehearsal serves while the real apiserver restarts.
	Handover string `json:"handover,omitempty"`
	// Drain is how long an apiserver that takes no connections any more may go on with those it has, where no rehearsal
	// serves meanwhile. Zero leaves that to its grace period.
	Drain metav1.Duration `json:"drain,omitempty"`
}

// Choices for rehearsal and handover.
const (
	RehearseAuto   = "auto"
	RehearseAlways = "always"
	RehearseNever  = "never"
	HandoverAuto   = "auto"
	HandoverOff    = "off"
)

// Choices for a setting that the apiserver already has.
const (
	ExistingAuto    = "auto"
	ExistingKeep    = "keep"
	ExistingReplace = "replace"
	ExistingRefuse  = "refuse"
)

// ExistingSettings override what is done with audit settings that are there already and are not ours.
type ExistingSettings struct {
	// Policy is auto, keep or replace. auto keeps a user's policy and replaces a distribution's default.
	Policy string `json:"policy"`
	// Log is auto, keep or replace. auto keeps it.
	Log string `json:"log"`
	// Webhook is refuse or replace.
	Webhook string `json:"webhook"`
}
