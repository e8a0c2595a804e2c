package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// fleetWidth is how many clusters are asked at once.
	fleetWidth = 16
	// clusterPatience is how long one of them may take.
	clusterPatience = 15 * time.Second
)

// clusterReport is what is known of one context's cluster.
type clusterReport struct {
	Context string `json:"context"`
	// State is ready, not-yet, failed, not-installed or unreachable.
	State  string         `json:"state"`
	Error  string         `json:"error,omitempty"`
	Report *status.Report `json:"report,omitempty"`
}

// States of a cluster.
const (
	stateReady        = "ready"
	stateNotYet       = "not-yet"
	stateFailed       = "failed"
	stateNotInstalled = "not-installed"
	stateUnreachable  = "unreachable"
)

// judged is a cluster's report with its state.
func judged(name string, report *status.Report, err error) clusterReport {
	c := clusterReport{Context: name, Report: report}
	switch {
	case errors.Is(err, errNotInstalled):
		c.State = stateNotInstalled
	case err != nil:
		c.State, c.Error = stateUnreachable, err.Error()
	case report.Outcome() == status.IsReady:
		c.State = stateReady
	case report.Outcome() == status.IsStalled:
		c.State = stateFailed
	default:
		c.State = stateNotYet
	}
	return c
}

// fleetOutcome is that of the worst: a cluster that nobody reaches may be in any state.
func fleetOutcome(all []clusterReport) status.Outcome {
	out := status.IsReady
	for i := range all {
		switch all[i].State {
		case stateFailed, stateUnreachable:
			return status.IsStalled
		case stateReady:
		default:
			out = status.NotYet
		}
	}
	if len(all) == 0 {
		return status.NotYet
	}
	return out
}

// runFleet asks the clusters of all contexts of the kubeconfig, in parallel.
func (o *statusOptions) runFleet(ctx context.Context, flags *genericclioptions.ConfigFlags) error {
	raw, err := flags.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	names := slices.Sorted(maps.Keys(raw.Contexts))
	all := make([]clusterReport, len(names))
	places := make(chan struct{}, fleetWidth)
	var asked sync.WaitGroup
	for i, name := range names {
		asked.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			report, err := readContext(ctx, flags, name)
			all[i] = judged(name, report, err)
		})
	}
	asked.Wait()
	if o.output == outputTable || o.output == outputWide {
		err = fleetTable(o.streams.Out, all, o.output == outputWide)
	} else {
		err = encode(o.streams.Out, o.output, all)
	}
	if err != nil {
		return err
	}
	return exit(fleetOutcome(all))
}

// readContext reads the report of one context's cluster.
func readContext(ctx context.Context, flags *genericclioptions.ConfigFlags, name string) (*status.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	own := genericclioptions.NewConfigFlags(false)
	own.KubeConfig, own.Context = flags.KubeConfig, &name
	own.Impersonate, own.ImpersonateGroup, own.CacheDir = flags.Impersonate, flags.ImpersonateGroup, flags.CacheDir
	client, err := connect(own)
	if err != nil {
		return nil, err
	}
	return read(ctx, client, *flags.Namespace)
}

func fleetTable(out io.Writer, all []clusterReport, wide bool) error {
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	head := "CONTEXT\tSTATE\tREASON\tNODES\tDISTRIBUTION"
	if wide {
		head += "\tVERSION\tREVISION\tSINK"
	}
	fmt.Fprintln(w, head+"\tMESSAGE")
	counts := map[string]int{}
	for i := range all {
		c := &all[i]
		counts[c.State]++
		line := []string{c.Context, c.State}
		if c.Report == nil {
			line = append(line, "-", "-", "-")
			if wide {
				line = append(line, "-", "-", "-")
			}
			line = append(line, dash(c.Error))
		} else {
			line = append(line, summarised(c.Report, wide)...)
		}
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	var words []string
	for _, state := range []string{stateReady, stateNotYet, stateFailed, stateNotInstalled, stateUnreachable} {
		if counts[state] > 0 {
			words = append(words, fmt.Sprintf("%s: %d", state, counts[state]))
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", strings.Join(append([]string{fmt.Sprintf("%d clusters", len(all))}, words...), ", "))
	return err
}

// summarised is a cluster's report as cells of a line.
func summarised(r *status.Report, wide bool) []string {
	why, message := "-", "-"
	if c := meta.FindStatusCondition(r.Cluster.Conditions, reason.Ready); c != nil {
		why, message = c.Reason, c.Message
	}
	applied := 0
	for i := range r.Nodes {
		if r.Nodes[i].Phase == wire.PhaseApplied {
			applied++
		}
	}
	cells := []string{why, fmt.Sprintf("%d/%d", applied, len(r.Nodes)), dash(r.Cluster.Distribution.Name)}
	if wide {
		cells = append(cells, dash(r.Cluster.Distribution.KubernetesVersion), dash(r.Cluster.Revision), dash(r.Cluster.Sink))
	}
	return append(cells, message)
}
