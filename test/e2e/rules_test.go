package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/receiver"
)

// rule is a detection rule: the action that it is about, the event that it is matched against, and the fields it reads.
type rule struct {
	// do is a kubectl command line, or a document for kubectl create where it begins with a brace.
	do []string
	// verb may be empty: an exec is a get or a create, by the client's protocol.
	verb, resource, namespace, name string
	// fields maps a path into the event's JSON to the value there.
	fields map[string]string
}

// pod is a Pod that need not run.
func pod(namespace, name, spec string) string {
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":%q},"spec":%s}`, name, namespace, spec)
}

const image = "localhost/lab/absent:1"

// rules are the common detection rules of the field, by the names they are known under. They act in the namespace shop,
// where the pod sleeper runs.
func rules() map[string]rule {
	container := `"containers":[{"name":"c","image":"` + image + `","imagePullPolicy":"Never"}]`
	return map[string]rule{
		"Create Disallowed Pod": {
			do:   []string{pod("shop", "disallowed", "{"+container+"}")},
			verb: "create", resource: "pods", namespace: "shop", name: "disallowed",
			fields: map[string]string{"requestObject.spec.containers.0.image": image},
		},
		"Create Privileged Pod": {
			do:   []string{pod("shop", "privileged", `{"containers":[{"name":"c","image":"`+image+`","securityContext":{"privileged":true}}]}`)},
			verb: "create", resource: "pods", namespace: "shop", name: "privileged",
			fields: map[string]string{"requestObject.spec.containers.0.securityContext.privileged": "true"},
		},
		"Create Sensitive Mount Pod": {
			do:   []string{pod("shop", "mounts", `{`+container+`,"volumes":[{"name":"v","hostPath":{"path":"/etc"}}]}`)},
			verb: "create", resource: "pods", namespace: "shop", name: "mounts",
			fields: map[string]string{"requestObject.spec.volumes.0.hostPath.path": "/etc"},
		},
		"Create HostNetwork Pod": {
			do:   []string{pod("shop", "hostnet", `{`+container+`,"hostNetwork":true}`)},
			verb: "create", resource: "pods", namespace: "shop", name: "hostnet",
			fields: map[string]string{"requestObject.spec.hostNetwork": "true"},
		},
		"Pod Created in Kube Namespace": {
			do:   []string{pod("kube-system", "stowaway", "{"+container+"}")},
			verb: "create", resource: "pods", namespace: "kube-system", name: "stowaway",
			fields: map[string]string{"objectRef.namespace": "kube-system", "requestObject.spec.containers.0.image": image},
		},
		"Create NodePort Service": {
			do:   []string{"-n", "shop", "create", "service", "nodeport", "door", "--tcp=80:8080"},
			verb: "create", resource: "services", namespace: "shop", name: "door",
			fields: map[string]string{"requestObject.spec.type": "NodePort"},
		},
		"Create Configmap With Private Credentials": {
			do:   []string{"-n", "shop", "create", "configmap", "careless", "--from-literal=aws_access_key_id=AKIA000"},
			verb: "create", resource: "configmaps", namespace: "shop", name: "careless",
			fields: map[string]string{"requestObject.data.aws_access_key_id": "AKIA000"},
		},
		"Modify Configmap With Private Credentials": {
			do:   []string{"-n", "shop", "patch", "configmap", "settings", "--type=merge", `--patch={"data":{"password":"hunter2"}}`},
			verb: "patch", resource: "configmaps", namespace: "shop", name: "settings",
			fields: map[string]string{"requestObject.data.password": "hunter2"},
		},
		"Attach to cluster-admin Role": {
			do:   []string{"create", "clusterrolebinding", "everything", "--clusterrole=cluster-admin", "--user=mallory"},
			verb: "create", resource: "clusterrolebindings", name: "everything",
			fields: map[string]string{"requestObject.roleRef.name": "cluster-admin", "requestObject.subjects.0.name": "mallory"},
		},
		"ClusterRole With Wildcard Created": {
			do:   []string{"create", "clusterrole", "wildcard", "--verb=*", "--resource=pods"},
			verb: "create", resource: "clusterroles", name: "wildcard",
			fields: map[string]string{"requestObject.rules.0.verbs.0": "*"},
		},
		"ClusterRole With Write Privileges Created": {
			do:   []string{"create", "clusterrole", "writer", "--verb=create,delete", "--resource=deployments.apps"},
			verb: "create", resource: "clusterroles", name: "writer",
			fields: map[string]string{"requestObject.rules.0.verbs.0": "create", "requestObject.rules.0.verbs.1": "delete"},
		},
		"ClusterRole With Pod Exec Created": {
			do:   []string{"create", "clusterrole", "execer", "--verb=create", "--resource=pods/exec"},
			verb: "create", resource: "clusterroles", name: "execer",
			fields: map[string]string{"requestObject.rules.0.resources.0": "pods/exec"},
		},
		"Exec Pod": {
			do:       []string{"-n", "shop", "exec", "sleeper", "--", "/bin/busybox", "true"},
			resource: "pods/exec", namespace: "shop", name: "sleeper",
			fields: map[string]string{"objectRef.subresource": "exec", "objectRef.name": "sleeper"},
		},
		"Attach Pod": {
			do:       []string{"-n", "shop", "attach", "sleeper"},
			resource: "pods/attach", namespace: "shop", name: "sleeper",
			fields: map[string]string{"objectRef.subresource": "attach"},
		},
		"Service Account Created in Kube Namespace": {
			do:   []string{"-n", "kube-system", "create", "serviceaccount", "sleepy"},
			verb: "create", resource: "serviceaccounts", namespace: "kube-system", name: "sleepy",
			fields: map[string]string{"objectRef.namespace": "kube-system", "annotations.authorization\\.k8s\\.io/decision": "allow"},
		},
		"K8s Namespace Created": {
			do:   []string{"create", "namespace", "annex"},
			verb: "create", resource: "namespaces", name: "annex",
			fields: map[string]string{"requestObject.metadata.name": "annex", "responseStatus.code": "201"},
		},
		"K8s Deployment Created": {
			do:   []string{"-n", "shop", "create", "deployment", "web", "--image=" + image, "--replicas=0"},
			verb: "create", resource: "deployments", namespace: "shop", name: "web",
			fields: map[string]string{"requestObject.spec.template.spec.containers.0.image": image, "responseStatus.code": "201"},
		},
		"K8s Deployment Deleted": {
			do:   []string{"-n", "shop", "delete", "deployment", "old"},
			verb: "delete", resource: "deployments", namespace: "shop", name: "old",
			fields: map[string]string{"responseStatus.code": "200"},
		},
		"K8s Service Created": {
			do:   []string{"-n", "shop", "create", "service", "clusterip", "counter", "--tcp=80:8080"},
			verb: "create", resource: "services", namespace: "shop", name: "counter",
			fields: map[string]string{"requestObject.spec.type": "ClusterIP"},
		},
		"K8s Service Deleted": {
			do:   []string{"-n", "shop", "delete", "service", "old"},
			verb: "delete", resource: "services", namespace: "shop", name: "old",
			fields: map[string]string{"responseStatus.code": "200"},
		},
		"K8s ConfigMap Deleted": {
			do:   []string{"-n", "shop", "delete", "configmap", "old"},
			verb: "delete", resource: "configmaps", namespace: "shop", name: "old",
			fields: map[string]string{"responseStatus.code": "200"},
		},
		"K8s Namespace Deleted": {
			do:   []string{"delete", "namespace", "condemned", "--wait=false"},
			verb: "delete", resource: "namespaces", name: "condemned",
			fields: map[string]string{"responseStatus.code": "200"},
		},
	}
}

// ruleProps are what the rules' actions act on, made before.
const ruleProps = `
{apiVersion: v1, kind: Namespace, metadata: {name: condemned}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}, data: {color: green}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: old, namespace: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: old, namespace: shop}, spec: {ports: [{port: 80}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: old, namespace: shop}
spec: {replicas: 0, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: "` + image + `"}]}}}
`

// detectionRules performs the action behind each rule, all at first, and then finds the events: batches take 5 s each.
func detectionRules(t *testing.T, s *scene) { //nolint:thelper // an act, whose lines matter
	s.apply(t, ruleProps)
	begin := time.Now()
	table := rules()
	for name, r := range table {
		perform(t, s, name, r)
	}
	for name, r := range table {
		t.Run(name, func(t *testing.T) {
			choose := []receiver.Predicate{receiver.Since(begin), receiver.Object(r.resource, r.namespace, r.name)}
			if r.verb != "" {
				choose = append(choose, receiver.Verb(r.verb), stageIs("ResponseComplete"))
			}
			e := s.event(t, choose...)
			if e.User.Username != "kubernetes-admin" {
				t.Errorf("user is %q, want the one who did it", e.User.Username)
			}
			wantFields(t, e, r.fields)
		})
	}
	t.Run("Anonymous Request Allowed", func(t *testing.T) {
		id := fmt.Sprintf("anonymous-%d", time.Now().UnixNano())
		must(t, s.SendAnonymous(within(t, 30*time.Second), s.Nodes()[0], "/version", id))
		e := s.event(t, receiver.ID(id))
		wantFields(t, e, map[string]string{
			"user.username": "system:anonymous", "requestURI": "/version", "annotations.authorization\\.k8s\\.io/decision": "allow",
		})
	})
	s.kubectl(t, "delete", "clusterrolebinding/everything", "clusterrole/wildcard", "clusterrole/writer", "clusterrole/execer", "namespace/annex", "--wait=false")
	s.kubectl(t, "-n", "kube-system", "delete", "pod/stowaway", "serviceaccount/sleepy", "--wait=false")
}

func perform(t *testing.T, s *scene, name string, r rule) {
	t.Helper()
	var err error
	ctx := within(t, 30*time.Second)
	switch {
	case strings.HasPrefix(r.do[0], "{"):
		_, err = s.Run(ctx, r.do[0], s.KubectlPath, "create", "-f", "-")
	case slices.Contains(r.do, "attach"):
		// Attaching ends with the container, so it is cut off here; by then the request has been answered.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		_, _ = s.Kubectl(ctx, r.do...)
	default:
		_, err = s.Kubectl(ctx, r.do...)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func stageIs(want string) receiver.Predicate {
	return func(e receiver.Event) bool { return string(e.Stage) == want }
}

func wantFields(t *testing.T, e receiver.Event, fields map[string]string) {
	t.Helper()
	for path, want := range fields {
		if got := field(t, e.Raw, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if t.Failed() {
		t.Logf("event: %s", e.Raw)
	}
}

// field follows a dotted path into JSON; a number is an index, a dot that belongs to a key is escaped. What is not there
// is "(absent)".
func field(t *testing.T, raw []byte, path string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Split(strings.ReplaceAll(path, `\.`, "\x00"), ".") {
		key = strings.ReplaceAll(key, "\x00", ".")
		switch parent := v.(type) {
		case map[string]any:
			v = parent[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(parent) {
				return "(absent)"
			}
			v = parent[i]
		default:
			return "(absent)"
		}
	}
	if v == nil {
		return "(absent)"
	}
	return fmt.Sprint(v)
}

// sleeper is a namespace with a Pod that runs and can be entered.
func sleeper(node string) string {
	return `
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
apiVersion: v1
kind: Pod
metadata: {name: sleeper, namespace: shop}
spec:
  nodeName: ` + node + `
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - {name: c, image: "` + stage.BusyboxImage + `", imagePullPolicy: Never, command: [/bin/busybox, sleep, "100000"]}
`
}
