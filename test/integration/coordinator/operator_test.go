package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	operatorv1 "github.com/openshift/api/operator/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/coordinator/openshift4"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/secrets"
)

// TestTheOperatorOfOpenShift4IsTold has a real apiserver with the dynamic backend serve the resources of OpenShift 4.2; a stand-in of the
// operator makes revisions, and the masters are names. What the chart allows is enough, and nothing is left.
func TestTheOperatorOfOpenShift4IsTold(t *testing.T) {
	if apiserver.Version() != parts.DynamicKubernetes {
		t.Skipf("kube-apiserver %s has no dynamic backend", apiserver.Version())
	}
	s := startServer(t, "--service-cluster-ip-range="+services,
		"--audit-dynamic-configuration=true", "--feature-gates=DynamicAuditing=true", "--runtime-config=auditregistration.k8s.io/v1alpha1=true")
	c := prepare(t, s)
	o := newOperatorStandIn(t, c)
	apiserver.GrantPermissions(t, c.admin, "--kube-version=1.17.5", "--api-versions=operator.openshift.io/v1", "--api-versions=config.openshift.io/v1")
	go o.run(t.Context())
	c.startBridge(t)
	to := listen(t)
	config := defaults()
	config.Sink, config.Backend, config.Distribution = wire.Sink{URL: sinkURL(to)}, "dynamic", detect.OpenShift4
	before := o.spec(t)
	c.configure(t, config)
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.OperatorRolling)
	c.awaitReason(t, reason.Complete)
	if newest, _, _ := unstructured.NestedInt64(o.get(t.Context(), t).Object, "status", "latestAvailableRevision"); newest != 2 {
		t.Fatalf("revision %d, want one more than before", newest)
	}
	var typed operatorv1.KubeAPIServer
	if err := yaml.UnmarshalStrict(o.text(t), &typed); err != nil || len(typed.Status.NodeStatuses) != 3 {
		t.Errorf("the resource is not of OpenShift's type: %v", err)
	}
	c.eventsArrive(t, to, "told")
	if secrets.Came(to, "told") {
		t.Error("the content of a Secret has left")
	}
	config.Enabled = false
	c.configure(t, config)
	c.awaitReason(t, reason.Disabled)
	if _, err := c.auditSink(t.Context()); !apierrors.IsNotFound(err) {
		t.Errorf("the AuditSink is left: %v", err)
	}
	o.is(t, before)
}

// TestTheOperatorOfOpenShift4IsToldOfAFileThatAllMastersHave has a real apiserver serve the resources of OpenShift 4.6 and later. Agents are
// played with the permissions of theirs, and the operator's stand-in makes no revision that names a file which a master has not.
func TestTheOperatorOfOpenShift4IsToldOfAFileThatAllMastersHave(t *testing.T) {
	if apiserver.Version() != parts.DefaultKubernetes {
		t.Skip("one version is enough")
	}
	c := prepare(t, startServer(t))
	o := newOperatorStandIn(t, c)
	apiserver.GrantPermissions(t, c.admin, "--kube-version=1.34.0", "--api-versions=operator.openshift.io/v1", "--api-versions=config.openshift.io/v1", "backend=webhook")
	for i := range o.at {
		c.addMaster(t, fmt.Sprintf("master-%d", i))
	}
	go o.run(t.Context())
	startAgents(t, c)
	config := defaults()
	config.Sink, config.Backend, config.Distribution = wire.Sink{URL: "http://192.0.2.1:7765/k8s_audit"}, "webhook", detect.OpenShift4
	before := o.spec(t)
	c.configure(t, config)
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.Complete)
	first := wire.WebhookFile(c.plan(t, "master-0").Revision)
	if told := o.webhookFile(t); told != first {
		t.Fatalf("the operator is told of %q, want %q", told, first)
	}
	c.awaitTold(t, first)
	config.Sink.URL = "http://192.0.2.2:7765/k8s_audit"
	c.configure(t, config)
	c.awaitReason(t, reason.OperatorRolling)
	c.awaitReason(t, reason.Complete)
	second := wire.WebhookFile(c.plan(t, "master-0").Revision)
	if told := o.webhookFile(t); told != second || second == first {
		t.Fatalf("the operator is told of %q, want %q, which was %q", told, second, first)
	}
	c.awaitTold(t, second)
	config.Enabled = false
	c.configure(t, config)
	c.awaitReason(t, reason.OperatorRolling)
	if p := c.plan(t, "master-0"); !p.Desired.Enabled {
		t.Error("the file goes while masters run with it")
	}
	c.awaitReason(t, reason.Disabled)
	o.is(t, before)
	if broken := o.brokenPromises(); len(broken) > 0 {
		t.Error(broken)
	}
}

// addMaster adds a master of OpenShift 4, whose pods are in no namespace that anybody here looks into.
func (c *cluster) addMaster(t *testing.T, name string) {
	t.Helper()
	node, err := c.admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"node-role.kubernetes.io/master": ""}, Annotations: map[string]string{"machineconfiguration.openshift.io/state": "Done"},
	}}, metav1.CreateOptions{})
	must(t)(node, err)
	node.Status.NodeInfo = corev1.NodeSystemInfo{MachineID: "machine-" + name, KubeletVersion: apiserver.Version()}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	must(t)(c.admin.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}))
}

// awaitTold waits until agents may remove all files but one.
func (c *cluster) awaitTold(t *testing.T, file string) {
	t.Helper()
	await(t, "agents are told of "+file, func() (bool, string) {
		told := c.plan(t, "master-0").Told
		return told == file, told
	})
}

// webhookFile is the one that the overrides name.
func (o *operatorStandIn) webhookFile(t *testing.T) string {
	t.Helper()
	list, _, _ := unstructured.NestedStringSlice(o.get(t.Context(), t).Object, "spec", "unsupportedConfigOverrides", "apiServerArguments", "audit-webhook-config-file")
	return strings.Join(list, " ")
}

// is demands that nothing of ours is left in the operator's resource.
func (o *operatorStandIn) is(t *testing.T, before map[string]any) {
	t.Helper()
	if after := o.spec(t); !reflect.DeepEqual(before, after) {
		t.Errorf("spec is %v, was %v", after, before)
	}
	if left := o.get(t.Context(), t).GetAnnotations(); len(left) > 0 {
		t.Errorf("annotations are left: %v", left)
	}
}

// check notes a revision that names a file which a master has not, or has no more.
func (o *operatorStandIn) check(ctx context.Context, arguments map[string]any) error {
	list, _ := arguments["audit-webhook-config-file"].([]any)
	for i := 0; len(list) == 1 && i < len(o.at); i++ {
		name := wire.StatusName(fmt.Sprintf("master-%d", i))
		object, err := o.c.admin.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		var status wire.NodeStatus
		if err := wire.Decode(object.Data, wire.KindNodeStatus, &status); err != nil || status.WebhookFile != list[0] {
			o.mu.Lock()
			o.broken = append(o.broken, fmt.Sprintf("told of %v, and %s says %q", list[0], name, status.WebhookFile))
			o.mu.Unlock()
		}
	}
	return nil
}

func (o *operatorStandIn) brokenPromises() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.broken)
}

// TestTheAuditProfileOfOpenShiftIsSetAndGivenBack has a real apiserver serve the resource; what the chart allows is enough.
func TestTheAuditProfileOfOpenShiftIsSetAndGivenBack(t *testing.T) {
	if apiserver.Version() != parts.DefaultKubernetes {
		t.Skip("one version is enough")
	}
	c := prepare(t, startServer(t))
	c.define(t, openshift4.ProfileKind(), "apiservers", `
		"spec":{"type":"object","properties":{
			"audit":{"type":"object","properties":{"profile":{"type":"string","enum":["Default","WriteRequestBodies","AllRequestBodies","None"]}}},
			"additionalCORSAllowedOrigins":{"type":"array","items":{"type":"string"}}}}`)
	apiserver.GrantPermissions(t, c.admin, "--kube-version=1.34.0", "--api-versions=config.openshift.io/v1", "openshift4.auditProfile=WriteRequestBodies")
	c.addNode(t, "cp1")
	client, err := dynamic.NewForConfig(c.config(apiserver.AdminToken))
	must(t)(client, err)
	profiles := client.Resource(openshift4.ProfileKind().GroupVersion().WithResource("apiservers"))
	create(t, profiles, `{"apiVersion":"config.openshift.io/v1","kind":"APIServer","metadata":{"name":"cluster"},"spec":{"audit":{"profile":"Default"},"additionalCORSAllowedOrigins":["theirs"]}}`)
	is := func(want string) {
		t.Helper()
		await(t, "the audit profile "+want, func() (bool, string) {
			object, err := profiles.Get(t.Context(), "cluster", metav1.GetOptions{})
			must(t)(object, err)
			return reflect.DeepEqual(object.Object["spec"], map[string]any{"audit": map[string]any{"profile": want}, "additionalCORSAllowedOrigins": []any{"theirs"}}), fmt.Sprint(object.Object["spec"])
		})
	}
	config := defaults()
	config.Sink, config.Backend, config.Distribution = wire.Sink{URL: "http://192.0.2.1:7765/k8s_audit"}, "auto", detect.OpenShift4
	config.OpenShift4.AuditProfile = "WriteRequestBodies"
	c.configure(t, config)
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.Forwarding)
	is("WriteRequestBodies")
	config.Enabled = false
	c.configure(t, config)
	c.awaitReason(t, reason.Disabled)
	is("Default")
}

// operatorStandIn does what OpenShift's operator does with its resource: of what is observed and overridden, where lists replace lists, it
// makes a revision, and brings one master after the other to it. It runs no apiserver.
type operatorStandIn struct {
	c         *cluster
	resource  dynamic.ResourceInterface
	revisions []map[string]any
	at        []int

	mu sync.Mutex
	// broken are revisions with which a master would not have started.
	broken []string
}

func newOperatorStandIn(t *testing.T, c *cluster) *operatorStandIn {
	t.Helper()
	c.define(t, openshift4.Kind(), "kubeapiservers", `
		"spec":{"type":"object","properties":{
			"managementState":{"type":"string"},"logLevel":{"type":"string"},"operatorLogLevel":{"type":"string"},"forceRedeploymentReason":{"type":"string"},
			"failedRevisionLimit":{"type":"integer"},"succeededRevisionLimit":{"type":"integer"},
			"observedConfig":{"type":"object","nullable":true,"x-kubernetes-preserve-unknown-fields":true},
			"unsupportedConfigOverrides":{"type":"object","nullable":true,"x-kubernetes-preserve-unknown-fields":true}}},
		"status":{"type":"object","properties":{
			"latestAvailableRevision":{"type":"integer"},
			"nodeStatuses":{"type":"array","items":{"type":"object","properties":{
				"nodeName":{"type":"string"},"currentRevision":{"type":"integer"},"targetRevision":{"type":"integer"},
				"lastFailedRevision":{"type":"integer"},"lastFailedRevisionErrors":{"type":"array","items":{"type":"string"}}}}}}}`)
	c.define(t, openshift4.VersionKind(), "clusterversions", `
		"spec":{"type":"object","properties":{"clusterID":{"type":"string"},"channel":{"type":"string"},"upstream":{"type":"string"},
			"desiredUpdate":{"type":"object","properties":{"version":{"type":"string"},"image":{"type":"string"},"force":{"type":"boolean"}}}}},
		"status":{"type":"object","properties":{"history":{"type":"array","items":{"type":"object","properties":{
			"state":{"type":"string"},"version":{"type":"string"},"image":{"type":"string"},"verified":{"type":"boolean"}}}}}}`)
	must(t)(c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "openshift-kube-apiserver"}}, metav1.CreateOptions{}))
	client, err := dynamic.NewForConfig(c.config(apiserver.AdminToken))
	must(t)(client, err)
	o := &operatorStandIn{c: c, resource: client.Resource(openshift4.Kind().GroupVersion().WithResource("kubeapiservers")), at: []int{1, 1, 1}}
	version := client.Resource(openshift4.VersionKind().GroupVersion().WithResource("clusterversions"))
	for resource, object := range map[dynamic.ResourceInterface]string{
		o.resource: `{"apiVersion":"operator.openshift.io/v1","kind":"KubeAPIServer","metadata":{"name":"cluster"},"spec":{"managementState":"Managed",
			"observedConfig":{"apiServerArguments":{"feature-gates":["ExperimentalCriticalPodAnnotation=true","RotateKubeletServerCertificate=true"]}}}}`,
		version: `{"apiVersion":"config.openshift.io/v1","kind":"ClusterVersion","metadata":{"name":"version"},"spec":{"clusterID":"x"},
			"status":{"history":[{"state":"Completed","version":"4.4.3"}]}}`,
	} {
		create(t, resource, object)
	}
	if err := o.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

// create makes an object as soon as its resource is served.
func create(t *testing.T, resource dynamic.ResourceInterface, object string) {
	t.Helper()
	var u unstructured.Unstructured
	if err := json.Unmarshal([]byte(object), &u.Object); err != nil {
		t.Fatal(err)
	}
	await(t, "the resource is served", func() (bool, string) {
		_, err := resource.Create(t.Context(), &u, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), fmt.Sprint(err)
	})
}

// define has the API server serve a resource with the fields that OpenShift's types have (github.com/openshift/api); it takes away every other.
func (c *cluster) define(t *testing.T, kind schema.GroupVersionKind, plural, properties string) {
	t.Helper()
	text := fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]s.%[2]s"},"spec":{"group":"%[2]s","scope":"Cluster",
		"names":{"plural":"%[1]s","kind":"%[4]s"},"versions":[{"name":"%[3]s","served":true,"storage":true,
		"schema":{"openAPIV3Schema":{"type":"object","properties":{%[5]s}}}}]}}`, plural, kind.Group, kind.Version, kind.Kind, properties)
	err := c.admin.CoreV1().RESTClient().Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").
		SetHeader("Content-Type", "application/json").Body([]byte(text)).Do(t.Context()).Error()
	if err != nil {
		t.Fatal(err)
	}
}

func (o *operatorStandIn) get(ctx context.Context, t *testing.T) *unstructured.Unstructured {
	t.Helper()
	object, err := o.resource.Get(ctx, "cluster", metav1.GetOptions{})
	must(t)(object, err)
	return object
}

func (o *operatorStandIn) text(t *testing.T) []byte {
	t.Helper()
	text, err := o.get(t.Context(), t).MarshalJSON()
	must(t)(text, err)
	return text
}

func (o *operatorStandIn) spec(t *testing.T) map[string]any {
	t.Helper()
	spec, _, _ := unstructured.NestedMap(o.get(t.Context(), t).Object, "spec")
	return spec
}

func (o *operatorStandIn) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = o.step(ctx) // what could not be written is written the next time
		time.Sleep(300 * time.Millisecond)
	}
}

func (o *operatorStandIn) step(ctx context.Context) error {
	object, err := o.resource.Get(ctx, "cluster", metav1.GetOptions{})
	if err != nil {
		return err
	}
	arguments, _, _ := unstructured.NestedMap(object.Object, "spec", "observedConfig", "apiServerArguments")
	overrides, _, _ := unstructured.NestedMap(object.Object, "spec", "unsupportedConfigOverrides", "apiServerArguments")
	maps.Copy(arguments, overrides)
	newest := len(o.revisions)
	switch behind := o.behind(); {
	case newest == 0 || !reflect.DeepEqual(o.revisions[newest-1], arguments):
		if err := o.check(ctx, arguments); err != nil {
			return err
		}
		text, err := json.Marshal(map[string]any{"apiServerArguments": arguments})
		if err != nil {
			return err
		}
		revision := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("config-%d", newest+1)}, Data: map[string]string{"config.yaml": string(text)}}
		if _, err := o.c.admin.CoreV1().ConfigMaps("openshift-kube-apiserver").Create(ctx, revision, metav1.CreateOptions{}); err != nil {
			return err
		}
		o.revisions = append(o.revisions, arguments)
	case behind >= 0:
		o.at[behind] = newest
	}
	var nodes []any
	for i, at := range o.at {
		nodes = append(nodes, map[string]any{"nodeName": fmt.Sprintf("master-%d", i), "currentRevision": int64(at)})
	}
	before, _, _ := unstructured.NestedFieldCopy(object.Object, "status")
	object.Object["status"] = map[string]any{"latestAvailableRevision": int64(len(o.revisions)), "nodeStatuses": nodes}
	if reflect.DeepEqual(before, object.Object["status"]) {
		return nil
	}
	if _, err = o.resource.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
		return err
	}
	return o.c.nudge(ctx)
}

// nudge has the coordinator look at once: it may not watch the operator's resource, and asks every few seconds.
func (c *cluster) nudge(ctx context.Context) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"test/nudge":"%d"}}}`, time.Now().UnixNano())
	_, err := c.admin.CoreV1().ConfigMaps(namespace).Patch(ctx, wire.ConfigName, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// behind is a master that does not run the newest revision, -1 where all do.
func (o *operatorStandIn) behind() int {
	for i, at := range o.at {
		if at != len(o.revisions) {
			return i
		}
	}
	return -1
}
