package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/wire"
)

func newEventsCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	return &cobra.Command{
		Use:     "events",
		Short:   "Show what the coordinator has told of the cluster and its nodes, the oldest first",
		Example: "  kubectl audit-enabler events",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, namespace, err := enter(cmd.Context(), flags)
			if err != nil {
				return err
			}
			events, err := eventsOf(cmd.Context(), client, namespace)
			if err != nil {
				return err
			}
			return printEvents(streams.Out, events, time.Now())
		},
	}
}

// eventsOf are ours, in the order of time. Those about nodes, which have no namespace, are in the default one.
func eventsOf(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string) ([]corev1.Event, error) {
	var events []corev1.Event
	for _, place := range []string{namespace, metav1.NamespaceDefault} {
		list, err := client.Events(place).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("list events in namespace %q: %w", place, err)
		}
		for i := range list.Items {
			if e := &list.Items[i]; e.Source.Component == wire.ComponentCoordinator {
				events = append(events, *e)
			}
		}
		if namespace == metav1.NamespaceDefault {
			break
		}
	}
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return at(&a).Compare(at(&b)) })
	return events, nil
}

// at is when an event happened last.
func at(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

func printEvents(out io.Writer, events []corev1.Event, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "AGE\tTIMES\tTYPE\tREASON\tOBJECT\tMESSAGE")
	for i := range events {
		e := &events[i]
		about := e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", duration.HumanDuration(now.Sub(at(e))), max(e.Count, 1), e.Type, e.Reason, about, e.Message)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print events: %w", err)
	}
	return nil
}
