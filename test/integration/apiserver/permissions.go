package apiserver

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/helm"
)

// GrantPermissions gives what the chart gives, as Helm renders it with settings, and makes what its accounts may use and not make. A setting
// that begins with a dash is a flag for Helm.
func GrantPermissions(t *testing.T, admin kubernetes.Interface, settings ...string) {
	t.Helper()
	program, err := helm.Find()
	if err != nil {
		t.Fatal(err)
	}
	_, here, _, _ := runtime.Caller(0)
	chart := filepath.Join(filepath.Dir(here), "../../../charts/k8s-audit-enabler")
	args := []string{"template", "audit", chart, "--namespace", Namespace, "--set", "image.registry=registry.internal"}
	for _, setting := range settings {
		if strings.HasPrefix(setting, "-") {
			args = append(args, setting)
			continue
		}
		args = append(args, "--set", setting)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq("\n"+string(out), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			continue // a comment
		}
		switch o := object.(type) {
		case *rbacv1.Role:
			_, err = admin.RbacV1().Roles(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			_, err = admin.RbacV1().RoleBindings(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.ClusterRole:
			_, err = admin.RbacV1().ClusterRoles().Create(t.Context(), o, metav1.CreateOptions{})
		case *rbacv1.ClusterRoleBinding:
			_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), o, metav1.CreateOptions{})
		case *coordinationv1.Lease:
			_, err = admin.CoordinationV1().Leases(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
			if apierrors.IsNotFound(err) {
				err = nil // an API server without Leases, for which the chart has none either
			}
		case *corev1.ConfigMap:
			if o.Name == wire.BridgeCheckpointName {
				_, err = admin.CoreV1().ConfigMaps(o.Namespace).Create(t.Context(), o, metav1.CreateOptions{})
			}
		}
		if err != nil {
			t.Fatal(fmt.Errorf("create what the chart has: %w", err))
		}
	}
}
