package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const checkName = "k8s-audit-enabler-check"

// TestCheck_RunsWithHelmTestAndLeavesNothing: what belongs to a hook is not the release's, and an uninstall would leave it.
func TestCheck_RunsWithHelmTestAndLeavesNothing(t *testing.T) {
	t.Parallel()
	text := render(t, "test.timeoutSeconds=60")
	pod := one[*corev1.Pod](t, text, checkName)
	if want := []string{"check", "--namespace=$(POD_NAMESPACE)", "--timeout=60s"}; !slices.Equal(pod.Spec.Containers[0].Args, want) || pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("the pod runs %q, and again: %s", pod.Spec.Containers[0].Args, pod.Spec.RestartPolicy)
	}
	var kinds []string
	for _, o := range objects(t, text) {
		meta, ok := o.(metav1.Object)
		if !ok || meta.GetName() != checkName {
			continue
		}
		kinds = append(kinds, kindOf(o))
		got := maps.Clone(meta.GetAnnotations())
		delete(got, "helm.sh/hook-weight")
		delete(got, "helm.sh/hook-output-log-policy")
		want := map[string]string{"helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded,hook-failed"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("annotations of %T (-want +got):\n%s", o, diff)
		}
	}
	if len(kinds) != 4 {
		t.Errorf("the test consists of %v", kinds)
	}
	if strings.Contains(installYAML(t), checkName) {
		t.Error("install.yaml has the test, which would run at once")
	}
}

func kindOf(o runtime.Object) string { return o.GetObjectKind().GroupVersionKind().Kind }

func TestPodDisruptionBudget_LetsOneCoordinatorGo(t *testing.T) {
	t.Parallel()
	if text := render(t); strings.Contains(text, "PodDisruptionBudget") {
		t.Error("there by default")
	}
	budget := only[*policyv1.PodDisruptionBudget](objects(t, render(t, "coordinator.podDisruptionBudget.enabled=true", "coordinator.replicas=2")))[0]
	if budget.Spec.MaxUnavailable.IntValue() != 1 || budget.Spec.Selector.MatchLabels["app.kubernetes.io/component"] != "coordinator" {
		t.Errorf("%+v", budget.Spec)
	}
	if text := render(t, "coordinator.podDisruptionBudget.enabled=true", "--kube-version=1.20.0"); !strings.Contains(text, "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget") {
		t.Error("1.20 does not serve policy/v1")
	}
}

func TestNamespace_IsLabelledAndKeptWhereItIsWanted(t *testing.T) {
	t.Parallel()
	if found := only[*corev1.Namespace](objects(t, render(t))); len(found) != 0 {
		t.Error("there by default, which Helm refuses after --create-namespace")
	}
	space := only[*corev1.Namespace](objects(t, render(t, "namespace.create=true")))[0]
	if space.Name != namespace || space.Labels["pod-security.kubernetes.io/enforce"] != "privileged" || space.Annotations["helm.sh/resource-policy"] != "keep" {
		t.Errorf("%+v", space.ObjectMeta)
	}
}
