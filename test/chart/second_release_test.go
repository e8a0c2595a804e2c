package chart

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cluster is an API server that holds one ClusterRole, as helm's lookup sees it. It returns a kubeconfig.
func cluster(t *testing.T, role *rbacv1.ClusterRole) string {
	t.Helper()
	served := map[string][]metav1.APIResource{
		"v1": {
			{Name: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "services", Kind: "Service", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "serviceaccounts", Kind: "ServiceAccount", Namespaced: true, Verbs: metav1.Verbs{"get"}},
		},
		"apps/v1": {
			{Name: "daemonsets", Kind: "DaemonSet", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "deployments", Kind: "Deployment", Namespaced: true, Verbs: metav1.Verbs{"get"}},
		},
		"rbac.authorization.k8s.io/v1": {
			{Name: "clusterroles", Kind: "ClusterRole", Verbs: metav1.Verbs{"get"}},
			{Name: "clusterrolebindings", Kind: "ClusterRoleBinding", Verbs: metav1.Verbs{"get"}},
			{Name: "roles", Kind: "Role", Namespaced: true, Verbs: metav1.Verbs{"get"}},
			{Name: "rolebindings", Kind: "RoleBinding", Namespaced: true, Verbs: metav1.Verbs{"get"}},
		},
		"coordination.k8s.io/v1": {{Name: "leases", Kind: "Lease", Namespaced: true, Verbs: metav1.Verbs{"get"}}},
		"scheduling.k8s.io/v1":   {{Name: "priorityclasses", Kind: "PriorityClass", Verbs: metav1.Verbs{"get"}}},
	}
	groups := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
	answers := map[string]any{
		"/version": map[string]string{"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
		"/api":     metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions", APIVersion: "v1"}, Versions: []string{"v1"}},
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/" + role.Name: role,
	}
	for version, resources := range served {
		list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: version, APIResources: resources}
		group, short, named := strings.Cut(version, "/")
		if !named {
			answers["/api/v1"] = list
			continue
		}
		answers["/apis/"+version] = list
		v := metav1.GroupVersionForDiscovery{GroupVersion: version, Version: short}
		groups.Groups = append(groups.Groups, metav1.APIGroup{Name: group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
	}
	answers["/apis"] = groups
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: "NotFound", Code: http.StatusNotFound}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}], clusters: [{name: c, cluster: {server: '" + server.URL + "'}}]}"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSecondRelease_Refused holds that a second release in one cluster is refused before anything is sent, and that a
// release is not refused for itself.
func TestSecondRelease_Refused(t *testing.T) {
	t.Parallel()
	helmRole := func(release, namespace string) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{
			TypeMeta: metav1.TypeMeta{Kind: "ClusterRole", APIVersion: "rbac.authorization.k8s.io/v1"},
			ObjectMeta: metav1.ObjectMeta{
				Name:   coordinatorName,
				Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm"},
				Annotations: map[string]string{
					"meta.helm.sh/release-name": release, "meta.helm.sh/release-namespace": namespace,
				},
			},
		}
	}
	tests := map[string]struct {
		role    *rbacv1.ClusterRole
		refused bool
	}{
		"another name":      {helmRole("first", namespace), true},
		"another namespace": {helmRole(release, "security"), true},
		"the same release":  {helmRole(release, namespace), false},
		"no release":        {&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "view"}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"KUBECONFIG=" + cluster(t, tt.role), "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"}
			out, err := runHelm(t, env, "template", release, chartDir, "--namespace", namespace, "--set", registry, "--dry-run=server", "--disable-openapi-validation")
			if !tt.refused {
				if err != nil || !strings.Contains(out, "kind: DaemonSet") {
					t.Errorf("err = %v", err)
				}
				return
			}
			if err == nil {
				t.Fatal("took it")
			}
			owner := tt.role.Annotations
			for _, word := range []string{"installed in this cluster already", `"` + owner["meta.helm.sh/release-name"] + `"`, `"` + owner["meta.helm.sh/release-namespace"] + `"`, "uninstall it first"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q is missing: %v", word, err)
				}
			}
		})
	}
}
