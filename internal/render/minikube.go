package render

import (
	"errors"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

// minikubePlaces: what lies below ~/.minikube/files is copied to the node at each start, and of the node's directories /etc/ssl/certs is
// one that the apiserver's pod mounts, read-only. So there is no log.
func minikubePlaces() places {
	return places{dir: "/etc/ssl/certs/k8s-audit"}
}

const minikubeEnd = "END_OF_FILE"

// Minikube renders shell commands: the files into minikube's own directory, and a start with the flags.
func Minikube(o Options) (Output, error) {
	switch {
	case o.APIVersion != "":
		return Output{}, fmt.Errorf("--api-version=%s: minikube start has flags and no configuration file; leave it out", o.APIVersion)
	case len(o.Base) > 0:
		return Output{}, errors.New("-f: minikube start has flags and no configuration file; leave it out")
	case o.AcceptSecrets && !o.Dynamic:
		return Output{}, errors.New("--accept-secrets-in-audit: has a meaning with --backend=dynamic only; leave it out")
	case o.Dynamic:
		return minikubeDynamic(o)
	}
	s, err := settle(o, minikubePlaces(), "", "")
	if err != nil {
		return Output{}, err
	}
	var out strings.Builder
	out.WriteString("#!/bin/sh\n" + comment(
		"The flags stay with the profile: a later minikube start without them keeps them. Without a log of its own; for one on the",
		"apiserver's standard output add --extra-config=apiserver.audit-log-path=-",
	) + "set -eu\n")
	dir := `"${MINIKUBE_HOME:-$HOME/.minikube}/files` + minikubePlaces().dir + `"`
	out.WriteString("umask 077\nmkdir -p " + dir + "\n")
	for _, f := range []struct {
		name string
		data []byte
	}{{PolicyFile, s.policy}, {WebhookFile, s.webhook}} {
		if strings.Contains("\n"+string(f.data), "\n"+minikubeEnd+"\n") {
			return Output{}, fmt.Errorf("the audit policy has a line %s, which would end it here; take that line out", minikubeEnd)
		}
		fmt.Fprintf(&out, "cat > %s/%s <<'%s'\n%s", dir, f.name, minikubeEnd, f.data)
		if len(f.data) > 0 && f.data[len(f.data)-1] != '\n' {
			out.WriteString("\n")
		}
		out.WriteString(minikubeEnd + "\n")
	}
	out.WriteString(minikubeStart(o, s, s.flags))
	return Output{Text: []byte(out.String())}, nil
}

func minikubeStart(o Options, s settings, flags []auditflag.Flag) string {
	var out strings.Builder
	out.WriteString("minikube start")
	if strings.Count(o.KubernetesVersion, ".") > 1 {
		out.WriteString(" --kubernetes-version=v" + s.version.String())
	}
	for _, f := range flags {
		if f.Name == auditflag.FeatureGates { // of all components, for which minikube has a flag of its own
			fmt.Fprintf(&out, " \\\n  --%s=%s", f.Name, f.Value)
			continue
		}
		fmt.Fprintf(&out, " \\\n  --extra-config=apiserver.%s=%s", f.Name, f.Value)
	}
	out.WriteString("\n")
	return out.String()
}

// minikubeDynamic renders a start with the flags, and the AuditSink. There is no policy: it would be for a log or a webhook, and there is
// neither.
func minikubeDynamic(o Options) (Output, error) {
	s, text, said, err := settleDynamic(o, "leave out --backend=dynamic")
	if err != nil {
		return Output{}, err
	}
	flags := append([]auditflag.Flag{{Name: auditflag.Dynamic, Value: "true"}}, auditflag.DynamicEntries()...)
	return Output{Text: []byte("#!/bin/sh\n" + comment(append(said,
		"Put your own feature gates and API versions into the two lists, where you have any: a second --feature-gates replaces the first.")...) +
		"set -eu\n" + minikubeStart(o, s, flags) + "kubectl apply -f - <<'" + minikubeEnd + "'\n" + string(text) + minikubeEnd + "\n")}, nil
}

// settleDynamic is [settle] for the dynamic backend, with the AuditSink and what is to be said about it. instead is what to do where it cannot
// be had.
func settleDynamic(o Options, instead string) (s settings, object []byte, said []string, err error) {
	if len(o.Policy) > 0 {
		return settings{}, nil, nil, fmt.Errorf("--policy: an AuditSink knows no policy; leave it out, or %s", instead)
	}
	if s, err = settle(o, minikubePlaces(), "", ""); err != nil {
		return settings{}, nil, nil, err
	}
	if !auditflag.Known(auditflag.Dynamic, s.version) {
		return settings{}, nil, nil, fmt.Errorf("the dynamic backend: Kubernetes has it from 1.13 to 1.18, and this is %s; %s", short(s.version), instead)
	}
	object, said, err = auditSink(o)
	return s, object, said, err
}

func auditSink(o Options) (text []byte, said []string, err error) {
	level := wire.AuditSinkSettings{Level: "Metadata"}
	said = []string{"The AuditSink sends metadata alone: it knows one level for all resources, and a higher one would send the contents of Secrets (--accept-secrets-in-audit)."}
	if o.AcceptSecrets {
		level, said = wire.AuditSinkSettings{}, []string{"The AuditSink sends everything, the contents of Secrets included."}
	}
	object := auditsink.Object(level, auditsink.Target{URL: o.Sink, CABundle: string(o.SinkCA)}, "")
	object.SetName("audit") // a release has one of its own
	object.SetLabels(nil)
	object.SetAnnotations(nil)
	if text, err = yaml.Marshal(object.Object); err != nil {
		return nil, nil, fmt.Errorf("encode the AuditSink: %w", err)
	}
	return text, said, nil
}
