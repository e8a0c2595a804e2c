// Command coordinator recognises the cluster, plans its control-plane nodes, and lets one of them change at a time.
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
	ctrl "sigs.k8s.io/controller-runtime"

	"k8s-audit-enabler.io/coordinator"
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
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "coordinator:", err)
		os.Exit(1)
	}
}

// run adds no flag for the kubeconfig: controller-runtime brings --kubeconfig with it.
func run(ctx context.Context) error {
	var o coordinator.Options
	version := flag.Bool("version", false, "Print the version and exit.")
	o.BindFlags(flag.CommandLine)
	flag.Parse()
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
