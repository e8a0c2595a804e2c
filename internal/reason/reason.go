// Package reason lists every condition type and every reason that k8s-audit-enabler reports, each with one line that
// says what it means. A condition's reason is also its Event's reason. The runbook has an entry for each.
package reason

// Condition types of a node's status.
const (
	// PreflightPassed: everything that can be checked before a change has been checked and allows it.
	PreflightPassed = "PreflightPassed"
	// Applied: the plan's revision is what the running apiserver was started with.
	Applied = "Applied"
	// AuditFlowing: an event was seen to reach the audit log, and the apiserver counted batches as delivered to the sink.
	AuditFlowing = "AuditFlowing"
	// PolicyOurs: the audit policy in force is the plan's. False where the user's own was kept.
	PolicyOurs = "PolicyOurs"
)

// Condition types of the cluster's status.
const (
	// Ready: every control-plane node is as the configuration wants it.
	Ready = "Ready"
	// Progressing: a node is changing or waits for its turn.
	Progressing = "Progressing"
	// Stalled: nothing more will happen until a person changes something.
	Stalled = "Stalled"
)

// Reasons of the configuration and of what it names; no node is touched.
const (
	// ConfigInvalid: the audit-enabler-config document cannot be read, or a value in it cannot be used.
	ConfigInvalid = "ConfigInvalid"
	// RequestInvalid: the audit-enabler-request document cannot be read or carried out, so it is not known what was asked for.
	RequestInvalid = "RequestInvalid"
	// PolicyInvalid: the audit policy would stop an apiserver from starting; the message has the field and the line.
	PolicyInvalid = "PolicyInvalid"
	// SinkNotFound: the sink's Service does not exist; it is watched for.
	SinkNotFound = "SinkNotFound"
	// SinkHasNoClusterIP: the sink's Service is headless or an ExternalName; an apiserver cannot dial it.
	SinkHasNoClusterIP = "SinkHasNoClusterIP"
	// SinkPortNotFound: the sink's Service has no port of that name or number.
	SinkPortNotFound = "SinkPortNotFound"
	// SinkInvalid: the sink's URL cannot be used; the message says what to write instead.
	SinkInvalid = "SinkInvalid"
	// SinkChanging: the sink's address changed a moment ago; it is rolled out once it stays the same.
	SinkChanging = "SinkChanging"
	// SinkVanished: the sink's Service is gone after enablement; apiservers keep the last address, nothing is reverted.
	SinkVanished = "SinkVanished"
)

// Reasons of the dynamic backend.
const (
	// ReceiverNotFound: the bridge's receiver, to which an AuditSink sends events by default, has no Service with an address.
	ReceiverNotFound = "ReceiverNotFound"
	// OperatorNotFound: the operator of OpenShift 4's apiservers cannot be read.
	OperatorNotFound = "OperatorNotFound"
	// OperatorRolling: the operator of OpenShift 4's apiservers goes from master to master with what it was told.
	OperatorRolling = "OperatorRolling"
	// OperatorFailed: a master did not come up with what the operator was told; the operator has stopped there.
	OperatorFailed = "OperatorFailed"
	// OverridesSet: the operator has overrides of ours, with which the cluster is not Upgradeable to another minor version.
	OverridesSet = "OverridesSet"
	// OverridesConflict: the operator's overrides say something else than is needed, or belong to another release.
	OverridesConflict = "OverridesConflict"
	// AuditProfileSet: the audit profile of OpenShift was changed as asked for, or given back.
	AuditProfileSet = "AuditProfileSet"
	// AuditProfileRefused: the audit profile that is asked for cannot be set; nothing is changed.
	AuditProfileRefused = "AuditProfileRefused"
	// AuditSinkNotServed: the API server does not serve AuditSinks yet; the AuditSink is created once it does.
	AuditSinkNotServed = "AuditSinkNotServed"
	// AuditSinkNotOurs: somebody else's AuditSink has our name; it is left alone.
	AuditSinkNotOurs = "AuditSinkNotOurs"
	// AuditSinkRefused: the API server refuses the AuditSink; the message has its words.
	AuditSinkRefused = "AuditSinkRefused"
)

// Reasons of recognition.
const (
	// DistributionUnknown: no rule recognised this cluster; set distribution in the values.
	DistributionUnknown = "DistributionUnknown"
	// DistributionUnsupported: recognised, but there is no way to configure its apiserver from here.
	DistributionUnsupported = "DistributionUnsupported"
	// BackendUnsupported: the backend asked for does not exist for this distribution or version.
	BackendUnsupported = "BackendUnsupported"
	// NoControlPlaneNodes: the cluster shows no control-plane node, so its apiservers are out of reach.
	NoControlPlaneNodes = "NoControlPlaneNodes"
	// DistributionMismatch: the host does not look like the distribution that the coordinator recognised.
	DistributionMismatch = "DistributionMismatch"
	// AnotherRelease: the nodes belong to another release of k8s-audit-enabler; two cannot share a cluster.
	AnotherRelease = "AnotherRelease"
)

// Reasons of the rollout.
const (
	// Complete: every node is as it shall be.
	Complete = "Complete"
	// NodeChanging: one node holds the permit and is changing.
	NodeChanging = "NodeChanging"
	// NodeGone: a node was deleted in the middle of its turn, and its apiserver may still be restarting.
	NodeGone = "NodeGone"
	// WaitingForAgent: a node's agent has not reported yet.
	WaitingForAgent = "WaitingForAgent"
	// WaitingForHealth: an apiserver is not ready, so no other may be restarted; unknown counts as not ready.
	WaitingForHealth = "WaitingForHealth"
	// Settling: the last change is done; load balancers get time to notice.
	Settling = "Settling"
	// NodeFailed: a node was rolled back or failed, and the rollout stops there.
	NodeFailed = "NodeFailed"
	// NodeRefused: a node was not touched, for the reason in its own status.
	NodeRefused = "NodeRefused"
	// Paused: the configuration says paused; no permit is given.
	Paused = "Paused"
	// Forwarding: no node is changed; the bridge forwards the audit log that the platform writes.
	Forwarding = "Forwarding"
	// Disabled: the configuration says enabled: false, and every node is as it was before.
	Disabled = "Disabled"
)

// Reasons of a node.
const (
	// WaitingForPermit: the node needs a change and waits for its turn.
	WaitingForPermit = "WaitingForPermit"
	// Drifted: somebody else rewrote the manifest; it is put right, at once or with the next permit; the message says who did what.
	Drifted = "Drifted"
	// UpgradeRunning: an upgrade of this node's apiserver is not complete; our settings follow once it has come to rest.
	UpgradeRunning = "UpgradeRunning"
	// FightingOver: another program keeps rewriting the manifest without our settings; they go in again after a growing pause.
	FightingOver = "FightingOver"
	// CredentialsChanged: the Secret with the sink's credentials changed; it is applied with the next permit.
	CredentialsChanged = "CredentialsChanged"
	// Writing: files are being written.
	Writing = "Writing"
	// AwaitingApiserver: the manifest is swapped; the new apiserver is awaited.
	AwaitingApiserver = "AwaitingApiserver"
	// Live: the running apiserver was started with the plan's revision and is ready.
	Live = "Live"
	// Removed: nothing of ours is left in the apiserver's configuration.
	Removed = "Removed"
	// PlanInvalid: the plan cannot be read or holds something the agent will not do.
	PlanInvalid = "PlanInvalid"
	// WrongMachine: the plan is for another machine of the same name.
	WrongMachine = "WrongMachine"
	// VersionMismatch: the running apiserver's version is not the one the plan was made for; a new plan is awaited.
	VersionMismatch = "VersionMismatch"
	// ManifestNotFound: the kubelet's static pod directory has no kube-apiserver manifest.
	ManifestNotFound = "ManifestNotFound"
	// ManifestNotUnderstood: the manifest has a form that cannot be edited safely; the message has the place.
	ManifestNotUnderstood = "ManifestNotUnderstood"
	// ServiceNotFound: no systemd of this host runs the service that starts the apiserver, so nobody could restart it after a change.
	ServiceNotFound = "ServiceNotFound"
	// SettingsOverridden: a setting of somebody else would replace the whole list that ours are appended to, or wins over one of ours; the message names it.
	SettingsOverridden = "SettingsOverridden"
	// WebhookNotOurs: the apiserver already posts to somebody else's webhook, and there can be only one.
	WebhookNotOurs = "WebhookNotOurs"
	// PolicyNotOurs: the user's own audit policy was kept.
	PolicyNotOurs = "PolicyNotOurs"
	// PolicyIsOurs: the plan's policy is in force.
	PolicyIsOurs = "PolicyIsOurs"
	// CredentialsMissing: the Secret with the sink's credentials cannot be read.
	CredentialsMissing = "CredentialsMissing"
	// HostNotWritable: the host's file system refused a write: full, read-only, or a directory is missing. The old files are intact.
	HostNotWritable = "HostNotWritable"
	// ApiserverUnhealthy: the apiserver was not ready before the change, so it was not changed.
	ApiserverUnhealthy = "ApiserverUnhealthy"
	// FileInUse: the node's apiserver is told to read a file of ours that the plan would have removed.
	FileInUse = "FileInUse"
	// ManifestConflict: somebody else changed the manifest during the change; their version stays.
	ManifestConflict = "ManifestConflict"
	// CrashLooping: the new apiserver exited twice; rolled back.
	CrashLooping = "CrashLooping"
	// NeverStarted: no container of the new revision started in time; rolled back.
	NeverStarted = "NeverStarted"
	// NotReady: the new apiserver ran but was not ready in time; rolled back.
	NotReady = "NotReady"
	// KubeletDeaf: the kubelet did not act on the new manifest while the old apiserver served on; taken back, and tried again later.
	KubeletDeaf = "KubeletDeaf"
	// EtcdUnhealthy: etcd is not healthy, so an apiserver was not ready for it, or must not be restarted.
	EtcdUnhealthy = "EtcdUnhealthy"
	// PolicyRejected: the apiserver did not accept the audit policy file and exited; rolled back.
	PolicyRejected = "PolicyRejected"
	// NotCommitted: the agent did not return to complete the change, so the host itself took it back; tried again later.
	NotCommitted = "NotCommitted"
	// WatchdogNotArmed: what would take a change back without the agent cannot be set up on this host, so nothing is changed.
	WatchdogNotArmed = "WatchdogNotArmed"
	// Rehearsing: the new configuration runs as a second apiserver beside the one in use, which is not touched.
	Rehearsing = "Rehearsing"
	// RehearsalNotPossible: this host cannot run a second apiserver for a moment; with rehearse: always, nothing is changed.
	RehearsalNotPossible = "RehearsalNotPossible"
	// RehearsalNotRemoved: the rehearsal's manifest or container is still there after its end; its removal is tried again.
	RehearsalNotRemoved = "RehearsalNotRemoved"
	// ServiceNotRestarted: the host's service manager did not restart the service that starts the apiserver; taken back, tried again later.
	ServiceNotRestarted = "ServiceNotRestarted"
	// RollbackFailed: the old configuration is back in place, but its apiserver is not ready either.
	RollbackFailed = "RollbackFailed"
)

// Reasons of AuditFlowing.
const (
	// Delivered: the canary is in the audit log and the apiserver counted batches as delivered after it.
	Delivered = "Delivered"
	// NotInAuditLog: the canary request does not appear in the audit log.
	NotInAuditLog = "NotInAuditLog"
	// SinkUnreachable: the apiserver counts batches to the sink as failed; the apiserver itself is not affected.
	SinkUnreachable = "SinkUnreachable"
	// NothingDelivered: the apiserver has counted neither a delivered nor a failed batch since the canary.
	NothingDelivered = "NothingDelivered"
	// CanaryNotAudited: the policy in force does not log the canary, so nothing can be proved with it.
	CanaryNotAudited = "CanaryNotAudited"
	// NotApplied: there is nothing to prove yet.
	NotApplied = "NotApplied"
)
