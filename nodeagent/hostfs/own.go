package hostfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The agent's own directories. What is in them was made by the agent, or by an apiserver that the agent let write there, so
// a symbolic link at or below them is nobody's setup but somebody's trap: paths that begin with one of them go through no
// link from there on. Links that lead to them, such as a /var/lib on another disk, are followed.
const (
	// StateDir holds what the agent remembers. It is mounted into nothing but the agent.
	StateDir = "/var/lib/k8s-audit-enabler"
	// DataDir holds what the apiserver reads and writes. Parts of it are mounted into the apiserver.
	DataDir = "/var/lib/k8s_audit"
)

// DataDirs are all directories of the kind of [DataDir]: the usual one, and those for apiservers in containers that see nothing else of
// the host and whose mounts are not ours to change, as on OpenShift 3.11 (openshift-ansible,
// roles/openshift_control_plane/files/apiserver.yaml) and Minishift; or that need no mount more there, as with RKE (github.com/rancher/rke,
// cluster/plan.go), which keeps its files elsewhere on hosts whose /etc cannot be written (hosts/hosts.go); or for those that are confined
// to the directories of their snap.
func DataDirs() []string {
	return []string{
		DataDir, "/etc/origin/master/k8s_audit", "/var/lib/minishift/base/kube-apiserver/k8s_audit",
		"/etc/kubernetes/k8s-audit-enabler", "/opt/rke/etc/kubernetes/k8s-audit-enabler",
		"/var/snap/k8s/common/k8s_audit", "/var/snap/microk8s/common/k8s_audit",
	}
}

var (
	// ErrLink is returned for a path in the agent's own directories that goes through a symbolic link.
	ErrLink = errors.New("a symbolic link where the agent makes none")
	// ErrMounted is returned by [FS.RemoveAll] where another file system, or another part of this one, is mounted in the tree.
	ErrMounted = errors.New("something is mounted there")
)

// linkless is how many of a path's last components must be no links, and the path to walk.
func linkless(name string) (count int, walked string) {
	clean := path.Clean(name)
	for _, own := range append(DataDirs(), StateDir) {
		if clean == own || strings.HasPrefix(clean, own+"/") {
			return len(components(clean)) - len(components(own)) + 1, clean
		}
	}
	return 0, name
}

// Private makes a directory the owner's alone: what others could put there before the agent came must not stay theirs.
func (f *FS) Private(name string, owner Owner, mode fs.FileMode) error {
	info, err := f.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("keep %q private: %w", name, unix.ENOTDIR)
	}
	if info.UID != owner.UID || info.GID != owner.GID {
		if err := f.Chown(name, owner); err != nil {
			return err
		}
	}
	if info.Mode.Perm() != mode.Perm() {
		return f.Chmod(name, mode)
	}
	return nil
}

// sameMount reports whether two open directories are seen through one mount. A bind mount has the device number of its
// source, so the kernel's own number of the mount is compared, which it tells in /proc since Linux 3.15.
func sameMount(a, b int) (bool, error) {
	one, err := mountID(a)
	if err != nil {
		return false, err
	}
	other, err := mountID(b)
	if err != nil {
		return false, err
	}
	return one == other, nil
}

func mountID(fd int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return "", fmt.Errorf("ask for the mount: %w", err)
	}
	for line := range bytes.Lines(text) {
		if id, ok := bytes.CutPrefix(line, []byte("mnt_id:")); ok {
			return string(bytes.TrimSpace(id)), nil
		}
	}
	return "", errors.New("the kernel does not tell which mount a file is on")
}
