// Command rancher-stand-in stands in for k3s and RKE2 in scenarios: installed under one of their names, `k3s server` or `rke2 server`. It
// is neither. It reads the configuration as they do, config.yaml and then config.yaml.d/*.yaml in the order of their names, a key that
// ends in + appending to a list, and starts a real kube-apiserver with nothing but the kube-apiserver-arg of those files:
//
//   - as k3s, as a part of itself: when one of the two ends, so does the other;
//   - as rke2, in a static pod whose manifest is removed and written anew at each start, from a template, with each file that an argument
//     names mounted, and the directory of the audit log, and nothing else that the template does not mount.
//
// It is strict, so that a wrong setting cannot pass: a key that is not one of theirs, an argument without a value, and a list that is
// none are errors, after which it ends. It tells systemd that it is ready when the apiserver is.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// apiserver is where the lab keeps the binary on its host.
const apiserver = "/usr/local/bin/kube-apiserver"

func main() {
	name := filepath.Base(os.Args[0])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, name, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s (a stand-in): %v\n", name, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, args []string) error {
	if len(args) != 1 || args[0] != "server" {
		return fmt.Errorf("called with %q, and only server is known", args)
	}
	dir := filepath.Join("/etc/rancher", name)
	flags, err := readConfig(filepath.Join(dir, "config.yaml"))
	if err != nil {
		return err
	}
	go announce(ctx)
	switch name {
	case "k3s":
		return embed(ctx, flags)
	case "rke2":
		return writePod(ctx, dir, flags)
	}
	return errors.New("called by a name that is not known")
}

// announce tells systemd when the apiserver is ready.
func announce(ctx context.Context) {
	client := &http.Client{
		Timeout:   2 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:6443/readyz", http.NoBody)
		if err != nil {
			return
		}
		if answer, err := client.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
				return
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// embed runs the apiserver as long as itself.
func embed(ctx context.Context, flags []string) error {
	cmd := exec.CommandContext(ctx, apiserver, flags...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); ctx.Err() == nil {
		return fmt.Errorf("apiserver exited: %w", err)
	}
	return nil
}
