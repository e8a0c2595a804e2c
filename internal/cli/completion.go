package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// kubectlCompletion is what kubectl runs to complete a plugin's command line (kubectl 1.26 and later).
const kubectlCompletion = `#!/bin/sh
# Put this as kubectl_complete-audit_enabler on your PATH, executable: kubectl's own completion then completes the plugin, too.
kubectl audit-enabler __complete "$@"
`

// addKubectlCompletion adds to cobra's completion the form that a plugin of kubectl needs.
func addKubectlCompletion(root *cobra.Command, streams genericiooptions.IOStreams) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.AddCommand(&cobra.Command{
				Use:   "kubectl",
				Short: "Print the program by which kubectl's own completion completes this plugin",
				Args:  cobra.NoArgs,
				RunE: func(*cobra.Command, []string) error {
					_, err := fmt.Fprint(streams.Out, kubectlCompletion)
					return err
				},
			})
		}
	}
}
