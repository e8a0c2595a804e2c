package render

import (
	"errors"
	"fmt"
	"strings"
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
	out.WriteString("minikube start")
	if strings.Count(o.KubernetesVersion, ".") > 1 {
		out.WriteString(" --kubernetes-version=v" + s.version.String())
	}
	for _, f := range s.flags {
		fmt.Fprintf(&out, " \\\n  --extra-config=apiserver.%s=%s", f.Name, f.Value)
	}
	out.WriteString("\n")
	return Output{Text: []byte(out.String())}, nil
}
