package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// readArgs reads a file with one flag a line, comments and variables in it.
func readArgs(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	var words []string
	for line := range bytes.Lines(text) {
		word := strings.TrimSpace(string(line))
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		words = append(words, strings.NewReplacer(`"`, "", "'", "").Replace(os.ExpandEnv(word)))
	}
	return named(name, words)
}

// readArray reads such a file as the shell of the snap k8s does.
func readArray(ctx context.Context, name string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-c", `declare -a args="($(cat "$1"))"; printf '%s\n' "${args[@]}"`, "bash", name)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	return named(name, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"))
}

// named are the flags among words, each of which must be one.
func named(file string, words []string) ([]string, error) {
	values, order := map[string]string{}, []string{}
	for _, word := range words {
		flag, value, ok := strings.Cut(word, "=")
		if !ok || !strings.HasPrefix(flag, "--") {
			return nil, fmt.Errorf("read %s: %q is not --name=value", file, word)
		}
		flag = strings.TrimPrefix(flag, "--")
		if _, again := values[flag]; !again {
			order = append(order, flag)
		}
		values[flag] = value
	}
	return spoil(order, values)
}
