package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

// asker changes the request of one release.
type asker struct {
	client    typedcorev1.CoreV1Interface
	namespace string
	out       io.Writer
}

// newAskCommand is a command that asks for something.
func newAskCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams, cmd *cobra.Command, ask func(context.Context, *asker, []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := connect(flags)
		if err != nil {
			return err
		}
		namespace, err := find(cmd.Context(), client, *flags.Namespace)
		if err != nil {
			return err
		}
		return ask(cmd.Context(), &asker{client: client, namespace: namespace, out: streams.Out}, args)
	}
	return cmd
}

func newPauseCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return newAskCommand(flags, streams, &cobra.Command{
		Use:   "pause",
		Short: "Let no further node change; one that is changing ends what it has begun",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, a *asker, _ []string) error { return a.pause(ctx, true) })
}

func newResumeCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return newAskCommand(flags, streams, &cobra.Command{
		Use:   "resume",
		Short: "Go on after a pause",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, a *asker, _ []string) error { return a.pause(ctx, false) })
}

func newRevertCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var all bool
	cmd := newAskCommand(flags, streams, &cobra.Command{
		Use:   "revert (NODE... | --all)",
		Short: "Take the audit settings out of the apiservers of nodes, which stay so until they are enabled again",
		Example: `  # one node, for example to rule the audit settings out as a cause
  kubectl audit-enabler revert cp2
  kubectl audit-enabler wait --for=reverted cp2
  # and back
  kubectl audit-enabler enable cp2`,
		ValidArgsFunction: completeNodes(flags),
	}, func(ctx context.Context, a *asker, nodes []string) error { return a.revert(ctx, nodes, all) })
	cmd.Flags().BoolVar(&all, "all", false, "all nodes, as with enabled: false in the values")
	return cmd
}

func newEnableCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var all bool
	cmd := newAskCommand(flags, streams, &cobra.Command{
		Use:               "enable (NODE... | --all)",
		Short:             "Take back what revert or an uninstall asked for",
		ValidArgsFunction: completeNodes(flags),
	}, func(ctx context.Context, a *asker, nodes []string) error { return a.enable(ctx, nodes, all) })
	cmd.Flags().BoolVar(&all, "all", false, "all nodes; takes back an uninstall too, and replaces a request that cannot be understood")
	return cmd
}

func (a *asker) pause(ctx context.Context, paused bool) error {
	if err := a.change(ctx, false, func(r *wire.Request) error { r.Paused = paused; return nil }); err != nil {
		return err
	}
	if paused {
		return a.say("Paused: no further node changes. Go on with: kubectl audit-enabler resume -n %s", a.namespace)
	}
	if c := a.config(ctx); c != nil && c.Paused {
		return a.say("Resumed, but the configuration says paused too: helm upgrade … --reuse-values --set paused=false")
	}
	return a.say("Resumed.")
}

func (a *asker) revert(ctx context.Context, nodes []string, all bool) error {
	if err := oneOf(nodes, all); err != nil {
		return err
	}
	if err := a.known(ctx, nodes); err != nil {
		return err
	}
	err := a.change(ctx, false, func(r *wire.Request) error {
		r.RevertAll = r.RevertAll || all
		r.RevertNodes = append(r.RevertNodes, nodes...)
		slices.Sort(r.RevertNodes)
		r.RevertNodes = slices.Compact(r.RevertNodes)
		return nil
	})
	if err != nil {
		return err
	}
	which := strings.Join(append([]string{""}, nodes...), " ")
	return a.say("Asked for. Follow it with: kubectl audit-enabler wait --for=reverted%s -n %s", which, a.namespace)
}

func (a *asker) enable(ctx context.Context, nodes []string, all bool) error {
	if err := oneOf(nodes, all); err != nil {
		return err
	}
	err := a.change(ctx, all, func(r *wire.Request) error {
		if all {
			*r = wire.Request{Paused: r.Paused}
			return nil
		}
		if r.RevertAll || r.Uninstall != nil {
			return errors.New("the revert of all nodes was asked for, and is taken back as a whole: kubectl audit-enabler enable --all")
		}
		for _, node := range nodes {
			if !slices.Contains(r.RevertNodes, node) {
				return fmt.Errorf("the revert of node %q was not asked for, so it cannot be taken back", node)
			}
		}
		r.RevertNodes = slices.DeleteFunc(r.RevertNodes, func(n string) bool { return slices.Contains(nodes, n) })
		return nil
	})
	if err != nil {
		return err
	}
	if c := a.config(ctx); c != nil && !c.Enabled {
		return a.say("Taken back, but the configuration says enabled: false: helm upgrade … --reuse-values --set enabled=true")
	}
	return a.say("Taken back. Follow it with: kubectl audit-enabler wait --for=ready -n %s", a.namespace)
}

// oneOf refuses both and neither: a slip must not reach every node.
func oneOf(nodes []string, all bool) error {
	if all == (len(nodes) > 0) {
		return errors.New("name the nodes, or give --all")
	}
	return nil
}

// known refuses names of nodes that the release does not look after.
func (a *asker) known(ctx context.Context, nodes []string) error {
	if len(nodes) == 0 {
		return nil
	}
	report, err := gather(ctx, a.client, a.namespace)
	if err != nil {
		return err
	}
	var names []string
	for i := range report.Cluster.Nodes {
		names = append(names, report.Cluster.Nodes[i].Name)
	}
	for _, node := range nodes {
		if !slices.Contains(names, node) {
			return fmt.Errorf("node %q is not among the control-plane nodes of this release: %s", node, strings.Join(names, ", "))
		}
	}
	return nil
}

func (a *asker) change(ctx context.Context, replaces bool, change func(*wire.Request) error) error {
	if _, err := request.Change(ctx, a.client.ConfigMaps(a.namespace), replaces, change); err != nil {
		return fmt.Errorf("ask in namespace %q: %w", a.namespace, err)
	}
	return nil
}

// config is the configuration, nil where it cannot be read: it is asked for advice only.
func (a *asker) config(ctx context.Context) *wire.Config {
	object, err := a.client.ConfigMaps(a.namespace).Get(ctx, wire.ConfigName, metav1.GetOptions{})
	var c wire.Config
	if err != nil || wire.Decode(object.Data, wire.KindConfig, &c) != nil {
		return nil
	}
	return &c
}

func (a *asker) say(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format+"\n", args...)
	return err
}
