// Command bridge moves audit events from where a platform keeps them to the sink.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // the image has no CA roots of its own

	"k8s-audit-enabler.io/bridge"
	"k8s-audit-enabler.io/bridge/command"
	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/logging"
)

const usage = `Usage: bridge run [--plan-file=FILE] [--carry=file,receiver] [flags]
       bridge convert --source=file|gke|eks|aks [--sink=URL] [flags] < entries
       bridge version

run carries out the plan: it reads the sources that the plan names and posts their events to the plan's sink, and loses none of them.

convert reads exported entries of an audit log from its standard input and writes one EventList of audit.k8s.io/v1, or posts the
events to a sink. Entries are a JSON array or JSON values one after the other: for gke what "gcloud logging read --format=json"
prints, for eks answers of FilterLogEvents or bare messages, for aks Event Hub messages, for file the log itself.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run returns the exit code: 0, 1 for an error, 2 for a wrong command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	name := ""
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	if name == "version" {
		_, _ = fmt.Fprintln(stdout, buildinfo.Version())
		return 0
	}
	var convert command.Convert
	var options bridge.Options
	var logs logging.Options
	flags := flag.NewFlagSet("bridge "+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	switch name {
	case "convert":
		convert.BindFlags(flags)
	case "run":
		options.BindFlags(flags)
	default:
		_, _ = fmt.Fprint(stderr, usage)
		return 2
	}
	logs.BindFlags(flags)
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		flags.Usage()
		return 2
	}
	log, err := logging.New(stderr, logs)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return 2
	}
	do := func() error { return convert.Run(ctx, stdin, stdout, log) }
	if name == "run" {
		do = func() error { return bridge.Run(ctx, options, log) }
	}
	if err := do(); err != nil {
		_, _ = fmt.Fprintln(stderr, "bridge:", err)
		return 1
	}
	return 0
}
