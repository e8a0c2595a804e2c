package coordinator

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const observedGates = `["ExperimentalCriticalPodAnnotation=true","RotateKubeletServerCertificate=true","SupportPodPidsLimit=true"]`

// operatorStandIn does what OpenShift 4's operator does with its resource: it makes a revision of what is observed and overridden, and
// brings one master after the other to it.
type operatorStandIn struct {
	s        *scene
	revision int
	at       []int
}

// newOpenShift4 is a scene of OpenShift 4.2 with three masters, its sink, and the bridge.
func newOpenShift4(t *testing.T) (*scene, *operatorStandIn, *sinks) {
	t.Helper()
	s := newScene(t)
	s.version = "v1.14.6+ad5c8d9"
	s.serve("10.96.0.7")
	s.serveReceiver("10.96.0.9")
	s.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "master-0", UID: "uid-master-0", Labels: map[string]string{detect.LabelMaster: ""}}})
	k := &sinks{s: s}
	s.r.AuditSinks, s.r.Operator = k, openshift4.Store{Reader: s.api, Writer: s.r.Client}
	o := &operatorStandIn{s: s, revision: 6, at: []int{6, 6, 6}}
	object := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "cluster"},
		"spec":     map[string]any{"observedConfig": map[string]any{"apiServerArguments": map[string]any{"feature-gates": list(observedGates)}}},
	}}
	object.SetGroupVersionKind(openshift4.Kind())
	s.create(object)
	o.render()
	o.tell("")
	o.wantVersion("4.2.18", "4.2.18", true)
	return s, o, k
}

func list(text string) (out []any) {
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		panic(err)
	}
	return out
}

func (o *operatorStandIn) object() *unstructured.Unstructured {
	o.s.t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(openshift4.Kind())
	if err := o.s.api.Get(o.s.t.Context(), client.ObjectKey{Name: "cluster"}, object); err != nil {
		o.s.t.Fatal(err)
	}
	return object
}

func (o *operatorStandIn) arguments(of string) map[string]any {
	out, _, _ := unstructured.NestedMap(o.object().Object, "spec", of, "apiServerArguments")
	return out
}

// render makes the ConfigMap of the newest revision: lists of the overrides replace those that are observed.
func (o *operatorStandIn) render() {
	o.s.t.Helper()
	arguments := o.arguments("observedConfig")
	maps.Copy(arguments, o.arguments("unsupportedConfigOverrides"))
	text, err := json.Marshal(map[string]any{"apiServerArguments": arguments})
	if err != nil {
		o.s.t.Fatal(err)
	}
	o.s.create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "openshift-kube-apiserver", Name: fmt.Sprintf("config-%d", o.revision)}, Data: map[string]string{"config.yaml": string(text)},
	})
}

// tell writes the operator's status; failing is a master that did not come up with the newest revision.
func (o *operatorStandIn) tell(failing string) {
	o.s.t.Helper()
	object := o.object()
	var nodes []any
	for i, at := range o.at {
		n := map[string]any{"nodeName": fmt.Sprintf("master-%d", i), "currentRevision": int64(at)}
		if n["nodeName"] == failing {
			n["lastFailedRevision"], n["lastFailedRevisionErrors"] = int64(o.revision), []any{"container crashed"}
		}
		nodes = append(nodes, n)
	}
	object.Object["status"] = map[string]any{"latestAvailableRevision": int64(o.revision), "nodeStatuses": nodes}
	o.s.update(object)
}

// begin makes a revision.
func (o *operatorStandIn) begin() {
	o.s.t.Helper()
	o.revision++
	o.render()
	o.tell("")
}

// bring has the first n masters run the newest revision.
func (o *operatorStandIn) bring(n int) {
	o.s.t.Helper()
	for i := range n {
		o.at[i] = o.revision
	}
	o.tell("")
}

func (o *operatorStandIn) wantVersion(wanted, running string, completed bool) {
	o.s.t.Helper()
	state := "Partial"
	if completed {
		state = "Completed"
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "version"},
		"spec":     map[string]any{"desiredUpdate": map[string]any{"version": wanted}},
		"status":   map[string]any{"history": []any{map[string]any{"state": state, "version": running}, map[string]any{"state": "Completed", "version": "4.2.18"}}},
	}}
	object.SetGroupVersionKind(openshift4.VersionKind())
	old := object.DeepCopy()
	if err := client.IgnoreNotFound(o.s.api.Delete(o.s.t.Context(), old)); err != nil {
		o.s.t.Fatal(err)
	}
	o.s.create(object)
}

func dynamicOpenShift4() *wire.Config {
	return intent(func(c *wire.Config) { c.Backend, c.Distribution = "dynamic", detect.OpenShift4 })
}

func (s *scene) says(text string) {
	s.t.Helper()
	if message := s.data(wire.ClusterStatusName)[wire.FlatMessage]; !strings.Contains(message, text) {
		s.t.Errorf("message %q, want %q in it", message, text)
	}
}

func (s *scene) status() wire.ClusterStatus {
	s.t.Helper()
	var status wire.ClusterStatus
	if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil {
		s.t.Fatal(err)
	}
	return status
}

func TestTheOperatorOfOpenShift4IsToldAndTheAuditSinkFollowsTheLastMaster(t *testing.T) {
	t.Parallel()
	s, o, k := newOpenShift4(t)
	s.configure(dynamicOpenShift4())
	s.expect("false " + reason.OperatorRolling)
	want := map[string]any{
		"audit-dynamic-configuration": []any{"true"},
		"feature-gates":               append(list(observedGates), "DynamicAuditing=true"),
		"runtime-config":              []any{"auditregistration.k8s.io/v1alpha1=true"},
	}
	if got := o.arguments("unsupportedConfigOverrides"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("overrides %v, want %v", got, want)
	}
	if told := strings.Join(s.told(), "\n"); !strings.Contains(told, "Warning "+reason.OverridesSet) || !strings.Contains(told, "not Upgradeable") {
		t.Errorf("nobody is warned: %s", told)
	}
	s.expect("false " + reason.OperatorRolling)
	s.says("no revision of the change yet")
	o.begin()
	o.bring(1)
	s.expect("false " + reason.OperatorRolling)
	s.says("1 of 3 masters run revision 7")
	if k.object != nil {
		t.Error("there is an AuditSink before every master follows it")
	}
	o.bring(3)
	s.expect("true " + reason.Complete)
	if k.url() != receiverURL {
		t.Errorf("the AuditSink goes to %q", k.url())
	}
	if p := s.bridgePlan(); p == nil || p.Sources.Receiver == nil {
		t.Errorf("the bridge's plan: %+v", p)
	}
	if status := s.status(); status.Strategy != wire.StrategyOperator || len(status.Nodes) != 3 || status.Nodes[2].Phase != wire.PhaseApplied || status.Nodes[2].AppliedRevision != "7" {
		t.Errorf("status %+v", status)
	}
	writes := s.writes
	s.expect("true " + reason.Complete)
	if s.writes != writes {
		t.Errorf("%d writes although nothing changed", s.writes-writes)
	}

	// A revision for another reason leaves the AuditSink where it is.
	o.begin()
	o.bring(2)
	s.expect("false " + reason.OperatorRolling)
	if k.object == nil {
		t.Error("the AuditSink is gone while the operator makes another revision")
	}
	o.bring(3)
	s.expect("true " + reason.Complete)

	c := dynamicOpenShift4()
	c.Enabled = false
	s.configure(c)
	s.expect("false " + reason.OperatorRolling)
	if k.object != nil {
		t.Error("the AuditSink outlives the flags")
	}
	if _, there := o.object().Object["spec"].(map[string]any)["unsupportedConfigOverrides"]; there {
		t.Errorf("overrides are left: %v", o.object().Object["spec"])
	}
	o.begin()
	o.bring(2)
	s.expect("false " + reason.OperatorRolling)
	o.bring(3)
	s.expect("true " + reason.Disabled)
	if left := o.object().GetAnnotations(); len(left) > 0 {
		t.Errorf("annotations are left: %v", left)
	}
	if nodes := s.status().Nodes; len(nodes) > 0 {
		t.Errorf("nodes are left in the status: %+v", nodes)
	}
}

func TestOverridesMakeWayForAnotherMinorVersionAndComeBack(t *testing.T) {
	t.Parallel()
	s, o, k := newOpenShift4(t)
	s.configure(dynamicOpenShift4())
	s.expect("false " + reason.OperatorRolling)
	o.begin()
	o.bring(3)
	s.expect("true " + reason.Complete)

	o.wantVersion("4.2.20", "4.2.20", false) // within the minor version nothing is in the way
	s.expect("true " + reason.Complete)

	o.wantVersion("4.3.0", "4.2.18", true)
	s.expect("false " + reason.UpgradeRunning)
	s.says("from 4.2.18 to 4.3.0")
	if len(o.arguments("unsupportedConfigOverrides")) > 0 || k.object != nil {
		t.Errorf("still there: %v, %v", o.arguments("unsupportedConfigOverrides"), k.object)
	}
	o.begin()
	o.bring(3)
	s.expect("false " + reason.UpgradeRunning)
	o.wantVersion("4.3.0", "4.3.0", true)
	s.expect("false " + reason.OperatorRolling)
	o.begin()
	o.bring(3)
	s.expect("true " + reason.Complete)
	if k.object == nil {
		t.Error("no AuditSink after the upgrade")
	}
}

func TestANodeThatHadAPlanIsToldOfOnce(t *testing.T) {
	t.Parallel()
	s, o, _ := newOpenShift4(t)
	s.addNode("cp1")
	c := intent(func(c *wire.Config) { c.Distribution = detect.Kubeadm })
	s.configure(c)
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	o.at = o.at[:1]
	object := o.object()
	object.Object["status"] = map[string]any{"latestAvailableRevision": int64(6), "nodeStatuses": []any{map[string]any{"nodeName": "cp1", "currentRevision": int64(6)}}}
	s.update(object)
	s.configure(dynamicOpenShift4())
	s.reconcile()
	if nodes := s.status().Nodes; len(nodes) != 1 || nodes[0].Reason == reason.OperatorRolling {
		t.Errorf("nodes %+v", nodes)
	}
}

func TestOnlyOurArgumentsAreTakenOut(t *testing.T) {
	t.Parallel()
	s, o, _ := newOpenShift4(t)
	object := o.object()
	theirs := map[string]any{"apiServerArguments": map[string]any{"v": []any{"4"}, "runtime-config": []any{"x=true"}}}
	object.Object["spec"].(map[string]any)["unsupportedConfigOverrides"] = theirs //nolint:forcetypeassert // made above
	s.update(object)
	s.configure(dynamicOpenShift4())
	s.expect("false " + reason.OperatorRolling)
	o.begin()
	o.bring(3)
	s.expect("true " + reason.Complete)
	c := dynamicOpenShift4()
	c.Backend = "auto" // which forwards the log
	s.configure(c)
	s.expect("false " + reason.OperatorRolling)
	if got := o.object().Object["spec"].(map[string]any)["unsupportedConfigOverrides"]; fmt.Sprint(got) != fmt.Sprint(theirs) { //nolint:forcetypeassert // as above
		t.Errorf("overrides %v, want %v", got, theirs)
	}
	o.begin()
	o.bring(3)
	s.expect("true " + reason.Forwarding)
}

func TestWhatIsInTheWayOfTheOperatorIsTold(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change     func(*scene, *operatorStandIn, *wire.Config)
		want, says string
		untouched  bool
	}{
		"a master that does not come up": {func(s *scene, o *operatorStandIn, _ *wire.Config) {
			s.expect("false " + reason.OperatorRolling)
			o.begin()
			o.tell("master-1")
		}, "false " + reason.OperatorFailed, "master-1 did not come up with revision 7: container crashed", false},
		"a value that contradicts": {func(s *scene, o *operatorStandIn, _ *wire.Config) {
			object := o.object()
			_ = unstructured.SetNestedSlice(object.Object, list(`["DynamicAuditing=false"]`), "spec", "unsupportedConfigOverrides", "apiServerArguments", "feature-gates")
			s.update(object)
		}, "false " + reason.OverridesConflict, "DynamicAuditing=false", true},
		"another release": {func(s *scene, o *operatorStandIn, _ *wire.Config) {
			object := o.object()
			object.SetAnnotations(map[string]string{"k8s-audit-enabler.io/overrides": `{"owner":"other/one","arguments":{}}`})
			s.update(object)
		}, "false " + reason.OverridesConflict, "other/one", true},
		"no operator": {func(s *scene, o *operatorStandIn, _ *wire.Config) {
			if err := s.api.Delete(s.t.Context(), o.object()); err != nil {
				s.t.Fatal(err)
			}
		}, "false " + reason.OperatorNotFound, "cannot be read", false},
		"a bridge that nobody can reach": {func(s *scene, _ *operatorStandIn, _ *wire.Config) {
			if err := s.api.Delete(s.t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: wire.BridgeService}}); err != nil {
				s.t.Fatal(err)
			}
		}, "false " + reason.ReceiverNotFound, "", true},
		"a pause":          {func(_ *scene, _ *operatorStandIn, c *wire.Config) { c.Paused = true }, "false " + reason.Paused, "", true},
		"a version of 4.6": {func(s *scene, _ *operatorStandIn, _ *wire.Config) { s.version = "v1.19.0" }, "false " + reason.DistributionUnsupported, "forward", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o, k := newOpenShift4(t)
			k.err = auditsink.ErrNotServed
			c := dynamicOpenShift4()
			if slices.Contains([]string{"a master that does not come up"}, name) {
				s.configure(c)
			}
			tt.change(s, o, c)
			s.configure(c)
			s.expect(tt.want)
			s.says(tt.says)
			if tt.untouched {
				got := o.object()
				if strings.Contains(fmt.Sprint(got.Object), "audit-dynamic") || strings.Contains(fmt.Sprint(got.GetAnnotations()), "audit-dynamic") {
					t.Errorf("touched: %v", got)
				}
			}
		})
	}
}
