package coordinator

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
)

// TestPermissions asks a real API server what each ServiceAccount may do, with the chart's permissions and the Role that the
// coordinator keeps. What is not listed is refused; what would be worst is asked for by name besides.
func TestPermissions(t *testing.T) {
	c := newCluster(t, "cp1", "cp2")
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	c.startCoordinator(t, true) // with only these permissions, it elects itself, labels, and writes plans, statuses and the Role
	c.awaitReason(t, reason.WaitingForAgent)
	await(t, "the Role of two nodes", func() (bool, string) {
		role, err := c.admin.RbacV1().Roles(namespace).Get(t.Context(), "k8s-audit-enabler-agent-nodes", metav1.GetOptions{})
		return err == nil && len(role.Rules) == 2 && len(role.Rules[0].ResourceNames) == 2, "no such Role"
	})
	const everywhere, another = "", "default"
	t.Run("the rules are these and no others", func(t *testing.T) {
		coordinatorWide := []string{
			"auditsinks.auditregistration.k8s.io: create", "auditsinks.auditregistration.k8s.io[k8s-audit-enabler]: delete get update",
			"configmaps[audit-enabler-config]: get", "events: create patch", "nodes: get list patch watch", "services[sysdig-agent]: get list watch",
		}
		for _, tt := range []struct {
			token, in string
			want      []string
		}{
			{agentToken, namespace, []string{
				"configmaps[audit-plan-cp1 audit-plan-cp2]: get list watch", "configmaps[audit-status-cp1 audit-status-cp2]: patch", "secrets[receiver-token]: get",
			}},
			{apiserver.UninstallToken, namespace, []string{"configmaps[audit-enabler-request]: get patch", "configmaps[audit-enabler-status]: get"}},
			{apiserver.UninstallToken, "kube-system", nil},
			{apiserver.BridgeToken, namespace, []string{"configmaps[audit-bridge-checkpoint]: get patch", "leases.coordination.k8s.io[k8s-audit-enabler-bridge]: get update"}},
			{apiserver.BridgeToken, "kube-system", nil},
			{agentToken, "kube-system", nil},
			{agentToken, sinkNamespace, nil},
			{agentToken, another, nil},
			{coordinatorToken, namespace, append([]string{
				"configmaps: create delete get list patch update watch", "leases.coordination.k8s.io: create", "leases.coordination.k8s.io[k8s-audit-enabler-coordinator]: get patch update",
				"roles.rbac.authorization.k8s.io: create", "roles.rbac.authorization.k8s.io[k8s-audit-enabler-agent-nodes]: get patch", "services[k8s-audit-enabler-bridge]: get",
			}, coordinatorWide...)},
			{coordinatorToken, "kube-system", append([]string{
				"pods: list watch", "configmaps[kubeadm-config]: get", "leases.coordination.k8s.io[plndr-cp-lock]: get",
			}, coordinatorWide...)},
			{coordinatorToken, sinkNamespace, coordinatorWide},
			{coordinatorToken, another, coordinatorWide},
		} {
			want := slices.Sorted(slices.Values(tt.want))
			if diff := cmp.Diff(want, c.rules(t, tt.token, tt.in)); diff != "" {
				t.Errorf("%s in %s (-want +got):\n%s", tt.token, tt.in, diff)
			}
		}
	})
	type ask struct {
		verb, group, resource, sub, in, name string
	}
	secretsOfAll := func(in string) []ask {
		return []ask{{"get", "", "secrets", "", in, "other"}, {"list", "", "secrets", "", in, ""}, {"watch", "", "secrets", "", in, ""}}
	}
	takeover := []ask{
		{"create", "", "pods", "", namespace, ""},
		{"create", "", "pods", "exec", "kube-system", "kube-apiserver-cp1"},
		{"delete", "", "pods", "", "kube-system", "kube-apiserver-cp1"},
		{"create", "apps", "daemonsets", "", namespace, ""},
		{"patch", "apps", "daemonsets", "", namespace, "k8s-audit-enabler-agent"},
		{"patch", "apps", "deployments", "", namespace, "k8s-audit-enabler-coordinator"},
		{"create", "batch", "jobs", "", namespace, ""},
		{"create", "", "serviceaccounts", "token", namespace, "k8s-audit-enabler-agent"},
		{"create", "", "serviceaccounts", "", namespace, ""},
		{"create", "rbac.authorization.k8s.io", "rolebindings", "", namespace, ""},
		{"patch", "rbac.authorization.k8s.io", "rolebindings", "", namespace, "k8s-audit-enabler-agent-nodes"},
		{"create", "rbac.authorization.k8s.io", "clusterroles", "", everywhere, ""},
		{"create", "rbac.authorization.k8s.io", "clusterrolebindings", "", everywhere, ""},
		{"escalate", "rbac.authorization.k8s.io", "roles", "", namespace, "k8s-audit-enabler-agent-nodes"},
		{"bind", "rbac.authorization.k8s.io", "clusterroles", "", everywhere, "cluster-admin"},
		{"impersonate", "", "users", "", everywhere, "admin"},
		{"impersonate", "", "groups", "", everywhere, "system:masters"},
		{"impersonate", "", "serviceaccounts", "", "kube-system", "default"},
		{"get", "", "nodes", "proxy", everywhere, "cp1"},
		{"create", "", "nodes", "proxy", everywhere, "cp1"},
		{"patch", "", "nodes", "status", everywhere, "cp1"},
		{"create", "", "nodes", "", everywhere, ""},
		{"delete", "", "nodes", "", everywhere, "cp1"},
		{"update", "", "nodes", "", everywhere, "cp1"},
		{"create", "", "namespaces", "", everywhere, ""},
		{"delete", "", "namespaces", "", everywhere, namespace},
		{"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", everywhere, ""},
		{"create", "certificates.k8s.io", "certificatesigningrequests", "", everywhere, ""},
		{"list", "", "configmaps", "", "kube-system", ""},
		{"patch", "", "configmaps", "", "kube-system", "kubeadm-config"},
		{"get", "", "configmaps", "", "kube-system", "extension-apiserver-authentication"},
		{"*", "*", "*", "", everywhere, ""},
	}
	agentOnly := []ask{
		{"create", "", "configmaps", "", namespace, ""},
		{"list", "", "configmaps", "", namespace, ""},
		{"watch", "", "configmaps", "", namespace, ""},
		{"patch", "", "configmaps", "", namespace, "audit-plan-cp1"},
		{"update", "", "configmaps", "", namespace, "audit-plan-cp1"},
		{"delete", "", "configmaps", "", namespace, "audit-plan-cp1"},
		{"get", "", "configmaps", "", namespace, "audit-status-cp1"},
		{"update", "", "configmaps", "", namespace, "audit-status-cp1"},
		{"delete", "", "configmaps", "", namespace, "audit-status-cp1"},
		{"get", "", "configmaps", "", namespace, "audit-enabler-config"},
		{"patch", "", "configmaps", "", namespace, "audit-enabler-config"},
		{"patch", "", "configmaps", "", namespace, "audit-enabler-status"},
		{"patch", "", "configmaps", "", namespace, "audit-plan-cp3"},
		{"patch", "", "configmaps", "", namespace, "audit-status-cp3"},
		{"patch", "", "secrets", "", namespace, credentialsSecret},
		{"list", "", "secrets", "", namespace, credentialsSecret},
		{"get", "", "secrets", "", "kube-system", credentialsSecret},
		{"get", "", "nodes", "", everywhere, "cp1"},
		{"list", "", "nodes", "", everywhere, ""},
		{"patch", "", "nodes", "", everywhere, "cp1"},
		{"list", "", "pods", "", "kube-system", ""},
		{"create", "", "events", "", namespace, ""},
		{"get", "coordination.k8s.io", "leases", "", namespace, "k8s-audit-enabler-coordinator"},
		{"get", "", "services", "", sinkNamespace, sinkName},
		{"patch", "rbac.authorization.k8s.io", "roles", "", namespace, "k8s-audit-enabler-agent-nodes"},
	}
	coordinatorOnly := []ask{
		{"get", "", "secrets", "", namespace, credentialsSecret},
		{"patch", "", "services", "", sinkNamespace, sinkName},
		{"list", "", "services", "", sinkNamespace, ""},
		{"get", "", "pods", "log", "kube-system", "kube-apiserver-cp1"},
		{"list", "", "pods", "", namespace, ""},
		{"patch", "", "pods", "", "kube-system", "kube-apiserver-cp1"},
		{"patch", "", "configmaps", "", another, "audit-enabler-config"},
		{"delete", "rbac.authorization.k8s.io", "roles", "", namespace, "k8s-audit-enabler-agent-nodes"},
		{"patch", "rbac.authorization.k8s.io", "roles", "", namespace, "k8s-audit-enabler-coordinator"},
		{"create", "rbac.authorization.k8s.io", "roles", "", "kube-system", ""},
		{"delete", "", "events", "", namespace, "x"},
		{"list", "auditregistration.k8s.io", "auditsinks", "", everywhere, ""},
		{"update", "auditregistration.k8s.io", "auditsinks", "", everywhere, "another"},
	}
	t.Run("what is worst is refused", func(t *testing.T) {
		for account, asks := range map[string][]ask{
			"k8s-audit-enabler-uninstall":   slices.Concat(takeover, coordinatorOnly, secretsOfAll(namespace), secretsOfAll(everywhere)),
			"k8s-audit-enabler-agent":       slices.Concat(takeover, agentOnly, secretsOfAll(namespace), secretsOfAll("kube-system"), secretsOfAll(everywhere)),
			"k8s-audit-enabler-coordinator": slices.Concat(takeover, coordinatorOnly, secretsOfAll(namespace), secretsOfAll("kube-system"), secretsOfAll(everywhere)),
		} {
			for _, a := range asks {
				attributes := authorizationv1.ResourceAttributes{Verb: a.verb, Group: a.group, Resource: a.resource, Subresource: a.sub, Namespace: a.in, Name: a.name}
				if c.mayDo(t, account, authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &attributes}) {
					t.Errorf("%s may %+v", account, a)
				}
			}
		}
	})
	t.Run("of an apiserver's own paths, agents read four", func(t *testing.T) {
		for path, want := range map[string]bool{
			"/metrics": true, "/readyz": true, "/livez": true, "/healthz": true, "/metrics/cadvisor": false, "/debug/pprof/profile": false, "/logs/": false, "/configz": false, "/*": false,
		} {
			for _, verb := range []string{"get", "post"} {
				spec := authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: verb}}
				if got := c.mayDo(t, "k8s-audit-enabler-agent", spec); got != (want && verb == "get") {
					t.Errorf("%s %s: %v", verb, path, got)
				}
			}
			health := path == "/readyz" || path == "/livez" || path == "/healthz" // everybody may read these
			spec := authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"}}
			if got := c.mayDo(t, "k8s-audit-enabler-coordinator", spec); got && !health {
				t.Errorf("the coordinator may get %s", path)
			}
		}
	})
	t.Run("requests come to the same", c.testRequests)
	t.Run("a coordinator cannot give more than it has", func(t *testing.T) {
		client, err := kubernetes.NewForConfig(c.config(coordinatorToken))
		must(t)(client, err)
		patch := `{"rules":[{"apiGroups":[""],"resources":["secrets"],"verbs":["get"]}]}`
		_, err = client.RbacV1().Roles(namespace).Patch(t.Context(), "k8s-audit-enabler-agent-nodes", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if !apierrors.IsForbidden(err) {
			t.Errorf("Secrets for agents: %v", err)
		}
	})
}

// testRequests sends what an attacker with an agent's token would try first.
func (c *cluster) testRequests(t *testing.T) {
	client, err := kubernetes.NewForConfig(c.config(agentToken))
	must(t)(client, err)
	for _, name := range []string{credentialsSecret, "other"} {
		must(t)(c.admin.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}))
	}
	maps, secrets := client.CoreV1().ConfigMaps(namespace), client.CoreV1().Secrets(namespace)
	patch := func(name string) error {
		_, err := maps.Patch(t.Context(), name, types.MergePatchType, []byte(`{"data":{"x":"y"}}`), metav1.PatchOptions{})
		return err
	}
	get := func(name string) error {
		_, err := maps.Get(t.Context(), name, metav1.GetOptions{})
		return err
	}
	list := func(selector string) error {
		_, err := maps.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		return err
	}
	secret := func(name string) error {
		_, err := secrets.Get(t.Context(), name, metav1.GetOptions{})
		return err
	}
	for what, tt := range map[string]struct {
		err     error
		allowed bool
	}{
		"read its plan":               {get(wire.PlanName("cp1")), true},
		"list its plan":               {list("metadata.name=" + wire.PlanName("cp1")), true},
		"write its status":            {patch(wire.StatusName("cp1")), true},
		"read the credentials":        {secret(credentialsSecret), true},
		"write its plan":              {patch(wire.PlanName("cp1")), false},
		"list all ConfigMaps":         {list(""), false},
		"read the configuration":      {get(wire.ConfigName), false},
		"write the cluster's status":  {patch(wire.ClusterStatusName), false},
		"write a status not made yet": {patch(wire.StatusName("cp9")), false},
		"read another Secret":         {secret("other"), false},
	} {
		if tt.allowed && tt.err != nil || !tt.allowed && !apierrors.IsForbidden(tt.err) {
			t.Errorf("an agent that would %s: %v", what, tt.err)
		}
	}
}

// rules are what an account may do in a namespace, one line a rule, without what every account may.
func (c *cluster) rules(t *testing.T, token, in string) []string {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.config(token))
	must(t)(client, err)
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: in}}, metav1.CreateOptions{})
	must(t)(review, err)
	var lines []string
	for _, r := range review.Status.ResourceRules {
		if slices.ContainsFunc(r.Resources, func(name string) bool { return strings.HasPrefix(name, "selfsubject") }) {
			continue
		}
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				line := resource
				if group != "" {
					line += "." + group
				}
				if len(r.ResourceNames) > 0 {
					line += "[" + strings.Join(r.ResourceNames, " ") + "]"
				}
				lines = append(lines, line+": "+strings.Join(slices.Sorted(slices.Values(r.Verbs)), " "))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

func (c *cluster) mayDo(t *testing.T, account string, spec authorizationv1.SubjectAccessReviewSpec) bool {
	t.Helper()
	spec.User = "system:serviceaccount:" + namespace + ":" + account
	spec.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	review, err := c.admin.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	must(t)(review, err)
	return review.Status.Allowed
}
