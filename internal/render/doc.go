// Package render prints the audit settings in the words of those who configure a cluster declaratively: kops' cluster spec, kubeadm's
// ClusterConfiguration, Cluster API's KubeadmControlPlane, minikube's start flags, the configuration files of RKE2, k3s, k0s,
// OpenShift 3.11 and Minishift, the operator's resource of OpenShift 4, the launch configuration of MicroK8s, the bootstrap
// configuration of Canonical Kubernetes, RKE's cluster.yml.
//
// It is for people who want their own tool, and not the node agent, to own the apiserver's flags. Policy, webhook kubeconfig and flags
// come from the packages that make the agent's, for the version that is named; here is only where each tool wants them. Given a file
// of the user's, the settings go into it and everything else in it stays; somebody else's webhook or policy in it is an error that says
// what to do.
package render

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/webhookconfig"
)

// Names of the two files, in whatever directory they go.
const (
	PolicyFile  = "audit-policy.yaml"
	WebhookFile = "webhook-config.yaml"
)

// Options are what is asked for.
type Options struct {
	// KubernetesVersion is the apiserver's, as in 1.30 or v1.30.2; empty where Base says it.
	KubernetesVersion string
	// Sink is where the events go, as an apiserver dials it.
	Sink string
	// SinkCA is the sink's CA, PEM; empty for the system's.
	SinkCA []byte
	// Policy is the audit policy; empty for the recommended one.
	Policy []byte
	// Dynamic asks for an AuditSink in place of the webhook, with the bodies of requests and answers where AcceptSecrets is set, as an
	// AuditSink knows one level for all resources. minikube and OpenShift 4.1 to 4.5 have it.
	Dynamic, AcceptSecrets bool
	// APIVersion chooses between the forms that a tool's configuration has had; empty for the usual one of that version.
	APIVersion string
	// Base is the user's own configuration file; empty for none.
	Base []byte
}

// File is one that must be on every control-plane node.
type File struct {
	// Path is on the node.
	Path string
	Data []byte
}

// Output is what was rendered.
type Output struct {
	// Text is the configuration, or the commands. Where the file is not the user's own, the notes stand at its top.
	Text []byte
	// Notes are what else there is to do.
	Notes []string
	// Files are those that Text points to and that the tool does not bring to the nodes itself.
	Files []File
}

// settings are what an apiserver of one version is to be given.
type settings struct {
	version *version.Version
	policy  []byte
	webhook []byte
	flags   []auditflag.Flag
}

// places are where an apiserver sees its files. Without a log there is none.
type places struct{ dir, log string }

func (p places) policy() string  { return p.dir + "/" + PolicyFile }
func (p places) webhook() string { return p.dir + "/" + WebhookFile }

// settle checks what is asked for. inFile is the version that the user's own file names, and where says where; both may be empty.
func settle(o Options, at places, inFile, where string) (settings, error) {
	v, err := chosen(o.KubernetesVersion, inFile, where)
	if err != nil {
		return settings{}, err
	}
	s := settings{version: v}
	text := o.Policy
	if len(text) == 0 {
		if text, err = auditpolicy.Render(auditpolicy.Options{Version: v}); err != nil {
			return settings{}, fmt.Errorf("the recommended policy for Kubernetes %s: %w", short(v), err)
		}
		text = bare(text)
	}
	if s.policy, _, err = auditpolicy.Prepare(text, v); err != nil {
		return settings{}, fmt.Errorf("the audit policy for Kubernetes %s: %w", short(v), err)
	}
	if o.Sink == "" {
		return settings{}, errors.New("where do the events go? write --sink with the URL that an apiserver dials, as in --sink=http://10.96.0.20:7765/k8s_audit")
	}
	sink := webhookconfig.Sink{URL: o.Sink, CAData: o.SinkCA}
	if err := sink.Validate(v); err != nil {
		return settings{}, sinkError(err)
	}
	if s.webhook, err = webhookconfig.Render(sink); err != nil {
		return settings{}, sinkError(err)
	}
	s.flags, err = auditflag.Desired(auditflag.Settings{
		PolicyFile: at.policy(), WebhookConfigFile: at.webhook(), LogPath: at.log, NoLog: at.log == "",
	}, v)
	if err != nil {
		return settings{}, fmt.Errorf("the flags for Kubernetes %s: %w", short(v), err)
	}
	return s, nil
}

// bare is the recommended policy without its comments and empty lines: what is embedded in a cluster's spec ends in a machine's user
// data, which clouds limit to some kilobytes.
func bare(policy []byte) []byte {
	var out strings.Builder
	out.WriteString("# The recommended audit policy of k8s-audit-enabler; docs/policy.md explains its rules.\n")
	for line := range strings.Lines(string(policy)) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			out.WriteString(line)
		}
	}
	return []byte(out.String())
}

// sinkError names the settings as the command does.
func sinkError(err error) error {
	var setting *webhookconfig.SettingError
	if !errors.As(err, &setting) {
		return err
	}
	if setting.Setting == "CAData" {
		return errors.New("--sink-ca: " + setting.Detail)
	}
	return errors.New("--sink: " + setting.Detail)
}

// chosen is the version to render for.
func chosen(asked, inFile, where string) (*version.Version, error) {
	text := asked
	if text == "" {
		text = inFile
	}
	if text == "" {
		return nil, errors.New("for which Kubernetes? write --kubernetes-version, as in --kubernetes-version=1.30")
	}
	v, err := version.ParseGeneric(text)
	if err != nil || v.Major() != 1 {
		return nil, fmt.Errorf("Kubernetes %q is not a version; write it as in --kubernetes-version=1.30", text) //nolint:staticcheck // the name of a product
	}
	if asked != "" && inFile != "" {
		if own, err := version.ParseGeneric(inFile); err == nil && short(own) != short(v) {
			return nil, fmt.Errorf("--kubernetes-version says %s and %s says %s; leave out the one or change the other", asked, where, inFile)
		}
	}
	return v, nil
}

func short(v *version.Version) string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// atLeast: the version is 1.minor or newer.
func atLeast(v *version.Version, minor uint) bool { return v.AtLeast(version.MajorMinor(1, minor)) }

// output puts the notes where they are read. A file of the user's stays theirs.
func output(o Options, text []byte, files []File, notes ...string) Output {
	out := Output{Text: text, Notes: notes, Files: files}
	if len(o.Base) == 0 {
		out.Text = append([]byte(comment(notes...)), text...)
	}
	return out
}

// comment makes lines of a YAML or shell comment.
func comment(lines ...string) string {
	var out strings.Builder
	for _, l := range lines {
		out.WriteString(strings.TrimRight("# "+l, " ") + "\n")
	}
	return out.String()
}
