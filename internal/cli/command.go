// Package cli is the kubectl plugin: it reads the status documents of k8s-audit-enabler and shows them to people and scripts,
// and asks the coordinator to pause or to revert. It changes nothing in the cluster but the request. Without a cluster, it renders the
// audit settings for other tools.
package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// Exit codes, for scripts.
const (
	// ExitFailed: the rollout is stalled, or the command itself failed.
	ExitFailed = 1
	// ExitNotYet: not ready yet, and nothing is wrong.
	ExitNotYet = 3
)

// ExitError carries an exit code without a message: what there is to say has been printed.
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// NewCommand is the root command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	flags := genericclioptions.NewConfigFlags(true)
	root := &cobra.Command{
		Use:           "kubectl-audit_enabler",
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl audit-enabler"},
		Short:         "See what k8s-audit-enabler does in this cluster, pause it, revert nodes",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	flags.AddFlags(root.PersistentFlags())
	root.AddCommand(newStatusCommand(flags, streams), newWaitCommand(flags, streams), newUICommand(flags, streams), newVersionCommand(flags, streams))
	root.AddCommand(newPlanCommand(flags, streams), newVerifyCommand(flags, streams), newRenderCommand(streams))
	root.AddCommand(newPauseCommand(flags, streams), newResumeCommand(flags, streams), newRevertCommand(flags, streams), newEnableCommand(flags, streams))
	root.AddCommand(newLogsCommand(flags, streams), newEventsCommand(flags, streams), newBundleCommand(flags, streams))
	addKubectlCompletion(root, streams)
	return root
}
