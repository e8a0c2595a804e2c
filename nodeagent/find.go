package nodeagent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// FindOptions say which event is looked for in this node's audit log.
type FindOptions struct {
	// HostRoot is where the host's / is.
	HostRoot string
	// AuditID is the event's.
	AuditID string
	// Wait is how long it may take into the log.
	Wait time.Duration
}

// BindFlags adds the search's flags.
func (o *FindOptions) BindFlags(fs *flag.FlagSet) {
	fs.StringVar(&o.HostRoot, "host-root", "/host", "Where the host's root directory is.")
	fs.StringVar(&o.AuditID, "audit-id", "", "The ID of the event.")
	fs.DurationVar(&o.Wait, "wait", 5*time.Second, "How long the event may take into the log.")
}

// Errors of a search, each said by an exit code of its own.
var (
	// ErrNoEvent: the event is not in the log.
	ErrNoEvent = errors.New("the event is not in the audit log")
	// ErrNoLog: the apiserver writes no log that this agent knows of.
	ErrNoLog = errors.New("no audit log is known on this node")
)

// Find looks for an event in the log that is live on this node, and says where it is. It only reads.
func Find(ctx context.Context, o FindOptions, out io.Writer) error {
	host := hostfs.New(o.HostRoot)
	j, err := txn.LoadJournal(host)
	if err != nil {
		return err
	}
	if j.Live == nil || j.Live.Effects.LogPath == "" {
		return ErrNoLog
	}
	log, err := health.OpenRecent(func(name string) (health.File, error) { return host.Open(name) }, j.Live.Effects.LogPath)
	if err != nil {
		return err
	}
	defer log.Close()
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	found, err := log.WaitFor(ctx, o.AuditID, time.Second/4)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s: %w", j.Live.Effects.LogPath, ErrNoEvent)
	}
	_, err = fmt.Fprintln(out, j.Live.Effects.LogPath)
	return err
}
