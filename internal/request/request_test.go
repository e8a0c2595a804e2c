package request

import (
	"errors"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"k8s-audit-enabler.io/internal/wire"
)

const namespace = "audit"

func object(text string) *corev1.ConfigMap {
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: wire.RequestName, ResourceVersion: "7"}}
	if text != "" {
		o.Data = map[string]string{wire.DocumentKey: text}
	}
	return o
}

func TestAChangeIsMadeToWhatIsAskedAlready(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(object("")).CoreV1().ConfigMaps(namespace)
	for _, change := range []func(*wire.Request){
		func(r *wire.Request) { r.Paused = true },
		func(r *wire.Request) { r.RevertNodes = append(r.RevertNodes, "cp1") },
		func(r *wire.Request) { r.RevertNodes = append(r.RevertNodes, "cp2") },
	} {
		if _, err := Change(t.Context(), client, false, func(r *wire.Request) error { change(r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	asked, err := Read(t.Context(), client)
	if err != nil || !asked.Paused || strings.Join(asked.RevertNodes, " ") != "cp1 cp2" {
		t.Errorf("asked %+v, %v", asked, err)
	}
}

func TestAChangeThatMeetsAnotherIsMadeAgain(t *testing.T) {
	t.Parallel()
	set := fake.NewClientset(object(""))
	var once sync.Once
	set.PrependReactor("patch", "configmaps", func(action clienttesting.Action) (bool, runtime.Object, error) {
		// The fake does not compare it; an API server does, and refuses a patch of what has changed since.
		if patch, ok := action.(clienttesting.PatchAction); !ok || !strings.Contains(string(patch.GetPatch()), `"resourceVersion":"`) {
			t.Errorf("a patch of whatever is there: %v", action)
		}
		handled := false
		once.Do(func() {
			handled = true
			theirs := object("apiVersion: k8s-audit-enabler.io/v1alpha1\nkind: Request\npaused: true\n")
			if err := set.Tracker().Update(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, theirs, namespace); err != nil {
				t.Error(err)
			}
		})
		if handled {
			return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "configmaps"}, wire.RequestName, errors.New("changed"))
		}
		return false, nil, nil
	})
	client := set.CoreV1().ConfigMaps(namespace)
	if _, err := Change(t.Context(), client, false, func(r *wire.Request) error { r.RevertAll = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if asked, err := Read(t.Context(), client); err != nil || !asked.Paused || !asked.RevertAll {
		t.Errorf("asked %+v, %v: one of the two is lost", asked, err)
	}
}

func TestWhatCannotBeUnderstoodIsReplacedOnPurposeOnly(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset(object("nonsense: true\n")).CoreV1().ConfigMaps(namespace)
	nothing := func(*wire.Request) error { return nil }
	if _, err := Change(t.Context(), client, false, nothing); err == nil || !strings.Contains(err.Error(), "enable --all") {
		t.Errorf("error %v, want one that says what to do", err)
	}
	if asked, err := Read(t.Context(), client); err != nil || asked.Invalid == nil {
		t.Fatalf("asked %+v, %v", asked, err)
	}
	if _, err := Change(t.Context(), client, true, nothing); err != nil {
		t.Fatal(err)
	}
	if asked, err := Read(t.Context(), client); err != nil || asked.Invalid != nil {
		t.Errorf("asked %+v, %v", asked, err)
	}
}

func TestWithoutACoordinatorThereIsNobodyToAsk(t *testing.T) {
	t.Parallel()
	client := fake.NewClientset().CoreV1().ConfigMaps(namespace)
	if _, err := Change(t.Context(), client, true, func(*wire.Request) error { return nil }); !errors.Is(err, ErrNotThere) {
		t.Errorf("error %v", err)
	}
}
