package plan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Backend is how events leave an apiserver of a version, with the reason in a sentence. choice is one that [Strategy] takes for the
// distribution. A version that is not known has the webhook, as every version has.
func Backend(d detect.Distribution, choice string, v *version.Version) (wire.Backend, string) {
	switch has := v != nil && auditflag.Known(auditflag.Dynamic, v); {
	case choice == BackendWebhook:
		return "", "the webhook is what the configuration asks for"
	case choice == BackendDynamic && has:
		return wire.BackendDynamic, "the dynamic backend is what the configuration asks for"
	case choice == BackendAuto && d.Name == detect.Minikube && has:
		return wire.BackendDynamic, "apiservers from 1.13 to 1.18 take AuditSinks, which need no restart when the sink moves"
	}
	return "", "every version has the webhook"
}

// BackendOf is [Backend] for the version that the API server says it has.
func BackendOf(d detect.Distribution, choice string) (wire.Backend, string) {
	v, err := version.ParseGeneric(d.KubernetesVersion)
	if err != nil {
		v = nil
	}
	return Backend(d, choice, v)
}

// HasAuditSinks reports whether API servers of a version may serve AuditSinks.
func HasAuditSinks(serverVersion string) bool {
	v, err := version.ParseGeneric(serverVersion)
	return err == nil && auditflag.Known(auditflag.Dynamic, v)
}

// refuseDynamic says why the dynamic backend cannot be had where it is asked for; nil where it can.
func refuseDynamic(d detect.Distribution) *Refusal {
	if way := WayOf(d); way != wire.StrategyStaticPod {
		return &Refusal{Reason: reason.BackendUnsupported, Message: fmt.Sprintf(
			"backend dynamic needs flags that every apiserver from 1.13 to 1.18 has in a static pod's manifest, and %s has none; write auto or webhook", d.Name)}
	}
	if !HasAuditSinks(d.KubernetesVersion) {
		return &Refusal{Reason: reason.BackendUnsupported, Message: fmt.Sprintf(
			"backend dynamic exists from Kubernetes 1.13 to 1.18, and this is %s; write auto or webhook", d.KubernetesVersion)}
	}
	return nil
}

// Target is whom an AuditSink names where it names the sink itself, whose address is sinkURL. An AuditSink can be told an address and a CA,
// and nothing else.
func Target(s wire.Sink, sinkURL string) (auditsink.Target, *Refusal) {
	t := auditsink.Target{URL: sinkURL, CABundle: s.TLS.CABundle}
	problem := t.Check()
	switch {
	case s.CredentialsSecret != "":
		problem = "sink.credentialsSecret is set, and an AuditSink bears no credentials"
	case s.TLS.ServerName != "":
		problem = "sink.tls.serverName is set, and an AuditSink knows the address only"
	case s.TLS.InsecureSkipVerify:
		problem = "sink.tls.insecureSkipVerify is set, and an AuditSink verifies every certificate"
	}
	if problem != "" {
		return auditsink.Target{}, &Refusal{Reason: reason.SinkInvalid, Message: problem +
			"; set dynamic.acceptSecretsInAudit to false, which has the bridge post to the sink, or backend to webhook"}
	}
	return t, nil
}
