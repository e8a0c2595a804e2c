package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// Labels of the release's pods.
const (
	labelName      = "app.kubernetes.io/name"
	labelComponent = "app.kubernetes.io/component"
	releaseName    = "k8s-audit-enabler"
)

// components are those of a release that have pods.
func components() []string { return []string{"coordinator", "agent", "bridge"} }

// podsOf are a release's pods, of all components and nodes where none is named, in the order of their names.
func podsOf(ctx context.Context, client typedcorev1.CoreV1Interface, namespace, component string, nodes []string) ([]corev1.Pod, error) {
	selector := labelName + "=" + releaseName
	if component != "" {
		selector += "," + labelComponent + "=" + component
	}
	list, err := client.Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list pods in namespace %q: %w", namespace, err)
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return len(nodes) > 0 && !slices.Contains(nodes, p.Spec.NodeName) })
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	return pods, nil
}

type logsOptions struct {
	component string
	follow    bool
	previous  bool
	since     time.Duration
	tail      int64
	streams   genericiooptions.IOStreams
}

func newLogsCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &logsOptions{streams: streams}
	cmd := &cobra.Command{
		Use:   "logs [NODE...]",
		Short: "Print what coordinator, agents and bridge log, of all nodes or of those named",
		Example: `  kubectl audit-enabler logs
  # an agent, as it goes on
  kubectl audit-enabler logs cp1 --component agent -f`,
		ValidArgsFunction: completeNodes(flags),
		RunE: func(cmd *cobra.Command, nodes []string) error {
			if opts.component != "" && !slices.Contains(components(), opts.component) {
				return fmt.Errorf("--component %q is not known: use one of %s", opts.component, strings.Join(components(), ", "))
			}
			client, namespace, err := enter(cmd.Context(), flags)
			if err != nil {
				return err
			}
			return opts.run(cmd.Context(), client, namespace, nodes)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.component, "component", "", "only that of coordinator, agent or bridge")
	f.BoolVarP(&opts.follow, "follow", "f", false, "go on with what comes")
	f.BoolVar(&opts.previous, "previous", false, "of the containers before the running ones")
	f.DurationVar(&opts.since, "since", 0, "only what is younger")
	f.Int64Var(&opts.tail, "tail", 100, "how many lines of each pod; -1 for all")
	return cmd
}

// enter connects, and finds the release.
func enter(ctx context.Context, flags *genericclioptions.ConfigFlags) (typedcorev1.CoreV1Interface, string, error) {
	client, err := connect(flags)
	if err != nil {
		return nil, "", err
	}
	namespace, err := find(ctx, client, *flags.Namespace)
	return client, namespace, err
}

func (o *logsOptions) run(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string, nodes []string) error {
	pods, err := podsOf(ctx, client, namespace, o.component, nodes)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("no such pods in namespace %q", namespace)
	}
	out := &linewise{to: o.streams.Out}
	failed := make([]error, len(pods))
	var all sync.WaitGroup
	for i := range pods {
		read := func() { failed[i] = o.copy(ctx, client, &pods[i], out) }
		if o.follow {
			all.Go(read)
		} else {
			read()
		}
	}
	all.Wait()
	return errors.Join(failed...)
}

// copy prints one pod's lines, each with where it is from.
func (o *logsOptions) copy(ctx context.Context, client typedcorev1.CoreV1Interface, pod *corev1.Pod, out *linewise) error {
	options := &corev1.PodLogOptions{Follow: o.follow, Previous: o.previous}
	if o.tail >= 0 {
		options.TailLines = &o.tail
	}
	if o.since > 0 {
		seconds := int64(o.since.Seconds())
		options.SinceSeconds = &seconds
	}
	stream, err := client.Pods(pod.Namespace).GetLogs(pod.Name, options).Stream(ctx)
	if err != nil {
		return fmt.Errorf("read the log of pod %s: %w", pod.Name, err)
	}
	defer func() { _ = stream.Close() }()
	from := pod.Labels[labelComponent]
	if pod.Spec.NodeName != "" {
		from += "/" + pod.Spec.NodeName
	}
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		out.print(from + ": " + lines.Text() + "\n")
	}
	if err := lines.Err(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read the log of pod %s: %w", pod.Name, err)
	}
	return nil
}

// linewise keeps lines of several writers whole.
type linewise struct {
	mu sync.Mutex
	to io.Writer
}

func (l *linewise) print(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = io.WriteString(l.to, line)
}

// completeNodes completes the names of the release's nodes.
func completeNodes(flags *genericclioptions.ConfigFlags) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		client, namespace, err := enter(cmd.Context(), flags)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		report, err := gather(cmd.Context(), client, namespace)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for i := range report.Nodes {
			if name := report.Nodes[i].Node.Name; strings.HasPrefix(name, begun) && !slices.Contains(given, name) {
				names = append(names, name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
