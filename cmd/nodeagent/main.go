// Command nodeagent carries out the plan of one control-plane node.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no CA roots of its own

	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent"
)

const usage = `Usage: nodeagent [run] [flags]
       nodeagent watchdog [--host-root=/] [--armed-as=NAME]
       nodeagent find --audit-id=ID [--host-root=/host] [--wait=5s]
       nodeagent version

Carries out the plan of one control-plane node and reports in its status. As a watchdog, which the host runs by itself
while a change is open, it takes back a change that no agent has completed. find looks for an event in the node's audit
log, and exits with 3 where it is not there, with 4 where there is no log.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0, 1 for an error, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	command := "run"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	if command == "version" {
		_, _ = fmt.Fprintln(stdout, buildinfo.Version())
		return 0
	}
	var options nodeagent.Options
	var watch nodeagent.WatchOptions
	var find nodeagent.FindOptions
	var logs logging.Options
	flags := flag.NewFlagSet("nodeagent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	switch command {
	case "watchdog":
		watch.BindFlags(flags)
	case "find":
		find.BindFlags(flags)
	default:
		options.BindFlags(flags)
	}
	logs.BindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if !slices.Contains([]string{"run", "watchdog", "find"}, command) || flags.NArg() > 0 {
		_, _ = fmt.Fprint(stderr, usage)
		return 2
	}
	if command == "find" {
		return found(nodeagent.Find(ctx, find, stdout), stderr)
	}
	log, err := logging.New(stderr, logs)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 2
	}
	do, failed := func() error { return nodeagent.Run(ctx, options, log) }, "Node agent cannot go on"
	if command == "watchdog" {
		do, failed = func() error { return nodeagent.Watch(ctx, watch, log) }, "Watchdog has not done its work; it tries again"
	}
	if err := do(); err != nil {
		log.Error(failed, "error", err)
		return 1
	}
	return 0
}

// found is a search's exit code.
func found(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, err)
	switch {
	case errors.Is(err, nodeagent.ErrNoEvent):
		return 3
	case errors.Is(err, nodeagent.ErrNoLog):
		return 4
	}
	return 1
}
