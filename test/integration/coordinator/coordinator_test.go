package coordinator

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/coordinator"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

func TestThreeControlPlanesAreEnabledAndDisabledOneAtATime(t *testing.T) {
	nodes := []string{"cp1", "cp2", "cp3"}
	c := newCluster(t, nodes...)
	a := startAgents(t, c)
	c.configure(t, defaults())
	c.startCoordinator(t, true)

	c.awaitReason(t, reason.SinkNotFound)
	c.untouched(t)
	c.serveSink(t, "10.0.0.20")
	c.awaitReason(t, reason.Complete)
	for _, node := range nodes {
		if n := a.count(node); n != 1 {
			t.Errorf("node %s changed %d times, want once", node, n)
		}
		if p := c.plan(t, node); p.Desired.Webhook.URL != "http://10.0.0.20:7765/k8s_audit" || p.Permit != nil || p.Distribution != "kubeadm" || p.Node.MachineID != "machine-"+node {
			t.Errorf("plan of %s: %+v", node, p)
		}
	}
	c.owned(t)
	c.idle(t)

	t.Run("a moved sink is rolled out once", func(t *testing.T) {
		c.serveSink(t, "10.0.0.21")
		c.serveSink(t, "10.0.0.22")
		c.awaitReason(t, reason.SinkChanging)
		c.awaitReason(t, reason.Complete)
		for _, node := range nodes {
			if n := a.count(node); n != 2 {
				t.Errorf("node %s changed %d times in all, want twice", node, n)
			}
			if p := c.plan(t, node); !strings.Contains(p.Desired.Webhook.URL, "10.0.0.22") {
				t.Errorf("plan of %s posts to %s", node, p.Desired.Webhook.URL)
			}
		}
	})
	t.Run("a vanished sink changes nothing", func(t *testing.T) {
		c.removeSink(t)
		c.awaitReason(t, reason.SinkVanished)
		time.Sleep(2 * time.Second)
		if p := c.plan(t, "cp1"); !strings.Contains(p.Desired.Webhook.URL, "10.0.0.22") || a.count("cp1") != 2 {
			t.Errorf("changed %d times; plan posts to %q", a.count("cp1"), p.Desired.Webhook.URL)
		}
		c.serveSink(t, "10.0.0.22")
		c.awaitReason(t, reason.Complete)
	})
	t.Run("a node that leaves takes its documents along, one that joins is enabled", func(t *testing.T) {
		c.removeNode(t, "cp3")
		await(t, "deletion of the documents", func() (bool, string) {
			_, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.PlanName("cp3"), metav1.GetOptions{})
			return err != nil, "the plan is still there"
		})
		c.addNode(t, "cp4")
		await(t, "enablement of the new node", func() (bool, string) { return a.count("cp4") == 1, "not changed" })
		c.awaitReason(t, reason.Complete)
	})
	t.Run("disabled, every node is as before and free of labels", func(t *testing.T) {
		config := defaults()
		config.Enabled = false
		c.configure(t, config)
		c.awaitReason(t, reason.Disabled)
		await(t, "removal of the labels", func() (bool, string) {
			list, err := c.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelNodeAgent})
			return err == nil && len(list.Items) == 0, "labels are left"
		})
		if n := a.count("cp1"); n != 3 {
			t.Errorf("cp1 changed %d times in all, want 3", n)
		}
		c.idle(t)
	})
	a.oneAtATime(t)
}

func TestAFailedNodeStopsTheRolloutUntilThePlanChanges(t *testing.T) {
	c := newCluster(t, "cp1", "cp2", "cp3")
	a := startAgents(t, c)
	a.breakNode("cp1", true)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	stop := c.startCoordinator(t, false)
	c.awaitReason(t, reason.NodeFailed)
	stop()
	c.startCoordinator(t, false)
	time.Sleep(time.Second)
	if a.count("cp1") != 1 || a.count("cp2")+a.count("cp3") != 0 {
		t.Errorf("changes: %v, want one, of cp1", a.changes)
	}
	a.breakNode("cp1", false)
	config := defaults()
	config.Log.MaxBackup = 2
	c.configure(t, config)
	c.awaitReason(t, reason.Complete)
	a.oneAtATime(t)
	c.told(t, reason.NodeFailed, reason.CrashLooping, reason.Complete)
}

func TestNoPermitWhileAnApiserverIsNotReady(t *testing.T) {
	c := newCluster(t, "cp1", "cp2")
	a := startAgents(t, c)
	c.setReady(t, "cp2", false)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.WaitingForHealth)
	if a.count("cp1")+a.count("cp2") != 0 {
		t.Errorf("changes: %v, want none", a.changes)
	}
	c.setReady(t, "cp2", true)
	c.awaitReason(t, reason.Complete)
	a.oneAtATime(t)
}

func TestASecondReleaseRefusesUntilTheFirstIsGone(t *testing.T) {
	c := newCluster(t, "cp1")
	startAgents(t, c)
	must(t)(c.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, metav1.CreateOptions{}))
	must(t)(c.admin.CoreV1().ConfigMaps("other").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: wire.ConfigName}}, metav1.CreateOptions{}))
	c.patchNode(t, "cp1", `{"metadata":{"annotations":{"`+wire.AnnotationOwner+`":"other/first"}}}`)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.AnotherRelease)
	c.untouched(t)
	if err := c.admin.CoreV1().ConfigMaps("other").Delete(t.Context(), wire.ConfigName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Something that is watched has to happen for a look before the next minute.
	c.patchNode(t, "cp1", `{"metadata":{"labels":{"touched":"yes"}}}`)
	c.awaitReason(t, reason.Complete)
}

func TestABadPolicyChangesNothing(t *testing.T) {
	c := newCluster(t, "cp1")
	a := startAgents(t, c)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	c.startCoordinator(t, false)
	c.awaitReason(t, reason.Complete)
	before := c.plan(t, "cp1").Revision
	config := defaults()
	config.Policy.Content = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n"
	c.configure(t, config)
	c.awaitReason(t, reason.PolicyInvalid)
	if after := c.plan(t, "cp1").Revision; after != before || a.count("cp1") != 1 {
		t.Errorf("revision %s became %s, changed %d times", before, after, a.count("cp1"))
	}
}

// untouched checks that no node is labelled and nothing is planned.
func (c *cluster) untouched(t *testing.T) {
	t.Helper()
	nodes, err := c.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelNodeAgent})
	must(t)(nodes, err)
	plans, err := c.admin.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelDocument + "=" + wire.KindPlan})
	must(t)(plans, err)
	if len(nodes.Items)+len(plans.Items) > 0 {
		t.Errorf("%d nodes are labelled, %d planned; want none", len(nodes.Items), len(plans.Items))
	}
}

// owned checks that everything goes with the configuration, and that agents may write their own statuses only.
func (c *cluster) owned(t *testing.T) {
	t.Helper()
	config, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.ConfigName, metav1.GetOptions{})
	must(t)(config, err)
	list, err := c.admin.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelDocument})
	must(t)(list, err)
	objects := []metav1.Object{}
	for i := range list.Items {
		objects = append(objects, &list.Items[i])
	}
	role, err := c.admin.RbacV1().Roles(namespace).Get(t.Context(), coordinator.AgentRole, metav1.GetOptions{})
	must(t)(role, err)
	for _, object := range append(objects, role) {
		owners := object.GetOwnerReferences()
		if len(owners) != 1 || owners[0].UID != config.UID {
			t.Errorf("%s is owned by %v", object.GetName(), owners)
		}
	}
	if len(objects) != 8 {
		t.Errorf("%d documents, want 3 plans, 3 statuses, the cluster's and the request", len(objects))
	}
	for _, rule := range role.Rules {
		if len(rule.ResourceNames) != 3 {
			t.Errorf("rule %v is about %v", rule.Verbs, rule.ResourceNames)
		}
	}
}

// idle checks that nothing is written while nothing happens.
func (c *cluster) idle(t *testing.T) {
	t.Helper()
	versions := func() map[string]string {
		out := map[string]string{}
		list, err := c.admin.CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
		must(t)(list, err)
		for i := range list.Items {
			out[list.Items[i].Name] = list.Items[i].ResourceVersion
		}
		nodes, err := c.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		must(t)(nodes, err)
		for i := range nodes.Items {
			out[nodes.Items[i].Name] = nodes.Items[i].ResourceVersion
		}
		return out
	}
	time.Sleep(time.Second)
	before := versions()
	time.Sleep(3 * time.Second)
	for name, version := range versions() {
		if before[name] != version {
			t.Errorf("%s was written while nothing happened", name)
		}
	}
}

// told checks that Events with these reasons were made, and none of them over and over.
func (c *cluster) told(t *testing.T, reasons ...string) {
	t.Helper()
	await(t, "Events", func() (bool, string) {
		list, err := c.admin.CoreV1().Events("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		count := map[string]int32{}
		for i := range list.Items {
			count[list.Items[i].Reason] += max(1, list.Items[i].Count)
		}
		var missing []string
		for _, r := range reasons {
			if count[r] == 0 {
				missing = append(missing, r)
			}
			if count[r] > 2 {
				t.Errorf("%d Events with the reason %s", count[r], r)
			}
		}
		return len(missing) == 0, "missing " + strings.Join(missing, ", ")
	})
}

// TestLeadershipWithoutLeases has the API server leave out what 1.13 and older do not serve.
func TestLeadershipWithoutLeases(t *testing.T) {
	s := startServer(t, "--runtime-config=coordination.k8s.io/v1=false,coordination.k8s.io/v1beta1=false")
	c := furnish(t, s, "cp1")
	startAgents(t, c)
	c.serveSink(t, "10.0.0.20")
	c.configure(t, defaults())
	stop := c.startCoordinator(t, true)
	c.awaitReason(t, reason.Complete)
	lock, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "k8s-audit-enabler-coordinator", metav1.GetOptions{})
	must(t)(lock, err)
	if record := lock.Annotations["control-plane.alpha.kubernetes.io/leader"]; !strings.Contains(record, "coordinator-0") {
		t.Errorf("leader record %q", record)
	}
	stop()
	c.startCoordinator(t, true)
	config := defaults()
	config.Enabled = false
	c.configure(t, config)
	c.awaitReason(t, reason.Disabled)
}
