package check

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const namespace = "audit"

func condition(kind, status, because, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: metav1.ConditionStatus(status), Reason: because, Message: message}
}

func installed(version string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.ConfigName, ResourceVersion: version}}
}

func said(t *testing.T, of string, conditions ...metav1.Condition) *corev1.ConfigMap {
	t.Helper()
	data, err := wire.Encode(wire.KindClusterStatus, &wire.ClusterStatus{Conditions: conditions})
	if err != nil {
		t.Fatal(err)
	}
	data[wire.FlatConfig] = of
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.ClusterStatusName}, Data: data}
}

func TestAnAnswerIsAboutTheConfigurationThatIsInstalled(t *testing.T) {
	t.Parallel()
	ready := condition(reason.Ready, "True", reason.Complete, "2 nodes")
	for name, tt := range map[string]struct {
		of         string
		conditions []metav1.Condition
		want       verdict
		text       string
	}{
		"a status of the configuration before": {"6", []metav1.Condition{ready}, waiting, "take up the configuration"},
		"no status yet":                        {"7", nil, waiting, "take up the configuration"},
		"a rollout that goes on":               {"7", []metav1.Condition{condition(reason.Ready, "False", reason.NodeChanging, "cp1")}, waiting, "NodeChanging: cp1"},
		"a rollout that is stuck": {
			"7", []metav1.Condition{condition(reason.Ready, "False", reason.NodeFailed, "cp1"), condition(reason.Stalled, "True", reason.NodeFailed, "cp1")}, stuck, "NodeFailed: cp1",
		},
		"ready, and events arrive": {
			"7", []metav1.Condition{ready, condition(reason.AuditFlowing, "True", reason.Delivered, "all")}, well, "Complete: 2 nodes; events arrive: True, all",
		},
		"ready, and events do not arrive": {
			"7", []metav1.Condition{ready, condition(reason.AuditFlowing, "False", "DeliveryFailed", "node cp1: refused")}, waiting, "events arrive: False, node cp1: refused",
		},
		"ready, and nobody knows yet": {"7", []metav1.Condition{ready, condition(reason.AuditFlowing, "Unknown", reason.NotApplied, "not yet")}, proving, "Unknown"},
		"disabled, as it is asked for": {
			"7", []metav1.Condition{condition(reason.Ready, "True", reason.Disabled, "as before"), condition(reason.AuditFlowing, "Unknown", reason.NotApplied, "")}, well, "Disabled: as before",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := judge(installed("7"), said(t, tt.of, tt.conditions...)); got.verdict != tt.want || !strings.Contains(got.text, tt.text) {
				t.Errorf("verdict %d, %q; want %d, %q", got.verdict, got.text, tt.want, tt.text)
			}
		})
	}
}

func TestItEndsWithAnAnswer(t *testing.T) {
	t.Parallel()
	ready := condition(reason.Ready, "True", reason.Complete, "2 nodes")
	for name, tt := range map[string]struct {
		conditions []metav1.Condition
		// after is when it ends.
		after     time.Duration
		err, says string
	}{
		"at once where events arrive":        {[]metav1.Condition{ready, condition(reason.AuditFlowing, "True", reason.Delivered, "all")}, 0, "", "    0s  Complete: 2 nodes; events arrive: True, all\n"},
		"well where nobody can know":         {[]metav1.Condition{ready, condition(reason.AuditFlowing, "Unknown", reason.NotApplied, "a bridge's")}, provingPatience, "", "a bridge's; that is not known\n"},
		"with what is wrong":                 {[]metav1.Condition{condition(reason.Ready, "False", reason.NodeFailed, "cp1"), condition(reason.Stalled, "True", reason.NodeFailed, "")}, 0, "it does not go on by itself: NodeFailed: cp1; see: kubectl audit-enabler status -o wide -n audit", "NodeFailed"},
		"with what it has waited for so far": {[]metav1.Condition{condition(reason.Ready, "False", reason.NodeChanging, "cp1")}, 10 * time.Minute, "not done within 10m0s: NodeChanging: cp1;", "NodeChanging"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(installed("7"), said(t, "7", tt.conditions...)).CoreV1().ConfigMaps(namespace)
				var out bytes.Buffer
				begin := time.Now()
				err := Run(context.Background(), Options{Namespace: namespace, Timeout: 10 * time.Minute}, client, &out)
				if took := time.Since(begin); took < tt.after || took > tt.after+lookEvery {
					t.Errorf("ended after %s, want %s", took, tt.after)
				}
				if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if !strings.Contains(out.String(), tt.says) {
					t.Errorf("said %q, want %q", out.String(), tt.says)
				}
			})
		})
	}
}
