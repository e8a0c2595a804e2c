// Package auditsink has a real kube-apiserver follow an AuditSink, where its version has the dynamic backend.
package auditsink

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/receiver"
)

const owner = "audit/release"

func store(t *testing.T, config *rest.Config) auditsink.Store {
	t.Helper()
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{auditsink.Kind().GroupVersion()})
	mapper.Add(auditsink.Kind(), meta.RESTScopeRoot)
	c, err := client.New(config, client.Options{Mapper: mapper})
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return auditsink.Store{Discovery: d, Reader: c, Writer: c}
}

func inbox(t *testing.T) (*receiver.Receiver, auditsink.Target) {
	t.Helper()
	r, err := receiver.Listen("127.0.0.1:0", receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r, auditsink.Target{URL: "http://" + r.Address() + receiver.PathSysdig}
}

func TestAnApiserverFollowsItsAuditSinkWithoutARestart(t *testing.T) {
	if apiserver.Version() != parts.DynamicKubernetes {
		t.Skipf("kube-apiserver %s has no dynamic backend", apiserver.Version())
	}
	s := apiserver.Start(t, "--audit-dynamic-configuration=true", "--feature-gates=DynamicAuditing=true", "--runtime-config=auditregistration.k8s.io/v1alpha1=true")
	sinks := store(t, s.Config(apiserver.AdminToken))
	for i, settings := range []wire.AuditSinkSettings{{}, {Level: "Metadata", Stages: []string{"ResponseComplete"}, ThrottleQPS: 20, ThrottleBurst: 30}} {
		r, target := inbox(t)
		for _, want := range []bool{true, false} {
			if wrote, err := sinks.Apply(t.Context(), auditsink.Object(settings, target, owner)); err != nil || wrote != want {
				t.Fatalf("AuditSink %d: wrote %v, %v; want %v", i, wrote, err, want)
			}
		}
		event := arrives(t, s, r)
		if got, want := string(event.Level), auditsink.Complete(settings).Level; got != want {
			t.Errorf("an event of level %s came, want %s", got, want)
		}
	}
	if was, err := sinks.Delete(t.Context()); err != nil || !was {
		t.Errorf("delete: %v, %v", was, err)
	}
	if was, err := sinks.Delete(t.Context()); err != nil || was {
		t.Errorf("delete again: %v, %v", was, err)
	}
}

// arrives makes requests until one of them is at the receiver: an apiserver learns of an AuditSink when its watch brings it, and sends
// 400 events at a time, or what it has after half a minute.
func arrives(t *testing.T, s *apiserver.Server, r *receiver.Receiver) receiver.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	about := receiver.And(receiver.Verb("create"), receiver.Object("configmaps", metav1.NamespaceDefault, ""))
	found := make(chan receiver.Event, 1)
	go func() {
		defer close(found)
		if e, err := r.WaitFor(ctx, about); err == nil {
			found <- e
		}
	}()
	for {
		one := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x-"}}
		if _, err := s.Admin.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx, one, metav1.CreateOptions{}); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		select {
		case e, ok := <-found:
			if !ok {
				t.Fatalf("no event came: %+v", r.Stats())
			}
			return e
		default:
		}
	}
}

func TestAnApiserverWithoutAuditSinksIsSaidToHaveNone(t *testing.T) {
	s := apiserver.Start(t)
	sinks := store(t, s.Config(apiserver.AdminToken))
	if served, err := sinks.Served(); err != nil || served {
		t.Errorf("served: %v, %v", served, err)
	}
	_, target := inbox(t)
	if _, err := sinks.Apply(t.Context(), auditsink.Object(wire.AuditSinkSettings{}, target, owner)); !errors.Is(err, auditsink.ErrNotServed) {
		t.Errorf("apply: %v, want ErrNotServed", err)
	}
	if _, err := sinks.Delete(t.Context()); !errors.Is(err, auditsink.ErrNotServed) {
		t.Errorf("delete: %v, want ErrNotServed", err)
	}
	// A request that reaches an apiserver without the API, as behind a load balancer in the middle of a rollout.
	sinks.Discovery = everything{}
	if _, err := sinks.Apply(t.Context(), auditsink.Object(wire.AuditSinkSettings{}, target, owner)); !errors.Is(err, auditsink.ErrNotServed) {
		t.Errorf("apply behind a balancer: %v, want ErrNotServed", err)
	}
}

// everything is served.
type everything struct{}

func (everything) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return &metav1.APIResourceList{}, nil
}
