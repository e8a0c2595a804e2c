// Package check is what `helm test` runs: it waits until the coordinator has done with the configuration that is installed, and says how that
// ended. Helm itself cannot tell: for it a ConfigMap is there or not.
//
// It promises to end, to read two ConfigMaps and to change nothing. It is content when the status is ready for this configuration and no node
// says that its events do not arrive; where a node cannot prove that they do, that is said, and is no failure.
package check

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

const (
	// lookEvery is how often the status is read. While a single control plane restarts its apiserver no read succeeds.
	lookEvery = 2 * time.Second
	// readTimeout bounds one read.
	readTimeout = 10 * time.Second
	// provingPatience is how long a node may take to prove that its events arrive: a canary goes out each minute.
	provingPatience = 2 * time.Minute
)

// Options are the command's flags.
type Options struct {
	Namespace string
	Timeout   time.Duration
}

// BindFlags adds the flags.
func (o *Options) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the release; POD_NAMESPACE by default.")
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

// Run looks until there is an answer. The error is that of a test that has failed.
func Run(ctx context.Context, o Options, client typedcorev1.ConfigMapInterface, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	start, ready, said := time.Now(), time.Time{}, ""
	for {
		a := look(ctx, client)
		if a.verdict != proving {
			ready = time.Time{}
		} else if ready.IsZero() {
			ready = time.Now()
		}
		if a.verdict == proving && time.Since(ready) >= provingPatience {
			a = answer{well, a.text + "; that is not known"}
		}
		if a.text != said && ctx.Err() == nil {
			said = a.text
			_, _ = fmt.Fprintf(out, "%6s  %s\n", time.Since(start).Round(time.Second), said)
		}
		switch a.verdict {
		case well:
			return nil
		case stuck:
			return fmt.Errorf("it does not go on by itself: %s; see: kubectl audit-enabler status -o wide -n %s", a.text, o.Namespace)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not done within %s: %s; see: kubectl audit-enabler status -o wide -n %s", o.Timeout, said, o.Namespace)
		case <-time.After(lookEvery):
		}
	}
}

// look reads what is installed and what has become of it. What cannot be read now is read again.
func look(ctx context.Context, client typedcorev1.ConfigMapInterface) answer {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	config, err := client.Get(ctx, wire.ConfigName, metav1.GetOptions{})
	if err != nil {
		return answer{waiting, fmt.Sprintf("cannot read the configuration now: %v", err)}
	}
	status, err := client.Get(ctx, wire.ClusterStatusName, metav1.GetOptions{})
	if err != nil {
		return answer{waiting, fmt.Sprintf("cannot read the status now: %v", err)}
	}
	return judge(config, status)
}

// verdict is what one look amounts to.
type verdict int

const (
	// waiting: it goes on by itself.
	waiting verdict = iota
	// proving: all is done, and not every node knows yet that its events arrive.
	proving
	// well: all is as it shall be.
	well
	// stuck: somebody must do something.
	stuck
)

type answer struct {
	verdict verdict
	// text says it to a person, in a line.
	text string
}

// judge compares the configuration with what the coordinator says. It is pure.
func judge(config, status *corev1.ConfigMap) answer {
	var cluster wire.ClusterStatus
	if err := wire.Decode(status.Data, wire.KindClusterStatus, &cluster); err != nil {
		return answer{waiting, fmt.Sprintf("the status cannot be read: %v", err)}
	}
	ready := meta.FindStatusCondition(cluster.Conditions, reason.Ready)
	if ready == nil || status.Data[wire.FlatConfig] != config.ResourceVersion {
		return answer{waiting, "waiting for the coordinator to take up the configuration"}
	}
	text := ready.Reason + ": " + ready.Message
	flowing := meta.FindStatusCondition(cluster.Conditions, reason.AuditFlowing)
	switch {
	case meta.IsStatusConditionTrue(cluster.Conditions, reason.Stalled):
		return answer{stuck, text}
	case ready.Status != metav1.ConditionTrue:
		return answer{waiting, text}
	case flowing == nil || ready.Reason == reason.Disabled:
		return answer{well, text}
	}
	text += "; events arrive: " + string(flowing.Status) + ", " + flowing.Message
	switch flowing.Status {
	case metav1.ConditionTrue:
		return answer{well, text}
	case metav1.ConditionFalse:
		return answer{waiting, text}
	default:
		return answer{proving, text}
	}
}
