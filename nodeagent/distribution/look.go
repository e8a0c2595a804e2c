package distribution

import (
	"bufio"
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// maxRelease is more than any os-release has.
const maxRelease = 64 << 10

// Owner reports whether a command line is that of a program that runs apiservers in a way of its own.
func Owner(args []string) bool {
	words := strings.Fields(strings.Join(args, " ")) // some write all of it into their first argument
	return len(words) > 0 && slices.Contains([]string{"rke2", "k3s", "k0s", "kubelite", "k8sd"}, path.Base(words[0]))
}

// Look gathers what a host shows. What cannot be read counts as not there. staticPods and programs come from the process table; of
// the manifest only what it says of its makers is kept.
func Look(host hostfs.Reader, staticPods string, programs []string, manifestPath string, manifest []byte) Host {
	h := Host{OS: osID(host), StaticPods: staticPods, Programs: programs}
	if manifestPath != "" {
		h.Manifest = makers(manifestPath, manifest)
	}
	for _, file := range traces(staticPods) {
		if _, err := host.Stat(file); err == nil {
			h.Files = append(h.Files, file)
		}
	}
	return h
}

// traces are the files that are looked for.
func traces(staticPods string) []string {
	files := append(kopsUnits(), openShift3Config, minishiftConfig, openShift4Files, "/etc/kubernetes/manifests/"+openShift4Manifest)
	if staticPods != "" {
		files = append(files, path.Join(staticPods, openShift4Manifest))
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// osID reads ID= from os-release (man 5 os-release).
func osID(host hostfs.Reader) string {
	for _, file := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		data, err := host.ReadFile(file, maxRelease)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			if id, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "ID="); ok {
				return strings.Trim(id, `"'`)
			}
		}
	}
	return ""
}

// makers reads a manifest. One that does not decode says nothing.
func makers(file string, data []byte) Manifest {
	m := Manifest{Path: file}
	var pod struct {
		Metadata struct {
			Namespace   string         `json:"namespace"`
			Labels      map[string]any `json:"labels"`
			Annotations map[string]any `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			Volumes []struct {
				HostPath *struct {
					Path string `json:"path"`
				} `json:"hostPath"`
			} `json:"volumes"`
		} `json:"spec"`
	}
	if yaml.Unmarshal(data, &pod) != nil {
		return m
	}
	m.Namespace = pod.Metadata.Namespace
	m.Keys = slices.Sorted(maps.Keys(pod.Metadata.Labels))
	m.Keys = append(m.Keys, slices.Sorted(maps.Keys(pod.Metadata.Annotations))...)
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			m.HostPaths = append(m.HostPaths, path.Clean(v.HostPath.Path))
		}
	}
	return m
}
