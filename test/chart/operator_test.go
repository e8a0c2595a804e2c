package chart

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

// TestTheAuditProfileMayBeChangedWhereItIsAskedFor: and nowhere else.
func TestTheAuditProfileMayBeChangedWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	const wide = "ClusterRole k8s-audit-enabler-coordinator"
	plain, _ := permissions(t, render(t))
	for name, flags := range map[string][]string{
		"not asked for":   {"--api-versions=config.openshift.io/v1"},
		"not OpenShift":   {"openshift4.auditProfile=WriteRequestBodies"},
		"asked for there": {"--api-versions=config.openshift.io/v1", "openshift4.auditProfile=WriteRequestBodies"},
	} {
		want := plain[wide]
		if name == "asked for there" {
			want = append(append([]rbacv1.PolicyRule{}, want...),
				rbacv1.PolicyRule{APIGroups: []string{"config.openshift.io"}, Resources: []string{"apiservers"}, ResourceNames: []string{"cluster"}, Verbs: []string{"get", "patch"}})
		}
		got, _ := permissions(t, render(t, append(flags, "--kube-version=1.27.0")...))
		if diff := cmp.Diff(want, got[wide]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestTheOperatorOfOpenShift4MayBeToldWhereItIs states the rules that are there nowhere else: where apiservers have the dynamic backend, and
// later only where the webhook is asked for.
func TestTheOperatorOfOpenShift4MayBeToldWhereItIs(t *testing.T) {
	t.Parallel()
	const (
		wide    = "ClusterRole k8s-audit-enabler-coordinator"
		operand = "Role openshift-kube-apiserver/k8s-audit-enabler-coordinator"
	)
	plain, _ := permissions(t, render(t))
	const webhook = " backend=webhook"
	for version, has := range map[string]bool{"1.13.4": true, "1.18.3+012b3ec": true, "1.19.0": false, "1.27.6": false, "1.19.0" + webhook: true, "1.27.6" + webhook: true} {
		number, _, _ := strings.Cut(version, " ")
		flags := []string{"--kube-version=" + number, "--api-versions=operator.openshift.io/v1"}
		if strings.HasSuffix(version, webhook) {
			flags = append(flags, strings.TrimSpace(webhook))
		}
		got, bindings := permissions(t, render(t, flags...))
		want := map[string][]rbacv1.PolicyRule{wide: plain[wide]}
		if has {
			want = map[string][]rbacv1.PolicyRule{
				wide: append(append([]rbacv1.PolicyRule{}, plain[wide]...),
					rbacv1.PolicyRule{APIGroups: []string{"operator.openshift.io"}, Resources: []string{"kubeapiservers"}, ResourceNames: []string{"cluster"}, Verbs: []string{"get", "patch"}},
					rbacv1.PolicyRule{APIGroups: []string{"config.openshift.io"}, Resources: []string{"clusterversions"}, ResourceNames: []string{"version"}, Verbs: []string{"get"}}),
				operand: {{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"}}},
			}
		}
		for _, role := range []string{wide, operand} {
			if diff := cmp.Diff(want[role], got[role]); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", version, role, diff)
			}
		}
		if (len(bindings[operand]) == 1) != has {
			t.Errorf("%s: %s is bound to %v", version, operand, bindings[operand])
		}
	}
}
