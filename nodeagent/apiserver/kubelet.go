package apiserver

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// ErrNoStaticPodPath is returned for a kubelet that runs no static pods from files.
var ErrNoStaticPodPath = errors.New("the kubelet has no static pod path")

// HostReader reads the kubelet's configuration on the host. ReadDir returns the names in a directory.
type HostReader struct {
	ReadFile func(name string) ([]byte, error)
	ReadDir  func(name string) ([]string, error)
}

// StaticPodPath is the directory, or the one file, that a kubelet takes static pods from, as its command line (program
// first) and the files named there say: the flag --pod-manifest-path wins over the drop-ins of --config-dir, of which
// the last in the order of names wins, and these over the file of --config. A path in the file is relative to the
// file's directory, as the kubelet reads it.
func StaticPodPath(cmdline []string, host HostReader) (string, error) {
	if len(cmdline) == 0 {
		return "", fmt.Errorf("read kubelet command line: %w", ErrNoStaticPodPath)
	}
	args := ParseArgs(cmdline[1:])
	if dir, ok := args.Lookup("pod-manifest-path"); ok && dir != "" {
		return absolute(dir, "")
	}
	found := ""
	if config, ok := args.Lookup("config"); ok && config != "" {
		dir, err := staticPodPathIn(config, host)
		if err != nil {
			return "", err
		}
		found = dir
	}
	if dropIns, ok := args.Lookup("config-dir"); ok && dropIns != "" {
		dir, err := dropInStaticPodPath(dropIns, host)
		if err != nil {
			return "", err
		}
		if dir != "" {
			found = dir
		}
	}
	if found == "" {
		return "", ErrNoStaticPodPath
	}
	return found, nil
}

func dropInStaticPodPath(dir string, host HostReader) (string, error) {
	names, err := host.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("list kubelet drop-ins: %w", err)
	}
	slices.Sort(names)
	found := ""
	for _, name := range names {
		if !strings.HasSuffix(name, ".conf") {
			continue
		}
		value, err := staticPodPathIn(path.Join(dir, name), host)
		if err != nil {
			return "", err
		}
		if value != "" {
			found = value
		}
	}
	return found, nil
}

// staticPodPathIn reads one KubeletConfiguration file; empty where it does not say.
func staticPodPathIn(file string, host HostReader) (string, error) {
	data, err := host.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read kubelet configuration: %w", err)
	}
	var config struct {
		Kind          string `json:"kind"`
		StaticPodPath string `json:"staticPodPath"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("decode kubelet configuration %q: %w", file, err)
	}
	if config.Kind != "" && config.Kind != "KubeletConfiguration" {
		return "", fmt.Errorf("decode kubelet configuration %q: kind is %q", file, config.Kind)
	}
	if config.StaticPodPath == "" {
		return "", nil
	}
	return absolute(config.StaticPodPath, path.Dir(file))
}

// absolute resolves a path against a directory, if there is one.
func absolute(name, dir string) (string, error) {
	switch {
	case path.IsAbs(name):
		return path.Clean(name), nil
	case path.IsAbs(dir):
		return path.Join(dir, name), nil
	}
	return "", fmt.Errorf("static pod path %q is relative to a directory that is not known", name)
}
