package chart

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"k8s-audit-enabler.io/test/helm"
)

func TestManifest_IsWhatTheChartRenders(t *testing.T) {
	t.Parallel()
	program, err := helm.Find()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "hack/install-yaml.sh", program)
	cmd.Dir = repository
	cmd.Stderr = os.Stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("hack/install-yaml.sh: %v", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(installYAML(t), "\n")); diff != "" {
		t.Errorf("manifests/install.yaml is stale, run `make generate` (-chart +install.yaml):\n%s", diff)
	}
}

func TestManifest_InstallsWithoutHelm(t *testing.T) {
	t.Parallel()
	text := installYAML(t)
	found := objects(t, text)
	if len(found) < 10 {
		t.Fatalf("%d objects", len(found))
	}
	space, ok := found[0].(*corev1.Namespace)
	if !ok || space.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Errorf("the first object is %T, want the Namespace that allows the agent", found[0])
	}
	for _, object := range found {
		accessor, err := meta.Accessor(object)
		if err != nil {
			t.Fatal(err)
		}
		if got := accessor.GetLabels()["app.kubernetes.io/managed-by"]; got == "Helm" {
			t.Errorf("%T %s says that Helm manages it", object, accessor.GetName())
		}
		if got := accessor.GetNamespace(); got != "" && got != space.Name && got != "kube-system" {
			t.Errorf("%T %s is in namespace %q", object, accessor.GetName(), got)
		}
	}
	if !strings.Contains(text, "image: \"REGISTRY/k8s-audit-enabler-coordinator:"+appVersion(t)+"\"") {
		t.Error("the place for the registry is missing")
	}
}

func TestNetworkPolicy_IsTheCoordinators(t *testing.T) {
	t.Parallel()
	v := installable().with(values{"enabled": true, "apiServerPorts": []any{443, 8443}}, "networkPolicy")
	policy := one[*networkingv1.NetworkPolicy](t, renderValues(t, v), coordinatorName).Spec
	if got := policy.PodSelector.MatchLabels["app.kubernetes.io/component"]; got != "coordinator" {
		t.Errorf("it selects %q", got)
	}
	if diff := cmp.Diff([]networkingv1.PolicyType{"Ingress", "Egress"}, policy.PolicyTypes); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
	var in []int
	for _, rule := range policy.Ingress {
		in = append(in, ports(rule.Ports)...)
	}
	if diff := cmp.Diff([]int{8080, 8081}, in); diff != "" {
		t.Errorf("ports to it (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int{443, 8443}, ports(policy.Egress[0].Ports)); diff != "" {
		t.Errorf("ports from it (-want +got):\n%s", diff)
	}
}

func ports(in []networkingv1.NetworkPolicyPort) []int {
	var out []int
	for _, p := range in {
		out = append(out, p.Port.IntValue())
	}
	return out
}

func installYAML(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(repository + "/manifests/install.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
