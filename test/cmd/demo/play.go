package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab/parts"
	"k8s-audit-enabler.io/test/receiver"
)

// demonstration is what happens on a booted cluster.
type demonstration struct {
	*stage.Stage
	*progress
}

const receiverImage = "localhost/lab/receiver:1"

func (d demonstration) play(ctx context.Context) error {
	d.titlef("Deploying a receiver of audit events as the Service %s/%s", stage.SinkNamespace, stage.SinkService)
	if err := d.deployReceiver(ctx); err != nil {
		return err
	}
	d.titlef("helm install %s charts/k8s-audit-enabler --namespace %s", stage.ReleaseName, stage.ReleaseNamespace)
	if err := d.Install(ctx, nil); err != nil {
		return err
	}
	d.stepf("installed; the status, as it changes:")
	if err := d.follow(ctx); err != nil {
		return err
	}
	d.titlef("Doing something to be seen")
	if err := d.act(ctx); err != nil {
		return err
	}
	d.titlef("What the receiver got")
	return d.events(ctx)
}

// deployReceiver builds the receiver, brings it to the hosts as an image, and runs it behind the Service that the chart's
// default values name.
func (d demonstration) deployReceiver(ctx context.Context) error {
	program := filepath.Join(d.Dir, "receiver")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "k8s-audit-enabler.io/test/cmd/receiver")
	build.Dir = d.Module
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build receiver: %w: %s", err, out)
	}
	archive := filepath.Join(d.Dir, "receiver.tar")
	image := parts.Image{Tag: receiverImage, Programs: map[string]string{"/receiver": program}, Entrypoint: []string{"/receiver"}}
	if err := stage.WriteImage(archive, image); err != nil {
		return err
	}
	if err := d.Lab.ImportImages(ctx, archive); err != nil {
		return err
	}
	if err := d.Apply(ctx, receiverObjects); err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, "-n", stage.SinkNamespace, "rollout", "status", "deployment/"+stage.SinkService, "--timeout=120s"); err != nil {
		return err
	}
	d.stepf("the receiver runs")
	return nil
}

const receiverObjects = `
{apiVersion: v1, kind: Namespace, metadata: {name: ` + stage.SinkNamespace + `}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ` + stage.SinkService + `, namespace: ` + stage.SinkNamespace + `}
spec:
  selector: {matchLabels: {app: receiver}}
  template:
    metadata: {labels: {app: receiver}}
    spec:
      automountServiceAccountToken: false
      tolerations: [{operator: Exists}]
      containers:
      - {name: receiver, image: "` + receiverImage + `", imagePullPolicy: Never, ports: [{containerPort: 7765}], readinessProbe: {tcpSocket: {port: 7765}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: ` + stage.SinkService + `, namespace: ` + stage.SinkNamespace + `}
spec:
  selector: {app: receiver}
  ports: [{name: audit, port: 7765}]
`

// follow prints each new status until it is ready.
func (d demonstration) follow(ctx context.Context) error {
	said, away := "", false
	for {
		status, flat, err := d.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the status to become ready: %w; last: %s", ctx.Err(), said)
		case err != nil && said != "" && !away:
			d.stepf("the API does not answer: its apiserver restarts with the new settings")
			away = true
		case err == nil:
			if away {
				d.stepf("the API answers again")
				away = false
			}
			if now := describe(status, flat); now != said {
				said = now
				d.stepf("%s", now)
			}
			if strings.EqualFold(flat[wire.FlatReady], "true") {
				return nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func describe(status wire.ClusterStatus, flat map[string]string) string {
	text := fmt.Sprintf("%s: %s", flat[wire.FlatReason], flat[wire.FlatMessage])
	for _, n := range status.Nodes {
		text += fmt.Sprintf(" [%s %s]", n.Name, n.Phase)
	}
	return text
}

// act makes a Secret and a Pod, and enters the Pod.
func (d demonstration) act(ctx context.Context) error {
	if err := d.Apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"); err != nil {
		return err
	}
	d.stepf("kubectl create namespace shop; it gets its ServiceAccount once the controller-manager is back")
	err := stage.Until(ctx, "the namespace has its ServiceAccount", func(ctx context.Context) (bool, error) {
		_, err := d.Kubectl(ctx, "-n", "shop", "get", "serviceaccount", "default")
		return err == nil, err
	})
	if err != nil {
		return err
	}
	overrides := `{"spec":{"tolerations":[{"operator":"Exists"}],"terminationGracePeriodSeconds":0}}`
	for _, args := range [][]string{
		{"create", "secret", "generic", "till", "--from-literal=key=nobody-shall-see-this"},
		{"run", "counter", "--image=" + stage.BusyboxImage, "--image-pull-policy=Never", "--overrides=" + overrides, "--command", "--", "/bin/busybox", "sleep", "100000"},
		{"wait", "pod/counter", "--for=condition=Ready", "--timeout=60s"},
		{"exec", "counter", "--", "/bin/busybox", "true"},
	} {
		if _, err := d.Kubectl(ctx, append([]string{"-n", "shop"}, args...)...); err != nil {
			return err
		}
		if args[0] != "wait" {
			d.stepf("kubectl -n shop %s", strings.Join(brief(args), " "))
		}
	}
	return nil
}

// brief leaves out what a reader does not need.
func brief(args []string) []string {
	var kept []string
	for _, a := range args {
		if !strings.HasPrefix(a, "--overrides=") && !strings.HasPrefix(a, "--image-pull-policy") {
			kept = append(kept, a)
		}
	}
	return kept
}

// events waits until the receiver has printed the exec, and shows what it printed about the namespace.
func (d demonstration) events(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	var rows []string
	err := stage.Until(ctx, "the events are at the receiver", func(ctx context.Context) (bool, error) {
		out, err := d.Kubectl(ctx, "-n", stage.SinkNamespace, "logs", "deployment/"+stage.SinkService)
		if err != nil {
			return false, err
		}
		rows = nil
		entered := false
		for line := range strings.Lines(out) {
			// An exec is a get or a create, by kubectl's version; all other reads are left out.
			exec := strings.Contains(line, " pods/exec ")
			if strings.Contains(line, "shop") && strings.Contains(line, "  kubernetes-admin ") && (exec || !isRead(line)) {
				rows = append(rows, strings.TrimRight(line, "\n"))
				entered = entered || exec
			}
		}
		return entered, nil
	})
	if err != nil {
		return err
	}
	d.line(receiver.Header())
	for _, row := range rows {
		d.line(row)
	}
	return nil
}

func isRead(line string) bool {
	for _, verb := range []string{"  get ", "  list ", "  watch "} {
		if strings.Contains(line, verb) {
			return true
		}
	}
	return false
}

// farewell says what one can do now.
func (d demonstration) farewell() {
	d.printf(`
The cluster keeps running. To look around:

  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl -n %s logs -f deployment/%s          # events, as they arrive
  kubectl -n %s get configmap audit-enabler-status -o yaml
  make lab-shell NODE=%s                                     # the host: /etc/kubernetes/manifests, /var/lib/k8s_audit

To remove it:

  make lab-down
`, d.Kubeconfig, filepath.Dir(d.KubectlPath), stage.SinkNamespace, stage.SinkService, stage.ReleaseNamespace, d.Nodes()[0])
}
