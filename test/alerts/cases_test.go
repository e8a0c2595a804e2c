package alerts

import (
	"fmt"
	"strings"
)

// scenario is what there is to see for some minutes, and for whom an alert has fired by their end.
type scenario struct {
	alert, name string
	minutes     int
	series      string
	fires       []string
}

const (
	healthy = `{namespace="audit",pod="c"`
	cluster = `{namespace="audit"}`
	cp1     = `{namespace="audit", node="cp1"}`
)

// series writes lines of a load statement: names after our prefix and labels in turn with values. Each comes from the pod c of the release.
func series(nameAndValues ...string) string {
	var out strings.Builder
	for i := 0; i < len(nameAndValues); i += 2 {
		name, inner, _ := strings.Cut(nameAndValues[i], "{")
		if inner = strings.TrimSuffix(inner, "}"); inner != "" {
			inner = "," + inner
		}
		fmt.Fprintf(&out, "  k8s_audit_enabler_%s%s%s} %s\n", name, healthy, inner, nameAndValues[i+1])
	}
	return out.String()
}

const (
	ready       = `condition{condition="Ready",status="true"}`
	rolledBack  = `node_phase{node="cp1",phase="RolledBack"}`
	failed      = `node_phase{node="cp1",phase="Failed"}`
	refused     = `node_phase{node="cp1",phase="Refused"}`
	fighting    = `node_reason_info{node="cp1",reason="FightingOver"}`
	restarts    = `node_restarts_total{node="cp1"}`
	notFlowing  = `node_condition{condition="AuditFlowing",node="cp1",status="false"}`
	lag         = `bridge_lag_seconds{source="log"}`
	lost        = `bridge_lost_total{reason="gap"}`
	letters     = `bridge_dead_letters_total`
	checkpoint  = `bridge_checkpoint_age_seconds{source="log"}`
	bridgeReady = `bridge_ready`
	reconciled  = `reconciled_timestamp_seconds`
	bridgeLog   = `{namespace="audit", pod="c", source="log"}`
)

func cases() []scenario {
	return []scenario{
		{"K8sAuditEnablerCoordinatorAbsent", "nobody shows anything", 15, series("build_info", "1x20"), []string{"{}"}},
		{"K8sAuditEnablerCoordinatorAbsent", "it is gone for 14 minutes, as on a node that restarts", 20, series(reconciled, "1x0 _x13 1x6"), nil},
		{"K8sAuditEnablerCoordinatorAbsent", "one of two leads", 20, series(reconciled, "1x20", "build_info", "1x20"), nil},

		{"K8sAuditEnablerCoordinatorStuck", "the last look was more than two hours ago", 131, series(reconciled, "0x131"), []string{cluster}},
		{"K8sAuditEnablerCoordinatorStuck", "one look is late by an hour", 180, series(reconciled, "0x119 7200x61"), nil},

		{"K8sAuditEnablerNotReady", "a node has failed", 30, series(ready, "0x30", "paused", "0x30"), []string{cluster}},
		{"K8sAuditEnablerNotReady", "it is ready", 40, series(ready, "1x40", "paused", "0x40"), nil},
		{"K8sAuditEnablerNotReady", "a rollout takes 29 minutes", 40, series(ready, "0x28 1x12", "paused", "0x40"), nil},
		{"K8sAuditEnablerNotReady", "it is paused", 40, series(ready, "0x40", "paused", "1x40"), nil},

		{"K8sAuditEnablerPaused", "somebody has forgotten it", 24 * 60, series("paused", "1x1440"), []string{cluster}},
		{"K8sAuditEnablerPaused", "for a night", 24 * 60, series("paused", "0x720 1x720"), nil},

		{"K8sAuditEnablerNodeFailed", "one of two", 5, series(failed, "1x5", `node_phase{node="cp2",phase="Failed"}`, "0x5"), []string{cp1}},
		{"K8sAuditEnablerNodeFailed", "it was rolled back", 10, series(failed, "0x10", rolledBack, "1x10"), nil},

		{"K8sAuditEnablerNodeRolledBack", "it stays", 5, series(rolledBack, "1x5"), []string{cp1}},
		{"K8sAuditEnablerNodeRolledBack", "the next change works", 10, series(rolledBack, "1x3 0x7"), nil},

		{"K8sAuditEnablerNodeRefused", "somebody else's webhook", 15, series(refused, "1x15", `node_reason_info{node="cp1",reason="WebhookNotOurs"}`, "1x15"), []string{cp1}},
		{"K8sAuditEnablerNodeRefused", "another program fights over it, which has an alert of its own", 20, series(refused, "1x20", fighting, "1x20"), nil},
		{"K8sAuditEnablerNodeRefused", "the apiserver was not ready for ten minutes", 20, series(refused, "1x10 0x10"), nil},

		{"K8sAuditEnablerDriftReapplied", "another program keeps rewriting", 0, series(fighting, "1x0", restarts, "1x0"), []string{cp1}},
		{"K8sAuditEnablerDriftReapplied", "three restarts in an hour", 60, series(restarts, "1x9 2x9 3x9 4x32"), []string{cp1}},
		{"K8sAuditEnablerDriftReapplied", "an upgrade and a change of the policy", 60, series(restarts, "1x19 2x19 3x22"), nil},

		{"K8sAuditEnablerEventsNotDelivered", "the sink is not reached from one node", 10, series(notFlowing, "1x10", `node_condition{condition="AuditFlowing",node="cp2",status="false"}`, "0x10"), []string{cp1}},
		{"K8sAuditEnablerEventsNotDelivered", "nothing is known yet", 20, series(notFlowing, "0x20", `node_condition{condition="AuditFlowing",node="cp1",status="unknown"}`, "1x20"), nil},

		{
			"K8sAuditEnablerApiserverAuditErrors", "the sink answers with errors", 15,
			`  apiserver_audit_error_total{instance="192.0.2.1:6443",plugin="webhook"} 0+5x15
			   apiserver_audit_error_total{instance="192.0.2.2:6443",plugin="webhook"} 7x15`,
			[]string{`{instance="192.0.2.1:6443"}`},
		},
		{
			"K8sAuditEnablerApiserverAuditErrors", "the buffer is full", 15, `  apiserver_audit_error_total{instance="192.0.2.1:6443",plugin="buffered"} 0+1x15`,
			[]string{`{instance="192.0.2.1:6443"}`},
		},
		{
			"K8sAuditEnablerApiserverAuditErrors", "the sink was away for a moment, and another backend fails", 20,
			`  apiserver_audit_error_total{instance="192.0.2.1:6443",plugin="webhook"} 0x5 9x15
			   apiserver_audit_error_total{instance="192.0.2.1:6443",plugin="log"} 0+9x20`, nil,
		},

		{"K8sAuditEnablerBridgeLag", "the sink is away", 20, series(lag, "0+60x20"), []string{bridgeLog}},
		{"K8sAuditEnablerBridgeLag", "a sink that is slow at times", 30, series(lag, "0x5 900x8 0x17"), nil},

		{"K8sAuditEnablerBridgeLosesEvents", "a gap in a log", 20, series(lost, "0x10 1x10"), []string{`{namespace="audit", reason="gap"}`}},
		{"K8sAuditEnablerBridgeLosesEvents", "something was lost before anybody looked", 40, series(lost, "5x40"), nil},

		{"K8sAuditEnablerBridgeDeadLetters", "the sink refuses an event", 20, series(letters, "3x10 4x10"), []string{cluster}},
		{"K8sAuditEnablerBridgeDeadLetters", "it refuses none", 20, series(letters, "3x20"), nil},

		{"K8sAuditEnablerBridgeCheckpointOld", "the disk is full", 20, series(checkpoint, "0+60x20"), []string{bridgeLog}},
		{"K8sAuditEnablerBridgeCheckpointOld", "it is saved again and again", 20, series(checkpoint, "5x20"), nil},

		{"K8sAuditEnablerBridgeNotReady", "the receiver's certificate is none", 15, series(bridgeReady, "0x15"), []string{`{namespace="audit", pod="c"}`}},
		{"K8sAuditEnablerBridgeNotReady", "it carries out its plan", 20, series(bridgeReady, "1x20"), nil},
	}
}
