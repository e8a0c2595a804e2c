package evaluate_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/apis/audit"

	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/auditpolicy/evaluate"
)

const agentUser = "system:serviceaccount:security:k8s-audit-enabler-agent"

// recommended is the policy as each kind of apiserver gets it: without v1, without omitManagedFields, with everything.
func recommended(t *testing.T) map[string]*audit.Policy {
	t.Helper()
	policies := make(map[string]*audit.Policy)
	for _, minor := range []uint{11, 22, 37} {
		v := version.MajorMinor(1, minor)
		text, err := auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: agentUser})
		if err != nil {
			t.Fatal(err)
		}
		report, err := auditpolicy.Validate(text, v)
		if err != nil {
			t.Fatal(err)
		}
		policies[v.String()] = report.Policy
	}
	return policies
}

// as fills in who asks.
func as(r evaluate.Request, user string, groups ...string) evaluate.Request {
	r.User, r.Groups = user, groups
	return r
}

func admin(r evaluate.Request) evaluate.Request {
	return as(r, "kubernetes-admin", "kubeadm:cluster-admins", "system:authenticated")
}

func anonymous(r evaluate.Request) evaluate.Request {
	return as(r, "system:anonymous", "system:unauthenticated")
}

func kubelet(r evaluate.Request) evaluate.Request {
	return as(r, "system:node:cp1", "system:nodes", "system:authenticated")
}

func controller(name string, r evaluate.Request) evaluate.Request {
	return serviceAccount("kube-system", name, r)
}

func serviceAccount(namespace, name string, r evaluate.Request) evaluate.Request {
	return as(r, "system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace, "system:authenticated")
}

func component(name string, r evaluate.Request) evaluate.Request {
	return as(r, name, "system:authenticated")
}

// on builds a request about a resource, written as verb, "group/resource" or "resource", namespace, name.
func on(verb, resource, namespace, name string) evaluate.Request {
	r := evaluate.Request{Verb: verb, Namespace: namespace, Name: name}
	group, rest, found := strings.Cut(resource, ":")
	if !found {
		group, rest = "", resource
	}
	r.Group = group
	r.Resource, r.Subresource, _ = strings.Cut(rest, "/")
	return r
}

func path(verb, p string) evaluate.Request { return evaluate.Request{Verb: verb, Path: p} }

const rbac = "rbac.authorization.k8s.io:"

// detection is an action behind a common detection rule, and what that rule needs to be recorded of it.
type detection struct {
	request evaluate.Request
	least   audit.Level
	// started wants an event as soon as the connection stands.
	started bool
}

func detections() map[string]detection {
	bodies, both := audit.LevelRequest, audit.LevelRequestResponse
	return map[string]detection{
		"a disallowed, privileged, hostNetwork or sensitive-mount pod made by a person": {request: admin(on("create", "pods", "default", "")), least: both},
		"such a pod made by a Deployment":                                               {request: controller("replicaset-controller", on("create", "pods", "default", "")), least: both},
		"such a pod made by a DaemonSet":                                                {request: controller("daemon-set-controller", on("create", "pods", "default", "")), least: both},
		"such a pod made by the controllers under one user":                             {request: component("system:kube-controller-manager", on("create", "pods", "default", "")), least: both},
		"a pod created in a kube namespace":                                             {request: admin(on("create", "pods", "kube-system", "")), least: both},
		"a static pod appearing":                                                        {request: kubelet(on("create", "pods", "kube-system", "x")), least: both},
		"a pod changed":                                                                 {request: admin(on("patch", "pods", "default", "web")), least: bodies},
		"a debug container put into a pod":                                              {request: admin(on("patch", "pods/ephemeralcontainers", "default", "web")), least: both},
		"a debug container, as clients before 1.22 did it":                              {request: admin(on("update", "pods/ephemeralcontainers", "default", "web")), least: both},
		"a NodePort Service":                                                            {request: admin(on("create", "services", "default", "")), least: both},
		"a Service turned into a NodePort":                                              {request: admin(on("patch", "services", "default", "web")), least: bodies},
		"a ConfigMap with credentials":                                                  {request: admin(on("create", "configmaps", "default", "")), least: bodies},
		"a ConfigMap changed to hold credentials":                                       {request: admin(on("update", "configmaps", "default", "web")), least: bodies},
		"a ConfigMap patched to hold credentials":                                       {request: serviceAccount("default", "ci", on("patch", "configmaps", "default", "web")), least: bodies},
		"a ConfigMap written by an add-on of kube-system":                               {request: serviceAccount("kube-system", "addon", on("update", "configmaps", "kube-system", "web")), least: bodies},
		"somebody attached to cluster-admin":                                            {request: admin(on("create", rbac+"clusterrolebindings", "", "")), least: both},
		"subjects added to a binding":                                                   {request: admin(on("patch", rbac+"clusterrolebindings", "", "x")), least: both},
		"a ClusterRole with wildcards or write privileges":                              {request: admin(on("create", rbac+"clusterroles", "", "")), least: both},
		"a Role with pod exec":                                                          {request: admin(on("create", rbac+"roles", "default", "")), least: both},
		"rules added to a ClusterRole":                                                  {request: admin(on("update", rbac+"clusterroles", "", "x")), least: both},
		"a ClusterRole changed by a controller's stolen user":                           {request: controller("clusterrole-aggregation-controller", on("patch", rbac+"clusterroles", "", "x")), least: both},
		"a binding deleted":                                                             {request: admin(on("delete", rbac+"rolebindings", "default", "x")), least: bodies},
		"exec over SPDY":                                                                {request: admin(on("create", "pods/exec", "default", "web")), least: audit.LevelMetadata, started: true},
		"exec over WebSocket":                                                           {request: admin(on("get", "pods/exec", "default", "web")), least: audit.LevelMetadata, started: true},
		"attach":                                                                        {request: admin(on("create", "pods/attach", "default", "web")), least: audit.LevelMetadata, started: true},
		"port-forward":                                                                  {request: admin(on("create", "pods/portforward", "default", "web")), least: audit.LevelMetadata, started: true},
		"exec with a controller's stolen token":                                         {request: controller("namespace-controller", on("get", "pods/exec", "default", "web")), least: audit.LevelMetadata, started: true},
		"exec with a kubelet's stolen certificate":                                      {request: kubelet(on("get", "pods/exec", "default", "web")), least: audit.LevelMetadata, started: true},
		"a service account created in a kube namespace":                                 {request: admin(on("create", "serviceaccounts", "kube-system", "")), least: bodies},
		"a namespace created":                                                           {request: admin(on("create", "namespaces", "", "")), least: both},
		"a namespace deleted":                                                           {request: admin(on("delete", "namespaces", "", "x")), least: bodies},
		"a Deployment created":                                                          {request: admin(on("create", "apps:deployments", "default", "")), least: bodies},
		"a Deployment deleted":                                                          {request: admin(on("delete", "apps:deployments", "default", "x")), least: bodies},
		"a Deployment created through extensions":                                       {request: admin(on("create", "extensions:deployments", "default", "")), least: bodies},
		"a Service deleted":                                                             {request: admin(on("delete", "services", "default", "x")), least: bodies},
		"a ConfigMap deleted":                                                           {request: admin(on("delete", "configmaps", "default", "x")), least: bodies},
		"an admission webhook registered":                                               {request: admin(on("create", "admissionregistration.k8s.io:mutatingwebhookconfigurations", "", "")), least: bodies},
		"a certificate asked for":                                                       {request: admin(on("create", "certificates.k8s.io:certificatesigningrequests", "", "")), least: bodies},
		"an anonymous request that is let in":                                           {request: anonymous(on("list", "pods", "default", "")), least: audit.LevelMetadata},
		"an anonymous creation of a pod":                                                {request: anonymous(on("create", "pods", "default", "")), least: both},
		"the canary":                                                                    {request: serviceAccount("security", "k8s-audit-enabler-agent", path("get", "/livez")), least: audit.LevelMetadata},
	}
}

func (d detection) met(o evaluate.Outcome) bool {
	return !o.Level.Less(d.least) && slices.Contains(o.Stages, audit.StageResponseComplete) &&
		!slices.Contains(o.Stages, audit.StageRequestReceived) &&
		(!d.started || slices.Contains(o.Stages, audit.StageResponseStarted))
}

func TestDetectionRulesGetWhatTheyRead(t *testing.T) {
	t.Parallel()
	for name, test := range detections() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for v, p := range recommended(t) {
				if got := evaluate.Policy(p, test.request); !test.met(got) {
					t.Errorf("%s: level %s at %v, want at least %s, once", v, got.Level, got.Stages, test.least)
				}
			}
		})
	}
}

func activity() map[string]evaluate.Request {
	return map[string]evaluate.Request{
		"a kubelet's credentials watching RBAC":                              kubelet(on("watch", rbac+"clusterroles", "", "")),
		"a write under the apiserver's name":                                 component("system:apiserver", on("update", "secrets", "default", "x")),
		"a person reviewing a token":                                         admin(on("create", "authentication.k8s.io:tokenreviews", "", "")),
		"a person asking what another may do":                                admin(on("create", "authorization.k8s.io:subjectaccessreviews", "", "")),
		"a post to the version":                                              admin(path("post", "/version")),
		"a workload resetting metrics":                                       serviceAccount("default", "web", path("delete", "/metrics")),
		"an add-on posting to the API's groups":                              serviceAccount("kube-system", "addon", path("post", "/apis")),
		"an add-on's stolen token reading a ConfigMap":                       serviceAccount("kube-system", "addon", on("get", "configmaps", "kube-system", "x")),
		"an add-on's stolen token listing pods":                              serviceAccount("kube-system", "addon", on("list", "pods", "", "")),
		"a workload deleting Events":                                         serviceAccount("default", "web", on("delete", "events", "default", "x")),
		"the controllers' stolen credentials deleting Events":                component("system:kube-controller-manager", on("deletecollection", "events", "default", "")),
		"a workload deleting a Lease":                                        serviceAccount("default", "web", on("delete", "coordination.k8s.io:leases", "kube-node-lease", "cp1")),
		"the scheduler's stolen credentials deleting a Lease":                component("system:kube-scheduler", on("delete", "coordination.k8s.io:leases", "kube-system", "x")),
		"the scheduler's stolen credentials deleting a lock":                 component("system:kube-scheduler", on("delete", "endpoints", "kube-system", "kube-scheduler")),
		"the scheduler's stolen credentials changing what is no lock":        component("system:kube-scheduler", on("update", "endpoints", "kube-system", "kube-dns")),
		"the scheduler's stolen credentials changing what has a lock's name": component("system:kube-scheduler", on("update", "configmaps", "default", "kube-scheduler")),
		"a person changing an add-on's lock":                                 admin(on("update", "configmaps", "ingress", "ingress-controller-leader")),
		"a workload deleting an add-on's lock":                               serviceAccount("default", "web", on("delete", "configmaps", "ingress", "ingress-controller-leader")),
		"a workload reading Services":                                        serviceAccount("default", "web", on("get", "services", "default", "x")),
		"kube-proxy's stolen credentials changing a Service":                 component("system:kube-proxy", on("patch", "services", "default", "x")),
		"kube-proxy's stolen credentials looking around":                     component("system:kube-proxy", on("list", "pods", "", "")),
		"a person changing a Node's status":                                  admin(on("patch", "nodes/status", "", "cp1")),
		"cluster DNS's stolen token writing":                                 serviceAccount("kube-system", "coredns", on("patch", "services", "default", "x")),
		"cluster DNS's stolen token looking around":                          serviceAccount("kube-system", "coredns", on("list", "configmaps", "", "")),
		"a person reading Secrets":                                           admin(on("list", "secrets", "", "")),
		"a person reading pods":                                              admin(on("get", "pods", "default", "web")),
		"a person watching pods":                                             admin(on("watch", "pods", "default", "")),
		"a person reading logs":                                              admin(on("get", "pods/log", "default", "web")),
		"a person changing a Lease":                                          admin(on("update", "coordination.k8s.io:leases", "kube-system", "kube-scheduler")),
		"a person deleting Events":                                           admin(on("deletecollection", "events", "default", "")),
		"a person writing an Event":                                          admin(on("create", "events", "default", "")),
		"a person reading metrics":                                           admin(path("get", "/metrics")),
		"a person reading the API's groups":                                  admin(path("get", "/apis")),
		"a person changing a lock of the control plane":                      admin(on("update", "endpoints", "kube-system", "kube-scheduler")),
		"a post to a health check":                                           anonymous(path("post", "/healthz")),
		"a person's permission check":                                        admin(on("create", "authorization.k8s.io:selfsubjectaccessreviews", "", "")),
		"a person draining a node":                                           admin(on("create", "pods/eviction", "default", "web")),
		"a person cordoning a node":                                          admin(on("patch", "nodes", "", "cp1")),
		"a person changing a custom resource":                                admin(on("patch", "example.com:widgets", "default", "x")),
		"a controller's stolen token reading Secrets":                        controller("namespace-controller", on("list", "secrets", "", "")),
		"a controller's stolen token watching Secrets":                       controller("generic-garbage-collector", on("watch", "secrets", "", "")),
		"an add-on's stolen token watching Secrets":                          serviceAccount("kube-system", "addon", on("watch", "secrets", "", "")),
		"an add-on's stolen token listing ConfigMaps":                        serviceAccount("kube-system", "addon", on("list", "configmaps", "", "")),
		"a token minted for a service account":                               admin(on("create", "serviceaccounts/token", "kube-system", "x")),
		"a kubelet's credentials reading a Secret":                           kubelet(on("get", "secrets", "default", "x")),
		"a kubelet's credentials minting a token":                            kubelet(on("create", "serviceaccounts/token", "default", "x")),
		"a kubelet's credentials changing labels":                            kubelet(on("patch", "nodes", "", "cp1")),
		"a kubelet's credentials deleting a pod":                             kubelet(on("delete", "pods", "default", "web")),
		"a kubelet's credentials looking at RBAC":                            kubelet(on("list", rbac+"clusterroles", "", "")),
		"a workload looking around":                                          serviceAccount("default", "web", on("list", "pods", "", "")),
		"a workload reading the API's groups":                                serviceAccount("default", "web", path("get", "/apis")),
		"a workload asking what it may do":                                   serviceAccount("default", "web", on("create", "authorization.k8s.io:selfsubjectrulesreviews", "", "")),
		"an anonymous look at the version":                                   anonymous(path("get", "/version")),
		"an anonymous look at the API's groups":                              anonymous(path("get", "/apis")),
		"an anonymous look at the API's description":                         anonymous(path("get", "/openapi/v2")),
		"an anonymous look at the metrics":                                   anonymous(path("get", "/metrics")),
		"an anonymous look at Events":                                        anonymous(on("list", "events", "", "")),
		"an anonymous Event":                                                 anonymous(on("create", "events", "", "")),
		"a path that merely begins like a health check":                      anonymous(path("get", "/healthzz")),
		"a controller deleting what belonged to a namespace":                 controller("namespace-controller", on("deletecollection", "configmaps", "default", "")),
		"a Service account's read through a node":                            serviceAccount("default", "web", on("get", "nodes/proxy", "", "cp1")),
	}
}

func TestActivityIsSeen(t *testing.T) {
	t.Parallel()
	for name, request := range activity() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for v, p := range recommended(t) {
				if got := evaluate.Policy(p, request); !slices.Contains(got.Stages, audit.StageResponseComplete) {
					t.Errorf("%s: level %s, stages %v: not seen", v, got.Level, got.Stages)
				}
			}
		})
	}
}

func noise() map[string]evaluate.Request {
	return map[string]evaluate.Request{
		"a kubelet's heartbeat":                      kubelet(on("update", "coordination.k8s.io:leases", "kube-node-lease", "cp1")),
		"a kubelet's first heartbeat":                kubelet(on("create", "coordination.k8s.io:leases", "kube-node-lease", "")),
		"a kubelet reporting its Node":               kubelet(on("patch", "nodes/status", "", "cp1")),
		"a kubelet reporting a pod":                  kubelet(on("patch", "pods/status", "default", "web")),
		"a kubelet reading its Node":                 kubelet(on("get", "nodes", "", "cp1")),
		"a kubelet watching pods":                    kubelet(on("watch", "pods", "", "")),
		"a kubelet watching a pod's Secret":          kubelet(on("watch", "secrets", "default", "x")),
		"a kubelet watching a pod's ConfigMap":       kubelet(on("watch", "configmaps", "default", "x")),
		"a kubelet watching CSI drivers":             kubelet(on("watch", "storage.k8s.io:csidrivers", "", "")),
		"a kubelet watching runtime classes":         kubelet(on("watch", "node.k8s.io:runtimeclasses", "", "")),
		"a kubelet checking a caller's token":        kubelet(on("create", "authentication.k8s.io:tokenreviews", "", "")),
		"a kubelet checking a caller's rights":       kubelet(on("create", "authorization.k8s.io:subjectaccessreviews", "", "")),
		"a kubelet writing an Event":                 kubelet(on("patch", "events", "default", "x")),
		"leader election of the scheduler":           component("system:kube-scheduler", on("update", "coordination.k8s.io:leases", "kube-system", "kube-scheduler")),
		"leader election of the controllers":         component("system:kube-controller-manager", on("get", "coordination.k8s.io:leases", "kube-system", "kube-controller-manager")),
		"leader election of old":                     component("system:kube-scheduler", on("update", "endpoints", "kube-system", "kube-scheduler")),
		"leader election of older":                   component("system:kube-controller-manager", on("update", "configmaps", "kube-system", "kube-controller-manager")),
		"leader election of an operator":             serviceAccount("operators", "op", on("update", "coordination.k8s.io:leases", "operators", "op")),
		"leader election of an ingress controller":   serviceAccount("ingress", "nginx", on("update", "configmaps", "ingress", "ingress-controller-leader")),
		"leader election of minikube's storage":      serviceAccount("kube-system", "storage-provisioner", on("update", "endpoints", "kube-system", "k8s.io-minikube-hostpath")),
		"the apiserver's identity":                   component("system:apiserver", on("update", "coordination.k8s.io:leases", "kube-system", "apiserver-x")),
		"the apiserver's own informers":              as(on("watch", "secrets", "", ""), "system:apiserver", "system:masters", "system:authenticated"),
		"the apiserver's own reads":                  as(on("get", "namespaces", "", "default"), "system:apiserver", "system:masters", "system:authenticated"),
		"the garbage collector's informers":          controller("generic-garbage-collector", on("watch", "example.com:widgets", "", "")),
		"the garbage collector's discovery":          controller("generic-garbage-collector", path("get", "/apis/apps/v1")),
		"the namespace controller's lists":           controller("namespace-controller", on("list", "pods", "default", "")),
		"the autoscaler's metrics":                   controller("horizontal-pod-autoscaler", on("list", "metrics.k8s.io:pods", "default", "")),
		"the controllers' informers under one user":  component("system:kube-controller-manager", on("watch", "apps:deployments", "", "")),
		"the scheduler's informers":                  component("system:kube-scheduler", on("watch", "pods", "", "")),
		"kube-proxy's informers":                     component("system:kube-proxy", on("watch", "services", "", "")),
		"kube-proxy's informers in kubeadm clusters": serviceAccount("kube-system", "kube-proxy", on("watch", "discovery.k8s.io:endpointslices", "", "")),
		"cluster DNS":                                serviceAccount("kube-system", "coredns", on("list", "discovery.k8s.io:endpointslices", "", "")),
		"an add-on's informers":                      serviceAccount("kube-system", "metrics-server", on("watch", "nodes", "", "")),
		"an Event":                                   controller("replicaset-controller", on("create", "events", "default", "")),
		"an Event of the scheduler":                  component("system:kube-scheduler", on("create", "events.k8s.io:events", "default", "")),
		"a person reading Events":                    admin(on("list", "events", "default", "")),
		"a person's client reading the description":  admin(path("get", "/openapi/v3/apis/apps/v1")),
		"a person's client reading the version":      admin(path("get", "/version")),
		"a load balancer's check":                    anonymous(path("get", "/healthz")),
		"a load balancer's check without a body":     anonymous(path("head", "/healthz")),
		"a kubelet's probe":                          anonymous(path("get", "/livez")),
		"a check of one part":                        anonymous(path("get", "/readyz/etcd")),
		"the agent's other checks":                   serviceAccount("security", "k8s-audit-enabler-agent", path("get", "/readyz")),
		"the agent's reading of metrics":             serviceAccount("security", "k8s-audit-enabler-agent", path("get", "/metrics")),
		"GET /livez by another agent of that name":   serviceAccount("elsewhere", "k8s-audit-enabler-agent", path("get", "/livez")),
		"Prometheus":                                 serviceAccount("monitoring", "prometheus", path("get", "/metrics")),
		"discovery by an add-on":                     serviceAccount("kube-system", "metrics-server", path("get", "/apis")),
		"a claim's device looked up by a kubelet":    kubelet(on("get", "resource.k8s.io:resourceclaims", "default", "x")),
		"a certificate waited for by a kubelet":      kubelet(on("watch", "certificates.k8s.io:certificatesigningrequests", "", "")),
		"kube-proxy reading its Node":                component("system:kube-proxy", on("get", "nodes", "", "cp1")),
	}
}

func TestNoiseIsDropped(t *testing.T) {
	t.Parallel()
	for name, request := range noise() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for v, p := range recommended(t) {
				if got := evaluate.Policy(p, request); got.Level != audit.LevelNone {
					t.Errorf("%s: level %s, want it dropped", v, got.Level)
				}
			}
		})
	}
}

// TestEveryRuleIsHeldByATest takes away each rule, and each restriction of a rule, and wants the tables above to notice.
// What they do not notice could go wrong unseen.
func TestEveryRuleIsHeldByATest(t *testing.T) {
	t.Parallel()
	whole := recommended(t)["1.37"]
	notices := func(p *audit.Policy) bool {
		for _, d := range detections() {
			if !d.met(evaluate.Policy(p, d.request)) {
				return true
			}
		}
		for _, r := range activity() {
			if !slices.Contains(evaluate.Policy(p, r).Stages, audit.StageResponseComplete) {
				return true
			}
		}
		for _, r := range noise() {
			if evaluate.Policy(p, r).Level != audit.LevelNone {
				return true
			}
		}
		return secretLeak(p) != ""
	}
	if notices(whole) {
		t.Fatal("the whole policy already fails")
	}
	for i, rule := range whole.Rules {
		without := whole.DeepCopy()
		without.Rules = slices.Delete(without.Rules, i, i+1)
		if !notices(without) && !volumeOnly(rule) {
			t.Errorf("rules[%d] %+v can be left out", i, rule)
		}
		if rule.Level != audit.LevelNone {
			continue
		}
		for what, loosen := range map[string]func(r *audit.PolicyRule){
			"users":      func(r *audit.PolicyRule) { r.Users, r.UserGroups = nil, nil },
			"verbs":      func(r *audit.PolicyRule) { r.Verbs = nil },
			"resources":  func(r *audit.PolicyRule) { r.Resources, r.NonResourceURLs = nil, nil },
			"namespaces": func(r *audit.PolicyRule) { r.Namespaces = nil },
		} {
			looser := whole.DeepCopy()
			loosen(&looser.Rules[i])
			if cmp.Equal(looser.Rules[i], rule) {
				continue
			}
			if !notices(looser) {
				t.Errorf("rules[%d] %+v can go without its %s", i, rule, what)
			}
		}
	}
}

// volumeOnly are the rules that record less of what is recorded anyway, to save volume.
func volumeOnly(rule audit.PolicyRule) bool {
	return rule.Level == audit.LevelMetadata && (len(rule.OmitStages) > 1 || slices.Contains(rule.Users, "system:serviceaccount:kube-system:deployment-controller"))
}

// callers are one of each kind that rules tell apart.
func callers() []func(evaluate.Request) evaluate.Request {
	list := []func(evaluate.Request) evaluate.Request{admin, anonymous, kubelet}
	for _, name := range []string{"system:kube-controller-manager", "system:kube-scheduler", "system:apiserver", "system:kube-proxy", "system:aggregator"} {
		list = append(list, func(r evaluate.Request) evaluate.Request { return component(name, r) })
	}
	for _, name := range []string{"namespace-controller", "generic-garbage-collector", "root-ca-cert-publisher", "coredns", "kube-proxy", "addon"} {
		list = append(list, func(r evaluate.Request) evaluate.Request { return controller(name, r) })
	}
	return append(list, func(r evaluate.Request) evaluate.Request { return serviceAccount("default", "web", r) })
}

func everyVerb() []string {
	return []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
}

func TestSecretsAndTokensNeverLeave(t *testing.T) {
	t.Parallel()
	for v, p := range recommended(t) {
		if leak := secretLeak(p); leak != "" {
			t.Errorf("%s: %s", v, leak)
		}
	}
}

// secretLeak is a request for a Secret or a token that is recorded with a body, or empty.
func secretLeak(p *audit.Policy) string {
	for _, resource := range []string{"secrets", "serviceaccounts/token", "authentication.k8s.io:tokenreviews", "authentication.k8s.io:tokenrequests", "oauth.openshift.io:oauthaccesstokens"} {
		for _, verb := range everyVerb() {
			for _, by := range callers() {
				for _, namespace := range []string{"default", "kube-system", ""} {
					request := by(on(verb, resource, namespace, "x"))
					if got := evaluate.Policy(p, request); audit.LevelMetadata.Less(got.Level) {
						return verb + " " + resource + " by " + request.User + " is recorded at " + string(got.Level)
					}
				}
			}
		}
	}
	return ""
}

func TestNoWriteToRightsOrConnectionIntoAPodIsDropped(t *testing.T) {
	t.Parallel()
	for v, p := range recommended(t) {
		for _, by := range callers() {
			for _, verb := range everyVerb() {
				resources := []string{"pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy", "nodes/proxy"}
				if !slices.Contains([]string{"get", "list", "watch"}, verb) {
					resources = append(resources, rbac+"roles", rbac+"clusterroles", rbac+"rolebindings", rbac+"clusterrolebindings", "secrets", "pods", "namespaces", "admissionregistration.k8s.io:validatingwebhookconfigurations")
				}
				for _, resource := range resources {
					request := by(on(verb, resource, "kube-system", "x"))
					if got := evaluate.Policy(p, request); got.Level == audit.LevelNone {
						t.Errorf("%s: %s %s by %s is dropped", v, verb, resource, request.User)
					}
				}
			}
		}
	}
}

func TestOnlyHealthChecksOfAnonymousCallersAreDropped(t *testing.T) {
	t.Parallel()
	for v, p := range recommended(t) {
		for _, resource := range []string{"pods", "secrets", "events", "events.k8s.io:events", "nodes", "nodes/status", "configmaps", "endpoints", "coordination.k8s.io:leases", "authentication.k8s.io:tokenreviews", "authorization.k8s.io:subjectaccessreviews", "example.com:widgets"} {
			for _, verb := range everyVerb() {
				for _, name := range []string{"x", "kube-scheduler", "ingress-controller-leader"} {
					if got := evaluate.Policy(p, anonymous(on(verb, resource, "kube-system", name))); got.Level == audit.LevelNone {
						t.Errorf("%s: %s %s is dropped", v, verb, resource)
					}
				}
			}
		}
		for _, nonResource := range []string{"/", "/api", "/apis", "/version", "/openapi/v2", "/openapi/v3", "/metrics", "/metrics/slis", "/swagger.json", "/logs", "/debug/pprof/", "/.well-known/openid-configuration", "/openid/v1/jwks"} {
			if got := evaluate.Policy(p, anonymous(path("get", nonResource))); got.Level == audit.LevelNone {
				t.Errorf("%s: GET %s is dropped", v, nonResource)
			}
		}
	}
}

func TestThePolicyEverybodyCopiesIsWhatItIsComparedWith(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../manifests/policy/testdata/gce-like.yaml")
	if err != nil {
		t.Fatal(err)
	}
	report, err := auditpolicy.Validate(text, version.MajorMinor(1, 37))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		request evaluate.Request
		want    audit.Level
	}{
		"it drops kube-proxy's watches by its certificate":   {component("system:kube-proxy", on("watch", "services", "", "")), audit.LevelNone},
		"it keeps kube-proxy's watches by a service account": {serviceAccount("kube-system", "kube-proxy", on("watch", "services", "", "")), audit.LevelRequest},
		"it records heartbeats":                              {kubelet(on("update", "coordination.k8s.io:leases", "kube-node-lease", "cp1")), audit.LevelMetadata},
		"it records node status with its body":               {kubelet(on("patch", "nodes/status", "", "cp1")), audit.LevelRequest},
		"it records no ConfigMap's body":                     {admin(on("create", "configmaps", "default", "")), audit.LevelMetadata},
		"it records writes with both bodies":                 {admin(on("create", "apps:deployments", "default", "")), audit.LevelRequestResponse},
		"it drops anybody's look at the version":             {anonymous(path("get", "/version")), audit.LevelNone},
	} {
		if got := evaluate.Policy(report.Policy, test.request); got.Level != test.want {
			t.Errorf("%s: level %s, want %s", name, got.Level, test.want)
		}
	}
}

func TestLogsCanary(t *testing.T) {
	t.Parallel()
	const header = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	for name, test := range map[string]struct {
		policy string
		want   bool
	}{
		"a policy that records everything does":            {"rules:\n- level: Metadata\n", true},
		"one that drops health checks does not":            {"rules:\n- level: None\n  nonResourceURLs: [\"/livez*\"]\n- level: Metadata\n", false},
		"one that records the start alone does not":        {"omitStages: [ResponseComplete]\nrules:\n- level: Metadata\n", false},
		"one that records resources alone does not":        {"rules:\n- level: Metadata\n  resources: [{group: \"\"}]\n", false},
		"one that drops service accounts does not":         {"rules:\n- level: None\n  userGroups: [\"system:serviceaccounts\"]\n- level: Metadata\n", false},
		"one that drops another namespace's accounts does": {"rules:\n- level: None\n  userGroups: [\"system:serviceaccounts:kube-system\"]\n- level: Metadata\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := auditpolicy.Validate([]byte(header+test.policy), version.MajorMinor(1, 37))
			if err != nil {
				t.Fatal(err)
			}
			if got := evaluate.LogsCanary(report.Policy, agentUser); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
	for v, p := range recommended(t) {
		if !evaluate.LogsCanary(p, agentUser) {
			t.Errorf("%s: the recommended policy does not", v)
		}
		if evaluate.LogsCanary(p, "system:serviceaccount:security:other") {
			t.Errorf("%s: the recommended policy does it for anybody", v)
		}
	}
}
