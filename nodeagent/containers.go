package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// containers is the container of an apiserver that no kubelet looks after.
type containers struct{}

func (containers) owns(live *txn.Live) *strategy.Refusal { return only(container.Unit, live) }

func (containers) propose(p *wire.Plan, seen observation, running *version.Version, _ *txn.Journal, _ bool) (*txn.Change, *strategy.Refusal) {
	return seen.container.Propose(p, seen.credentials, running)
}

func (containers) proposeRevert(p *wire.Plan, seen observation, _ *txn.Journal) (*txn.Change, *strategy.Refusal) {
	return seen.container.ProposeRevert(p), nil
}

// traces never lead to a repair without a permit: whoever has created the container anew has started an apiserver with it, and this is
// one restart more.
func (containers) traces(seen observation, _ *txn.Journal) (staticpod.Traces, *strategy.Refusal) {
	t := staticpod.Traces{Lost: "was changed by somebody else"}
	switch {
	case seen.lost:
		t.Lost = "is not what the container runs with: somebody has created that anew, as rke up and Rancher do"
	case seen.manifest.Data == nil:
		t.Lost = "was removed by somebody else"
	}
	return t, nil
}

func (containers) overridden(observation) *strategy.Refusal { return nil }

// containerEngine is the host's Docker Engine.
type containerEngine interface {
	container.Engine
	container.Images
	LogTail(ctx context.Context, id string, lines int) ([]string, error)
}

// findContainer looks at the apiserver's container and at what it was created from.
func (o *observer) findContainer(ctx context.Context, seen *observation) {
	if o.engine == nil {
		seen.refusal = refusal(reason.ServiceNotFound, "this agent knows of no Docker Engine")
		return
	}
	seen.container, seen.refusal = container.Read(ctx, o.host, o.engine)
	seen.manifest = staticpod.Manifest{Path: container.File, Data: seen.container.File}
	if seen.container.ID() != "" && o.listens != nil {
		o.listens(seen.listen())
	}
	seen.lost = seen.refusal == nil && !seen.container.InForce()
}

// clearAway removes what the last change has kept for its way back.
func (a *agent) clearAway(ctx context.Context) {
	err := a.runner.Settle(ctx, container.Unit)
	if err != nil && !errors.Is(err, hostfs.ErrLocked) {
		a.log.WarnContext(ctx, "The container from before the last change is left", "error", err)
	}
}

// containerOf implements [txn.Runtime] for an apiserver's container.
type containerOf struct{ services }

// restart brings the container into line with the file.
func (c containerOf) restart(ctx context.Context) error {
	file, err := c.host.ReadFile(container.File, maxSmallFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read what the container shall be like: %w", err)
	}
	return container.Recreate(ctx, c.engine, file)
}

// Settled implements [txn.Services].
func (s services) Settled(ctx context.Context, unit string) error {
	if unit != container.Unit {
		return nil
	}
	return container.Settle(ctx, s.engine)
}

// Instances implements [txn.Runtime]: the container, and the one before it. One that was never started is none yet.
func (c containerOf) Instances(ctx context.Context) ([]txn.Instance, error) {
	var list []txn.Instance
	for _, name := range []string{container.Name, container.OldName} {
		found, err := c.engine.Inspect(ctx, name)
		if errors.Is(err, docker.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found.State.Started() {
			list = append(list, instanceOf(found))
		}
	}
	return list, nil
}

func instanceOf(c *docker.Container) txn.Instance {
	i := txn.Instance{ID: c.ID, Revision: container.RevisionIn(c), Ready: c.State.Up(), Running: c.State.Up(), Exits: c.RestartCount}
	if !c.State.Running {
		i.Exits++
	}
	return i
}

// Stop implements [txn.Runtime].
func (c containerOf) Stop(ctx context.Context, i txn.Instance) error { return c.engine.Stop(ctx, i.ID) }

// LogTail implements [txn.Runtime].
func (c containerOf) LogTail(ctx context.Context, i txn.Instance, lines int) ([]string, error) {
	return c.engine.LogTail(ctx, i.ID, lines)
}
