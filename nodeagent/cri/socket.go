package cri

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// wellKnownSockets are tried where the kubelet's own setting is not known. Docker's come first: where Docker is the
// runtime, its private containerd often answers on containerd's usual socket too, and knows of no pod.
func wellKnownSockets() []string {
	return []string{
		"/run/cri-dockerd.sock",
		"/run/dockershim.sock",
		"/run/crio/crio.sock",
		"/run/k3s/containerd/containerd.sock",
		"/run/k0s/containerd.sock",
		"/var/snap/microk8s/common/run/containerd.sock",
		"/var/snap/k8s/common/run/containerd.sock",
		"/run/containerd/containerd.sock",
	}
}

// sockets are the paths on the host to try, best first.
func (c *Client) sockets() []string {
	var told string
	if c.config.KubeletEndpoint != nil {
		told = SocketPath(c.config.KubeletEndpoint())
	}
	if told == "" {
		return wellKnownSockets()
	}
	others := slices.DeleteFunc(wellKnownSockets(), func(s string) bool { return s == told })
	return append([]string{told}, others...)
}

// SocketPath is the socket's path in a kubelet's container runtime endpoint, which is unix:///path or a bare path.
// It is empty for anything else.
func SocketPath(endpoint string) string {
	endpoint = strings.TrimSpace(endpoint)
	if rest, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		endpoint = rest
	} else if rest, ok := strings.CutPrefix(endpoint, "unix:"); ok {
		endpoint = rest
	}
	if !strings.HasPrefix(endpoint, "/") {
		return ""
	}
	return path.Clean(endpoint)
}

// maxLinks bounds the symbolic links followed in one path, as the kernel does.
const maxLinks = 40

var errTooManyLinks = errors.New("too many symbolic links")

// resolve finds where a host path lies under the mounted host root, following symbolic links as the host would: on many
// systems /var/run is a link to the absolute path /run, which in the agent's own file tree is another directory.
func resolve(root, name string) (string, error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at := "/"
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(at, part)
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil {
			if _, err := os.Lstat(filepath.Join(root, next)); err != nil {
				return "", fmt.Errorf("find %s: %w", name, err)
			}
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("find %s: %w", name, errTooManyLinks)
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, at), nil
}
