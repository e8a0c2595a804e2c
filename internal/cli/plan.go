package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const planExample = `  # what would change in this cluster
  kubectl audit-enabler plan
  # what the agent would write into a copy of a node's manifest, as a diff that patch(1) takes
  kubectl audit-enabler plan --offline --distribution kops --kubernetes-version v1.22.3 -f kube-apiserver.manifest --sink http://10.0.0.1:7765/k8s_audit
  # the whole file, with a policy of your own
  kubectl audit-enabler plan --offline --distribution kubeadm --kubernetes-version v1.34.4 -f kube-apiserver.yaml --sink http://10.0.0.1:7765/k8s_audit --policy policy.yaml -o file
  # with all of a release's values, as helm template has printed them
  kubectl audit-enabler plan --offline --config release.yaml --distribution k3s --kubernetes-version v1.34.4`

// Outputs of plan.
const (
	outputDiff = "diff"
	outputFile = "file"
)

// planOptions are what a plan is made of.
type planOptions struct {
	offline  bool
	output   string
	flags    *genericclioptions.ConfigFlags
	streams  genericiooptions.IOStreams
	settings offlineSettings
}

// offlineSettings describe a node that is not asked.
type offlineSettings struct {
	distribution, version string
	// file is a copy of the node's, and path where it lies there.
	file, path string
	// config is a file with a release's configuration; sink, ca, policy and existing stand above it.
	config, sink, ca, policy string
	existing                 map[string]string
}

func newPlanCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &planOptions{flags: flags, streams: streams}
	s := &opts.settings
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what would change on each node, and what it costs; nothing is changed",
		Long: "Show the unified diff of every file that would change on a node, the flags, the restart that it causes and for how long an API is away. Nothing is changed.\n\n" +
			"Each node's agent says what the change would do that waits for the node's turn; of somebody else's lines it tells only the names of settings, and no credentials.\n" +
			"While the release is paused nothing but that happens.\n\n" +
			"With --offline no cluster is asked: a copy of the node's file is given with -f, and what is printed is what the agent would write, byte for byte,\n" +
			"or the reason for which it would refuse.",
		Example: planExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.offline {
				return opts.runOffline()
			}
			for _, only := range []string{"distribution", "kubernetes-version", "filename", "path", "sink", "sink-ca", "policy", "existing", "config"} {
				if cmd.Flags().Changed(only) {
					return fmt.Errorf("--%s describes a node that is not asked; write --offline too", only)
				}
			}
			client, err := connect(flags)
			if err != nil {
				return err
			}
			return opts.run(cmd.Context(), client)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.offline, "offline", false, "ask no cluster; a copy of the node's file is given with -f")
	f.StringVarP(&opts.output, "output", "o", outputDiff, "diff, json, yaml or jsonpath=...; with --offline diff, or file for the edited file as it would be written")
	f.StringVar(&s.distribution, "distribution", "", "the node's distribution, as in kubeadm")
	f.StringVar(&s.version, "kubernetes-version", "", "the node's apiserver's version, as in v1.34.4")
	f.StringVarP(&s.file, "filename", "f", "", "a copy of the file that starts the node's apiserver, or of the service's configuration; - for the standard input")
	f.StringVar(&s.path, "path", "", "where that file lies on the node, if not where the distribution has it")
	f.StringVar(&s.sink, "sink", "", "the URL that the events go to, with a host that the node resolves")
	f.StringVar(&s.ca, "sink-ca", "", "file with the CA of the sink's certificate, PEM")
	f.StringVar(&s.policy, "policy", "", "file with the audit policy; the recommended one without it")
	f.StringToStringVar(&s.existing, "existing", nil, "what is done with audit settings that are there already, as in policy=replace,log=keep,webhook=replace")
	f.StringVar(&s.config, "config", "", "file with the release's ConfigMap audit-enabler-config, as helm template prints it; the chart's defaults without it")
	return cmd
}

// run prints what each node's agent foresees.
func (o *planOptions) run(ctx context.Context, client typedcorev1.CoreV1Interface) error {
	report, err := read(ctx, client, *o.flags.Namespace)
	if err != nil {
		return err
	}
	if o.output != outputDiff {
		previews := map[string]*wire.Preview{}
		for i := range report.Nodes {
			previews[report.Nodes[i].Node.Name] = report.Nodes[i].Preview
		}
		return encode(o.streams.Out, o.output, previews)
	}
	waits := 0
	for i := range report.Nodes {
		n := &report.Nodes[i]
		fmt.Fprintf(o.streams.Out, "Node %s, %s (%s): %s\n", n.Node.Name, n.Phase, dash(n.Reason), dash(n.Message))
		if n.Preview == nil {
			fmt.Fprint(o.streams.Out, "Nothing waits to be changed.\n\n")
			continue
		}
		waits++
		if err := errors.Join(printDiffs(o.streams.Out, n.Preview), printCosts(o.streams.Out, n.Preview)); err != nil {
			return fmt.Errorf("print plan: %w", err)
		}
		fmt.Fprintln(o.streams.Out)
	}
	if c := meta.FindStatusCondition(report.Cluster.Conditions, reason.Ready); waits > 0 && (c == nil || c.Reason != reason.Paused) {
		fmt.Fprintln(o.streams.ErrOut, "This goes on as each node's turn comes; kubectl audit-enabler pause holds it up.")
	}
	return nil
}

// runOffline prints what the agent would do to the node that is described.
func (o *planOptions) runOffline() error {
	if o.output != outputDiff && o.output != outputFile {
		return fmt.Errorf("output %q is not known: use %s or %s", o.output, outputDiff, outputFile)
	}
	preview, edited, err := o.settings.compute(o.streams.In, *o.flags.Namespace)
	if err != nil {
		return err
	}
	if o.output == outputFile {
		_, err = o.streams.Out.Write(edited)
	} else {
		err = printDiffs(o.streams.Out, preview)
	}
	if err != nil {
		return fmt.Errorf("print plan: %w", err)
	}
	return printCosts(o.streams.ErrOut, preview)
}

func printDiffs(out io.Writer, p *wire.Preview) error {
	for _, f := range p.Files {
		if _, err := io.WriteString(out, f.Diff); err != nil {
			return err
		}
		if f.Cut > 0 {
			if _, err := fmt.Fprintf(out, "# %d more lines of %s are not shown\n", f.Cut, f.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

// printCosts says what there is to say beside the diffs.
func printCosts(out io.Writer, p *wire.Preview) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	if p.Revision != "" {
		fmt.Fprintf(w, "Revision:\t%s\n", p.Revision)
	}
	var flags []string
	for _, f := range p.Flags {
		flags = append(flags, "--"+f.Name+"="+f.Value)
	}
	if len(flags) > 0 {
		fmt.Fprintf(w, "Flags:\t%s\n", strings.Join(flags, "\n\t"))
	}
	if p.Kept != "" {
		fmt.Fprintf(w, "Kept:\t%s\n", p.Kept)
	}
	fmt.Fprintf(w, "Restart:\t%s\n", p.Restart)
	fmt.Fprintf(w, "Unavailable:\t%s\n", p.Unavailable)
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print plan: %w", err)
	}
	return nil
}
