package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// portPage is the name of the coordinator's port that serves the status page.
const portPage = "page"

type uiOptions struct {
	port    int
	noOpen  bool
	streams genericiooptions.IOStreams
	// browser opens an address, nil where there is nobody to look at it.
	browser func(ctx context.Context, address string)
}

func newUICommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &uiOptions{streams: streams}
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Show the status as a web page, until Ctrl-C",
		Long: "Show the status as a web page, until Ctrl-C: a port of this machine's loopback address leads to the coordinator's read-only page.\n\n" +
			"The address is printed, and opened in a browser where somebody sits at this machine.",
		Example: "  kubectl audit-enabler ui",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			client, namespace, err := enter(cmd.Context(), flags)
			if err != nil {
				return err
			}
			if words := opener(runtime.GOOS, os.Getenv, isTerminal(streams.Out)); !opts.noOpen && words != nil {
				opts.browser = func(ctx context.Context, address string) {
					_ = exec.CommandContext(ctx, words[0], append(words[1:], address)...).Start() // the address is printed as well
				}
			}
			return opts.run(cmd.Context(), func(ctx context.Context, port int) (*tunnel, error) {
				pod, remote, err := pageOf(ctx, client, namespace)
				if err != nil {
					return nil, err
				}
				return dig(ctx, config, client, namespace, pod, port, remote)
			})
		},
	}
	cmd.Flags().IntVar(&opts.port, "port", 0, "the port on this machine; 0 is any that is free")
	cmd.Flags().BoolVar(&opts.noOpen, "no-open", false, "open no browser")
	return cmd
}

// run keeps a way to the page open. Once there was one it is made again whenever it ends, on the same port, because it ends each time
// the only apiserver of a control plane restarts, which is when somebody looks.
func (o *uiOptions) run(ctx context.Context, dig func(context.Context, int) (*tunnel, error)) error {
	way, err := dig(ctx, o.port)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil //nolint:nilerr // Ctrl-C: nobody asks for the page any more
	case err != nil:
		return err
	}
	port := way.port
	address := fmt.Sprintf("http://127.0.0.1:%d/", port)
	fmt.Fprintf(o.streams.Out, "%s\n", address)
	fmt.Fprintln(o.streams.ErrOut, "The status page is there until Ctrl-C.")
	if o.browser != nil {
		o.browser(ctx, address)
	}
	for said := ""; ; {
		if way != nil {
			select {
			case <-ctx.Done():
				way.stop()
				return nil
			case err = <-way.ended:
			}
		}
		if text := fmt.Sprintf("no way to the page now, trying again: %v", err); text != said {
			said = text
			fmt.Fprintln(o.streams.ErrOut, text)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pollInterval):
		}
		if way, err = dig(ctx, port); err == nil {
			said = ""
			fmt.Fprintln(o.streams.ErrOut, "The page is there again.")
		}
	}
}

// pageOf is the pod of a coordinator that is ready, and its port of the page. Each coordinator has the same page.
func pageOf(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string) (pod, port string, err error) {
	pods, err := podsOf(ctx, client, namespace, "coordinator", nil)
	if err != nil {
		return "", "", err
	}
	err = fmt.Errorf("no coordinator runs in namespace %q, so nobody serves the page; kubectl audit-enabler status needs none", namespace)
	for i := range pods {
		p := &pods[i]
		if why := unready(p); why != "" {
			err = fmt.Errorf("the coordinator's pod %s is not ready (%s); its log may say why: kubectl audit-enabler logs --component coordinator", p.Name, why)
			continue
		}
		for _, c := range p.Spec.Containers {
			for _, at := range c.Ports {
				if at.Name == portPage {
					return p.Name, strconv.Itoa(int(at.ContainerPort)), nil
				}
			}
		}
		err = fmt.Errorf("the coordinator's pod %s has no page: it is older than this plugin; let Helm upgrade the release", p.Name)
	}
	return "", "", err
}

// unready says why a pod is not ready, empty where it is.
func unready(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "it ends"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	for i := range p.Status.ContainerStatuses {
		if waiting := p.Status.ContainerStatuses[i].State.Waiting; waiting != nil && waiting.Reason != "" {
			return waiting.Reason
		}
	}
	return cmp.Or(string(p.Status.Phase), "no phase yet")
}

// opener is the command that opens an address in a browser, nil where nobody would see one: from a script, on a server, over SSH.
func opener(system string, env func(string) string, terminal bool) []string {
	switch {
	case !terminal || env("SSH_CONNECTION") != "" || env("CI") != "":
		return nil
	case system == "darwin":
		return []string{"open"}
	case system == "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler"}
	case env("DISPLAY") != "" || env("WAYLAND_DISPLAY") != "":
		return []string{"xdg-open"}
	}
	return nil
}

func isTerminal(out any) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
