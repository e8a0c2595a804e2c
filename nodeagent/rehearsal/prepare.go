package rehearsal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strconv"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// memoryMargin is how much more must be available than the running apiserver holds, in tenths: a second one that serves
// for a moment may grow a little larger than the first.
const memoryMargin = 13

// plan is one rehearsal.
type plan struct {
	path     string
	manifest []byte
	// mark tells this rehearsal from every other.
	mark string
	// address is where it is asked, bind what its --bind-address says, port the spare one.
	address, bind string
	port          int
	// args are its flags; logs: it writes an audit log to [apiserver.RehearsalLog].
	args apiserver.Args
	logs bool
}

// prepare decides whether this host can rehearse a change, and how. Its faults are RehearsalNotPossible.
func (s *Stage) prepare(ctx context.Context, c txn.Change) (*plan, *txn.Fault) {
	p, err := s.plan(ctx, c)
	if err != nil {
		return nil, &txn.Fault{Reason: reason.RehearsalNotPossible, Message: err.Error()}
	}
	return p, nil
}

func (s *Stage) plan(ctx context.Context, c txn.Change) (*plan, error) {
	m, err := apiserver.ParseManifest(c.New)
	if err != nil {
		return nil, err
	}
	args := m.Args()
	if err := s.checkDir(ctx, c); err != nil {
		return nil, err
	}
	if err := s.clear(ctx, s.Path(c)); err != nil {
		return nil, err
	}
	if err := checkMemory(s.Memory, runningPort(c, args)); err != nil {
		return nil, err
	}
	p := &plan{path: s.Path(c), bind: args.BindAddress()}
	if p.port, err = freePort(args, s.Free); err != nil {
		return nil, err
	}
	p.address = health.Address(p.bind, strconv.Itoa(p.port))
	if p.mark, err = newMark(c); err != nil {
		return nil, err
	}
	p.manifest, err = apiserver.Rehearse(c.New, apiserver.RehearsalOptions{Mark: p.mark, Port: p.port, Version: c.Effects.Version})
	if err != nil {
		return nil, err
	}
	rehearsed, err := apiserver.ParseManifest(p.manifest)
	if err != nil {
		return nil, err
	}
	p.args = rehearsed.Args()
	p.logs = p.args.LogsToFile()
	return p, nil
}

// checkDir confirms that the kubelet reads files beside the manifest: it can also be told a single file.
func (s *Stage) checkDir(ctx context.Context, c txn.Change) error {
	dir, err := s.ManifestDir(ctx)
	if err != nil {
		return fmt.Errorf("the kubelet's static pod directory is not known: %w", err)
	}
	if path.Clean(dir) != path.Dir(c.Manifest) {
		return fmt.Errorf("the kubelet takes static pods from %s, not from %s", dir, path.Dir(c.Manifest))
	}
	return nil
}

// clear removes what an earlier rehearsal may have left. It fails where no container runtime can be asked, without which
// a rehearsal cannot be judged.
func (s *Stage) clear(ctx context.Context, manifest string) error {
	left, err := s.left(ctx)
	if err != nil {
		return fmt.Errorf("the container runtime does not say whether a rehearsal runs: %w", err)
	}
	if _, err := s.Host.Lstat(manifest); errors.Is(err, fs.ErrNotExist) && len(left) == 0 {
		return nil
	}
	return s.Remove(ctx, manifest, false)
}

// runningPort is where the apiserver that runs now serves.
func runningPort(c txn.Change, wanted apiserver.Args) int {
	if base, err := apiserver.ParseManifest(c.Base); err == nil {
		return base.Args().SecurePort()
	}
	return wanted.SecurePort()
}

func checkMemory(m Memory, port int) error {
	used, err := m.Apiserver(port)
	if err != nil {
		return fmt.Errorf("nobody knows how much memory the apiserver needs: %w", err)
	}
	available, err := m.Available()
	if err != nil {
		return fmt.Errorf("nobody knows how much memory is free: %w", err)
	}
	if need := used / 10 * memoryMargin; available < need {
		return fmt.Errorf("a second apiserver needs %d MiB of memory, 1.3 times what the running one holds, and %d MiB are available", need>>20, available>>20)
	}
	return nil
}

// freePort is the first port of the range that nobody has.
func freePort(args apiserver.Args, free func(address string) bool) (int, error) {
	first, last := args.NodePorts()
	for port := apiserver.FirstRehearsalPort; port <= apiserver.LastRehearsalPort; port++ {
		if (port < first || port > last) && free(net.JoinHostPort(args.BindAddress(), strconv.Itoa(port))) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("none of the ports %d to %d is free", apiserver.FirstRehearsalPort, apiserver.LastRehearsalPort)
}

// Free reports whether nobody on this host listens at an address, by listening there for a moment.
func Free(address string) bool {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// newMark tells this rehearsal from every other.
func newMark(c txn.Change) (string, error) {
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", fmt.Errorf("mark rehearsal: %w", err)
	}
	revision := c.Revision
	if revision == "" {
		revision = string(c.Kind)
	}
	return revision + "." + hex.EncodeToString(random[:]), nil
}
