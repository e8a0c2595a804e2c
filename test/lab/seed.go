package lab

import (
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/template"
)

//go:embed hostfiles
var hostFiles embed.FS

// maskedUnits are units of a Debian or Ubuntu machine that a host without devices, consoles and modules has no use for.
const maskedUnits = `systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket
systemd-timesyncd.service systemd-logind.service systemd-binfmt.service systemd-sysctl.service systemd-modules-load.service
systemd-remount-fs.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-setup-dev-early.service kmod-static-nodes.service
systemd-journald-audit.socket systemd-pstore.service systemd-repart.service systemd-pcrphase.service systemd-pcrphase-sysinit.service
systemd-networkd.service systemd-networkd.socket systemd-resolved.service systemd-oomd.service systemd-random-seed.service
proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount sys-kernel-debug.mount sys-kernel-tracing.mount
sys-kernel-config.mount sys-fs-fuse-connections.mount dev-hugepages.mount dev-mqueue.mount tmp.mount
getty.target console-getty.service getty-static.service systemd-ask-password-wall.path systemd-ask-password-console.path`

// seed is the part of a host's tree that differs from the machine's: the overlay's upper folder before the first boot.
type seed struct{ upper string }

// seed writes what a host has of its own. Nothing of the machine's own Kubernetes, units, logs or homes shows through.
func (l *Lab) seed(h *Host) error {
	s := &seed{upper: filepath.Join(h.dir, "upper")}
	for _, dir := range l.hiddenDirs() {
		err := s.hide(dir)
		if err != nil {
			return fmt.Errorf("hide %s from host %s: %w", dir, h.name, err)
		}
	}
	files, err := l.hostFiles(h)
	if err != nil {
		return err
	}
	for _, f := range files {
		err := s.put(f)
		if err != nil {
			return fmt.Errorf("write %s of host %s: %w", f.path, h.name, err)
		}
	}
	return nil
}

// hiddenDirs lists what of the machine a host does not see. It has empty folders in their place.
func (l *Lab) hiddenDirs() []string {
	dirs := []string{
		"/root", "/home", "/srv", "/opt",
		"/etc/kubernetes", "/etc/kubernetes/manifests", "/etc/cni", "/etc/containerd", "/etc/systemd/system", "/etc/init.d",
		"/var/log", "/var/log/journal", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/cni", "/var/lib/k8s_audit",
	}
	optional := []string{"/var/lib/docker", "/etc/docker", "/etc/cron.d", l.opts.Root}
	for _, level := range "0123456S" {
		optional = append(optional, fmt.Sprintf("/etc/rc%c.d", level))
	}
	if l.cache != nil {
		optional = append(optional, filepath.Dir(l.cache.Modules()), l.cache.Dir())
	}
	for _, dir := range optional {
		place, err := filepath.EvalSymlinks(dir)
		below := func(hidden string) bool { return strings.HasPrefix(place+"/", hidden+"/") }
		if err == nil && place != "/" && !slices.ContainsFunc(dirs, below) {
			dirs = append(dirs, place)
		}
	}
	return dirs
}

// file is a file of a host; one with a target is a symbolic link.
type file struct {
	path, text string
	target     string
	mode       fs.FileMode
}

// hostFiles lists the host's own files.
func (l *Lab) hostFiles(h *Host) ([]file, error) {
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n")
	for _, name := range everyName() {
		p, _, _ := placeOf(name)
		fmt.Fprintf(&hosts, "%s %s\n", l.opts.address(p), name)
	}
	const units = "/etc/systemd/system/"
	files := []file{
		{path: "/etc/machine-id", text: hex.EncodeToString(id) + "\n"},
		{path: "/etc/hostname", text: h.name + "\n"},
		{path: "/etc/hosts", text: hosts.String()},
		// nobody answers there, which is known at once; the machine's own resolver may not be reachable, which takes 10 s
		{path: "/etc/resolv.conf", text: "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"},
		{path: "/etc/fstab"},
		{path: "/etc/environment"},
		{path: units + "default.target", target: "/lib/systemd/system/multi-user.target"},
		{path: units + "multi-user.target.wants/containerd.service", target: "/lib/systemd/system/containerd.service"},
		{path: units + "multi-user.target.wants/kubelet.service", target: "../kubelet.service"},
		{path: units + "multi-user.target.wants/kube-proxy.service", target: "../kube-proxy.service"},
	}
	for unit := range strings.FieldsSeq(maskedUnits) {
		files = append(files, file{path: units + unit, target: "/dev/null"})
	}
	for _, program := range hostPrograms() {
		files = append(files, file{path: "/usr/bin/" + program, target: installed(l.set.Version, program)})
	}
	for path, name := range map[string]string{
		units + "kubelet.service":         "kubelet.service",
		units + "kube-proxy.service":      "kube-proxy.service",
		"/etc/containerd/config.toml":     "containerd.toml",
		"/etc/cni/net.d/10-pods.conflist": "pods.conflist",
		"/usr/local/lib/lab/cgroups.sh":   "cgroups.sh",
	} {
		text, err := hostFile(name, map[string]string{
			"PauseTag": l.set.PauseTag, "PodSubnet": l.opts.PodSubnet, "Pods": l.opts.pods(h.place).String(),
		})
		if err != nil {
			return nil, err
		}
		files = append(files, file{path: path, text: text, mode: modeOf(name)})
	}
	return files, nil
}

func modeOf(name string) fs.FileMode {
	if strings.HasSuffix(name, ".sh") {
		return 0o755
	}
	return 0o644
}

// hostFile renders one of the embedded files.
func hostFile(name string, values map[string]string) (string, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(hostFiles, "hostfiles/"+name)
	if err != nil {
		return "", fmt.Errorf("parse host file %s: %w", name, err)
	}
	var text strings.Builder
	err = parsed.Execute(&text, values)
	if err != nil {
		return "", fmt.Errorf("render host file %s: %w", name, err)
	}
	return text.String(), nil
}

// hide makes the folder empty for the host: an opaque folder of the overlay.
func (s *seed) hide(dir string) error {
	err := s.parents(dir)
	if err != nil {
		return err
	}
	target := filepath.Join(s.upper, dir)
	err = os.Mkdir(target, 0o755)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syscall.Setxattr(target, "trusted.overlay.opaque", []byte("y"), 0)
}

// put writes a file into the host's tree.
func (s *seed) put(f file) error {
	err := s.parents(f.path)
	if err != nil {
		return err
	}
	target := filepath.Join(s.upper, f.path)
	if f.target != "" {
		return os.Symlink(f.target, target)
	}
	if f.mode == 0 {
		f.mode = 0o644
	}
	return os.WriteFile(target, []byte(f.text), f.mode)
}

// parents makes the folders above the path, with the modes that the machine's own folders of these names have.
func (s *seed) parents(path string) error {
	var above []string
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		above = append(above, dir)
	}
	for _, dir := range slices.Backward(above) {
		mode := fs.FileMode(0o755)
		info, err := os.Stat(dir)
		if err == nil {
			mode = info.Mode().Perm()
		}
		err = os.Mkdir(filepath.Join(s.upper, dir), mode)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
