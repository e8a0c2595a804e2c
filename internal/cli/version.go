package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"k8s-audit-enabler.io/internal/buildinfo"
)

// versionPatience is how long a cluster may take to answer: whoever asks for a version may have none.
const versionPatience = 5 * time.Second

func newVersionCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	var alone bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this plugin and of what runs in the cluster",
		Example: `  kubectl audit-enabler version
  kubectl audit-enabler version --client`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(streams.Out, 0, 8, 2, ' ', 0)
			fmt.Fprintf(w, "plugin:\t%s\n", buildinfo.Version())
			if !alone {
				ctx, cancel := context.WithTimeout(cmd.Context(), versionPatience)
				defer cancel()
				running, err := versions(ctx, flags)
				for _, v := range running {
					fmt.Fprintf(w, "%s:\t%s\n", v[0], v[1])
				}
				if err != nil {
					fmt.Fprintf(streams.ErrOut, "the cluster's are not known: %v\n", err)
				}
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("print versions: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&alone, "client", false, "this plugin's only; no cluster is asked")
	return cmd
}

// versions are the cluster's, and those of our programs there, by their names.
func versions(ctx context.Context, flags *genericclioptions.ConfigFlags) ([][2]string, error) {
	client, namespace, err := enter(ctx, flags)
	if err != nil {
		return nil, err
	}
	report, err := gather(ctx, client, namespace)
	if err != nil {
		return nil, err
	}
	var all [][2]string
	if pods, err := podsOf(ctx, client, namespace, "", nil); err == nil {
		for i := range pods {
			if component := pods[i].Labels[labelComponent]; component != "agent" && len(pods[i].Spec.Containers) > 0 {
				image := pods[i].Spec.Containers[0].Image
				all = append(all, [2]string{component, image[strings.LastIndex(image, "/")+1:]})
			}
		}
	}
	for i := range report.Nodes {
		n := &report.Nodes[i]
		all = append(all, [2]string{"agent on " + n.Node.Name, cmp.Or(n.AgentVersion, "not known")}, [2]string{"kube-apiserver on " + n.Node.Name, cmp.Or(n.Apiserver.Version, "not known")})
	}
	return all, nil
}
