package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Packages are the Debian and Ubuntu packages that the lab uses.
func Packages() []string {
	return strings.Fields("containerd runc containernetworking-plugins iptables nftables conntrack socat ethtool busybox-static " +
		"buildah systemd dbus iproute2 kmod util-linux procps")
}

// MissingPackages lists those of [Packages] that dpkg does not know as installed.
func MissingPackages(ctx context.Context) []string {
	out, _ := exec.CommandContext(ctx, "dpkg-query", append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n"}, Packages()...)...).Output()
	installed := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		name, status, _ := strings.Cut(strings.TrimSpace(line), " ")
		installed[name] = status == "installed"
	}
	var missing []string
	for _, name := range Packages() {
		if !installed[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// InstallPackages installs what is missing with apt-get, and says so. Where it cannot, the error says what is needed.
func InstallPackages(ctx context.Context, log io.Writer) error {
	missing := MissingPackages(ctx)
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	_, err := exec.LookPath("apt-get")
	if err != nil {
		return fmt.Errorf("install packages: there is no apt-get here; on Debian or Ubuntu these would be needed: %s", list)
	}
	if os.Geteuid() != 0 {
		return errors.New("install packages: not root; as root, run: apt-get install --no-install-recommends " + list)
	}
	fmt.Fprintln(log, "installing Debian packages:", list)
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, missing...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		_, err := output(cmd)
		if err != nil {
			return fmt.Errorf("install packages %s: %w", list, err)
		}
	}
	return nil
}
