package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// output runs a command and returns its standard output. The error carries the end of what the command said.
func output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	err := cmd.Run()
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(stdout.String())
		}
		return stdout.Bytes(), fmt.Errorf("run %q: %w: %s", strings.Join(cmd.Args, " "), err, lastLines(said, 15))
	}
	return stdout.Bytes(), nil
}

// command is a program of the machine, run without the machine's HTTP proxy: everything the lab talks to is local.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		key, _, _ := strings.Cut(variable, "=")
		return strings.HasSuffix(strings.ToLower(key), "_proxy")
	})
	return cmd
}

// run runs a program of the machine to its end.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(command(ctx, name, args...))
	return err
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
