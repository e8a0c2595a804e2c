// Command demo boots a real control plane, installs the chart on it, and shows what happens until the first audit events
// of a real kube-apiserver have reached a real HTTP receiver. It leaves the cluster running.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s-audit-enabler.io/test/e2e/stage"
	"k8s-audit-enabler.io/test/lab"
)

func main() {
	nodes := flag.Int("nodes", 1, "number of control planes")
	limit := flag.Duration("timeout", 40*time.Minute, "give up after this long")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()

	p := newProgress(os.Stdout)
	if err := run(ctx, p, *nodes); err != nil {
		p.failed(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p *progress, nodes int) error {
	if os.Getuid() != 0 {
		return errors.New("a control plane needs root: run this as root")
	}
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()

	p.titlef("Booting %s, built from source where the cache has none", plural(nodes, "real kubeadm control plane"))
	o := stage.Options{Nodes: nodes, Dir: dir, Log: p.stepf}
	l, s, err := stage.Raise(ctx, o)
	if err != nil {
		return errors.Join(err, takeDown(p, l))
	}
	show := demonstration{Stage: s, progress: p}
	if err := show.play(ctx); err != nil {
		p.stepf("the cluster is left as it is; see it with KUBECONFIG=%s, remove it with make lab-down", s.Kubeconfig)
		return err
	}
	show.farewell()
	return nil
}

// takeDown removes what a boot that did not end well has left.
func takeDown(p *progress, l *lab.Lab) error {
	if l == nil {
		return nil
	}
	p.stepf("taking down what was booted")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return l.Down(ctx)
}
