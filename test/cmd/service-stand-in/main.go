// Command service-stand-in stands in for programs that start an apiserver, in scenarios: installed under one of their names, `k3s server`,
// `rke2 server`, `k0s controller`, `kubelite` or `k8s-kube-apiserver`. It is none of them. It reads the configuration as they do, and starts a real kube-apiserver with
// nothing but the arguments in it:
//
//   - as k3s, from the kube-apiserver-arg of config.yaml and then config.yaml.d/*.yaml in the order of their names, a key that ends in +
//     appending to a list; as a part of itself: when one of the two ends, so does the other;
//   - as rke2, from the same, in a static pod whose manifest is removed and written anew at each start, from a template, with each file
//     that an argument names mounted, and the directory of the audit log, and nothing else that the template does not mount;
//   - as k0s, from spec.api.extraArgs of k0s.yaml, as its child, run by the user kube-apiserver and started again when it ends;
//   - as kubelite of MicroK8s, from the file of --apiserver-args-file, one flag a line with the snap's variables in it, as a part of itself;
//   - as the service kube-apiserver of the snap k8s, from the file below $SNAP_COMMON that bash reads as an array, in place of itself.
//     `k8sd` of the same snap does nothing here.
//
// It is strict, so that a wrong setting cannot pass: a key that is not one of theirs, an argument without a value, and a list that is
// none are errors, after which it ends. It tells systemd that it is ready when the apiserver is.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
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
	dir := filepath.Join("/etc/rancher", name)
	switch call := strings.Join(append([]string{name}, args...), " "); call {
	case "k3s server":
		flags, err := readConfig(filepath.Join(dir, "config.yaml"))
		if err != nil {
			return err
		}
		go announce(ctx)
		return embed(ctx, flags)
	case "rke2 server":
		flags, err := readConfig(filepath.Join(dir, "config.yaml"))
		if err != nil {
			return err
		}
		go announce(ctx)
		return writePod(ctx, dir, flags)
	case "k0s controller --enable-worker":
		flags, err := readCluster("/etc/k0s/k0s.yaml")
		if err != nil {
			return err
		}
		go announce(ctx)
		return supervise(ctx, flags)
	case "kubelite --apiserver-args-file=/var/snap/microk8s/8355/args/kube-apiserver --start-control-plane=true":
		flags, err := readArgs("/var/snap/microk8s/8355/args/kube-apiserver")
		if err != nil {
			return err
		}
		return embed(ctx, flags)
	case "k8s-kube-apiserver":
		flags, err := readArray(ctx, os.Getenv("SNAP_COMMON")+"/args/kube-apiserver")
		if err != nil {
			return err
		}
		return syscall.Exec(apiserver, append([]string{apiserver}, flags...), os.Environ())
	case "k8sd --port=6400":
		<-ctx.Done()
		return nil
	default:
		return fmt.Errorf("%q is not known", call)
	}
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
