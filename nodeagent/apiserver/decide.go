package apiserver

import (
	"fmt"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Action is what becomes of a setting.
type Action string

// Actions.
const (
	// Add: the setting is not there and is set.
	Add Action = "add"
	// Keep: the setting stays as it is; it may be missing and stay so.
	Keep Action = "keep"
	// Replace: the setting gets our value.
	Replace Action = "replace"
)

// Verdict is what was decided about one flag, and why.
type Verdict struct {
	Flag   string `json:"flag"`
	Action Action `json:"action"`
	Owner  Owner  `json:"owner"`
	// Current is the value that is there now, Desired the one that will be; both may be empty.
	Current string `json:"current,omitempty"`
	Desired string `json:"desired,omitempty"`
	// Reason is a phrase for people.
	Reason string `json:"reason"`
}

// Decision is what to do about an apiserver's audit settings.
type Decision struct {
	// Flags are those to set, in the order of the desired ones.
	Flags []Flag
	// Verdicts has one entry for each desired flag, and for each existing one that is changed for another reason.
	Verdicts []Verdict
	// PolicyOurs, LogOurs and WebhookOurs say whose files are in force afterwards.
	PolicyOurs, LogOurs, WebhookOurs bool
	// Log is the audit log's path afterwards, empty where there is none.
	Log string
	// Reason is [reason.PolicyNotOurs] where another policy is kept, otherwise empty.
	Reason string
}

// RefusedError is returned where existing settings must not be changed.
type RefusedError struct {
	// Reason is the condition's reason.
	Reason string
	Detail string
}

// Error is a phrase for people.
func (e *RefusedError) Error() string { return e.Detail }

// ConditionReason is the reason for a node's condition.
func (e *RefusedError) ConditionReason() string { return e.Reason }

// item is one of the three audit settings: a file and the flags that belong to it.
type item struct {
	name   string
	owner  Owner
	action Action
	why    string
}

// Decide says, flag by flag, what becomes of the audit settings that are there when the desired flags are wanted:
//
//   - What is not there is added, and what an earlier revision of ours set is replaced.
//   - A distribution's default policy is replaced, its log is kept, the webhook is added.
//   - The user's policy is kept, and then only the webhook is added: the reason is PolicyNotOurs. The user's log is kept.
//   - Somebody else's webhook is refused with a [*RefusedError], reason WebhookNotOurs: there can be only one. Where no webhook is
//     wanted, because an AuditSink says where the events go, it is kept.
//
// Options override this for each of the three: keep or replace for policy and log, refuse or replace for the webhook.
// desired holds all flags that are wanted, those with files of ours included; a flag belongs to the item that its name
// starts with.
func Decide(existing Audit, origin Origin, options ExistingOptions, desired []Flag) (Decision, error) {
	known := defaultsOf(origin)
	policy := decidePolicy(existing.owner(existing.Policy, known.policies), options.Policy)
	log := decideLog(existing.owner(existing.Log, known.logs), options.Log, policy)
	wanted := slices.ContainsFunc(desired, func(f Flag) bool { return f.Name == FlagWebhook })
	webhook, err := decideWebhook(existing, options.Webhook, wanted)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{
		PolicyOurs: policy.action != Keep, LogOurs: log.action != Keep, WebhookOurs: wanted, Log: existing.Log,
	}
	if !d.PolicyOurs {
		d.Reason = reason.PolicyNotOurs
	}
	for _, f := range desired {
		belongs := policy
		switch {
		case strings.HasPrefix(f.Name, "audit-log-"):
			belongs = log
		case strings.HasPrefix(f.Name, "audit-webhook-"):
			belongs = webhook
		case f.Name == flagDynamic:
			belongs = item{name: "dynamic", owner: OwnerNone, action: Add, why: "an AuditSink says where the events go"}
		}
		d.decideFlag(existing, belongs, f)
		if f.Name == FlagLog && log.action != Keep {
			d.Log = f.Value
		}
	}
	if wanted {
		d.forceBatch(existing, desired)
	}
	return d, nil
}

// decideFlag applies an item's action to one of its flags.
func (d *Decision) decideFlag(existing Audit, it item, f Flag) {
	current, there := existing.flag(f.Name)
	v := Verdict{Flag: f.Name, Action: it.action, Owner: it.owner, Current: current, Desired: f.Value, Reason: it.why}
	switch {
	case it.action == Keep:
		v.Desired = current
	case !there:
		v.Action = Add
	case current == f.Value:
		v.Action, v.Reason = Keep, "it has the wanted value"
	default:
		v.Action = Replace
	}
	if it.action != Keep {
		d.Flags = append(d.Flags, f)
	}
	d.Verdicts = append(d.Verdicts, v)
}

// forceBatch does not let a left-over mode make our webhook one that an apiserver waits for.
func (d *Decision) forceBatch(existing Audit, desired []Flag) {
	for _, f := range desired {
		if f.Name == flagWebhookMode {
			return
		}
	}
	mode, there := existing.flag(flagWebhookMode)
	if !there || mode == modeBatch {
		return
	}
	d.Flags = append(d.Flags, Flag{Name: flagWebhookMode, Value: modeBatch})
	d.Verdicts = append(d.Verdicts, Verdict{
		Flag: flagWebhookMode, Action: Replace, Owner: OwnerUser, Current: mode, Desired: modeBatch,
		Reason: "a webhook that requests wait for would stop the apiserver with the sink",
	})
}

func decidePolicy(owner Owner, option string) item {
	it := item{name: "policy", owner: owner, action: Replace}
	switch {
	case owner == OwnerNone:
		it.action, it.why = Add, "there is no audit policy"
	case owner == OwnerOurs:
		it.why = "an earlier revision set the policy"
	case option == wire.ExistingKeep:
		it.action, it.why = Keep, fmt.Sprintf("the %s's policy is kept as asked", owner)
	case option == wire.ExistingReplace:
		it.why = fmt.Sprintf("the %s's policy is replaced as asked", owner)
	case owner == OwnerDistribution:
		it.why = "the policy is the distribution's default"
	default:
		it.action, it.why = Keep, "the policy is the user's"
	}
	return it
}

func decideLog(owner Owner, option string, policy item) item {
	it := item{name: "log", owner: owner, action: Keep}
	switch {
	case owner == OwnerOurs:
		it.action, it.why = Replace, "an earlier revision set the log"
	case owner == OwnerNone && policy.action == Keep && policy.owner == OwnerUser && option != wire.ExistingReplace:
		it.why = "only the webhook is added beside the user's policy"
	case owner == OwnerNone:
		it.action, it.why = Add, "there is no audit log"
	case option == wire.ExistingReplace:
		it.action, it.why = Replace, fmt.Sprintf("the %s's log is replaced as asked", owner)
	case option == wire.ExistingKeep:
		it.why = fmt.Sprintf("the %s's log is kept as asked", owner)
	default:
		it.why = fmt.Sprintf("the log is the %s's", owner)
	}
	return it
}

func decideWebhook(existing Audit, option string, wanted bool) (item, error) {
	it := item{name: "webhook", owner: existing.owner(existing.Webhook, nil), action: Replace}
	switch {
	case !wanted && it.owner == OwnerUser:
		it.action, it.why = Keep, "the other webhook is in no AuditSink's way"
	case it.owner == OwnerNone:
		it.action, it.why = Add, "there is no webhook"
	case it.owner == OwnerOurs:
		it.why = "an earlier revision set the webhook"
	case option == wire.ExistingReplace:
		it.why = "the other webhook is replaced as asked"
	default:
		return it, &RefusedError{Reason: reason.WebhookNotOurs, Detail: fmt.Sprintf(
			"the apiserver already posts its events to the webhook of %q, and it can have only one; set existing.webhook to %q to replace it",
			existing.Webhook, wire.ExistingReplace)}
	}
	return it, nil
}
