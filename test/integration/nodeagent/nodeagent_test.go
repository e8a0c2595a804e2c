// Package nodeagent runs what the node agent asks of an API server against a real kube-apiserver that was configured with
// the very flags, policy and webhook kubeconfig that the agent would write for its version.
package nodeagent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/webhookconfig"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/test/integration/apiserver"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/receiver"
)

const (
	node = "cp1"
	user = "system:serviceaccount:" + apiserver.Namespace + ":k8s-audit-enabler-agent"
)

// audited is a server that audits as the agent would have it do.
type audited struct {
	*apiserver.Server
	receiver *receiver.Receiver
	logPath  string
	sink     string
}

func start(t *testing.T) *audited {
	t.Helper()
	return startWith(t, auditflag.Settings{BatchMaxWait: time.Second})
}

// startWith takes settings that differ from the usual ones; where they ask for the dynamic backend there is no webhook yet.
func startWith(t *testing.T, settings auditflag.Settings) *audited {
	t.Helper()
	inbox, err := receiver.Listen("127.0.0.1:0", receiver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = inbox.Close() })
	dir := t.TempDir()
	a := &audited{receiver: inbox, logPath: filepath.Join(dir, "k8s_audit_events.log"), sink: "http://" + inbox.Address() + receiver.PathSysdig}
	v := version.MustParseGeneric(apiserver.Version())
	policy, err := auditpolicy.Render(auditpolicy.Options{Version: v, CanaryUser: user})
	if err != nil {
		t.Fatal(err)
	}
	webhook, err := webhookconfig.Render(webhookconfig.Sink{URL: a.sink})
	if err != nil {
		t.Fatal(err)
	}
	settings.PolicyFile, settings.LogPath = write(t, dir, "audit-policy.yaml", policy), a.logPath
	settings.WebhookConfigFile = write(t, dir, "webhook-config.yaml", webhook)
	flags, err := auditflag.Desired(settings, v)
	if err != nil {
		t.Fatal(err)
	}
	if settings.Dynamic {
		flags = append(flags, auditflag.DynamicEntries()...)
	}
	var args []string
	for _, f := range flags {
		args = append(args, f.String())
	}
	a.Server = apiserver.Start(t, args...)
	a.furnish(t)
	return a
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// furnish makes what coordinator and chart would: the documents of one node, and the agent's permissions and no more.
func (a *audited) furnish(t *testing.T) {
	t.Helper()
	create := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	ours := metav1.ObjectMeta{Name: "agent", Namespace: apiserver.Namespace}
	create(a.Admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: apiserver.Namespace}}, metav1.CreateOptions{}))
	for _, name := range []string{wire.PlanName(node), wire.StatusName(node)} {
		create(a.Admin.CoreV1().ConfigMaps(apiserver.Namespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{wire.DocumentKey: "first"}}, metav1.CreateOptions{}))
	}
	create(a.Admin.RbacV1().Roles(apiserver.Namespace).Create(ctx, &rbacv1.Role{ObjectMeta: ours, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{wire.PlanName(node)}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{wire.StatusName(node)}, Verbs: []string{"patch"}},
	}}, metav1.CreateOptions{}))
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: apiserver.Namespace, Name: "k8s-audit-enabler-agent"}}
	create(a.Admin.RbacV1().RoleBindings(apiserver.Namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: ours, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "agent"}}, metav1.CreateOptions{}))
	create(a.Admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Rules: []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/metrics", "/readyz", "/livez", "/healthz"}, Verbs: []string{"get"}},
	}}, metav1.CreateOptions{}))
	create(a.Admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "agent"}, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "agent"}}, metav1.CreateOptions{}))
}

func (a *audited) health(t *testing.T) *health.Client {
	t.Helper()
	return health.New(health.Config{
		Address: a.Address, CAFile: filepath.Join(a.Dir, "certs", "apiserver.crt"), ServerName: "kubernetes",
		TokenFile: write(t, t.TempDir(), "token", []byte(apiserver.AgentToken)),
	})
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestWhatTheAgentWritesAuditsAndIsProved(t *testing.T) {
	a := start(t)
	client := a.health(t)
	if got, err := client.Version(t.Context()); err != nil || got != apiserver.Version() {
		t.Errorf("version = %q, %v; want %s", got, err, apiserver.Version())
	}
	if v, err := client.Readyz(t.Context()); err != nil || !v.OK {
		t.Errorf("readyz = %v, %v", v, err)
	}
	sink, err := health.SinkHost(a.sink)
	if err != nil {
		t.Fatal(err)
	}
	before, err := client.Deliveries(t.Context(), sink)
	if err != nil {
		t.Fatal(err)
	}
	log, err := health.OpenLog(func(path string) (health.File, error) { return os.Open(path) }, a.logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	a.prove(t, client, sink, before, log)
}

// prove sends a canary, and waits for it in the log and at the receiver, and for the apiserver's counters.
func (a *audited) prove(t *testing.T, client *health.Client, sink string, before health.Counters, log *health.Log) {
	t.Helper()
	id, err := client.Canary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := log.WaitFor(within(t, 30*time.Second), id, 100*time.Millisecond)
	if err != nil || !found {
		t.Fatalf("canary %s in the audit log: %v, %v", id, found, err)
	}
	event, err := a.receiver.WaitFor(within(t, time.Minute), receiver.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	if event.User.Username != user || event.RequestURI != "/livez" {
		t.Errorf("the canary arrived as %s of %s", event.RequestURI, event.User.Username)
	}
	var judged health.Judgement
	for ctx := within(t, 30*time.Second); judged.Reason != reason.Delivered && ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		after, err := client.Deliveries(ctx, sink)
		if err != nil {
			t.Fatal(err)
		}
		judged = health.Judge(before, after, health.CanaryFound)
	}
	if judged.Reason != reason.Delivered || judged.Status != metav1.ConditionTrue {
		t.Errorf("judgement = %+v, want %s", judged, reason.Delivered)
	}
}

// TestWithAnAuditSinkDeliveryIsProvedTheSameWay has the apiserver follow an AuditSink: its counters must tell of it as of a webhook.
func TestWithAnAuditSinkDeliveryIsProvedTheSameWay(t *testing.T) {
	if apiserver.Version() != parts.DynamicKubernetes {
		t.Skipf("kube-apiserver %s has no dynamic backend", apiserver.Version())
	}
	a := startWith(t, auditflag.Settings{Dynamic: true, Truncate: &auditflag.Truncate{MaxEventSize: 1 << 20}})
	object, err := auditsink.Object(wire.AuditSinkSettings{}, auditsink.Target{URL: a.sink}, "audit/release").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Admin.CoreV1().RESTClient().Post().AbsPath("/apis/auditregistration.k8s.io/v1alpha1/auditsinks").Body(object).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	client := a.health(t)
	sink, err := health.SinkHost(a.sink)
	if err != nil {
		t.Fatal(err)
	}
	log, err := health.OpenLog(func(path string) (health.File, error) { return os.Open(path) }, a.logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// An AuditSink is sent 400 events at a time, or what there is after half a minute: requests keep it going.
	ctx, stop := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	busy.Go(func() {
		for ctx.Err() == nil {
			_, _ = a.Admin.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		}
	})
	defer busy.Wait()
	defer stop()
	if _, err := a.receiver.WaitFor(within(t, time.Minute), receiver.Object("namespaces", "", "")); err != nil {
		t.Fatal(err)
	}
	before, err := client.Deliveries(t.Context(), sink)
	if err != nil {
		t.Fatal(err)
	}
	a.prove(t, client, sink, before, log)
}

func TestTheAgentsClientFollowsItsPlanAndWritesItsStatusOnly(t *testing.T) {
	a := start(t)
	client, err := kube.New(a.Config(apiserver.AgentToken), "test", logging.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, time.Minute)
	updates := client.WatchPlan(ctx, apiserver.Namespace, wire.PlanName(node))
	await(t, ctx, updates, "first")
	plan, err := a.Admin.CoreV1().ConfigMaps(apiserver.Namespace).Get(ctx, wire.PlanName(node), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan.Data[wire.DocumentKey] = "second"
	if _, err := a.Admin.CoreV1().ConfigMaps(apiserver.Namespace).Update(ctx, plan, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, updates, "second")

	if err := client.PatchStatus(ctx, apiserver.Namespace, wire.StatusName(node), map[string]string{wire.DocumentKey: "mine"}); err != nil {
		t.Fatal(err)
	}
	status, err := a.Admin.CoreV1().ConfigMaps(apiserver.Namespace).Get(ctx, wire.StatusName(node), metav1.GetOptions{})
	if err != nil || status.Data[wire.DocumentKey] != "mine" {
		t.Errorf("status = %v, %v", status.Data, err)
	}
	if err := client.PatchStatus(ctx, apiserver.Namespace, wire.PlanName(node), map[string]string{wire.DocumentKey: "mine"}); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("writing the plan: %v, want ErrForbidden", err)
	}
	if _, _, err := client.GetSecret(ctx, apiserver.Namespace, "any"); !errors.Is(err, kube.ErrForbidden) {
		t.Errorf("reading a Secret: %v, want ErrForbidden", err)
	}
}

// await reads updates until one has the text.
func await(t *testing.T, ctx context.Context, updates <-chan kube.Update, want string) {
	t.Helper()
	for {
		select {
		case u := <-updates:
			if u.Exists && u.ConfigMap.Data[wire.DocumentKey] == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no plan with %q came", want)
		}
	}
}
