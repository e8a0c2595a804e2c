package coordinator

import (
	"context"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/metrics"
	"k8s-audit-enabler.io/internal/wire"
)

const testNamespace = "audit"

// scene is a reconciler in front of a fake API server.
type scene struct {
	t      *testing.T
	api    client.Client
	r      *Reconciler
	now    time.Time
	events *record.FakeRecorder
	// writes counts what the reconciler wrote.
	writes int
	// version is that of the API server, and of the apiservers on nodes that are added.
	version string
	// groups are those that the API server has beside Kubernetes' own.
	groups []string
	// serviceErr is what the sink's Service is answered with, where not nil.
	serviceErr error
}

// Service answers from the fake API.
func (s *scene) Service(ctx context.Context, namespace, name string) (*corev1.Service, error) {
	if s.serviceErr != nil {
		return nil, s.serviceErr
	}
	var service corev1.Service
	err := s.api.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &service)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	return &service, err
}

// ServerVersion and ServerGroups answer as a server of kubeadm's.
func (s *scene) ServerVersion() (*version.Info, error) {
	return &version.Info{GitVersion: s.version}, nil
}

func (s *scene) ServerGroups() (*metav1.APIGroupList, error) {
	out := &metav1.APIGroupList{}
	for _, name := range s.groups {
		out.Groups = append(out.Groups, metav1.APIGroup{Name: name})
	}
	return out, nil
}

func newScene(t *testing.T, nodes ...string) *scene {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	s := &scene{t: t, version: "v1.34.4", now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), events: record.NewFakeRecorder(1000)}
	s.api = fake.NewClientBuilder().WithScheme(scheme).Build()
	counted := interceptor.NewClient(s.api.(client.WithWatch), interceptor.Funcs{ //nolint:forcetypeassert // the fake has a watch
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			s.writes++
			return c.Create(ctx, o, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			s.writes++
			if p.Type() != types.MergePatchType {
				t.Errorf("a patch of type %s, which old API servers need not know", p.Type())
			}
			return c.Patch(ctx, o, p, opts...)
		},
		Update: func(context.Context, client.WithWatch, client.Object, ...client.UpdateOption) error {
			t.Error("an update, which would overwrite what others wrote")
			return nil
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			s.writes++
			return c.Delete(ctx, o, opts...)
		},
	})
	by, err := newSelectors()
	if err != nil {
		t.Fatal(err)
	}
	s.r = &Reconciler{
		Namespace: testNamespace, Client: counted, ConfigMaps: s.api, Live: s.api, Discovery: s, Services: s, Events: s.events,
		Now: func() time.Time { return s.now }, Metrics: metrics.New(),
	}
	for _, selector := range by.nodes {
		s.r.Nodes = append(s.r.Nodes, Selected{s.api, selector})
	}
	for _, selector := range by.pods {
		s.r.Pods = append(s.r.Pods, Selected{s.api, selector})
	}
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "kubeadm-config"}})
	for _, name := range nodes {
		s.addNode(name)
	}
	return s
}

func (s *scene) create(o client.Object) {
	s.t.Helper()
	if err := s.api.Create(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) update(o client.Object) {
	s.t.Helper()
	if err := s.api.Update(s.t.Context(), o); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) addNode(name string) {
	s.t.Helper()
	s.create(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{detect.LabelControlPlane: ""}},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{MachineID: "machine-" + name}},
	})
	s.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: "kube-apiserver-" + name, Labels: map[string]string{"component": "kube-apiserver"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		},
		Spec:   corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: "kube-apiserver", Image: "kube-apiserver:" + s.version}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	})
}

// addEtcd puts a member of a stacked etcd on a node, or changes the one there.
func (s *scene) addEtcd(node string, ready corev1.ConditionStatus) {
	s.t.Helper()
	s.addEtcdLabelled(node, "component", ready)
}

func (s *scene) addEtcdLabelled(node, label string, ready corev1.ConditionStatus) {
	s.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: "etcd-" + node, Labels: map[string]string{label: "etcd"},
			Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
		},
		Spec:   corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "etcd"}}},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
	}
	if err := s.api.Delete(s.t.Context(), pod.DeepCopy()); client.IgnoreNotFound(err) != nil {
		s.t.Fatal(err)
	}
	s.create(pod)
}

func (s *scene) node(name string) *corev1.Node {
	s.t.Helper()
	var n corev1.Node
	if err := s.api.Get(s.t.Context(), client.ObjectKey{Name: name}, &n); err != nil {
		s.t.Fatal(err)
	}
	return &n
}

func (s *scene) serve(ip string) {
	s.t.Helper()
	s.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "sysdig-agent", Name: "sysdig-agent"},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 7765}}},
	})
}

func intent(changes ...func(*wire.Config)) *wire.Config {
	c := &wire.Config{
		Release: "mine", Enabled: true,
		Sink:    wire.Sink{Service: &wire.ServiceSink{Namespace: "sysdig-agent", Name: "sysdig-agent", Port: intstr.FromInt32(7765), Path: "/k8s_audit", Scheme: "http"}},
		Rollout: wire.RolloutSettings{Settle: metav1.Duration{Duration: 10 * time.Second}, SinkDebounce: metav1.Duration{Duration: 30 * time.Second}},
	}
	for _, change := range changes {
		change(c)
	}
	return c
}

// configure writes the configuration, as Helm does.
func (s *scene) configure(c *wire.Config) {
	s.t.Helper()
	data, err := wire.Encode(wire.KindConfig, c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(wire.ConfigName, nil, data)
}

// write puts data into a ConfigMap, made where it is not there.
func (s *scene) write(name string, labels, data map[string]string) {
	s.t.Helper()
	var object corev1.ConfigMap
	err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: testNamespace, Name: name}, &object)
	if apierrors.IsNotFound(err) {
		s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: name, UID: types.UID("uid-" + name), Labels: labels}, Data: data})
		return
	}
	object.Data = data
	s.update(&object)
}

// reconcile looks once.
func (s *scene) reconcile() reconcile.Result {
	s.t.Helper()
	result, err := s.r.Reconcile(s.t.Context(), reconcile.Request{})
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// data is a ConfigMap's, nil where it is not there.
func (s *scene) data(name string) map[string]string {
	s.t.Helper()
	var object corev1.ConfigMap
	err := s.api.Get(s.t.Context(), client.ObjectKey{Namespace: testNamespace, Name: name}, &object)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if object.Data == nil {
		return map[string]string{}
	}
	return object.Data
}

// plan is a node's, nil where there is none.
func (s *scene) plan(node string) *wire.Plan {
	s.t.Helper()
	data := s.data(wire.PlanName(node))
	if data == nil {
		return nil
	}
	var p wire.Plan
	if err := wire.Decode(data, wire.KindPlan, &p); err != nil {
		s.t.Fatal(err)
	}
	return &p
}

// say writes a node's status, as its agent would after what the change makes of it.
func (s *scene) say(node string, phase wire.Phase, changes ...func(*wire.NodeStatus)) {
	s.t.Helper()
	p := s.plan(node)
	status := &wire.NodeStatus{Node: p.Node, Phase: phase, PlanRevision: p.Revision}
	if phase == wire.PhaseApplied {
		status.AppliedRevision = p.Revision
	}
	if p.Permit != nil {
		status.Fence = p.Permit.Fence
		if phase.Final() {
			status.Answered = p.Permit.Fence
		}
	}
	for _, change := range changes {
		change(status)
	}
	data, err := wire.Encode(wire.KindNodeStatus, status)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write(wire.StatusName(node), nil, data)
}

// told are the Events since the last call.
func (s *scene) told() []string {
	var out []string
	for {
		select {
		case e := <-s.events.Events:
			out = append(out, e)
		default:
			return out
		}
	}
}

// flat is the cluster status's reason with whether it is ready, as in "true Complete".
func (s *scene) flat() string {
	s.t.Helper()
	data := s.data(wire.ClusterStatusName)
	return fmt.Sprintf("%s %s", data[wire.FlatReady], data[wire.FlatReason])
}

func (s *scene) expect(flat string) {
	s.t.Helper()
	s.reconcile()
	if got := s.flat(); got != flat {
		s.t.Fatalf("cluster status %q, want %q: %s", got, flat, s.data(wire.ClusterStatusName)[wire.FlatMessage])
	}
}
