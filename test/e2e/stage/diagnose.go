package stage

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Diagnose gathers what a person would look at first when a scenario failed. It works without the API, from the hosts.
func (s *Stage) Diagnose(ctx context.Context) string {
	var b strings.Builder
	show := func(title, text string, err error) {
		fmt.Fprintf(&b, "\n===== %s\n%s", title, text)
		if err != nil {
			fmt.Fprintf(&b, "(%v)\n", err)
		}
	}
	// What explains most failures comes first: a long diagnosis is often cut.
	out, err := s.Kubectl(ctx, "--request-timeout=5s", "get", "nodes", "-o", "jsonpath="+
		`{range .items[*]}{.metadata.name}:{range .status.conditions[*]} {.type}={.status}{end}{"\n"}{end}`)
	show("nodes' conditions", out, err)
	for _, node := range s.Nodes() {
		out, err := s.Exec(ctx, node, "sh", "-c", "df -h / | tail -n 1; journalctl -u kubelet --no-pager -o cat --since '-15min' | "+
			"grep -E '^[EW][0-9]|apiserver|evict|mage' | grep -v 'connection refused' | cut -c1-300 | tail -n 12")
		show(node+": disk and the kubelet's warnings", out, err)
	}
	out, err = s.Kubectl(ctx, "--request-timeout=5s", "-n", ReleaseNamespace, "get", "configmaps", "-o", "yaml")
	show("configmaps", out, err)
	out, err = s.Kubectl(ctx, "--request-timeout=5s", "get", "nodes,pods,services", "-A", "-o", "wide")
	show("nodes, pods, services", out, err)
	out, err = s.Kubectl(ctx, "--request-timeout=5s", "-n", ReleaseNamespace, "get", "events")
	show("events", out, err)
	for _, node := range s.Nodes() {
		text, err := s.ReadHost(node, ManifestPath)
		show(node+": manifest", text, err)
		logs, _ := filepath.Glob(s.OnHost(node, "/var/log/pods/"+ReleaseNamespace+"_*/*/*.log"))
		apiserver, _ := filepath.Glob(s.OnHost(node, "/var/log/pods/kube-system_kube-apiserver-*/*/*.log"))
		for _, path := range append(logs, apiserver...) {
			lines := 60
			if strings.Contains(path, "kube-apiserver") {
				lines = 15
			}
			text, err := s.ReadHost(node, strings.TrimPrefix(path, s.OnHost(node, "/")))
			show(node+": "+strings.TrimPrefix(path, s.OnHost(node, "/var/log/pods")), tail(text, lines), err)
		}
		out, err := s.Exec(ctx, node, "journalctl", "-u", "kubelet", "-n", "25", "--no-pager", "-o", "cat")
		show(node+": kubelet", out, err)
	}
	if s.Receiver != nil {
		show("receiver", fmt.Sprintf("%+v\n", s.Receiver.Stats()), nil)
	}
	return b.String()
}

// tail is the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n") + "\n"
}
