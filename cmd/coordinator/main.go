// Command coordinator recognises the cluster, plans its control-plane nodes, and lets one of them change at a time.
// As `coordinator uninstall` it has all of them reverted, and waits for it; as `coordinator check` it waits until they are as configured.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no certificates of its own
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"k8s-audit-enabler.io/coordinator"
	"k8s-audit-enabler.io/coordinator/check"
	"k8s-audit-enabler.io/coordinator/uninstall"
	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/logging"
)

// gcPercent keeps the heap small at the price of a little work; GOGC overrides it.
const gcPercent = 50

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	do, args := run, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "uninstall":
			do, args = runUninstall, args[1:]
		case "check":
			do, args = runCheck, args[1:]
		}
	}
	err := do(ctx, args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "coordinator:", err)
		os.Exit(1)
	}
}

// run adds no flag for the kubeconfig: controller-runtime brings --kubeconfig with it.
func run(ctx context.Context, args []string) error {
	var o coordinator.Options
	version := flag.Bool("version", false, "Print the version and exit.")
	o.BindFlags(flag.CommandLine)
	if err := parse(args); err != nil {
		return err
	}
	if *version {
		fmt.Println(buildinfo.Version())
		return nil
	}
	if err := o.Validate(); err != nil {
		return err
	}
	log, err := logging.New(os.Stderr, o.Logging)
	if err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	return coordinator.Run(ctx, o, config, log)
}

// runUninstall prints for the one who waits for Helm, not for a collector of logs.
func runUninstall(ctx context.Context, args []string) error {
	var o uninstall.Options
	client, err := prepare("uninstall", &o, args)
	if err != nil {
		return err
	}
	return uninstall.Run(ctx, o, client.ConfigMaps(o.Namespace), os.Stdout)
}

// runCheck prints for the one who has typed `helm test`.
func runCheck(ctx context.Context, args []string) error {
	var o check.Options
	client, err := prepare("check", &o, args)
	if err != nil {
		return err
	}
	return check.Run(ctx, o, client.ConfigMaps(o.Namespace), os.Stdout)
}

// options are those of a command that is not the coordinator itself.
type options interface {
	BindFlags(fs *flag.FlagSet)
	Validate() error
}

// prepare reads a command's flags and makes its client, which has no cache: what it is for reads two objects.
func prepare(name string, o options, args []string) (typedcorev1.CoreV1Interface, error) {
	o.BindFlags(flag.CommandLine)
	if err := parse(args); err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config.UserAgent = buildinfo.UserAgent(name)
	client, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

func parse(args []string) error {
	if err := flag.CommandLine.Parse(args); err != nil {
		return err //nolint:wrapcheck // the flag package has said it
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("argument %q is not known; there are the commands uninstall and check, and flags: see --help", flag.Arg(0))
	}
	return nil
}
