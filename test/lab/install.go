package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// hostPrograms are the Kubernetes programs that a host has in /usr/bin.
func hostPrograms() []string { return []string{"kubelet", "kubeadm", "kubectl", "kube-proxy"} }

// installed is where, in a host, a program of a Kubernetes version lies; /usr/bin has a symbolic link to it.
func installed(version, program string) string { return "/opt/kubernetes/" + version + "/" + program }

// Install gives a running host the programs and images of another Kubernetes version, as an upgrade's packages would: what
// runs goes on running, and what is started from then on is of that version.
func (h *Host) Install(ctx context.Context, version string) error {
	set, err := h.lab.cache.Set(ctx, version)
	if err != nil {
		return err
	}
	err = h.importImages(ctx, set.Images)
	if err != nil {
		return err
	}
	tree, err := h.Root()
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(tree + "/")
	if err != nil {
		return fmt.Errorf("open tree of host %s: %w", h.name, err)
	}
	defer root.Close()
	for _, program := range hostPrograms() {
		err := installProgram(root, filepath.Join(set.Kubernetes, program), version, program)
		if err != nil {
			return fmt.Errorf("install %s %s in host %s: %w", program, version, h.name, err)
		}
	}
	return nil
}

// installProgram copies a program into the host's tree and points /usr/bin at it.
func installProgram(root *os.Root, source, version, program string) (err error) {
	target := installed(version, program)
	err = root.MkdirAll(filepath.Dir(target)[1:], 0o755)
	if err != nil {
		return err
	}
	_, err = root.Stat(target[1:])
	if errors.Is(err, os.ErrNotExist) {
		err = copyInto(root, target[1:], source)
	}
	if err != nil {
		return err
	}
	link := "usr/bin/" + program
	err = root.Symlink(target, link+".new")
	if err != nil {
		return err
	}
	return root.Rename(link+".new", link)
}

func copyInto(root *os.Root, target, source string) (err error) {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}
