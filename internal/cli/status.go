package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

// pollInterval is how often `status -w` looks. Reading a handful of ConfigMaps is cheap, and unlike a watch it needs no
// reconnecting while the only apiserver restarts.
const pollInterval = time.Second

const statusExample = `  # one look
  kubectl audit-enabler status
  # follow until done; exit code 0 ready, 1 stalled, 3 not ready in time
  kubectl audit-enabler status -w --timeout 10m
  # many clusters
  kubectl audit-enabler status --all-contexts`

type statusOptions struct {
	output  string
	watch   bool
	fleet   bool
	timeout time.Duration
	streams genericiooptions.IOStreams
	now     func() time.Time
}

func newStatusCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &statusOptions{streams: streams, now: time.Now}
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show each control-plane node, the sink, the distribution and why it was recognised",
		Long:    "Show each control-plane node, the sink, the distribution and why it was recognised.\n\nExit codes: 0 ready, 3 not ready yet, 1 stalled or failed.",
		Example: statusExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.fleet && opts.watch {
				return errors.New("-w follows one cluster; leave out --all-contexts, or -w")
			}
			if opts.fleet {
				return opts.runFleet(cmd.Context(), flags)
			}
			client, err := connect(flags)
			if err != nil {
				return err
			}
			return opts.run(cmd.Context(), client, *flags.Namespace)
		},
	}
	cmd.Flags().StringVarP(&opts.output, "output", "o", outputTable, "table, wide, json, yaml or jsonpath=...")
	cmd.Flags().BoolVar(&opts.fleet, "all-contexts", false, "the clusters of all contexts of the kubeconfig, in parallel, with a summary")
	cmd.Flags().BoolVarP(&opts.watch, "watch", "w", false, "follow until ready or stalled")
	cmd.Flags().DurationVar(&opts.timeout, "timeout", 0, "with -w: give up after this long; 0 never does")
	return cmd
}

func connect(flags *genericclioptions.ConfigFlags) (typedcorev1.CoreV1Interface, error) {
	config, err := flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	return client, nil
}

func (o *statusOptions) run(ctx context.Context, client typedcorev1.CoreV1Interface, asked string) error {
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	if o.watch {
		return o.follow(ctx, client, asked, (*status.Report).Outcome)
	}
	report, err := read(ctx, client, asked)
	if err != nil {
		return err
	}
	if err := o.print(report); err != nil {
		return err
	}
	return exit(report.Outcome())
}

// bounded ends with the timeout, where there is one.
func (o *statusOptions) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.timeout > 0 {
		return context.WithTimeout(ctx, o.timeout)
	}
	return context.WithCancel(ctx)
}

func read(ctx context.Context, client typedcorev1.CoreV1Interface, asked string) (*status.Report, error) {
	namespace, err := find(ctx, client, asked)
	if err != nil {
		return nil, err
	}
	return gather(ctx, client, namespace)
}

// follow prints a line for each change and ends when there is nothing to wait for. A read that fails is no end: while a
// single control plane restarts its apiserver, no read can succeed.
func (o *statusOptions) follow(ctx context.Context, client typedcorev1.CoreV1Interface, asked string, reached func(*status.Report) status.Outcome) error {
	start, last := o.now(), map[string]string{}
	say := func(key, line string) error {
		if last[key] == line {
			return nil
		}
		last[key] = line
		_, err := fmt.Fprintf(o.streams.Out, "%6s  %s\n", o.now().Sub(start).Round(time.Second), line)
		return err
	}
	for {
		report, err := read(ctx, client, asked)
		if err != nil && ctx.Err() == nil {
			text := "cannot read the status now: " + err.Error()
			if errors.Is(err, errNotInstalled) {
				text = waitingToStart
			}
			if err := say("read", text); err != nil {
				return err
			}
		}
		if err == nil {
			delete(last, "read")
			for _, line := range lines(report) {
				if err := say(line.key, line.text); err != nil {
					return err
				}
			}
			if outcome := reached(report); outcome != status.NotYet {
				return exit(outcome)
			}
		}
		select {
		case <-ctx.Done():
			return &ExitError{Code: ExitNotYet}
		case <-time.After(pollInterval):
		}
	}
}

// waitingToStart is said where `-w` is typed right after the installation, whose coordinator has not begun.
const waitingToStart = "no status yet; where that goes on, see: kubectl get pods -A -l app.kubernetes.io/name=k8s-audit-enabler"

type line struct{ key, text string }

// lines are what `-w` prints: one for the cluster and one for each node.
func lines(report *status.Report) []line {
	var out []line
	if c := report.Headline(); c != "" {
		out = append(out, line{key: "cluster", text: c})
	}
	for _, n := range report.Nodes {
		text := fmt.Sprintf("node %s: %s", n.Node.Name, n.Phase)
		if n.Reason != "" {
			text += " (" + n.Reason + ")"
		}
		if n.Message != "" {
			text += ": " + n.Message
		}
		out = append(out, line{key: "node/" + n.Node.Name, text: text})
	}
	return out
}

func (o *statusOptions) print(report *status.Report) error {
	if o.output == outputTable || o.output == outputWide {
		return table(o.streams.Out, report, o.output == outputWide, o.now())
	}
	return encode(o.streams.Out, o.output, report)
}

func table(out io.Writer, report *status.Report, wide bool, now time.Time) error {
	cluster := &report.Cluster
	if cluster.Distribution.Name != "" {
		fmt.Fprintf(out, "Distribution:  %s (%s)\n", cluster.Distribution.Name, cluster.Distribution.Reason)
	}
	if cluster.Sink != "" {
		fmt.Fprintf(out, "Sink:          %s\n", cluster.Sink)
	}
	if text := report.Headline(); text != "" {
		fmt.Fprintf(out, "Status:        %s\n", text)
	}
	if text := report.Asked(); text != "" {
		fmt.Fprintf(out, "Asked for:     %s\n", text)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	head := "NODE\tPHASE\tREASON\tREVISION\tFLOWING\tAGE"
	if wide {
		head += "\tVERSION\tRESTARTS\tUNAVAILABLE\tMESSAGE"
	}
	fmt.Fprintln(w, head)
	for i := range report.Nodes {
		fmt.Fprintln(w, row(&report.Nodes[i], wide, now))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	return nil
}

func row(n *wire.NodeStatus, wide bool, now time.Time) string {
	text := fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", n.Node.Name, n.Phase, dash(n.Reason), dash(n.AppliedRevision), status.Flowing(n), dash(status.Age(n, now)))
	if wide {
		text += fmt.Sprintf("\t%s\t%d\t%s\t%s", dash(n.Apiserver.Version), n.Apiserver.Restarts, n.Apiserver.LastUnavailable.Duration.Round(100*time.Millisecond), dash(n.Message))
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
