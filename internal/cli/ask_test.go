package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// newAsker is in a release with the nodes cp1 and cp2, a configuration, and a request.
func newAsker(t *testing.T, config *wire.Config, asked *wire.Request) (*asker, *bytes.Buffer) {
	t.Helper()
	document := func(name string, data map[string]string, err error) *corev1.ConfigMap {
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data}
	}
	status, err := wire.Encode(wire.KindClusterStatus, &wire.ClusterStatus{Nodes: []wire.NodeSummary{{Name: "cp1"}, {Name: "cp2"}}})
	objects := []runtime.Object{document(wire.ClusterStatusName, status, err)}
	data, err := wire.Encode(wire.KindConfig, config)
	objects = append(objects, document(wire.ConfigName, data, err))
	data, err = wire.Encode(wire.KindRequest, asked)
	objects = append(objects, document(wire.RequestName, data, err))
	out := &bytes.Buffer{}
	return &asker{client: fake.NewClientset(objects...).CoreV1(), namespace: namespace, out: out}, out
}

func TestAsking(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config *wire.Config
		before wire.Request
		ask    func(context.Context, *asker) error
		want   wire.Request
		// says is part of what is printed, or of the error where fails is true.
		says  string
		fails bool
	}{
		"pause":  {ask: func(ctx context.Context, a *asker) error { return a.pause(ctx, true) }, want: wire.Request{Paused: true}, says: "audit-enabler resume -n audit"},
		"resume": {before: wire.Request{Paused: true}, ask: func(ctx context.Context, a *asker) error { return a.pause(ctx, false) }, says: "Resumed."},
		"resume while the configuration pauses": {
			config: &wire.Config{Enabled: true, Paused: true}, before: wire.Request{Paused: true},
			ask: func(ctx context.Context, a *asker) error { return a.pause(ctx, false) }, says: "--set paused=false",
		},
		"revert a node": {
			before: wire.Request{RevertNodes: []string{"cp2"}, Paused: true},
			ask:    func(ctx context.Context, a *asker) error { return a.revert(ctx, []string{"cp1", "cp2"}, false) },
			want:   wire.Request{RevertNodes: []string{"cp1", "cp2"}, Paused: true}, says: "wait --for=reverted cp1 cp2 -n audit",
		},
		"revert a node that does not exist": {
			ask:  func(ctx context.Context, a *asker) error { return a.revert(ctx, []string{"cp9"}, false) },
			says: `"cp9" is not among the control-plane nodes of this release: cp1, cp2`, fails: true,
		},
		"revert all": {
			ask:  func(ctx context.Context, a *asker) error { return a.revert(ctx, nil, true) },
			want: wire.Request{RevertAll: true}, says: "wait --for=reverted -n audit",
		},
		"revert neither":     {ask: func(ctx context.Context, a *asker) error { return a.revert(ctx, nil, false) }, says: "name the nodes, or give --all", fails: true},
		"revert a node, all": {ask: func(ctx context.Context, a *asker) error { return a.revert(ctx, []string{"cp1"}, true) }, says: "name the nodes, or give --all", fails: true},
		"enable a node": {
			before: wire.Request{RevertNodes: []string{"cp1", "cp2"}},
			ask:    func(ctx context.Context, a *asker) error { return a.enable(ctx, []string{"cp1"}, false) },
			want:   wire.Request{RevertNodes: []string{"cp2"}}, says: "wait --for=ready",
		},
		"enable a node that is": {
			before: wire.Request{RevertNodes: []string{"cp2"}}, want: wire.Request{RevertNodes: []string{"cp2"}},
			ask:  func(ctx context.Context, a *asker) error { return a.enable(ctx, []string{"cp1"}, false) },
			says: "was not asked for", fails: true,
		},
		"enable a node while all are reverted": {
			before: wire.Request{RevertAll: true}, want: wire.Request{RevertAll: true},
			ask:  func(ctx context.Context, a *asker) error { return a.enable(ctx, []string{"cp1"}, false) },
			says: "enable --all", fails: true,
		},
		"enable all, also what an uninstall asked for, but the pause stays": {
			before: wire.Request{RevertAll: true, RevertNodes: []string{"cp1"}, Paused: true, Uninstall: &wire.Uninstall{Generation: 3}},
			ask:    func(ctx context.Context, a *asker) error { return a.enable(ctx, nil, true) },
			want:   wire.Request{Paused: true}, says: "wait --for=ready",
		},
		"enable while the configuration disables": {
			config: &wire.Config{}, ask: func(ctx context.Context, a *asker) error { return a.enable(ctx, nil, true) }, says: "--set enabled=true",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.config == nil {
				tt.config = &wire.Config{Enabled: true}
			}
			a, out := newAsker(t, tt.config, &tt.before)
			err := tt.ask(t.Context(), a)
			said := out.String()
			if err != nil {
				said = err.Error()
			}
			if (err != nil) != tt.fails || !strings.Contains(said, tt.says) {
				t.Errorf("error %v, printed %q, want %q", err, out, tt.says)
			}
			asked, err := request.Read(t.Context(), a.client.ConfigMaps(namespace))
			if err != nil {
				t.Fatal(err)
			}
			asked.TypeMeta = wire.TypeMeta{}
			if len(asked.RevertNodes) == 0 {
				asked.RevertNodes = nil
			}
			if diff := cmp.Diff(tt.want, asked.Request); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	said := func(why string, ready, stalled metav1.ConditionStatus) []metav1.Condition {
		return []metav1.Condition{{Type: reason.Ready, Status: ready, Reason: why}, {Type: reason.Stalled, Status: stalled, Reason: why}}
	}
	const yes, no = metav1.ConditionTrue, metav1.ConditionFalse
	nodes := []wire.NodeSummary{{Name: "cp1", Phase: wire.PhaseReverted}, {Name: "cp2", Phase: wire.PhaseApplied, AppliedRevision: "r1"}}
	tests := map[string]struct {
		what    string
		nodes   []string
		said    []metav1.Condition
		pending bool
		want    status.Outcome
	}{
		"ready":                               {forReady, nil, said(reason.Complete, yes, no), false, status.IsReady},
		"ready, as before the request":        {forReady, nil, said(reason.Complete, yes, no), true, status.NotYet},
		"audited is not reverted":             {forReverted, nil, said(reason.Complete, yes, no), false, status.NotYet},
		"all reverted":                        {forReverted, nil, said(reason.Disabled, yes, no), false, status.IsReady},
		"all reverted, before the request":    {forReverted, nil, said(reason.Disabled, yes, no), true, status.NotYet},
		"a node reverted":                     {forReverted, []string{"cp1"}, said(reason.Settling, no, no), false, status.IsReady},
		"a node not reverted":                 {forReverted, []string{"cp1", "cp2"}, said(reason.NodeChanging, no, no), false, status.NotYet},
		"a node reverted before the request":  {forReverted, []string{"cp1"}, said(reason.Complete, yes, no), true, status.NotYet},
		"stalled":                             {forReverted, []string{"cp2"}, said(reason.NodeFailed, no, yes), false, status.IsStalled},
		"stalled elsewhere, the node is done": {forReverted, []string{"cp1"}, said(reason.NodeFailed, no, yes), false, status.IsReady},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, err := waitFor(tt.what, tt.nodes)
			if err != nil {
				t.Fatal(err)
			}
			got := reached(&status.Report{Cluster: wire.ClusterStatus{Nodes: nodes, Conditions: tt.said}, Pending: tt.pending})
			if got != tt.want {
				t.Errorf("outcome %d, want %d", got, tt.want)
			}
		})
	}
	for _, args := range []struct {
		what  string
		nodes []string
	}{{"lunch", nil}, {forReady, []string{"cp1"}}} {
		if _, err := waitFor(args.what, args.nodes); err == nil {
			t.Errorf("--for=%s %v is accepted", args.what, args.nodes)
		}
	}
}

func TestStatusShowsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	data, err := wire.Encode(wire.KindRequest, &wire.Request{Paused: true, RevertNodes: []string{"cp2"}})
	if err != nil {
		t.Fatal(err)
	}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.RequestName, ResourceVersion: "9"}, Data: data}
	out, err := run(t, &statusOptions{output: "table", timeout: time.Second}, "", clusterStatus(t, condition(reason.Ready, metav1.ConditionTrue, reason.Complete, "all")), object)
	if !strings.Contains(out, "Asked for:     paused; reverted: cp2") || exitCode(err) != ExitNotYet {
		t.Errorf("error %v, printed:\n%s", err, out)
	}
}
