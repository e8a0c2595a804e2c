package rehearsal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// manifestName is the rehearsal's file, beside the real one.
const manifestName = "kube-apiserver-rehearsal.yaml"

// Apiserver is what is asked of the rehearsed apiserver.
type Apiserver interface {
	Readyz(ctx context.Context) (health.Verdict, error)
	// Canary sends a request with an audit ID of its own and returns that ID.
	Canary(ctx context.Context) (string, error)
	// Deliveries reads what the apiserver counted for a sink.
	Deliveries(ctx context.Context, sinkHost string) (health.Counters, error)
}

// Memory is this host's, in bytes.
type Memory interface {
	// Available can be had without taking it from others.
	Available() (int64, error)
	// Apiserver is what the one that serves on a port holds.
	Apiserver(port int) (int64, error)
}

// Stage implements [txn.Rehearsal]. Only Host, Runtime and Log are needed to remove one.
type Stage struct {
	Host *hostfs.FS
	// Runtime knows this node's rehearsals, and nothing else; an instance's revision is the rehearsal's mark.
	Runtime txn.Runtime
	Memory  Memory
	// Connect returns a client of the apiserver at host:port.
	Connect func(address string) Apiserver
	// ManifestDir is the directory that the kubelet takes static pods from.
	ManifestDir func(ctx context.Context) (string, error)
	// Free reports whether nobody listens at host:port of this host.
	Free func(address string) bool
	// Explain finds the reason in the last log lines of an apiserver that has exited; empty where they tell none.
	Explain func(lines []string) string
	Log     *slog.Logger
	// Timing is how often and how long things are looked at; zero values mean the defaults.
	Timing Timing
}

// Timing of a rehearsal.
type Timing struct {
	// Look is the time between two looks at the runtime, the apiserver or its counters, 500 ms.
	Look time.Duration
	// Drain is how long a rehearsal that has served others is left running once no new connections reach it, 3 s.
	Drain time.Duration
	// Gone bounds the wait for the end of a rehearsal that is removed, 90 s.
	Gone time.Duration
}

func (t Timing) withDefaults() Timing {
	t.Look = cmp.Or(t.Look, 500*time.Millisecond)
	t.Drain = cmp.Or(t.Drain, 3*time.Second)
	t.Gone = cmp.Or(t.Gone, 90*time.Second)
	return t
}

// Path implements [txn.Rehearsal].
func (*Stage) Path(c txn.Change) string { return path.Join(path.Dir(c.Manifest), manifestName) }

// Run implements [txn.Rehearsal].
func (s *Stage) Run(ctx context.Context, c txn.Change) (*txn.Rehearsed, *txn.Fault, error) {
	p, fault := s.prepare(ctx, c)
	if fault != nil {
		return nil, fault, nil
	}
	s.Log.InfoContext(ctx, "Rehearsal begins", "manifest", p.path, "address", p.address)
	fault, err := s.perform(ctx, c, p)
	switch {
	case err != nil:
		// Whoever ended the context will not wait for the rehearsal's end, but the kubelet shall not start it again.
		if err := s.withdraw(p.path); err != nil {
			s.Log.WarnContext(ctx, "Rehearsal not withdrawn", "error", err)
		}
		return nil, nil, err
	case fault != nil:
		s.Log.WarnContext(ctx, "Rehearsal failed", "reason", fault.Reason, "message", fault.Message)
		if err := s.Remove(ctx, p.path, false); err != nil {
			s.Log.WarnContext(ctx, "Rehearsal not removed", "error", err)
		}
		return nil, fault, nil
	}
	s.Log.InfoContext(ctx, "Rehearsal succeeded", "address", p.address)
	return &txn.Rehearsed{Address: p.address, Port: p.port, Bind: p.bind}, nil, nil
}

// perform puts the rehearsal on stage and judges it.
func (s *Stage) perform(ctx context.Context, c txn.Change, p *plan) (*txn.Fault, error) {
	if err := s.write(c, p); err != nil {
		return faultf(reason.HostNotWritable, "the rehearsal was not begun: %v", err), nil
	}
	server := s.Connect(p.address)
	if fault, err := s.awaitReady(ctx, c, p, server); fault != nil || err != nil {
		return fault, err
	}
	if fault, err := s.proveFlow(ctx, c, p, server); fault != nil || err != nil {
		return fault, err
	}
	// It may have ended while its events were waited for.
	seen, err := s.look(ctx, p.mark)
	if err == nil && (seen == nil || !seen.Running || seen.Exits > 0) {
		return s.ended(ctx, seen), nil
	}
	return nil, ctx.Err()
}

// write makes the log's directory, and then the manifest, which the kubelet acts upon at once.
func (s *Stage) write(c txn.Change, p *plan) error {
	if p.logs {
		if err := s.Host.MkdirAll(apiserver.RehearsalDir, 0o700); err != nil {
			return err
		}
		if c.Owner != nil {
			if err := s.Host.Chown(apiserver.RehearsalDir, *c.Owner); err != nil {
				return err
			}
		}
	}
	attributes, err := s.Host.PreserveFrom(c.Manifest)
	if err != nil {
		return err
	}
	err = s.Host.WriteFileAtomic(p.path, p.manifest, attributes)
	if errors.Is(err, hostfs.ErrNotDurable) {
		return nil // a power cut may take it away again, which is all one can ask
	}
	return err
}

// withdraw takes the manifest away.
func (s *Stage) withdraw(manifest string) error {
	err := s.Host.Remove(manifest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove rehearsal: %w", err)
	}
	return nil
}

// look is the newest incarnation of a rehearsal, nil where there is none. Those of earlier rehearsals stay in the runtime's
// memory for a while.
func (s *Stage) look(ctx context.Context, mark string) (*txn.Instance, error) {
	list, err := s.Runtime.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var newest *txn.Instance
	for i := range list {
		if list[i].Revision == mark && (newest == nil || list[i].Ready && !newest.Ready) {
			newest = &list[i]
		}
	}
	return newest, nil
}

// pause waits for the next look.
func (s *Stage) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("rehearse: %w", ctx.Err())
	case <-timer.C:
		return nil
	}
}

// untouched ends what a failed rehearsal says.
const untouched = "; the running apiserver was not touched"

func faultf(reason, format string, args ...any) *txn.Fault {
	return &txn.Fault{Reason: reason, Message: fmt.Sprintf(format, args...) + untouched}
}
