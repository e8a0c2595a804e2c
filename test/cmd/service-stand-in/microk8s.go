package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// readArgs reads a file with one flag a line, comments and variables in it.
func readArgs(name string) ([]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	values, order := map[string]string{}, []string{}
	for line := range bytes.Lines(text) {
		word := strings.TrimSpace(string(line))
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		flag, value, ok := strings.Cut(strings.NewReplacer(`"`, "", "'", "").Replace(os.ExpandEnv(word)), "=")
		if !ok || !strings.HasPrefix(flag, "--") {
			return nil, fmt.Errorf("read %s: %q is not --name=value", name, word)
		}
		flag = strings.TrimPrefix(flag, "--")
		if _, again := values[flag]; !again {
			order = append(order, flag)
		}
		values[flag] = value
	}
	return spoil(order, values)
}
