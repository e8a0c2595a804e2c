package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// spoils holds a flag, as it stands on the apiserver's command line, that gets a value on which the apiserver ends.
const spoils = "/etc/stand-in-spoils"

// spoil makes a command line, with the flag spoilt that a scenario wants so.
func spoil(order []string, values map[string]string) ([]string, error) {
	spoilt, err := os.ReadFile(spoils)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what is to be spoilt: %w", err)
	}
	var out []string
	for _, name := range order {
		flag := "--" + name + "=" + values[name]
		if flag == strings.TrimSpace(string(spoilt)) {
			flag = "--" + name + "=nonsense"
		}
		out = append(out, flag)
	}
	return out, nil
}
