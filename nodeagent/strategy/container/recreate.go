package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Engine is what is asked of the Docker Engine.
type Engine interface {
	Inspect(ctx context.Context, name string) (*docker.Container, error)
	Create(ctx context.Context, name string, config, host map[string]json.RawMessage) error
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string) error
	Rename(ctx context.Context, id, name string) error
	Remove(ctx context.Context, id string) error
}

// move is one step towards a container as it is wanted. Each is one call of the Engine, done or not done when the agent dies.
type move string

// Moves. RKE's own order is stop, rename, create, start, and remove the old one once the new one is good.
const (
	moveNone           move = ""
	moveStopOld        move = "stop the old container"
	moveRemoveOld      move = "remove a container that an earlier change has left"
	moveStop           move = "stop the container"
	moveSetAside       move = "rename the container"
	moveCreate         move = "create the container anew"
	moveStart          move = "start the container"
	moveRemove         move = "remove the new container"
	moveBringBack      move = "rename the old container back"
	maxMoves                = 12
	errMovesWithoutEnd      = "bring the container into line with %s: it did not come to an end"
)

// Recreate brings the apiserver's container into line with the file, nil for none. It may die anywhere and be called again. A container
// that somebody else has created meanwhile is started, and otherwise left alone.
func Recreate(ctx context.Context, engine Engine, file []byte) error {
	want, err := decode(file)
	if err != nil {
		return err
	}
	for range maxMoves {
		current, old, err := both(ctx, engine)
		if err != nil {
			return err
		}
		do, err := next(current, old, want, txn.Hash(file))
		if err != nil || do == moveNone {
			return err
		}
		if err := carryOut(ctx, engine, do, current, old, file); err != nil {
			return fmt.Errorf("%s: %w", do, err)
		}
	}
	return fmt.Errorf(errMovesWithoutEnd, File)
}

// Settle removes the container from before a change once no change is open, so that it cannot be started beside the new one.
func Settle(ctx context.Context, engine Engine) error {
	current, old, err := both(ctx, engine)
	if err != nil || old == nil {
		return err
	}
	if current == nil {
		return fmt.Errorf("remove container %s: there is no %s, and it may be needed", OldName, Name)
	}
	if old.State.Running {
		if err := engine.Stop(ctx, old.ID); err != nil {
			return err
		}
	}
	return engine.Remove(ctx, old.ID)
}

// both are the apiserver's container and the one that was set aside; nil where there is none.
func both(ctx context.Context, engine Engine) (current, old *docker.Container, err error) {
	found := [2]*docker.Container{}
	for i, name := range []string{Name, OldName} {
		found[i], err = engine.Inspect(ctx, name)
		if err != nil && !errors.Is(err, docker.ErrNotFound) {
			return nil, nil, err
		}
	}
	return found[0], found[1], nil
}

// next is the move that is due. It is pure: the same containers give the same move, whoever has made the last one.
func next(current, old *docker.Container, want *Wanted, hash string) (move, error) {
	asWanted := func(c *docker.Container) bool {
		if want == nil {
			return !isOurs(c)
		}
		return c.Labels()[labelFile] == hash
	}
	source := func(c *docker.Container) bool { // that from which the wanted one is made
		if want == nil {
			return isOurs(c)
		}
		return c.ID == want.From
	}
	switch {
	case current == nil && old == nil:
		return moveNone, fmt.Errorf("there is no container %s", Name)
	case current == nil && source(old) && !asWanted(old):
		return moveCreate, nil
	case current == nil:
		return moveBringBack, nil
	case asWanted(current), !source(current) && !comesFrom(current, old, asWanted):
		return run(current, old), nil
	case want != nil && source(current) || !comesFrom(current, old, asWanted):
		return setAside(current, old), nil
	case current.State.Running:
		return moveStop, nil
	default:
		return moveRemove, nil
	}
}

// run sees to it that the container runs, and that the old one does not.
func run(current, old *docker.Container) move {
	switch {
	case old != nil && old.State.Running:
		return moveStopOld
	case !current.State.Running:
		return moveStart
	}
	return moveNone
}

// setAside makes room for the wanted container.
func setAside(current, old *docker.Container) move {
	switch {
	case old != nil && old.State.Running:
		return moveStopOld
	case old != nil:
		return moveRemoveOld
	case current.State.Running:
		return moveStop
	}
	return moveSetAside
}

// comesFrom reports whether the container was created in place of the old one, which is to come back then.
func comesFrom(current, old *docker.Container, asWanted func(*docker.Container) bool) bool {
	return old != nil && (isOurs(current) && current.Labels()[labelFrom] == old.ID || asWanted(old))
}

func carryOut(ctx context.Context, engine Engine, do move, current, old *docker.Container, file []byte) error {
	switch do {
	case moveStop:
		return engine.Stop(ctx, current.ID)
	case moveStopOld:
		return engine.Stop(ctx, old.ID)
	case moveRemoveOld:
		return engine.Remove(ctx, old.ID)
	case moveSetAside:
		return engine.Rename(ctx, current.ID, OldName)
	case moveCreate:
		config, host, err := configured(old, file)
		if err != nil {
			return err
		}
		return engine.Create(ctx, Name, config, host)
	case moveStart:
		return engine.Start(ctx, current.ID)
	case moveRemove:
		return engine.Remove(ctx, current.ID)
	case moveBringBack:
		return engine.Rename(ctx, old.ID, Name)
	case moveNone:
	}
	return nil
}
