package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes/fake"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const namespace = "audit"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clusterStatus(t *testing.T, conditions ...metav1.Condition) *corev1.ConfigMap {
	t.Helper()
	data, err := wire.Encode(wire.KindClusterStatus, &wire.ClusterStatus{
		Distribution: wire.DistributionStatus{Name: "kubeadm", Reason: "ConfigMap kube-system/kubeadm-config exists"},
		Sink:         "http://10.96.0.7:7765/k8s_audit",
		Conditions:   conditions,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.ClusterStatusName, Labels: map[string]string{wire.LabelDocument: wire.KindClusterStatus}},
		Data:       data,
	}
}

func nodeStatus(t *testing.T, name string, status *wire.NodeStatus) *corev1.ConfigMap {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: wire.StatusName(name),
		Labels:      map[string]string{wire.LabelDocument: wire.KindNodeStatus},
		Annotations: map[string]string{wire.AnnotationNode: name},
	}}
	if status == nil {
		return object
	}
	status.Node.Name = name
	data, err := wire.Encode(wire.KindNodeStatus, status)
	if err != nil {
		t.Fatal(err)
	}
	object.Data = data
	return object
}

func condition(kind string, status metav1.ConditionStatus, why, message string) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: why, Message: message, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Minute))}
}

func run(t *testing.T, opts *statusOptions, asked string, objects ...runtime.Object) (string, error) {
	t.Helper()
	streams, _, out, _ := genericiooptions.NewTestIOStreams()
	opts.streams, opts.now = streams, func() time.Time { return now }
	err := opts.run(t.Context(), fake.NewClientset(objects...).CoreV1(), asked)
	return out.String(), err
}

func exitCode(err error) int {
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.Code
	}
	if err != nil {
		return -1
	}
	return 0
}

func TestStatusExitCodes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		conditions []metav1.Condition
		want       int
	}{
		"ready is 0":                {[]metav1.Condition{condition(reason.Ready, metav1.ConditionTrue, reason.Complete, "all")}, 0},
		"stalled is 1":              {[]metav1.Condition{condition(reason.Ready, metav1.ConditionFalse, reason.NodeFailed, "x"), condition(reason.Stalled, metav1.ConditionTrue, reason.NodeFailed, "x")}, ExitFailed},
		"progressing is 3":          {[]metav1.Condition{condition(reason.Ready, metav1.ConditionFalse, reason.NodeChanging, "x")}, ExitNotYet},
		"no condition at all is 3":  {nil, ExitNotYet},
		"an unknown ready is not 0": {[]metav1.Condition{condition(reason.Ready, metav1.ConditionUnknown, reason.WaitingForAgent, "x")}, ExitNotYet},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, watch := range []bool{false, true} {
				opts := &statusOptions{output: "table", watch: watch, timeout: 50 * time.Millisecond}
				if _, err := run(t, opts, "", clusterStatus(t, tt.conditions...)); exitCode(err) != tt.want {
					t.Errorf("watch %v: err = %v, want exit code %d", watch, err, tt.want)
				}
			}
		})
	}
}

func TestStatusShowsEveryNodeAndWhyTheDistributionWasRecognised(t *testing.T) {
	t.Parallel()
	out, err := run(t, &statusOptions{output: "wide"}, "",
		clusterStatus(t, condition(reason.Ready, metav1.ConditionFalse, reason.NodeFailed, "node cp2 was rolled back"), condition(reason.Stalled, metav1.ConditionTrue, reason.NodeFailed, "x")),
		nodeStatus(t, "cp2", &wire.NodeStatus{Phase: wire.PhaseRolledBack, Reason: reason.CrashLooping, Message: "exit code 1 twice"}),
		nodeStatus(t, "cp1", &wire.NodeStatus{
			Phase: wire.PhaseApplied, Reason: reason.Live, AppliedRevision: "r0123456789ab",
			Apiserver:  wire.ApiserverStatus{Version: "v1.34.4", Restarts: 1, LastUnavailable: metav1.Duration{Duration: 41200 * time.Millisecond}},
			Conditions: []metav1.Condition{condition(reason.Applied, metav1.ConditionTrue, reason.Live, ""), condition(reason.AuditFlowing, metav1.ConditionTrue, reason.Delivered, "")},
		}),
		nodeStatus(t, "cp3", nil),
	)
	if exitCode(err) != ExitFailed {
		t.Errorf("err = %v", err)
	}
	want := []string{
		"Distribution:  kubeadm (ConfigMap kube-system/kubeadm-config exists)",
		"Sink:          http://10.96.0.7:7765/k8s_audit",
		"Ready=False NodeFailed: node cp2 was rolled back",
		"cp1    Applied      Live              r0123456789ab   True      2m    v1.34.4   1          41.2s",
		"cp2    RolledBack   CrashLooping      -               Unknown   -",
		"cp3    Pending      WaitingForAgent   -               Unknown   -",
	}
	at := 0
	for _, w := range want {
		i := strings.Index(out[at:], w)
		if i < 0 {
			t.Fatalf("output lacks %q (in this order):\n%s", w, out)
		}
		at += i
	}
}

func TestStatusSaysWhatToDoWhereThereIsNothingToShow(t *testing.T) {
	t.Parallel()
	if _, err := run(t, &statusOptions{output: "table"}, ""); !errors.Is(err, errNotInstalled) {
		t.Errorf("err = %v", err)
	}
	if _, err := run(t, &statusOptions{output: "table"}, "elsewhere", clusterStatus(t)); !errors.Is(err, errNotInstalled) {
		t.Errorf("err in a namespace without it = %v", err)
	}
	other := clusterStatus(t)
	other.Namespace = "second"
	if _, err := run(t, &statusOptions{output: "table"}, "", clusterStatus(t), other); err == nil || !strings.Contains(err.Error(), "-n") {
		t.Errorf("err with two releases = %v", err)
	}
	if _, err := run(t, &statusOptions{output: "xml"}, "", clusterStatus(t)); err == nil || !strings.Contains(err.Error(), "table, wide, json or yaml") {
		t.Errorf("err with an unknown output = %v", err)
	}
}

func TestFollowPrintsEachChangeOnce(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(
		clusterStatus(t, condition(reason.Ready, metav1.ConditionFalse, reason.NodeChanging, "node cp1 is changing")),
		nodeStatus(t, "cp1", &wire.NodeStatus{Phase: wire.PhaseVerifying, Reason: reason.AwaitingApiserver}),
	).CoreV1()
	out := &bytes.Buffer{}
	streams := genericiooptions.IOStreams{Out: out, ErrOut: out}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		time.Sleep(1500 * time.Millisecond)
		_, _ = client.ConfigMaps(namespace).Update(ctx, nodeStatus(t, "cp1", &wire.NodeStatus{Phase: wire.PhaseApplied, Reason: reason.Live}), metav1.UpdateOptions{})
		_, _ = client.ConfigMaps(namespace).Update(ctx, clusterStatus(t, condition(reason.Ready, metav1.ConditionTrue, reason.Complete, "1 of 1 nodes")), metav1.UpdateOptions{})
	}()
	opts := &statusOptions{watch: true, streams: streams, now: time.Now}
	if err := opts.run(ctx, client, namespace); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"node cp1 is changing", "node cp1: Verifying (AwaitingApiserver)", "node cp1: Applied (Live)", "Ready=True Complete: 1 of 1 nodes"} {
		if n := strings.Count(out.String(), want); n != 1 {
			t.Errorf("%q printed %d times, want once:\n%s", want, n, out)
		}
	}
}
