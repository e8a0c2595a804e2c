package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/render"
)

// renderer is a tool that configures clusters declaratively.
type renderer struct {
	use, short, example string
	render              func(render.Options) (render.Output, error)
}

func renderers() []renderer {
	return []renderer{
		{
			"kops", "Print fileAssets and kubeAPIServer for a cluster's spec",
			"  kops get cluster NAME -o yaml > cluster.yaml\n" +
				"  kubectl audit-enabler render kops --sink=http://100.64.0.20:7765/k8s_audit -f cluster.yaml > new.yaml\n" +
				"  kops replace -f new.yaml",
			render.Kops,
		},
		{
			"kubeadm", "Print a ClusterConfiguration, and write the files that it needs on each node",
			"  kubectl audit-enabler render kubeadm --sink=http://10.96.0.20:7765/k8s_audit --kubernetes-version=1.34.4 --files=audit > config.yaml",
			render.Kubeadm,
		},
		{
			"capi", "Print the part of a KubeadmControlPlane (Cluster API)",
			"  kubectl audit-enabler render capi --sink=https://audit.example.com/k8s_audit -f control-plane.yaml > new.yaml",
			render.ClusterAPI,
		},
		{
			"minikube", "Print commands that write the files and start minikube with the flags",
			"  kubectl audit-enabler render minikube --sink=http://10.96.0.20:7765/k8s_audit --kubernetes-version=1.34.4 | sh",
			render.Minikube,
		},
		{
			"rke2", "Print a file for config.yaml.d of RKE2's servers, and write the files that it needs",
			"  kubectl audit-enabler render rke2 --sink=http://10.43.0.20:7765/k8s_audit --kubernetes-version=1.34 --files=audit > 90-audit.yaml",
			render.RKE2,
		},
		{
			"k3s", "Print a file for config.yaml.d of k3s' servers, and write the files that it needs",
			"  kubectl audit-enabler render k3s --sink=http://10.43.0.20:7765/k8s_audit --kubernetes-version=1.34 -f config.yaml --files=audit > new.yaml",
			render.K3s,
		},
		{
			"k0s", "Print spec.api.extraArgs for k0s.yaml, and write the files that it needs on each controller",
			"  kubectl audit-enabler render k0s --sink=https://audit.example.com/k8s_audit --kubernetes-version=1.34 -f k0s.yaml --files=audit > new.yaml",
			render.K0s,
		},
		{
			"microk8s", "Print extraKubeAPIServerArgs and extraConfigFiles of a MicroK8s launch configuration",
			"  kubectl audit-enabler render microk8s --sink=http://10.152.183.20:7765/k8s_audit --kubernetes-version=1.34 -f launch.yaml > new.yaml",
			render.MicroK8s,
		},
		{
			"canonical-kubernetes", "Print extra-node-kube-apiserver-args and extra-node-config-files of a Canonical Kubernetes bootstrap configuration",
			"  kubectl audit-enabler render canonical-kubernetes --sink=http://10.152.183.20:7765/k8s_audit --kubernetes-version=1.34 -f bootstrap.yaml > new.yaml",
			render.CanonicalKubernetes,
		},
		{
			"rke", "Print services.kube-api for RKE's cluster.yml, and write the files that it needs on each control-plane node",
			"  kubectl audit-enabler render rke --sink=http://10.43.0.20:7765/k8s_audit -f cluster.yml --files=audit > new.yml",
			render.RKE,
		},
		{
			"openshift3", "Print auditConfig for master-config.yaml of OpenShift 3.11, and write the files that it needs on each master",
			"  kubectl audit-enabler render openshift3 --sink=http://172.30.0.20:7765/k8s_audit -f master-config.yaml --files=audit > new.yaml",
			render.OpenShift3,
		},
		{
			"openshift4", "Print the operator's overrides for OpenShift 4, with an AuditSink up to 4.5, or with the file of the webhook from 4.6 on",
			"  oc get kubeapiserver cluster -o yaml > kubeapiserver.yaml\n" +
				"  kubectl audit-enabler render openshift4 --sink=http://172.30.0.20:7765/k8s_audit --kubernetes-version=1.14 -f kubeapiserver.yaml > new.yaml\n" +
				"  kubectl audit-enabler render openshift4 --sink=http://172.30.0.20:7765/k8s_audit --kubernetes-version=1.27 --backend=webhook -f kubeapiserver.yaml --files=audit > new.yaml",
			render.OpenShift4,
		},
		{
			"minishift", "Print apiServerArguments for master-config.yaml of Minishift 3.11, and write the files that it needs",
			"  kubectl audit-enabler render minishift --sink=http://172.30.0.20:7765/k8s_audit -f master-config.yaml --files=audit > new.yaml",
			render.Minishift,
		},
	}
}

// newRenderCommand prints configuration for other tools. It reads no cluster.
func newRenderCommand(streams genericiooptions.IOStreams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print the audit settings for a tool that owns the apiserver's flags itself; no cluster is asked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var names []string
			for _, r := range renderers() {
				names = append(names, r.use)
			}
			return fmt.Errorf("for which tool? write %s and one of %s", cmd.CommandPath(), strings.Join(names, ", "))
		},
	}
	for _, r := range renderers() {
		cmd.AddCommand(newRendererCommand(streams, r))
	}
	return cmd
}

func newRendererCommand(streams genericiooptions.IOStreams, r renderer) *cobra.Command {
	var o render.Options
	var policy, ca, base, files, backend string
	cmd := &cobra.Command{
		Use:     r.use,
		Short:   r.short,
		Example: r.example,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			for _, f := range []struct {
				flag, name string
				into       *[]byte
			}{{"--policy", policy, &o.Policy}, {"--sink-ca", ca, &o.SinkCA}, {"-f", base, &o.Base}} {
				if err := readInput(f.flag, f.name, f.into); err != nil {
					return err
				}
			}
			switch backend {
			case "", plan.BackendWebhook:
			case plan.BackendDynamic:
				o.Dynamic = true
			default:
				return fmt.Errorf("--backend=%s: write webhook or dynamic", backend)
			}
			out, err := r.render(o)
			if err != nil {
				return err
			}
			return write(streams, out, len(o.Base) > 0, files)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.KubernetesVersion, "kubernetes-version", "", "the apiserver's version, as in 1.30; -f may say it instead")
	flags.StringVar(&o.Sink, "sink", "", "the URL that the events go to, with a host that the apiserver's node resolves")
	flags.StringVar(&ca, "sink-ca", "", "file with the CA of the sink's certificate, PEM")
	flags.StringVar(&policy, "policy", "", "file with the audit policy; the recommended one without it")
	flags.StringVar(&o.APIVersion, "api-version", "", "the form of the configuration, as in v1beta3, where a tool has several")
	flags.StringVarP(&base, "filename", "f", "", "your own configuration, which is printed with the settings in it")
	if r.use == "minikube" {
		flags.StringVar(&backend, "backend", plan.BackendWebhook, "webhook, or dynamic for an AuditSink (Kubernetes 1.13 to 1.18)")
	}
	if r.use == "openshift4" {
		flags.StringVar(&backend, "backend", plan.BackendDynamic, "dynamic, for an AuditSink (OpenShift 4.1 to 4.5), or webhook (from 4.6 on)")
	}
	if r.use == "minikube" || r.use == "openshift4" {
		flags.BoolVar(&o.AcceptSecrets, "accept-secrets-in-audit", false, "have the AuditSink send bodies too, those of Secrets included")
	}
	if slices.Contains([]string{"kubeadm", "rke2", "k3s", "k0s", "rke", "openshift3", "openshift4", "minishift"}, r.use) {
		flags.StringVar(&files, "files", "", "directory to write the files to that each control-plane node needs")
	}
	return cmd
}

func readInput(flag, name string, into *[]byte) error {
	if name == "" {
		return nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if len(data) == 0 {
		return fmt.Errorf("%s: the file %q is empty", flag, name)
	}
	*into = data
	return nil
}

// write prints the text, says the notes that are not in it, and writes the files.
func write(streams genericiooptions.IOStreams, out render.Output, aside bool, dir string) error {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil { //nolint:forbidigo // on the machine of whoever asks, which is no host of the agent's
			return fmt.Errorf("--files: %w", err)
		}
		for _, f := range out.Files {
			name := filepath.Join(dir, filepath.Base(f.Path))
			if err := os.WriteFile(name, f.Data, 0o600); err != nil { //nolint:forbidigo // the same
				return fmt.Errorf("--files: %w", err)
			}
			_, _ = fmt.Fprintf(streams.ErrOut, "%s: copy it to %s on each control-plane node\n", name, f.Path)
		}
	}
	if aside {
		for _, note := range out.Notes {
			_, _ = fmt.Fprintln(streams.ErrOut, note)
		}
	}
	_, err := streams.Out.Write(out.Text)
	return err
}
