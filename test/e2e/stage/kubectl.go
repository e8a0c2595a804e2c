package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Run runs a program with the stage's kubeconfig and without the environment's HTTP proxy, which would not find the lab.
// stdin may be empty. The error holds what the program said.
func (s *Stage) Run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(withoutProxy(os.Environ()), "KUBECONFIG="+s.Kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(complaint.String()+" "+out.String()))
	}
	return out.String(), nil
}

// Kubectl runs kubectl as the cluster's administrator.
func (s *Stage) Kubectl(ctx context.Context, args ...string) (string, error) {
	return s.Run(ctx, "", s.KubectlPath, args...)
}

// Apply feeds YAML to kubectl apply.
func (s *Stage) Apply(ctx context.Context, yaml string) error {
	_, err := s.Run(ctx, yaml, s.KubectlPath, "apply", "-f", "-")
	return err
}

func withoutProxy(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		switch strings.ToLower(name) {
		case "http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig":
		default:
			out = append(out, kv)
		}
	}
	return out
}
