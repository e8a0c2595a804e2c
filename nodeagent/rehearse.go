package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/health"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/rehearsal"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// rehearsals tells which rehearsals run. Without a container runtime that can be asked there are none.
type rehearsals struct {
	cri  *cri.Client
	host *hostfs.FS
}

// Instances implements [txn.Runtime]; the revision is the rehearsal's mark.
func (r rehearsals) Instances(ctx context.Context) ([]txn.Instance, error) {
	sandboxes, err := r.cri.RehearsalSandboxes(ctx)
	if err != nil {
		return nil, err
	}
	for i := range sandboxes {
		sandboxes[i].Revision = sandboxes[i].Annotations[wire.AnnotationRehearsal]
	}
	return describeAll(ctx, r.cri, sandboxes)
}

// Stop implements [txn.Runtime].
func (r rehearsals) Stop(ctx context.Context, i txn.Instance) error {
	return r.cri.StopSandbox(ctx, i.ID)
}

// LogTail implements [txn.Runtime].
func (r rehearsals) LogTail(_ context.Context, i txn.Instance, lines int) ([]string, error) {
	if i.LogPath == "" {
		return nil, nil
	}
	return cri.LogTail(func(name string) (io.ReadSeekCloser, error) { return r.host.Open(name) }, i.LogPath, lines)
}

// hostMemory implements [rehearsal.Memory].
type hostMemory struct{ proc *procfs.FS }

// Available implements [rehearsal.Memory].
func (m hostMemory) Available() (int64, error) { return m.proc.Available() }

// Apiserver implements [rehearsal.Memory]. Where several processes serve on that port, as in nested nodes, it is the largest.
func (m hostMemory) Apiserver(port int) (int64, error) {
	found, err := m.proc.Find("kube-apiserver")
	if err != nil {
		return 0, err
	}
	var largest int64
	var errs []error
	for _, p := range found {
		if apiserver.ParseArgs(p.Args[1:]).SecurePort() != port {
			continue
		}
		size, err := m.proc.Resident(p.PID)
		errs = append(errs, err)
		largest = max(largest, size)
	}
	if largest == 0 {
		return 0, errors.Join(fmt.Errorf("no process serves on port %d", port), errors.Join(errs...))
	}
	return largest, nil
}

// newRehearsal returns the stage on which this node's rehearsals play.
func newRehearsal(host *hostfs.FS, runtimes *cri.Client, proc *procfs.FS, kubelet Kubelet, reach health.Config, log *slog.Logger) *rehearsal.Stage {
	return &rehearsal.Stage{
		Host: host, Runtime: rehearsals{cri: runtimes, host: host}, Memory: hostMemory{proc: proc}, ManifestDir: kubelet.StaticPodPath,
		Connect: func(address string) rehearsal.Apiserver {
			reach.Address = address
			return health.New(reach)
		},
		Free: rehearsal.Free, Explain: health.ExitReason, Log: log,
	}
}
