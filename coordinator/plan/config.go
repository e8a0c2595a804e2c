// Package plan turns what was recognised and what the user wants into what each node shall be like.
//
// It is pure: a distribution, a configuration and facts about nodes go in, plans or a refusal come out. Nothing is planned
// for one node if something cannot be planned for another: a policy that one apiserver would not start with changes no node.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Refusal says why nothing is planned.
type Refusal struct {
	// Reason is one of package reason's; Message says the same to a person.
	Reason  string
	Message string
}

func (r *Refusal) String() string { return r.Reason + ": " + r.Message }

// Backends.
const (
	BackendAuto    = "auto"
	BackendWebhook = "webhook"
	BackendDynamic = "dynamic"
	BackendForward = "forward"
)

const (
	presetRecommended = "recommended"
	presetCustom      = "custom"
)

const (
	defaultReadyTimeout = 5 * time.Minute
	// maxWait bounds every wait: longer ones are mistakes, such as a number without its unit.
	maxWait = 24 * time.Hour
)

// CheckConfig completes a configuration that leaves something out, and refuses one that cannot be used with ConfigInvalid.
// It returns a copy.
func CheckConfig(c *wire.Config) (*wire.Config, *Refusal) {
	out := *c
	orElse(&out.Distribution, detect.Auto)
	orElse(&out.Backend, BackendAuto)
	orElse(&out.Policy.Preset, presetRecommended)
	orElse(&out.Existing.Policy, wire.ExistingAuto)
	orElse(&out.Existing.Log, wire.ExistingAuto)
	orElse(&out.Existing.Webhook, wire.ExistingRefuse)
	completeRollout(&out.Rollout)
	if out.Policy.Content != "" {
		out.Policy.Preset = presetCustom
	}
	if problem := problemIn(&out); problem != "" {
		return nil, &Refusal{Reason: reason.ConfigInvalid, Message: problem}
	}
	return &out, nil
}

// WayBack completes a configuration of which nothing is used but what the removal of our settings needs.
func WayBack(c *wire.Config) *wire.Config {
	out := &wire.Config{TypeMeta: c.TypeMeta, Release: c.Release, Generation: c.Generation, Paused: c.Paused, Rollout: c.Rollout, Distribution: detect.Auto, Backend: BackendAuto}
	if problemWithWaits(out.Rollout) != "" {
		out.Rollout = wire.RolloutSettings{}
	}
	completeRollout(&out.Rollout)
	return out
}

func completeRollout(r *wire.RolloutSettings) {
	if r.ReadyTimeout.Duration == 0 {
		r.ReadyTimeout.Duration = defaultReadyTimeout
	}
	orElse(&r.Rehearse, wire.RehearseAuto)
	orElse(&r.Handover, wire.HandoverAuto)
}

func orElse(value *string, otherwise string) {
	if *value == "" {
		*value = otherwise
	}
}

func problemIn(c *wire.Config) string {
	if c.Release == "" {
		return "release is empty; Helm writes its name there"
	}
	if _, err := detect.ParseOverride(c.Distribution); err != nil {
		return err.Error()
	}
	for _, choice := range []struct {
		key, value string
		allowed    []string
	}{
		{"backend", c.Backend, []string{BackendAuto, BackendWebhook, BackendDynamic, BackendForward}},
		{"policy.preset", c.Policy.Preset, []string{presetRecommended, presetCustom}},
		{"existing.policy", c.Existing.Policy, []string{wire.ExistingAuto, wire.ExistingKeep, wire.ExistingReplace}},
		{"existing.log", c.Existing.Log, []string{wire.ExistingAuto, wire.ExistingKeep, wire.ExistingReplace}},
		{"existing.webhook", c.Existing.Webhook, []string{wire.ExistingRefuse, wire.ExistingReplace}},
		{"rollout.rehearse", c.Rollout.Rehearse, []string{wire.RehearseAuto, wire.RehearseAlways, wire.RehearseNever}},
		{"rollout.handover", c.Rollout.Handover, []string{wire.HandoverAuto, wire.HandoverOff}},
	} {
		if !slices.Contains(choice.allowed, choice.value) {
			return fmt.Sprintf("%s is %q; write one of %s", choice.key, choice.value, strings.Join(choice.allowed, ", "))
		}
	}
	if c.Policy.Preset == presetCustom && strings.TrimSpace(c.Policy.Content) == "" {
		return "policy.preset is custom and policy.content is empty; write the policy there"
	}
	if problem := problemWithWaits(c.Rollout); problem != "" {
		return problem
	}
	if problem := problemWithBridge(c.Bridge); problem != "" {
		return problem
	}
	if err := auditsink.Check(c.Dynamic.AuditSink); err != nil {
		return fmt.Sprintf("dynamic.auditSink: %v", err)
	}
	return problemWithSink(c.Sink)
}

func problemWithWaits(r wire.RolloutSettings) string {
	for _, wait := range []struct {
		key   string
		value time.Duration
	}{
		{"rollout.readyTimeout", r.ReadyTimeout.Duration},
		{"rollout.settle", r.Settle.Duration},
		{"rollout.sinkDebounce", r.SinkDebounce.Duration},
		{"rollout.drain", r.Drain.Duration},
	} {
		if wait.value < 0 || wait.value > maxWait {
			return fmt.Sprintf("%s is %s; write one between 0s and %s", wait.key, wait.value, maxWait)
		}
	}
	return ""
}

func problemWithSink(s wire.Sink) string {
	switch {
	case s.URL != "" && s.Service != nil:
		return "sink.url and sink.service are both set; write one of the two"
	case s.URL != "":
		return ""
	case s.Service == nil:
		return "neither sink.url nor sink.service is set; write one of the two"
	case s.Service.Name == "" || s.Service.Namespace == "":
		return "sink.service needs both name and namespace"
	case s.Service.Scheme != "http" && s.Service.Scheme != "https":
		return fmt.Sprintf("sink.service.scheme is %q; write http or https", s.Service.Scheme)
	case !strings.HasPrefix(s.Service.Path, "/") && s.Service.Path != "":
		return fmt.Sprintf("sink.service.path is %q; begin it with a slash", s.Service.Path)
	}
	return ""
}
