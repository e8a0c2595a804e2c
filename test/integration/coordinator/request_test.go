package coordinator

import (
	"bytes"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/coordinator/uninstall"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/integration/apiserver"
)

// ask asks the coordinator for something, with the permissions that the chart gives to an uninstall's Job.
func (c *cluster) ask(t *testing.T, change func(*wire.Request)) {
	t.Helper()
	must(t)(request.Change(t.Context(), c.uninstaller(t), false, func(r *wire.Request) error { change(r); return nil }))
}

// uninstaller is the client of an uninstall's Job.
func (c *cluster) uninstaller(t *testing.T) typedcorev1.ConfigMapInterface {
	t.Helper()
	client, err := typedcorev1.NewForConfig(c.config(apiserver.UninstallToken))
	must(t)(client, err)
	return client.ConfigMaps(namespace)
}

func (c *cluster) awaitMessage(t *testing.T, part string) {
	t.Helper()
	await(t, "message with "+part, func() (bool, string) {
		object, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.ClusterStatusName, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return strings.Contains(object.Data[wire.FlatMessage], part), object.Data[wire.FlatMessage]
	})
}

func TestWhatIsAskedForIsDoneAndTakenBack(t *testing.T) {
	c := newCluster(t, "cp1", "cp2")
	a := startAgents(t, c)
	c.uninstaller(t) // permissions take a moment
	c.serveSink(t, "10.0.0.20")
	config := defaults()
	config.Generation = 1
	c.configure(t, config)
	c.startCoordinator(t, true)
	c.awaitReason(t, reason.Complete)
	c.lockOwned(t)

	t.Run("one node is reverted, and enabled again", func(t *testing.T) {
		c.ask(t, func(r *wire.Request) { r.RevertNodes = []string{"cp2"} })
		c.awaitMessage(t, "1 control-plane node is audited, 1 is as before on request")
		if a.count("cp1") != 1 || a.count("cp2") != 2 || c.plan(t, "cp2").Desired.Enabled {
			t.Errorf("cp1 changed %d times, cp2 %d times", a.count("cp1"), a.count("cp2"))
		}
		c.idle(t)
		c.ask(t, func(r *wire.Request) { r.RevertNodes = nil })
		c.awaitMessage(t, "2 control-plane nodes are audited")
		if a.count("cp1") != 1 || a.count("cp2") != 3 {
			t.Errorf("cp1 changed %d times, cp2 %d times", a.count("cp1"), a.count("cp2"))
		}
	})
	t.Run("paused, an uninstall says so and gives up; it is taken back", func(t *testing.T) {
		c.ask(t, func(r *wire.Request) { r.Paused = true })
		out, err := c.uninstall(t, 8*time.Second)
		if err == nil || !strings.Contains(err.Error(), "cp1: ") || !strings.Contains(out, reason.Paused) {
			t.Errorf("error %v, printed:\n%s", err, out)
		}
		if a.count("cp1") != 1 {
			t.Error("a node was changed while paused")
		}
		c.ask(t, func(r *wire.Request) { *r = wire.Request{} })
		c.awaitMessage(t, "2 control-plane nodes are audited")
	})
	t.Run("uninstalled, every node is as before and free of labels", func(t *testing.T) {
		if out, err := c.uninstall(t, time.Minute); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		list, err := c.admin.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{LabelSelector: wire.LabelNodeAgent})
		must(t)(list, err)
		if len(list.Items) > 0 {
			t.Errorf("%d nodes keep their label", len(list.Items))
		}
		for _, node := range []string{"cp1", "cp2"} {
			if c.plan(t, node).Desired.Enabled {
				t.Errorf("node %s is planned to be audited", node)
			}
		}
		c.idle(t)
	})
	a.oneAtATime(t)
}

// uninstall runs what `helm uninstall` runs.
func (c *cluster) uninstall(t *testing.T, timeout time.Duration) (printed string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = uninstall.Run(t.Context(), uninstall.Options{Namespace: namespace, Release: "k8s-audit-enabler", Generation: 1, Agents: true, Timeout: timeout}, c.uninstaller(t), &out)
	return out.String(), err
}

// lockOwned fails the test unless the lock goes with the configuration.
func (c *cluster) lockOwned(t *testing.T) {
	t.Helper()
	config, err := c.admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), wire.ConfigName, metav1.GetOptions{})
	must(t)(config, err)
	await(t, "owner of the lock", func() (bool, string) {
		lease, err := c.admin.CoordinationV1().Leases(namespace).Get(t.Context(), "k8s-audit-enabler-coordinator", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		owners := lease.OwnerReferences
		return len(owners) == 1 && owners[0].UID == config.UID, "owners differ"
	})
}
