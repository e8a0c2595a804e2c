package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/auditpolicy/evaluate"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
)

const verifyLong = `Send a canary, a request with an Audit-ID of its own, to each apiserver, and follow its event: into that apiserver's audit log, through that
apiserver's own counters of its webhook, and, where the receiver can be asked, to the receiver.

"delivered" means that the apiserver has counted batches as taken by the sink. "seen" means that the canary's event was found at the receiver.
The one is never said for the other.

Exit codes: 0 delivered or seen from all, 1 a hop failed, 3 not known.`

const verifyExample = `  kubectl audit-enabler verify
  # ask the receiver too: its answer holds the Audit-ID, which stands for {id} in the address, once it has the event
  kubectl audit-enabler verify --ask http://127.0.0.1:8080/events?id={id}`

type verifyOptions struct {
	output, ask string
	timeout     time.Duration
	// each is how often is looked.
	each    time.Duration
	streams genericiooptions.IOStreams
}

// prober asks one apiserver. Its methods are thin.
type prober interface {
	// send sends a request with an audit ID.
	send(ctx context.Context, path, id string) error
	counters(ctx context.Context, sinkHost string) (health.Counters, health.Answers, error)
	// logged looks for an event in the node's audit log.
	logged(ctx context.Context, id string) Hop
	address() string
	close()
}

func newVerifyCommand(flags *genericclioptions.ConfigFlags, streams genericiooptions.IOStreams) *cobra.Command {
	opts := &verifyOptions{streams: streams, each: time.Second}
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Prove that audit events arrive: a canary through each apiserver, hop by hop",
		Long:    verifyLong,
		Example: verifyExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := connect(flags)
			if err != nil {
				return err
			}
			config, err := flags.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("read kubeconfig: %w", err)
			}
			report, err := read(cmd.Context(), client, *flags.Namespace)
			if err != nil {
				return err
			}
			return opts.run(cmd.Context(), client, report, func(ctx context.Context, node string) (prober, error) {
				return reach(ctx, config, client, report, node)
			})
		},
	}
	cmd.Flags().StringVarP(&opts.output, "output", "o", outputTable, "table, json, yaml or jsonpath=...")
	cmd.Flags().StringVar(&opts.ask, "ask", "", "address at the receiver whose answer holds the Audit-ID once it has the event; {id} in it stands for that")
	cmd.Flags().DurationVar(&opts.timeout, "timeout", 45*time.Second, "how long an event may take to the sink; an apiserver collects a batch for up to 30s, unless it is told otherwise")
	return cmd
}

func (o *verifyOptions) run(ctx context.Context, client typedcorev1.CoreV1Interface, report *status.Report, reach func(context.Context, string) (prober, error)) error {
	if err := encode(io.Discard, o.output, []Proof{}); o.output != outputTable && err != nil {
		return err // before anything is sent
	}
	proofs := make([]Proof, len(report.Nodes))
	var all sync.WaitGroup
	for i := range report.Nodes {
		all.Go(func() {
			e := evidence{status: report.Nodes[i], sink: report.Cluster.Sink, seen: Hop{Unknown, "the receiver was not asked; --ask does"}}
			o.follow(ctx, client, report.Namespace, &e, reach)
			proofs[i] = e.proof()
		})
	}
	all.Wait()
	if o.output != outputTable {
		if err := encode(o.streams.Out, o.output, proofs); err != nil {
			return err
		}
	} else if err := printProofs(o.streams.Out, proofs); err != nil {
		return err
	}
	return exit(outcome(proofs))
}

// follow gathers the evidence of one apiserver.
func (o *verifyOptions) follow(ctx context.Context, client typedcorev1.CoreV1Interface, namespace string, e *evidence, reach func(context.Context, string) (prober, error)) {
	node := e.status.Node.Name
	p := planOf(ctx, client, namespace, node)
	path := "/api/v1/namespaces/" + namespace + "/configmaps/" + wire.ClusterStatusName
	if e.unaudited = unaudited(p, namespace); meta.IsStatusConditionFalse(e.status.Conditions, reason.PolicyOurs) {
		e.unaudited = "the policy in force is somebody else's, and may drop the canary"
	}
	if p != nil {
		e.sink = cmp.Or(p.EventsTo, p.Desired.Webhook.URL, e.sink)
	}
	apiserver, err := reach(ctx, node)
	if err != nil {
		e.sent = err
		return
	}
	defer apiserver.close()
	e.address, e.id = apiserver.address(), uuid.NewString()
	host, err := health.SinkHost(e.sink)
	if err == nil {
		e.before, e.since, err = apiserver.counters(ctx, host)
	}
	e.counted = err
	if e.sent = apiserver.send(ctx, path, e.id); e.sent != nil {
		return
	}
	e.logged = apiserver.logged(ctx, e.id)
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for {
		if e.counted == nil {
			after, answers, err := apiserver.counters(ctx, host)
			if ctx.Err() == nil {
				e.after, e.answers, e.counted = after, answers, err
			}
		}
		if o.ask != "" && e.seen.Answer != Yes {
			if seen := asked(ctx, o.ask, e.id); ctx.Err() == nil { // the end of the wait is no answer
				e.seen = seen
			}
		}
		delivered := e.counted != nil || e.delivered().Answer == Yes
		if delivered && (o.ask == "" || e.seen.Answer == Yes) || ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(o.each):
		}
	}
}

// planOf is a node's plan, nil where it cannot be read.
func planOf(ctx context.Context, client typedcorev1.CoreV1Interface, namespace, node string) *wire.Plan {
	object, err := client.ConfigMaps(namespace).Get(ctx, wire.PlanName(node), metav1.GetOptions{})
	var p wire.Plan
	if err != nil || wire.Decode(object.Data, wire.KindPlan, &p) != nil {
		return nil
	}
	return &p
}

// unaudited says why the policy in force may not log the canary, which reads the cluster's status as whoever asks.
func unaudited(p *wire.Plan, namespace string) string {
	if p == nil {
		return "the node's plan cannot be read, so nobody knows what its policy logs"
	}
	v, err := version.ParseGeneric(p.KubernetesVersion)
	if err != nil {
		return "the plan names no version"
	}
	report, err := auditpolicy.Validate([]byte(p.Desired.Policy), v)
	if err != nil {
		return "the plan has no policy"
	}
	request := evaluate.Request{Groups: []string{"system:authenticated"}, Verb: "get", Resource: "configmaps", Namespace: namespace, Name: wire.ClusterStatusName}
	if len(evaluate.Policy(report.Policy, request).Stages) == 0 {
		return "the policy logs no request like the canary, GET of a ConfigMap"
	}
	return ""
}

func printProofs(out io.Writer, proofs []Proof) error {
	w := tabwriter.NewWriter(out, 0, 8, 3, ' ', 0)
	fmt.Fprintln(w, "NODE\tVERDICT\tSENT\tLOGGED\tDELIVERED\tSEEN\tAUDIT-ID")
	for _, p := range proofs {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Node, p.verdict(), p.Sent.Answer, p.Logged.Answer, p.Delivered.Answer, p.Seen.Answer, dash(p.AuditID))
	}
	err := w.Flush()
	say := func(format string, args ...any) {
		_, failed := fmt.Fprintf(out, format, args...)
		err = errors.Join(err, failed)
	}
	for _, p := range proofs {
		say("\n%s%s\n", p.Node, strings.TrimSuffix(", asked at "+p.Address, ", asked at "))
		for _, h := range []struct {
			name string
			hop  Hop
		}{{"sent", p.Sent}, {"logged", p.Logged}, {"delivered", p.Delivered}, {"seen", p.Seen}} {
			say("  %-10s %-8s %s\n", h.name, h.hop.Answer, h.hop.Message)
		}
		for _, c := range p.Causes {
			say("  look at:   %s\n", c)
		}
	}
	say("\n%s\n", summary(proofs))
	return err
}
