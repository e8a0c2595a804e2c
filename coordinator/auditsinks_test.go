package coordinator

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// sinks is an AuditSink in memory.
type sinks struct {
	s *scene
	// err is what every question is answered with, where not nil.
	err    error
	object *unstructured.Unstructured
	asked  int
	// enabled is how many nodes' plans asked for our settings when the AuditSink was deleted.
	enabled int
}

func (k *sinks) Apply(_ context.Context, wanted *unstructured.Unstructured) (bool, error) {
	k.asked++
	if k.err != nil {
		return false, k.err
	}
	wrote := k.object == nil || k.url() != urlOf(wanted)
	k.object = wanted
	return wrote, nil
}

func (k *sinks) Delete(context.Context) (bool, error) {
	k.asked++
	if k.err != nil {
		return false, k.err
	}
	was := k.object != nil
	if was {
		for _, node := range []string{"cp1", "cp2"} {
			if p := k.s.plan(node); p != nil && p.Desired.Enabled {
				k.enabled++
			}
		}
	}
	k.object = nil
	return was, nil
}

func (k *sinks) url() string {
	if k.object == nil {
		return ""
	}
	return urlOf(k.object)
}

func urlOf(object *unstructured.Unstructured) string {
	url, _, _ := unstructured.NestedString(object.Object, "spec", "webhook", "clientConfig", "url")
	return url
}

const receiverURL = "http://10.96.0.9:8443/"

// newMinikube is a scene of minikube with a version, its sink, and the bridge.
func newMinikube(t *testing.T, version string) (*scene, *sinks) {
	t.Helper()
	s := newScene(t)
	s.version = version
	s.addNode("cp1")
	n := s.node("cp1")
	n.Labels["minikube.k8s.io/name"] = "minikube"
	s.update(n)
	s.serve("10.96.0.7")
	s.serveReceiver("10.96.0.9")
	k := &sinks{s: s, err: auditsink.ErrNotServed}
	s.r.AuditSinks = k
	return s, k
}

func (s *scene) serveReceiver(ip string) {
	s.t.Helper()
	s.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: wire.BridgeService},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: wire.BridgeReceiverPort, Port: 8443}}},
	})
}

// enable goes through the change of the only node.
func (s *scene) enable() {
	s.t.Helper()
	s.reconcile()
	s.say("cp1", wire.PhasePending)
	s.reconcile()
	if s.plan("cp1").Permit == nil {
		s.t.Fatalf("no permit: %s", s.flat())
	}
	s.say("cp1", wire.PhaseApplied)
	s.reconcile()
}

func TestOnMinikubeAnAuditSinkIsMadeOnceItIsServedAndMovesWithoutARestart(t *testing.T) {
	t.Parallel()
	s, k := newMinikube(t, "v1.17.3")
	c := intent()
	s.configure(c)
	s.enable()
	p := s.plan("cp1")
	if p.Desired.Backend != wire.BackendDynamic || p.Desired.Webhook.URL != "" || p.EventsTo != receiverURL {
		t.Fatalf("plan %+v", p)
	}
	s.expect("false " + reason.AuditSinkNotServed)
	k.err = nil
	s.expect("false " + reason.AuditSinkNotServed) // the status is of before
	s.expect("true " + reason.Complete)
	if k.url() != receiverURL {
		t.Errorf("the AuditSink points at %q", k.url())
	}
	if b := s.bridgePlan(); b == nil || b.Sources.Receiver == nil || b.Sources.Receiver.Policy == "" || b.Sink.URL != "http://10.96.0.7:7765/k8s_audit" {
		t.Errorf("the bridge's plan is %+v", b)
	}
	before := p.Revision
	for _, move := range []struct {
		change                func(*wire.Config)
		eventsTo, bridgePosts string
	}{
		{func(c *wire.Config) { c.Sink = wire.Sink{URL: "http://192.0.2.1/k8s_audit"} }, receiverURL, "http://192.0.2.1/k8s_audit"},
		{func(c *wire.Config) { c.Dynamic.AcceptSecretsInAudit = true }, "http://192.0.2.1/k8s_audit", ""},
		{func(c *wire.Config) { c.Sink.URL = "http://192.0.2.2/k8s_audit" }, "http://192.0.2.2/k8s_audit", ""},
		{func(c *wire.Config) { c.Dynamic.AcceptSecretsInAudit = false }, receiverURL, "http://192.0.2.2/k8s_audit"},
	} {
		move.change(c)
		s.configure(c)
		s.expect("true " + reason.Complete)
		if p := s.plan("cp1"); p.Revision != before || p.EventsTo != move.eventsTo || k.url() != move.eventsTo || s.bridgePlan().Sink.URL != move.bridgePosts {
			t.Errorf("revision %s, events to %s, AuditSink to %s, the bridge posts to %q", p.Revision, p.EventsTo, k.url(), s.bridgePlan().Sink.URL)
		}
	}
	c.Enabled = false
	s.configure(c)
	s.reconcile()
	if k.object != nil || k.enabled != 1 || s.plan("cp1").Desired.Enabled {
		t.Errorf("AuditSink %v, deleted while %d plans were enabled; plan %+v", k.object, k.enabled, s.plan("cp1").Desired)
	}
	asked := k.asked
	s.reconcile()
	if k.asked != asked {
		t.Error("an AuditSink that is gone is looked for again")
	}
}

func TestWhereTheDynamicBackendIsTheWay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		version string
		change  func(*wire.Config)
		want    wire.Backend
	}{
		"minikube 1.12":                       {"v1.12.10", func(*wire.Config) {}, ""},
		"minikube 1.13":                       {"v1.13.4", func(*wire.Config) {}, wire.BackendDynamic},
		"minikube 1.18":                       {"v1.18.20", func(*wire.Config) {}, wire.BackendDynamic},
		"minikube 1.19":                       {"v1.19.0", func(*wire.Config) {}, ""},
		"minikube with the webhook asked":     {"v1.17.3", func(c *wire.Config) { c.Backend = "webhook" }, ""},
		"another system":                      {"v1.17.3", func(c *wire.Config) { c.Distribution = "kubeadm" }, ""},
		"another system, on request":          {"v1.17.3", func(c *wire.Config) { c.Distribution, c.Backend = "kubeadm", "dynamic" }, wire.BackendDynamic},
		"the name of the old script":          {"v1.16.2", func(c *wire.Config) { c.Distribution = "minikube-1.13" }, wire.BackendDynamic},
		"the other name of the old script":    {"v1.12.10", func(c *wire.Config) { c.Distribution = "minikube-1.12" }, ""},
		"the old script's name, since 1.19":   {"v1.20.2", func(c *wire.Config) { c.Distribution = "minikube-1.13" }, ""},
		"the release's own Service is in TLS": {"v1.17.3", func(c *wire.Config) { c.Dynamic.ReceiverTLS = true }, wire.BackendDynamic},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newMinikube(t, tt.version)
			s.configure(intent(tt.change))
			s.reconcile()
			p := s.plan("cp1")
			if p == nil || p.Desired.Backend != tt.want || (p.Desired.Webhook.URL == "") != (tt.want != "") {
				t.Fatalf("plan %+v: %s", p, s.flat())
			}
			var status wire.ClusterStatus
			if err := wire.Decode(s.data(wire.ClusterStatusName), wire.KindClusterStatus, &status); err != nil || status.BackendReason == "" || (status.Backend == "dynamic") != (tt.want != "") {
				t.Errorf("status %q because %q: %v", status.Backend, status.BackendReason, err)
			}
			old := strings.HasPrefix(tt.version, "v1.12.") || strings.HasPrefix(tt.version, "v1.19.") || strings.HasPrefix(tt.version, "v1.20.")
			if old != (k.asked == 0) {
				t.Errorf("%d questions about AuditSinks", k.asked)
			}
		})
	}
}

func TestWithoutAWayForItsEventsNoApiserverIsRestarted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*scene, *wire.Config)
		want   string
	}{
		"no bridge": {func(s *scene, _ *wire.Config) {
			service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: wire.BridgeService}}
			if err := s.api.Delete(s.t.Context(), service); err != nil {
				s.t.Fatal(err)
			}
		}, reason.ReceiverNotFound},
		"credentials that an AuditSink cannot bear": {func(_ *scene, c *wire.Config) {
			c.Dynamic.AcceptSecretsInAudit, c.Sink.CredentialsSecret = true, "token"
		}, reason.SinkInvalid},
		"a name that an AuditSink cannot verify": {func(_ *scene, c *wire.Config) {
			c.Dynamic.AcceptSecretsInAudit, c.Sink.TLS.ServerName = true, "sink.example.org"
		}, reason.SinkInvalid},
		"a certificate that an AuditSink would verify": {func(_ *scene, c *wire.Config) {
			c.Dynamic.AcceptSecretsInAudit, c.Sink.TLS.InsecureSkipVerify = true, true
		}, reason.SinkInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newMinikube(t, "v1.17.3")
			c := intent()
			tt.change(s, c)
			s.configure(c)
			s.expect("false " + tt.want)
			if s.plan("cp1") != nil || k.asked != 0 {
				t.Errorf("plan %+v, %d questions about AuditSinks", s.plan("cp1"), k.asked)
			}
		})
	}
}

func TestWhatIsInTheAuditSinksWayIsSaid(t *testing.T) {
	t.Parallel()
	resource := schema.GroupResource{Group: "auditregistration.k8s.io", Resource: "auditsinks"}
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"the API server does not serve it yet": {auditsink.ErrNotServed, reason.AuditSinkNotServed},
		"somebody else has one of our name":    {auditsink.ErrNotOurs, reason.AuditSinkNotOurs},
		"the permission is missing":            {apierrors.NewForbidden(resource, auditsink.Name, errors.New("no")), reason.AuditSinkRefused},
		"the API server takes it for invalid":  {apierrors.NewInvalid(schema.GroupKind{Kind: "AuditSink"}, auditsink.Name, nil), reason.AuditSinkRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newMinikube(t, "v1.18.20")
			k.err = tt.err
			s.configure(intent())
			s.enable()
			s.expect("false " + tt.want)
			k.err = nil
			s.reconcile()
			s.expect("true " + reason.Complete)
		})
	}
}

func TestAReceiverThatVanishesTakesNothingAway(t *testing.T) {
	t.Parallel()
	s, k := newMinikube(t, "v1.17.3")
	k.err = nil
	s.configure(intent())
	s.enable()
	s.expect("true " + reason.Complete)
	before := s.plan("cp1")
	if err := s.api.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: testNamespace, Name: wire.BridgeService}}); err != nil {
		t.Fatal(err)
	}
	s.expect("false " + reason.ReceiverNotFound)
	if p := s.plan("cp1"); p.Revision != before.Revision || p.EventsTo != before.EventsTo || k.url() != receiverURL {
		t.Errorf("plan %+v, AuditSink to %q", p, k.url())
	}
	s.serveReceiver("10.96.0.10")
	s.expect("true " + reason.Complete)
	if p := s.plan("cp1"); p.Revision != before.Revision || k.url() != "http://10.96.0.10:8443/" {
		t.Errorf("revision %s, AuditSink to %q", p.Revision, k.url())
	}
}

func TestASinkThatVanishesLeavesTheAuditSinkAlone(t *testing.T) {
	t.Parallel()
	s, k := newMinikube(t, "v1.17.3")
	k.err = nil
	s.configure(intent(func(c *wire.Config) { c.Dynamic.AcceptSecretsInAudit = true }))
	s.enable()
	s.expect("true " + reason.Complete)
	var service corev1.Service
	if err := s.api.Get(t.Context(), client.ObjectKey{Namespace: "sysdig-agent", Name: "sysdig-agent"}, &service); err != nil {
		t.Fatal(err)
	}
	if err := s.api.Delete(t.Context(), &service); err != nil {
		t.Fatal(err)
	}
	s.expect("false " + reason.SinkVanished)
	if k.url() != "http://10.96.0.7:7765/k8s_audit" {
		t.Errorf("the AuditSink points at %q", k.url())
	}
	s.serve("10.96.0.8")
	s.expect("true " + reason.Complete)
	if k.url() != "http://10.96.0.8:7765/k8s_audit" {
		t.Errorf("the AuditSink points at %q", k.url())
	}
}

func TestAPausedReleaseAndASecondOneLeaveTheAuditSinkAlone(t *testing.T) {
	t.Parallel()
	s, k := newMinikube(t, "v1.17.3")
	k.err = nil
	c := intent()
	s.configure(c)
	s.enable()
	s.expect("true " + reason.Complete)
	asked := k.asked
	c.Paused, c.Dynamic.AcceptSecretsInAudit = true, true
	s.configure(c)
	s.reconcile()
	n := s.node("cp1")
	n.Annotations[wire.AnnotationOwner] = "other/first"
	s.update(n)
	s.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: wire.ConfigName}})
	c.Paused, c.Enabled = false, false
	s.configure(c)
	s.reconcile()
	if k.asked != asked || k.url() != receiverURL {
		t.Errorf("%d questions, and it points at %q", k.asked-asked, k.url())
	}
}

func TestAnAuditSinkThatCannotBeDeletedHoldsUpNoWayBack(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"its API is not served any more": auditsink.ErrNotServed,
		"the permission is gone":         apierrors.NewForbidden(schema.GroupResource{}, auditsink.Name, nil),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, k := newMinikube(t, "v1.17.3")
			k.err = nil
			c := intent()
			s.configure(c)
			s.enable()
			k.err = err
			c.Enabled = false
			s.configure(c)
			s.reconcile()
			if s.plan("cp1").Desired.Enabled {
				t.Errorf("the node is not reverted: %s", s.flat())
			}
		})
	}
}
