package auditsink

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"k8s-audit-enabler.io/internal/wire"
)

func resource() schema.GroupResource {
	return schema.GroupResource{Group: Kind().Group, Resource: "auditsinks"}
}

// discovery serves AuditSinks, or answers with an error.
type discovery struct{ err error }

func (d discovery) ServerResourcesForGroupVersion(string) (*metav1.APIResourceList, error) {
	return &metav1.APIResourceList{}, d.err
}

// counting counts writes, and has each of them fail with err where that is set.
type counting struct {
	client.Client
	writes int
	err    error
}

func (c *counting) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	c.writes++
	if c.err != nil {
		return c.err
	}
	return c.Client.Create(ctx, o, opts...)
}

func (c *counting) Update(ctx context.Context, o client.Object, opts ...client.UpdateOption) error {
	c.writes++
	if c.err != nil {
		return c.err
	}
	return c.Client.Update(ctx, o, opts...)
}

func (c *counting) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	c.writes++
	if c.err != nil {
		return c.err
	}
	return c.Client.Delete(ctx, o, opts...)
}

func store(objects ...client.Object) (Store, *counting) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(Kind(), &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(Kind().GroupVersion().WithKind("AuditSinkList"), &unstructured.UnstructuredList{})
	c := &counting{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()}
	return Store{Discovery: discovery{}, Reader: c, Writer: c}, c
}

func (c *counting) stored(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	var object unstructured.Unstructured
	object.SetGroupVersionKind(Kind())
	if err := c.Get(t.Context(), client.ObjectKey{Name: Name}, &object); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		t.Fatal(err)
	}
	return &object
}

func TestTheObject(t *testing.T) {
	t.Parallel()
	object := func(policy, webhook map[string]any) map[string]any {
		return map[string]any{
			"apiVersion": "auditregistration.k8s.io/v1alpha1", "kind": "AuditSink",
			"metadata": map[string]any{
				"name":        "k8s-audit-enabler",
				"labels":      map[string]any{"k8s-audit-enabler.io/audit-sink": "true"},
				"annotations": map[string]any{"k8s-audit-enabler.io/owner": "audit/release"},
			},
			"spec": map[string]any{"policy": policy, "webhook": webhook},
		}
	}
	for name, tt := range map[string]struct {
		settings wire.AuditSinkSettings
		target   Target
		want     map[string]any
	}{
		"by default, everything that was answered is sent": {
			wire.AuditSinkSettings{},
			Target{URL: "http://10.96.0.9:8090/"},
			object(map[string]any{"level": "RequestResponse", "stages": []any{"ResponseStarted", "ResponseComplete"}},
				map[string]any{"throttle": map[string]any{"qps": int64(10), "burst": int64(15)}, "clientConfig": map[string]any{"url": "http://10.96.0.9:8090/"}}),
		},
		"all of it is configurable": {
			wire.AuditSinkSettings{Level: "Metadata", Stages: []string{"Panic"}, ThrottleQPS: 50, ThrottleBurst: 70},
			Target{URL: "https://10.96.0.9/x", CABundle: "PEM"},
			object(map[string]any{"level": "Metadata", "stages": []any{"Panic"}},
				map[string]any{"throttle": map[string]any{"qps": int64(50), "burst": int64(70)}, "clientConfig": map[string]any{"url": "https://10.96.0.9/x", "caBundle": "UEVN"}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, Object(tt.settings, tt.target, "audit/release").Object); diff != "" {
				t.Errorf("object (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatAnApiserverWouldRefuseIsRefused(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]wire.AuditSinkSettings{
		"a level that does not exist":  {Level: "Most"},
		"a level that sends nothing":   {Level: "None"},
		"a stage that does not exist":  {Stages: []string{"Later"}},
		"a stage twice":                {Stages: []string{"Panic", "Panic"}},
		"fewer than no batch a second": {ThrottleQPS: -1},
		"bursts of less than nothing":  {ThrottleBurst: -1},
	} {
		if Check(s) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Check(wire.AuditSinkSettings{}); err != nil {
		t.Errorf("nothing in particular is refused: %v", err)
	}
	for address, taken := range map[string]bool{
		"http://10.96.0.9:7765/k8s_audit": true, "https://sink.example.org": true,
		"http://sink/?a=b": false, "http://a:b@sink/": false, "http://sink/#a": false, "sink:7765": false, "ftp://sink/": false, "": false,
	} {
		if problem := (Target{URL: address}).Check(); (problem == "") != taken {
			t.Errorf("%q: %q", address, problem)
		}
	}
}

func TestTheAuditSinkIsCreatedUpdatedWhereItDiffersAndDeleted(t *testing.T) {
	t.Parallel()
	s, c := store()
	first := Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.9/", CABundle: "PEM"}, "audit/release")
	second := Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.10/"}, "audit/release")
	for i, step := range []struct {
		wanted *unstructured.Unstructured
		wrote  bool
	}{{first, true}, {first, false}, {second, true}, {second, false}} {
		wrote, err := s.Apply(t.Context(), step.wanted)
		if err != nil || wrote != step.wrote {
			t.Errorf("step %d: wrote %v, %v", i, wrote, err)
		}
		if diff := cmp.Diff(step.wanted.Object["spec"], c.stored(t).Object["spec"]); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
	}
	for i, want := range []bool{true, false} {
		if was, err := s.Delete(t.Context()); err != nil || was != want {
			t.Errorf("deletion %d: %v, %v", i, was, err)
		}
	}
	if left := c.stored(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestAnotherReleasesAuditSinkIsTakenOverWithWhatPeoplePutOnIt(t *testing.T) {
	t.Parallel()
	before := Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.9/"}, "gone/release")
	before.SetLabels(merged(before.GetLabels(), map[string]string{"team": "security"}))
	s, c := store(before)
	if wrote, err := s.Apply(t.Context(), Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.9/"}, "audit/release")); err != nil || !wrote {
		t.Fatalf("%v, %v", wrote, err)
	}
	if after := c.stored(t); after.GetAnnotations()[wire.AnnotationOwner] != "audit/release" || after.GetLabels()["team"] != "security" {
		t.Errorf("%v", after.Object["metadata"])
	}
}

func TestSomebodyElsesAuditSinkIsNeitherChangedNorDeleted(t *testing.T) {
	t.Parallel()
	theirs := Object(wire.AuditSinkSettings{}, Target{URL: "http://theirs/"}, "")
	theirs.SetLabels(nil)
	s, c := store(theirs)
	if _, err := s.Apply(t.Context(), Object(wire.AuditSinkSettings{}, Target{URL: "http://ours/"}, "audit/release")); !errors.Is(err, ErrNotOurs) {
		t.Errorf("apply: %v, want ErrNotOurs", err)
	}
	if was, err := s.Delete(t.Context()); was || err != nil {
		t.Errorf("delete: %v, %v", was, err)
	}
	if c.writes != 0 || c.stored(t) == nil {
		t.Errorf("%d writes", c.writes)
	}
}

func TestAnApiserverThatHasNoAuditSinksIsToldFromOneWithoutOurs(t *testing.T) {
	t.Parallel()
	unknownPath := apierrors.NewGenericServerResponse(404, "get", resource(), Name, "404 page not found", 0, true)
	for name, tt := range map[string]struct {
		discovery error
		write     error
		want      error
	}{
		"it does not serve the group":                         {apierrors.NewNotFound(schema.GroupResource{}, ""), nil, ErrNotServed},
		"another one behind the same balancer does not":       {nil, unknownPath, ErrNotServed},
		"it cannot answer":                                    {context.DeadlineExceeded, nil, context.DeadlineExceeded},
		"what was asked for is refused, and is said as it is": {nil, errTaken, errTaken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wanted := Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.9/"}, "audit/release")
			s, c := store()
			s.Discovery, c.err = discovery{tt.discovery}, tt.write
			if _, err := s.Apply(t.Context(), wanted); !errors.Is(err, tt.want) {
				t.Errorf("create: %v, want %v", err, tt.want)
			}
			s, c = store(Object(wire.AuditSinkSettings{}, Target{URL: "http://10.96.0.8/"}, "audit/release"))
			s.Discovery, c.err = discovery{tt.discovery}, tt.write
			if _, err := s.Apply(t.Context(), wanted); !errors.Is(err, tt.want) {
				t.Errorf("update: %v, want %v", err, tt.want)
			}
			if _, err := s.Delete(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("delete: %v, want %v", err, tt.want)
			}
			if c.stored(t) == nil {
				t.Error("it is gone")
			}
		})
	}
}

var errTaken = errors.New("refused")
