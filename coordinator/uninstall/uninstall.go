// Package uninstall is what `helm uninstall` runs before anything of the release is deleted: it asks the coordinator to take
// our settings out of every apiserver, and waits until that is done.
//
// It promises to end: with success once nothing of ours is left in any apiserver, and otherwise, in bounded time, with the
// list of the nodes that are left, and what to do. It changes nothing but the request, so that it may be killed and run again.
package uninstall

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/request"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// lookEvery is how often the status is read. While a single control plane restarts its apiserver no read succeeds.
	lookEvery = 2 * time.Second
	// readTimeout bounds one read.
	readTimeout = 10 * time.Second
	// silentPatience is how long agents that have never reported are waited for: one may be starting.
	silentPatience = time.Minute
	// stalledPatience is how long a status must say that nothing goes on without help: some causes pass.
	stalledPatience = 30 * time.Second
)

// Options are the command's flags.
type Options struct {
	Namespace string
	// Release is the Helm release's name, for what is said to people.
	Release string
	// Generation is that of the configuration that is uninstalled.
	Generation int64
	// Agents false: the release has no node agents, so none will report.
	Agents  bool
	Timeout time.Duration
}

// BindFlags adds the flags.
func (o *Options) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the release; POD_NAMESPACE by default.")
	fs.StringVar(&o.Release, "release", "k8s-audit-enabler", "Name of the Helm release.")
	fs.Int64Var(&o.Generation, "generation", 0, "Generation of the configuration that is uninstalled.")
	fs.BoolVar(&o.Agents, "agents", true, "The release has node agents.")
	fs.DurationVar(&o.Timeout, "timeout", 15*time.Minute, "Give up after this long.")
}

// Validate says which flag is missing.
func (o *Options) Validate() error {
	switch {
	case o.Namespace == "":
		return errors.New("the namespace is not known; set POD_NAMESPACE or --namespace")
	case o.Timeout <= 0:
		return errors.New("--timeout must be positive")
	}
	return nil
}

// Run asks, and follows what becomes of it.
func Run(ctx context.Context, o Options, client typedcorev1.ConfigMapInterface, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	f := &follower{options: o, client: client, out: out, start: time.Now()}
	f.sayf("taking the audit settings out of every apiserver, one node at a time; at most %s", o.Timeout)
	for {
		end, err := f.step(ctx)
		if end {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return f.givenUp("it was stopped")
			}
			return f.givenUp(fmt.Sprintf("not done within %s", o.Timeout))
		case <-time.After(lookEvery):
		}
	}
}

// follower is one run.
type follower struct {
	options Options
	client  typedcorev1.ConfigMapInterface
	out     io.Writer
	start   time.Time

	// asked and leaveSilent: what the request says by now.
	asked, leaveSilent bool
	last               verdict
	since              time.Time
	said               string
}

// step asks, or looks once. What cannot be read or written now is tried again.
func (f *follower) step(ctx context.Context) (end bool, err error) {
	if !f.asked {
		if err := f.ask(ctx, !f.options.Agents); err != nil {
			f.sayf("cannot ask the coordinator now: %v", err)
			return false, nil
		}
		f.asked = true
	}
	v, err := f.look(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.sayf("cannot read the status now: %v", err)
		}
		return false, nil
	}
	if v.stage != f.last.stage || f.since.IsZero() {
		f.since = time.Now()
	}
	f.last = v
	f.sayf("%s", v.text)
	lasting := time.Since(f.since)
	switch {
	case v.stage == done:
		f.sayf("done: nothing of k8s-audit-enabler is left in any apiserver")
		return true, nil
	case v.stage == withdrawn:
		return true, f.givenUp("the request was withdrawn")
	case v.stage == stalled && lasting >= stalledPatience:
		return true, f.givenUp("it does not go on by itself: " + v.text)
	case v.stage == silent && lasting >= silentPatience && !f.leaveSilent:
		f.sayf("no agent has ever reported from these nodes, so nothing was changed there; they are left as they are: %s", strings.Join(v.left, "; "))
		if err := f.ask(ctx, true); err != nil {
			f.sayf("cannot ask the coordinator now: %v", err)
		}
	}
	return false, nil
}

func (f *follower) ask(ctx context.Context, leaveSilent bool) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	_, err := request.Change(ctx, f.client, true, func(r *wire.Request) error {
		r.Uninstall = &wire.Uninstall{Generation: f.options.Generation, LeaveSilent: leaveSilent}
		return nil
	})
	f.leaveSilent = leaveSilent && err == nil
	return err
}

func (f *follower) look(ctx context.Context) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	asked, err := request.Read(ctx, f.client)
	if err != nil {
		return verdict{}, err
	}
	object, err := f.client.Get(ctx, wire.ClusterStatusName, metav1.GetOptions{})
	if err != nil {
		return verdict{}, fmt.Errorf("read cluster status: %w", err)
	}
	var status wire.ClusterStatus
	if err := wire.Decode(object.Data, wire.KindClusterStatus, &status); err != nil && !errors.Is(err, wire.ErrNoDocument) {
		return verdict{}, fmt.Errorf("read cluster status: %w", err)
	}
	return judge(asked, &status, f.options.Generation), nil
}

// sayf prints a line, with the time, once.
func (f *follower) sayf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == f.said {
		return
	}
	f.said = text
	_, _ = fmt.Fprintf(f.out, "%6s  %s\n", time.Since(f.start).Round(time.Second), text)
}

// givenUp is the error that a person reads: what is left, why, and what to type.
func (f *follower) givenUp(why string) error {
	o := f.options
	var text strings.Builder
	fmt.Fprintf(&text, "the release is not uninstalled: %s\n", why)
	if len(f.last.left) > 0 {
		text.WriteString("nodes that are not as before:\n")
		for _, node := range f.last.left {
			fmt.Fprintf(&text, "  %s\n", node)
		}
	}
	if f.last.text == "" {
		fmt.Fprintf(&text, "last: %s\n", f.said)
	}
	fmt.Fprintf(&text, "see what holds it up:      kubectl audit-enabler status -o wide -n %s\n", o.Namespace)
	fmt.Fprintf(&text, "then, to uninstall:        helm uninstall %s -n %s --timeout %s\n", o.Release, o.Namespace, o.Timeout)
	fmt.Fprintf(&text, "or, to keep the release:   kubectl audit-enabler enable --all -n %s && helm rollback %s -n %s\n", o.Namespace, o.Release, o.Namespace)
	fmt.Fprintf(&text, "or, to leave these nodes as they are: helm uninstall %s -n %s --no-hooks", o.Release, o.Namespace)
	return errors.New(text.String())
}
