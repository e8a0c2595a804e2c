package cli

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// What can be waited for.
const (
	forReady    = "ready"
	forReverted = "reverted"
)

func newWaitCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &statusOptions{streams: streams, now: time.Now}
	var what string
	cmd := &cobra.Command{
		Use:   "wait [NODE...] --for=ready|reverted",
		Short: "Follow until every node is as asked for, or the nodes named are reverted",
		Long: "Follow until every node is as asked for (ready), or all nodes, or those named, are without our settings (reverted).\n\n" +
			"Exit codes: 0 reached, 3 not reached in time, 1 stalled or failed.",
		RunE: func(cmd *cobra.Command, nodes []string) error {
			reached, err := waitFor(what, nodes)
			if err != nil {
				return err
			}
			client, err := connect(flags)
			if err != nil {
				return err
			}
			ctx, cancel := opts.bounded(cmd.Context())
			defer cancel()
			return opts.follow(ctx, client, *flags.Namespace, reached)
		},
	}
	cmd.Flags().StringVar(&what, "for", forReady, "ready or reverted")
	cmd.Flags().DurationVar(&opts.timeout, "timeout", 0, "give up after this long; 0 never does")
	return cmd
}

// waitFor says when the wait ends.
func waitFor(what string, nodes []string) (func(*Report) Outcome, error) {
	if what == forReady && len(nodes) > 0 {
		return nil, fmt.Errorf("--for=%s is about all nodes; name none", forReady)
	}
	var reached func(*Report) bool
	switch {
	case what == forReady:
		reached = func(r *Report) bool { return r.Outcome() == IsReady }
	case what == forReverted && len(nodes) == 0:
		reached = func(r *Report) bool {
			ready := meta.FindStatusCondition(r.Cluster.Conditions, reason.Ready)
			return r.Outcome() == IsReady && ready.Reason == reason.Disabled
		}
	case what == forReverted:
		reached = func(r *Report) bool { return !r.pending && r.reverted(nodes) }
	default:
		return nil, fmt.Errorf("--for=%s is not known: use %s or %s", what, forReady, forReverted)
	}
	return func(r *Report) Outcome {
		switch {
		case reached(r):
			return IsReady
		case r.Outcome() == IsStalled:
			return IsStalled
		}
		return NotYet
	}, nil
}

// reverted reports whether each of these nodes is without our settings. Of one that is not planned for nothing is left.
func (r *Report) reverted(nodes []string) bool {
	for i := range r.Cluster.Nodes {
		n := &r.Cluster.Nodes[i]
		if slices.Contains(nodes, n.Name) && (n.Phase != wire.PhaseReverted || n.AppliedRevision != "") {
			return false
		}
	}
	return true
}
