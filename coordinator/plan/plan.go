package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
)

// AgentServiceAccount is the name of the node agents' ServiceAccount in the release's namespace. Their canary request is
// what the policy logs to prove delivery.
const AgentServiceAccount = "k8s-audit-enabler-agent"

// Input is what all nodes have in common.
type Input struct {
	// Config has passed CheckConfig.
	Config       *wire.Config
	Distribution detect.Distribution
	Strategy     wire.Strategy
	// SinkURL is the resolved address.
	SinkURL string
	// EventsTo is where an AuditSink has apiservers post, of those that have the dynamic backend.
	EventsTo string
	// Namespace is the release's.
	Namespace string
	// Versions are the apiservers' versions where they are not to be seen on the member, by node name.
	Versions map[string]string
}

// Make plans every member, without permits. The refusal is PolicyInvalid, SinkInvalid or ConfigInvalid, and then there are
// no plans at all.
func Make(in Input, members []detect.Member) ([]*wire.Plan, *Refusal) {
	desired := map[string]wire.Desired{}
	plans := make([]*wire.Plan, 0, len(members))
	for _, m := range members {
		v, err := in.apiserverVersion(m)
		if err != nil {
			return nil, &Refusal{Reason: reason.ConfigInvalid, Message: err.Error()}
		}
		minor := fmt.Sprintf("%d.%d", v.Major(), v.Minor())
		if _, done := desired[minor]; !done {
			d, refusal := in.desired(v)
			if refusal != nil {
				return nil, refusal
			}
			desired[minor] = d
		}
		p, err := in.plan(m.Node, v, desired[minor])
		if err != nil {
			return nil, &Refusal{Reason: reason.ConfigInvalid, Message: err.Error()}
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// Identity is who a node is.
func Identity(n detect.Node) wire.NodeIdentity {
	return wire.NodeIdentity{Name: n.Name, UID: n.UID, MachineID: n.MachineID, SystemUUID: n.SystemUUID}
}

func (in Input) plan(n detect.Node, v *version.Version, desired wire.Desired) (*wire.Plan, error) {
	p := &wire.Plan{
		Node:              Identity(n),
		Strategy:          in.Strategy,
		Distribution:      in.Distribution.Name,
		KubernetesVersion: fmt.Sprintf("v%d.%d.%d", v.Major(), v.Minor(), v.Patch()),
		Desired:           desired,
		ReadyTimeout:      metav1.Duration{Duration: in.Config.Rollout.ReadyTimeout.Duration},
		Rehearse:          in.Config.Rollout.Rehearse,
		Handover:          in.Config.Rollout.Handover,
		Drain:             in.Config.Rollout.Drain,
	}
	if desired.Backend == wire.BackendDynamic {
		p.EventsTo = in.EventsTo
	}
	revision, err := p.ComputeRevision()
	if err != nil {
		return nil, err
	}
	p.Revision = revision
	return p, nil
}

// apiserverVersion is the image's tag, or where that is not to be seen, what it was, or where it is no version, the API server's
// own answer.
func (in Input) apiserverVersion(m detect.Member) (*version.Version, error) {
	for _, text := range []string{m.Version(), in.Versions[m.Node.Name]} {
		if v, err := version.ParseGeneric(text); err == nil && v.Major() == 1 {
			return v, nil
		}
	}
	v, err := version.ParseGeneric(in.Distribution.KubernetesVersion)
	if err != nil {
		return nil, fmt.Errorf("tell the apiserver's version on node %q: %w", m.Node.Name, err)
	}
	return v, nil
}

func (in Input) desired(v *version.Version) (wire.Desired, *Refusal) {
	if !in.Config.Enabled {
		return wire.Desired{}, nil
	}
	if in.Strategy == wire.StrategyFile { // all else is the operator's, of every version the same
		webhook, refusal := in.webhook(v)
		return wire.Desired{Enabled: true, Webhook: webhook}, refusal
	}
	policy, refusal := in.policy(v)
	if refusal != nil {
		return wire.Desired{}, refusal
	}
	backend, _ := Backend(in.Distribution, in.Config.Backend, v)
	flags, refusal := in.flags(v, backend)
	if refusal != nil {
		return wire.Desired{}, refusal
	}
	var webhook wire.Webhook
	if backend != wire.BackendDynamic {
		if webhook, refusal = in.webhook(v); refusal != nil {
			return wire.Desired{}, refusal
		}
	}
	return wire.Desired{
		Enabled:  true,
		Backend:  backend,
		Policy:   policy.text,
		Webhook:  webhook,
		Flags:    flags,
		Existing: in.Config.Existing,
		Canary:   policy.canary,
	}, nil
}

// dynamicEventSize is the largest event that an AuditSink's receiver is sent whole. Without any bound, a batch of 400 answers to lists
// may be larger than what it takes.
const dynamicEventSize = 1 << 20

func (in Input) flags(v *version.Version, backend wire.Backend) ([]wire.Flag, *Refusal) {
	w := in.Config.Webhook
	settings := auditflag.Settings{
		LogMaxBackup:    in.Config.Log.MaxBackup,
		LogMaxSizeMB:    in.Config.Log.MaxSizeMB,
		BatchMaxWait:    w.BatchMaxWait.Duration,
		BatchMaxSize:    w.BatchMaxSize,
		BatchBufferSize: w.BatchBufferSize,
		ThrottleQPS:     w.ThrottleQPS,
		ThrottleBurst:   w.ThrottleBurst,
		InitialBackoff:  w.InitialBackoff.Duration,
	}
	if w.Truncate != nil {
		settings.Truncate = &auditflag.Truncate{MaxEventSize: w.Truncate.MaxEventSize, MaxBatchSize: w.Truncate.MaxBatchSize}
	}
	if settings.Dynamic = backend == wire.BackendDynamic; settings.Dynamic && settings.Truncate == nil {
		settings.Truncate = &auditflag.Truncate{MaxEventSize: dynamicEventSize}
	}
	desired, err := auditflag.Desired(settings, v)
	if err != nil {
		return nil, &Refusal{Reason: reason.ConfigInvalid, Message: fmt.Sprintf("the settings for kube-apiserver %s cannot be used: %v", v, err)}
	}
	flags := make([]wire.Flag, 0, len(desired))
	for _, f := range desired {
		if f.Name != auditflag.Dynamic { // the agent's to set, with what it needs
			flags = append(flags, wire.Flag{Name: f.Name, Value: f.Value})
		}
	}
	return flags, nil
}

// WebhookFlags are those of the webhook alone, for who is told the path of its file besides.
func WebhookFlags(c *wire.Config, kubernetesVersion string) ([]wire.Flag, *Refusal) {
	v, err := version.ParseGeneric(kubernetesVersion)
	if err != nil {
		return nil, &Refusal{Reason: reason.ConfigInvalid, Message: fmt.Sprintf("tell the flags of kube-apiserver %q: %v", kubernetesVersion, err)}
	}
	flags, refusal := Input{Config: c}.flags(v, "")
	flags = slices.DeleteFunc(flags, func(f wire.Flag) bool { return !strings.HasPrefix(f.Name, webhookFlags) })
	return flags, refusal
}

// webhookFlags is what the names of the webhook's flags begin with.
const webhookFlags = "audit-webhook-"

func (in Input) webhook(v *version.Version) (wire.Webhook, *Refusal) {
	tls := in.Config.Sink.TLS
	sink := webhookconfig.Sink{URL: in.SinkURL, CAData: []byte(tls.CABundle), ServerName: tls.ServerName, InsecureSkipVerify: tls.InsecureSkipVerify}
	if err := sink.Validate(v); err != nil {
		return wire.Webhook{}, &Refusal{Reason: reason.SinkInvalid, Message: sinkMessage(err)}
	}
	return wire.Webhook{
		URL:                in.SinkURL,
		CABundle:           tls.CABundle,
		ServerName:         tls.ServerName,
		InsecureSkipVerify: tls.InsecureSkipVerify,
		CredentialsSecret:  in.Config.Sink.CredentialsSecret,
	}, nil
}

// sinkMessage names the setting as the values do.
func sinkMessage(err error) string {
	var setting *webhookconfig.SettingError
	if !errors.As(err, &setting) {
		return err.Error()
	}
	names := map[string]string{
		"URL":                "the sink's address",
		"CAData":             "sink.tls.caBundle",
		"ServerName":         "sink.tls.serverName",
		"InsecureSkipVerify": "sink.tls.insecureSkipVerify",
	}
	name, ok := names[setting.Setting]
	if !ok {
		return err.Error()
	}
	return name + ": " + setting.Detail
}
