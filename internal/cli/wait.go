package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
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
		ValidArgsFunction: completeNodes(flags),
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
func waitFor(what string, nodes []string) (func(*status.Report) status.Outcome, error) {
	if what == forReady && len(nodes) > 0 {
		return nil, fmt.Errorf("--for=%s is about all nodes; name none", forReady)
	}
	var reached func(*status.Report) bool
	switch {
	case what == forReady:
		reached = func(r *status.Report) bool { return r.Outcome() == status.IsReady }
	case what == forReverted && len(nodes) == 0:
		reached = func(r *status.Report) bool {
			ready := meta.FindStatusCondition(r.Cluster.Conditions, reason.Ready)
			return r.Outcome() == status.IsReady && ready.Reason == reason.Disabled
		}
	case what == forReverted:
		reached = func(r *status.Report) bool { return !r.Pending && r.Reverted(nodes) }
	default:
		return nil, fmt.Errorf("--for=%s is not known: use %s or %s", what, forReady, forReverted)
	}
	return func(r *status.Report) status.Outcome {
		switch {
		case reached(r):
			return status.IsReady
		case r.Outcome() == status.IsStalled:
			return status.IsStalled
		}
		return status.NotYet
	}, nil
}
