package reason

// Known reports whether a word is one of the reasons here, for those who must not take any other word from an agent: what it reports is
// not trusted.
func Known(word string) bool {
	switch word {
	case ConfigInvalid, RequestInvalid, PolicyInvalid, SinkNotFound, SinkHasNoClusterIP, SinkPortNotFound, SinkInvalid, SinkChanging,
		SinkVanished, ReceiverNotFound, OperatorNotFound, OperatorRolling, OperatorFailed, OverridesSet, OverridesConflict, AuditProfileSet, AuditProfileRefused,
		AuditSinkNotServed, AuditSinkNotOurs, AuditSinkRefused, DistributionUnknown,
		DistributionUnsupported, BackendUnsupported, NoControlPlaneNodes, DistributionMismatch, AnotherRelease, Complete, NodeChanging,
		NodeGone, WaitingForAgent, WaitingForHealth, Settling, NodeFailed, NodeRefused, Paused, Forwarding, Disabled, WaitingForPermit,
		Drifted, UpgradeRunning, FightingOver, CredentialsChanged, Writing, AwaitingApiserver, Live, Removed, PlanInvalid, WrongMachine,
		VersionMismatch, FileInUse, ManifestNotFound, ManifestNotUnderstood, ServiceNotFound, SettingsOverridden, WebhookNotOurs, PolicyNotOurs,
		PolicyIsOurs, CredentialsMissing, HostNotWritable, ApiserverUnhealthy, ManifestConflict, CrashLooping, NeverStarted, NotReady,
		KubeletDeaf, EtcdUnhealthy, PolicyRejected, NotCommitted, WatchdogNotArmed, Rehearsing, RehearsalNotPossible,
		RehearsalNotRemoved, ServiceNotRestarted, RollbackFailed, Delivered, NotInAuditLog, SinkUnreachable, NothingDelivered,
		CanaryNotAudited, NotApplied:
		return true
	}
	return false
}
