package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// known are the keys that a scenario may set. The real programs have many more, and refuse others as this one does.
var known = []string{"kube-apiserver-arg", "token", "tls-san", "data-dir", "https-listen-port", "write-kubeconfig-mode", "node-label", "node-taint"}

// readConfig merges a configuration file and those beside it into the apiserver's flags.
func readConfig(config string) ([]string, error) {
	names := []string{config}
	more, err := filepath.Glob(config + ".d/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list configuration: %w", err)
	}
	slices.Sort(more)
	var list []string
	for _, name := range append(names, more...) {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		if list, err = merge(list, text); err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return flags(list)
}

// merge adds one file to the list of arguments.
func merge(list []string, text []byte) ([]string, error) {
	var values map[string]any
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return nil, err
	}
	for key, value := range values {
		name, appends := strings.CutSuffix(key, "+")
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("flag provided but not defined: -%s", name)
		}
		if name != "kube-apiserver-arg" {
			continue
		}
		entries, ok := value.([]any)
		if !ok {
			return nil, fmt.Errorf("%s is not a list", key)
		}
		var words []string
		for _, e := range entries {
			word, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%s has an element that is not a string", key)
			}
			words = append(words, word)
		}
		if !appends {
			list = nil
		}
		list = append(list, words...)
	}
	return list, nil
}

// flags are the arguments with dashes. Of one that is given twice the last counts, as for the real programs.
func flags(list []string) ([]string, error) {
	values, order := map[string]string{}, []string{}
	for _, word := range list {
		name, value, ok := strings.Cut(word, "=")
		if !ok || strings.HasPrefix(name, "-") {
			return nil, fmt.Errorf("argument %q is not name=value", word)
		}
		if _, again := values[name]; !again {
			order = append(order, name)
		}
		values[name] = value
	}
	return spoil(order, values)
}
