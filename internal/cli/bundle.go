package cli

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/redact"
	"k8s-audit-enabler.io/internal/wire"
)

// bundleTail is how many lines of each log are taken.
const bundleTail = 5000

func newBundleCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "bundle",
		Short: "Write an archive for support, without credentials",
		Long: "Write an archive for support: the release's documents, its pods, their logs and Events, the control-plane nodes and the apiservers' pods.\n\n" +
			"No Secret is read. Values of environment variables, credentials in configuration and what looks like one in a log are taken out; look into it before you give it away all the same.",
		Example: "  kubectl audit-enabler bundle --file support.tar.gz",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, namespace, err := enter(cmd.Context(), flags)
			if err != nil {
				return err
			}
			out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fmt.Errorf("--file: %w", err)
			}
			b := newBundle(out, time.Now())
			b.gather(cmd.Context(), client, namespace)
			if err := errors.Join(b.end(), out.Close()); err != nil {
				return fmt.Errorf("write %s: %w", file, err)
			}
			_, err = fmt.Fprintf(streams.Out, "%s: %d files; %d could not be had, which missing.txt in it names\n", file, b.count, len(b.missing))
			return err
		},
	}
	cmd.Flags().StringVar(&file, "file", "k8s-audit-enabler-bundle.tar.gz", "the archive, which must not exist yet")
	return cmd
}

// bundle is an archive. Whatever goes into it goes through redact.
type bundle struct {
	now     time.Time
	zip     *gzip.Writer
	tar     *tar.Writer
	count   int
	missing []string
	failed  error
}

func newBundle(out io.Writer, now time.Time) *bundle {
	zip := gzip.NewWriter(out)
	return &bundle{now: now, zip: zip, tar: tar.NewWriter(zip)}
}

// add writes a file. It is the only way into the archive.
func (b *bundle) add(name, text string) {
	text = redact.Text(text)
	header := &tar.Header{Name: "k8s-audit-enabler/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.now, Typeflag: tar.TypeReg}
	if err := b.tar.WriteHeader(header); err != nil {
		b.failed = errors.Join(b.failed, err)
		return
	}
	_, err := io.WriteString(b.tar, text)
	b.failed = errors.Join(b.failed, err)
	b.count++
}

// addObject writes an object as YAML.
func (b *bundle) addObject(name string, object any) {
	text, err := yaml.Marshal(object)
	if b.had(name, err) {
		b.add(name, string(text))
	}
}

// had reports whether something was had, and remembers where it was not.
func (b *bundle) had(name string, err error) bool {
	if err != nil {
		b.missing = append(b.missing, fmt.Sprintf("%s: %v", name, err))
	}
	return err == nil
}

func (b *bundle) end() error {
	if len(b.missing) > 0 {
		text := ""
		for _, m := range b.missing {
			text += m + "\n"
		}
		b.add("missing.txt", text)
	}
	return errors.Join(b.failed, b.tar.Close(), b.zip.Close())
}

// gather takes what there is. What cannot be read is no reason to go without the rest.
func (b *bundle) gather(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string) {
	b.add("version.txt", buildinfo.Version()+"\n")
	documents, err := client.ConfigMaps(namespace).List(ctx, metav1.ListOptions{LabelSelector: wire.LabelDocument})
	if b.had("documents", err) {
		for i := range documents.Items {
			b.add("documents/"+documents.Items[i].Name+".yaml", documentIn(&documents.Items[i]))
		}
	}
	events, err := eventsOf(ctx, client, namespace)
	if b.had("events.yaml", err) {
		b.addObject("events.yaml", events)
	}
	pods, err := podsOf(ctx, client, namespace, "", nil)
	if b.had("pods", err) {
		for i := range pods {
			b.addObject("pods/"+pods[i].Name+".yaml", bare(&pods[i]))
			b.logs(ctx, client, &pods[i])
		}
	}
	apiservers, err := client.Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "component=kube-apiserver"})
	if b.had("apiservers", err) {
		for i := range apiservers.Items {
			b.addObject("apiservers/"+apiservers.Items[i].Name+".yaml", bare(&apiservers.Items[i]))
		}
	}
	nodes, err := client.Nodes().List(ctx, metav1.ListOptions{LabelSelector: wire.LabelNodeAgent})
	if b.had("nodes", err) {
		for i := range nodes.Items {
			n := &nodes.Items[i]
			b.addObject("nodes/"+n.Name+".yaml", &corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, Labels: n.Labels, CreationTimestamp: n.CreationTimestamp},
				Spec:       corev1.NodeSpec{Taints: n.Spec.Taints, Unschedulable: n.Spec.Unschedulable},
				Status:     corev1.NodeStatus{NodeInfo: n.Status.NodeInfo, Conditions: n.Status.Conditions, Addresses: n.Status.Addresses},
			})
		}
	}
}

// documentIn is what a ConfigMap says, with its flat keys above the document.
func documentIn(object *corev1.ConfigMap) string {
	text := ""
	for _, key := range []string{wire.FlatReady, wire.FlatReason, wire.FlatMessage, wire.FlatRevision, wire.FlatStalled, wire.FlatConfig} {
		if value, there := object.Data[key]; there {
			text += "# " + key + ": " + value + "\n"
		}
	}
	return text + object.Data[wire.DocumentKey]
}

// bare is a pod without the values of its environment, and without annotations, which hold what others have put there.
func bare(pod *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace, UID: pod.UID, Labels: pod.Labels, CreationTimestamp: pod.CreationTimestamp},
		Spec:       *pod.Spec.DeepCopy(), Status: pod.Status,
	}
	for _, containers := range [][]corev1.Container{out.Spec.Containers, out.Spec.InitContainers} {
		for i := range containers {
			for j := range containers[i].Env {
				if containers[i].Env[j].Value != "" {
					containers[i].Env[j].Value = "[redacted]"
				}
			}
		}
	}
	return out
}

// logs are a pod's, and those of the containers before them where one was restarted.
func (b *bundle) logs(ctx context.Context, client typedcorev1.CoreV1Interface, pod *corev1.Pod) {
	tail := int64(bundleTail)
	take := func(name string, previous bool) {
		text, err := client.Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: &tail, Previous: previous}).DoRaw(ctx)
		if b.had(name, err) {
			b.add(name, string(text))
		}
	}
	take("logs/"+pod.Name+".log", false)
	for i := range pod.Status.ContainerStatuses {
		if pod.Status.ContainerStatuses[i].RestartCount > 0 {
			take("logs/"+pod.Name+".previous.log", true)
		}
	}
}
