package nodeagent

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// action is what a round does.
type action string

// Actions.
const (
	// actNothing: there is nothing to do, or nothing that may be done.
	actNothing action = "nothing"
	// actRecover: end the transaction that an earlier process left open.
	actRecover action = "recover"
	// actChange: apply or revert; the permit is there.
	actChange action = "change"
	// actRepair: put the live revision back into a manifest that somebody else rewrote; no permit is needed.
	actRepair action = "repair"
	// actAdopt: the manifest is as it shall be already; see to its files and the journal. Nothing restarts.
	actAdopt action = "adopt"
	// actTidy: remove files of earlier revisions. Nothing restarts.
	actTidy action = "tidy"
	// actForget: nothing of ours is in the manifest, and nothing shall be; remove our files. Nothing restarts.
	actForget action = "forget"
)

// step is what a round does, and what the node's status says about it.
type step struct {
	action  action
	phase   wire.Phase
	reason  string
	message string
	// change is what would be done, or is done now if action is actChange, actRepair or actAdopt.
	change *txn.Change
	// drift is why, where the change only puts back what is live already.
	drift drift
}

// decide compares the plan with what is there. It is pure: the same arguments give the same step.
func decide(p *wire.Plan, seen observation, j *txn.Journal) step {
	if j.Open != nil {
		return step{action: actRecover, phase: wire.PhaseVerifying, reason: reason.AwaitingApiserver, message: "ending the change that was begun"}
	}
	if j.Leftover != "" {
		return step{action: actRecover, phase: wire.PhaseVerifying, reason: reason.RehearsalNotRemoved, message: "removing the rehearsal of the last change"}
	}
	if r := checkPlan(p); r != nil {
		return refused(r)
	}
	if r := checkMachine(p.Node, seen.machine); r != nil {
		return refused(r)
	}
	by := wayOf(p.Strategy)
	if r := by.owns(j.Live); r != nil {
		return refused(r)
	}
	if !p.Desired.Enabled {
		return decideRevert(by, p, seen, j)
	}
	return decideApply(by, p, seen, j)
}

func refused(r *strategy.Refusal) step {
	return step{action: actNothing, phase: wire.PhaseRefused, reason: r.Reason, message: r.Message}
}

func refusal(reason, format string, args ...any) *strategy.Refusal {
	return &strategy.Refusal{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// checkPlan refuses a plan that contradicts itself: its revision is a hash of what it wants.
func checkPlan(p *wire.Plan) *strategy.Refusal {
	if wayOf(p.Strategy) == nil {
		return refusal(reason.PlanInvalid, "the plan asks for strategy %q, which this agent does not know", p.Strategy)
	}
	revision, err := p.ComputeRevision()
	if err != nil || revision != p.Revision {
		return refusal(reason.PlanInvalid, "the plan's revision %q is not that of its content", p.Revision)
	}
	return nil
}

// checkMachine confirms that the plan is for this machine. What one side does not know cannot be compared; the machine
// ID must be known to both.
func checkMachine(want, have wire.NodeIdentity) *strategy.Refusal {
	switch {
	case want.MachineID == "":
		return refusal(reason.PlanInvalid, "the plan does not say which machine it is for")
	case !strings.EqualFold(want.MachineID, have.MachineID):
		return refusal(reason.WrongMachine, "the plan is for the machine with ID %q; this one has %q", want.MachineID, have.MachineID)
	case want.SystemUUID != "" && have.SystemUUID != "" && !sameUUID(want.SystemUUID, have.SystemUUID):
		return refusal(reason.WrongMachine, "the plan is for the machine with system UUID %q; this one has %q", want.SystemUUID, have.SystemUUID)
	}
	return nil
}

// sameUUID compares two system UUIDs in either byte order. SMBIOS stores the first three fields in little endian from version
// 2.6 on, and before it everybody as they liked: the same machine reads differently after an update of its firmware or of its
// virtual hardware, while its Node still tells what the kubelet read before.
func sameUUID(a, b string) bool {
	return strings.EqualFold(a, b) || strings.EqualFold(a, otherByteOrder(b))
}

// otherByteOrder swaps the bytes of the first three fields; empty for what is not a UUID.
func otherByteOrder(uuid string) string {
	fields := strings.Split(uuid, "-")
	if len(fields) != 5 || len(fields[0]) != 8 || len(fields[1]) != 4 || len(fields[2]) != 4 {
		return ""
	}
	for i, f := range fields[:3] {
		swapped := ""
		for ; f != ""; f = f[2:] {
			swapped = f[:2] + swapped
		}
		fields[i] = swapped
	}
	return strings.Join(fields, "-")
}

func decideApply(by way, p *wire.Plan, seen observation, j *txn.Journal) step {
	if seen.mismatch != nil && j.Live == nil {
		return refused(seen.mismatch)
	}
	if seen.refusal != nil {
		return refused(whenGone(seen.refusal, j))
	}
	revision := strategy.EffectiveRevision(p.Revision, seen.credentials)
	if seen.credentialsErr != nil {
		if j.Live == nil || j.Live.PlanRevision != p.Revision {
			return refused(refusal(reason.CredentialsMissing, "Secret %q with the sink's credentials cannot be read: %v",
				p.Desired.Webhook.CredentialsSecret, seen.credentialsErr))
		}
		revision = j.Live.Revision // what is live may stay
	}
	if j.Live != nil && j.Live.Revision == revision && j.Live.ManifestHash == txn.Hash(seen.manifest.Data) && seen.filesIntact && !seen.lost {
		if r := by.overridden(seen); r != nil {
			return refused(r)
		}
		if s := tidy(p, seen, j.Live); s != nil {
			return *s
		}
		return live(j.Live)
	}
	if seen.mismatch != nil {
		return refused(seen.mismatch)
	}
	if seen.credentialsErr != nil {
		return step{action: actNothing, phase: wire.PhasePending, reason: reason.CredentialsMissing, message: fmt.Sprintf(
			"the manifest has been changed, and Secret %q cannot be read: %v", p.Desired.Webhook.CredentialsSecret, seen.credentialsErr)}
	}
	if upgraded(seen.manifest, j.Live) && seen.unsettled != "" {
		return step{action: actNothing, phase: wire.PhasePending, reason: reason.UpgradeRunning, message: seen.unsettled}
	}
	if known := knownVersion(seen.manifest, j.Live); known != "" {
		seen.version = known
	}
	running, wait := checkVersion(p, seen)
	if wait != nil {
		return *wait
	}
	if f := j.Failed; f != nil && f.Revision == revision && f.Of(seen.manifest.Data) && !mayRetry(f, p, seen.now) {
		return step{action: actNothing, phase: wire.PhaseRolledBack, reason: f.Reason, message: f.Message + triedAgain(f)}
	}
	drifted := j.Live != nil && j.Live.Revision == revision
	change, r := by.propose(p, seen, running, j, drifted)
	if r != nil {
		return refused(r)
	}
	if bytes.Equal(change.New, change.Base) {
		if drifted && seen.filesIntact && !upgraded(seen.manifest, j.Live) {
			return live(j.Live)
		}
		return step{action: actAdopt, phase: wire.PhaseApplied, reason: reason.Live, message: "the apiserver runs with revision " + revision, change: change}
	}
	if drifted {
		return decideDrift(by, p, seen, j, change)
	}
	return withPermit(p, j, needed(p, j, revision, change))
}

func live(l *txn.Live) step {
	message := "the apiserver runs with revision " + l.Revision
	if l.Unit == fileonly.Unit {
		message = l.Manifest + " is there, for the operator to tell the apiserver of"
	}
	if l.Effects.Kept != "" {
		message += "; " + l.Effects.Kept
	}
	for _, note := range l.Notes {
		message += "; " + note
	}
	return step{action: actNothing, phase: wire.PhaseApplied, reason: reason.Live, message: message}
}

// mayRetry says whether a change that was taken back is tried again: an apiserver that was only slow at once when it is
// given more time than it had, and what may heal by itself after a while.
func mayRetry(f *txn.Failure, p *wire.Plan, now time.Time) bool {
	if f.Reason == reason.NotReady && p.ReadyTimeout.Duration > f.ReadyTimeout {
		return true
	}
	at, heals := f.RetryAt()
	return heals && !now.Before(at)
}

func triedAgain(f *txn.Failure) string {
	at, heals := f.RetryAt()
	if !heals {
		return ""
	}
	return "; it is tried again after " + at.UTC().Format(time.RFC3339)
}

// checkVersion compares minor versions: what flags and policies mean differs between those.
func checkVersion(p *wire.Plan, seen observation) (*version.Version, *step) {
	if p.Strategy == wire.StrategyFile {
		return handedVersion(p)
	}
	if seen.version == "" {
		return nil, &step{action: actNothing, phase: wire.PhasePending, reason: reason.ApiserverUnhealthy, message: "the apiserver does not tell its version"}
	}
	running, err := version.ParseGeneric(seen.version)
	if err != nil {
		s := refused(refusal(reason.VersionMismatch, "the apiserver reports version %q: %v", seen.version, err))
		return nil, &s
	}
	planned, err := version.ParseGeneric(p.KubernetesVersion)
	if err != nil {
		s := refused(refusal(reason.PlanInvalid, "the plan is for Kubernetes %q: %v", p.KubernetesVersion, err))
		return nil, &s
	}
	if planned.Major() != running.Major() || planned.Minor() != running.Minor() {
		s := refused(refusal(reason.VersionMismatch, "the plan is for Kubernetes %s; the apiserver runs %s", p.KubernetesVersion, seen.version))
		return nil, &s
	}
	return running, nil
}

// needed says why a change is needed.
func needed(p *wire.Plan, j *txn.Journal, revision string, change *txn.Change) step {
	s := step{phase: wire.PhasePending, reason: reason.WaitingForPermit, message: "revision " + revision + " waits for this node's turn", change: change}
	if j.Live != nil && j.Live.PlanRevision == p.Revision {
		s.reason, s.message = reason.CredentialsChanged, "the sink's credentials have changed; revision "+revision+" waits for this node's turn"
	}
	return s
}

func decideRevert(by way, p *wire.Plan, seen observation, j *txn.Journal) step {
	if f := j.Failed; f != nil && f.Revision == "" && !mayRetry(f, p, seen.now) {
		return step{action: actNothing, phase: wire.PhaseRolledBack, reason: f.Reason, message: "our settings could not be taken out: " + f.Message + triedAgain(f)}
	}
	gone := step{action: actNothing, phase: wire.PhaseReverted, reason: reason.Removed, message: "nothing of ours is in the apiserver's configuration"}
	ours := j.Ours()
	if seen.refusal != nil {
		if !ours && seen.refusal.Reason == reason.ManifestNotFound {
			return gone
		}
		return refused(seen.refusal)
	}
	change, r := by.proposeRevert(p, seen, j)
	switch {
	case r != nil:
		return refused(r)
	case change == nil && ours:
		gone.action = actForget
		return gone
	case change == nil:
		return gone
	}
	return withPermit(p, j, step{
		phase: wire.PhasePending, reason: reason.WaitingForPermit, message: "the removal of our settings waits for this node's turn", change: change,
	})
}

// withPermit turns a step that waits into one that acts, if the plan allows it now.
func withPermit(p *wire.Plan, j *txn.Journal, s step) step {
	s.action = actNothing
	switch {
	case p.Permit == nil:
	case !p.HasPermit():
		s.message += "; the permit in the plan is for another node or revision"
	case p.Permit.Fence < j.Fence:
		s.message += fmt.Sprintf("; permit %d is older than permit %d, which was acted on already", p.Permit.Fence, j.Fence)
	default:
		s.action = actChange
		s.change.Fence = p.Permit.Fence
	}
	return s
}

// retryAfter is how long a change that could not be made is left alone; it doubles with every failure in a row.
func retryAfter(failures int) time.Duration {
	const first, last = 15 * time.Second, 30 * time.Minute
	return min(first<<min(failures-1, 10), last)
}
