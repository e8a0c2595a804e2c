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
	return install(ctx, log, missing)
}

func install(ctx context.Context, log io.Writer, names []string) error {
	list := strings.Join(names, " ")
	fmt.Fprintln(log, "installing Debian packages:", list)
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, names...),
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

// browserPackage is Debian's headless Chromium; Ubuntu has none.
const browserPackage = "chromium-headless-shell"

// Browser is the path of a browser that can be driven. Where there is none the error says what to install.
func Browser() (string, error) {
	for _, name := range []string{browserPackage, "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium here; on Debian, as root, run: apt-get install " + browserPackage)
}

// InstallBrowser installs one where there is none and apt-get has it, and says what it does. Without a browser the tests that need one
// are skipped.
func InstallBrowser(ctx context.Context, log io.Writer) {
	_, missing := Browser()
	if missing == nil {
		return
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		fmt.Fprintln(log, missing)
		return
	}
	if err := install(ctx, log, []string{browserPackage}); err != nil {
		fmt.Fprintln(log, err)
	}
}
