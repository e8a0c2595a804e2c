package chart

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

const (
	coordinatorName = "k8s-audit-enabler-coordinator"
	agentName       = "k8s-audit-enabler-agent"
	bridgeName      = "k8s-audit-enabler-bridge"
	bridgeFileName  = "k8s-audit-enabler-bridge-file"

	coordinatorAccount = "audit-ns/k8s-audit-enabler-coordinator"
	agentAccount       = "audit-ns/k8s-audit-enabler-agent"
	uninstallAccount   = "audit-ns/k8s-audit-enabler-uninstall"
	checkAccount       = "audit-ns/k8s-audit-enabler-check"
	bridgeAccount      = "audit-ns/k8s-audit-enabler-bridge"
)

// TestRBAC_IsStatedHere lists each rule of each role. A rule more or fewer fails: permissions change by decision.
func TestRBAC_IsStatedHere(t *testing.T) {
	t.Parallel()
	rule := func(group string, resources []string, names []string, verbs ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, ResourceNames: names, Verbs: verbs}
	}
	coordinatorsOwn := []rbacv1.PolicyRule{
		rule("", []string{"configmaps"}, nil, "get", "list", "watch", "create", "update", "patch", "delete"),
		rule("coordination.k8s.io", []string{"leases"}, nil, "create"),
		rule("coordination.k8s.io", []string{"leases"}, []string{"k8s-audit-enabler-coordinator"}, "get", "update", "patch"),
		rule("rbac.authorization.k8s.io", []string{"roles"}, nil, "create"),
		rule("rbac.authorization.k8s.io", []string{"roles"}, []string{"k8s-audit-enabler-agent-nodes"}, "get", "patch"),
		rule("", []string{"services"}, []string{"k8s-audit-enabler-bridge"}, "get"),
	}
	recognition := []rbacv1.PolicyRule{
		rule("", []string{"pods"}, nil, "list", "watch"),
		rule("", []string{"configmaps"}, []string{"kubeadm-config"}, "get"),
		rule("coordination.k8s.io", []string{"leases"}, []string{"plndr-cp-lock"}, "get"),
	}
	cluster := func(service ...string) []rbacv1.PolicyRule {
		rules := []rbacv1.PolicyRule{rule("", []string{"nodes"}, nil, "get", "list", "watch", "patch")}
		if service != nil {
			rules = append(rules, rule("", []string{"services"}, service, "get", "list", "watch"))
		}
		return append(rules,
			rule("", []string{"configmaps"}, []string{"audit-enabler-config"}, "get"),
			rule("", []string{"events"}, nil, "create", "patch"),
			rule("auditregistration.k8s.io", []string{"auditsinks"}, nil, "create"),
			rule("auditregistration.k8s.io", []string{"auditsinks"}, []string{"k8s-audit-enabler"}, "get", "update", "delete"))
	}
	agent := []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics", "/readyz", "/livez", "/healthz"}, Verbs: []string{"get"}}}
	uninstall := []rbacv1.PolicyRule{
		rule("", []string{"configmaps"}, []string{"audit-enabler-request"}, "get", "patch"),
		rule("", []string{"configmaps"}, []string{"audit-enabler-status"}, "get"),
	}
	checking := []rbacv1.PolicyRule{rule("", []string{"configmaps"}, []string{"audit-enabler-config", "audit-enabler-status"}, "get")}
	carrying := []rbacv1.PolicyRule{
		rule("", []string{"configmaps"}, []string{"audit-bridge-checkpoint"}, "get", "patch"),
		rule("coordination.k8s.io", []string{"leases"}, []string{"k8s-audit-enabler-bridge"}, "get", "update"),
	}
	credentials := []rbacv1.PolicyRule{rule("", []string{"secrets"}, []string{"receiver-token"}, "get")}

	const (
		own     = "Role audit-ns/k8s-audit-enabler-coordinator"
		system  = "Role kube-system/k8s-audit-enabler-coordinator"
		wide    = "ClusterRole k8s-audit-enabler-coordinator"
		probing = "ClusterRole k8s-audit-enabler-agent"
		secret  = "Role audit-ns/k8s-audit-enabler-agent-credentials"
		nodes   = "Role audit-ns/k8s-audit-enabler-agent-nodes"
		going   = "Role audit-ns/k8s-audit-enabler-uninstall"
		bridge  = "Role audit-ns/k8s-audit-enabler-bridge"
		tested  = "Role audit-ns/k8s-audit-enabler-check"
	)
	type roles map[string][]rbacv1.PolicyRule
	bindings := map[string][]string{
		own: {coordinatorAccount}, system: {coordinatorAccount}, wide: {coordinatorAccount},
		probing: {agentAccount}, nodes: {agentAccount}, going: {uninstallAccount}, bridge: {bridgeAccount}, tested: {checkAccount},
	}
	withSecret := maps.Clone(bindings)
	withSecret[secret] = []string{agentAccount}
	withoutAgent := maps.Clone(bindings)
	delete(withoutAgent, probing)
	delete(withoutAgent, nodes)
	withoutHook := maps.Clone(bindings)
	delete(withoutHook, going)

	tests := map[string]struct {
		values   values
		roles    roles
		bindings map[string][]string
	}{
		"defaults": {
			installable(),
			roles{bridge: carrying, tested: checking, own: coordinatorsOwn, system: recognition, wide: cluster("sysdig-agent"), probing: agent, going: uninstall},
			bindings,
		},
		"a URL: no Service is read": {
			installable().with("http://192.0.2.1/", "sink", "url"),
			roles{bridge: carrying, tested: checking, own: coordinatorsOwn, system: recognition, wide: cluster(), probing: agent, going: uninstall},
			bindings,
		},
		"credentials: their Secret, and only the agents read it": {
			installable().with("receiver-token", "sink", "credentialsSecret").with("receiver", "sink", "service", "name"),
			roles{bridge: carrying, tested: checking, own: coordinatorsOwn, system: recognition, wide: cluster("receiver"), probing: agent, secret: credentials, going: uninstall},
			withSecret,
		},
		"no agent: nothing for agents": {
			installable().with(false, "agent", "enabled").with("receiver-token", "sink", "credentialsSecret"),
			roles{bridge: carrying, tested: checking, own: coordinatorsOwn, system: recognition, wide: cluster("sysdig-agent"), going: uninstall},
			withoutAgent,
		},
		"no hook: nothing for an uninstall": {
			installable().with(false, "uninstall", "revert"),
			roles{bridge: carrying, tested: checking, own: coordinatorsOwn, system: recognition, wide: cluster("sysdig-agent"), probing: agent},
			withoutHook,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := renderValues(t, test.values)
			gotRoles, gotBindings := permissions(t, text)
			if diff := cmp.Diff(map[string][]rbacv1.PolicyRule(test.roles), gotRoles); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.bindings, gotBindings); diff != "" {
				t.Errorf("bindings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRBAC_HasNoWildcard(t *testing.T) {
	t.Parallel()
	roles, _ := permissions(t, render(t, "sink.credentialsSecret=receiver-token"))
	for name, rules := range roles {
		for _, rule := range rules {
			for _, list := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs, rule.NonResourceURLs} {
				if slices.Contains(list, "*") {
					t.Errorf("%s has a wildcard: %v", name, rule)
				}
			}
			if slices.Contains(rule.Resources, "secrets") && (len(rule.ResourceNames) != 1 || !slices.Equal(rule.Verbs, []string{"get"})) {
				t.Errorf("%s reaches more than one Secret: %v", name, rule)
			}
		}
	}
}

// permissions returns the rules by role, and the ServiceAccounts by the role that is bound to them.
func permissions(t *testing.T, text string) (roles map[string][]rbacv1.PolicyRule, bindings map[string][]string) {
	t.Helper()
	roles, bindings = map[string][]rbacv1.PolicyRule{}, map[string][]string{}
	bind := func(role string, subjects []rbacv1.Subject) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind {
				t.Errorf("%s is bound to %s %s", role, s.Kind, s.Name)
			}
			bindings[role] = append(bindings[role], s.Namespace+"/"+s.Name)
		}
	}
	for _, object := range objects(t, text) {
		switch o := object.(type) {
		case *rbacv1.Role:
			roles["Role "+o.Namespace+"/"+o.Name] = o.Rules
		case *rbacv1.ClusterRole:
			roles["ClusterRole "+o.Name] = o.Rules
			if o.AggregationRule != nil {
				t.Errorf("ClusterRole %s aggregates others", o.Name)
			}
		case *rbacv1.RoleBinding:
			bind(o.RoleRef.Kind+" "+o.Namespace+"/"+o.RoleRef.Name, o.Subjects)
		case *rbacv1.ClusterRoleBinding:
			bind(o.RoleRef.Kind+" "+o.RoleRef.Name, o.Subjects)
		}
	}
	return roles, bindings
}
