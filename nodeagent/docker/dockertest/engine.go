// Package dockertest has a Docker Engine in memory for tests, whose calls can be cut short.
package dockertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/nodeagent/docker"
)

// Engine is a Docker Engine with a few containers.
type Engine struct {
	t          *testing.T
	Containers map[string]*docker.Container
	made       int
	// Images are what their names stand for.
	Images map[string]string
	// DiesAt is the number of the call that dies, counted by Calls, from one. Without Afterwards it has not done its work. With Panics
	// it does not return, as if the process had ended.
	DiesAt, Calls int
	Afterwards    bool
	Panics        bool
	// Crashes reports whether a container's process ends again and again; nil for none.
	Crashes func(c *docker.Container) bool
	// Said are the calls that change something.
	Said []string
	// Log is what LogTail says.
	Log []string
}

// ErrDied is what a call says that dies.
var ErrDied = errors.New("died")

// New runs the container that a file describes as docker inspect does.
func New(t *testing.T, file string) *Engine {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var c docker.Container
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return &Engine{t: t, Containers: map[string]*docker.Container{c.ID: &c}, Images: map[string]string{imageOf(&c): c.Image}}
}

func imageOf(c *docker.Container) string {
	var name string
	if json.Unmarshal(c.Config["Image"], &name) != nil {
		return ""
	}
	return name
}

// Named finds a container by its name or ID; nil for none.
func (e *Engine) Named(name string) *docker.Container {
	for _, c := range e.Containers {
		if strings.TrimPrefix(c.Name, "/") == name || c.ID == name {
			return c
		}
	}
	return nil
}

// Replace puts a container in the place of another one that is the same but for its ID, as somebody else does.
func (e *Engine) Replace(name, id string) {
	e.t.Helper()
	c := e.Named(name)
	delete(e.Containers, c.ID)
	c.ID = id
	e.Containers[id] = c
}

// Inspect is the client's.
func (e *Engine) Inspect(_ context.Context, name string) (*docker.Container, error) {
	c := e.Named(name)
	if c == nil {
		return nil, docker.ErrNotFound
	}
	copied := *c
	return &copied, nil
}

// ImageID is the client's.
func (e *Engine) ImageID(_ context.Context, name string) (string, error) {
	id, ok := e.Images[name]
	if !ok {
		return "", docker.ErrNotFound
	}
	return id, nil
}

// LogTail is the client's.
func (e *Engine) LogTail(context.Context, string, int) ([]string, error) { return e.Log, nil }

func (e *Engine) do(what, id string, work func(c *docker.Container) error) error {
	e.Calls++
	e.Said = append(e.Said, what)
	if e.Calls == e.DiesAt && !e.Afterwards {
		return e.die()
	}
	c := e.Named(id)
	if c == nil && id != "" {
		return docker.ErrNotFound
	}
	if err := work(c); err != nil {
		return err
	}
	running := 0
	for _, c := range e.Containers {
		if c.State.Running {
			running++
		}
	}
	if running > 1 {
		e.t.Errorf("two containers run after %q", e.Said)
	}
	if e.Calls == e.DiesAt {
		return e.die()
	}
	return nil
}

func (e *Engine) die() error {
	if e.Panics {
		panic(ErrDied)
	}
	return ErrDied
}

// Create is the client's.
func (e *Engine) Create(_ context.Context, name string, config, host map[string]json.RawMessage) error {
	return e.do("create "+name, "", func(*docker.Container) error {
		if e.Named(name) != nil {
			return fmt.Errorf("the name %s is taken", name)
		}
		e.made++
		c := &docker.Container{ID: fmt.Sprintf("made%d", e.made), Name: "/" + name, Config: config, HostConfig: host}
		c.Image = e.Images[imageOf(c)]
		e.Containers[c.ID] = c
		return nil
	})
}

// Start is the client's.
func (e *Engine) Start(_ context.Context, id string) error {
	return e.do("start", id, func(c *docker.Container) error {
		c.State = docker.State{Running: true, StartedAt: time.Now()}
		if e.Crashes != nil && e.Crashes(c) {
			c.State.Restarting, c.RestartCount = true, 2
		}
		return nil
	})
}

// Stop is the client's.
func (e *Engine) Stop(_ context.Context, id string) error {
	return e.do("stop", id, func(c *docker.Container) error {
		c.State.Running, c.State.Restarting = false, false
		return nil
	})
}

// Rename is the client's.
func (e *Engine) Rename(_ context.Context, id, name string) error {
	return e.do("rename to "+name, id, func(c *docker.Container) error {
		if e.Named(name) != nil {
			return fmt.Errorf("the name %s is taken", name)
		}
		c.Name = "/" + name
		return nil
	})
}

// Remove is the client's.
func (e *Engine) Remove(_ context.Context, id string) error {
	return e.do("remove", id, func(c *docker.Container) error {
		if c.State.Running {
			return errors.New("it runs")
		}
		delete(e.Containers, c.ID)
		return nil
	})
}

// Described is a container's configuration as text, and its ID.
func (e *Engine) Described(name string) (text []byte, id string) {
	e.t.Helper()
	c := e.Named(name)
	if c == nil {
		e.t.Fatalf("there is no container %s after %q", name, e.Said)
	}
	text, err := json.MarshalIndent(map[string]any{"Config": c.Config, "HostConfig": c.HostConfig, "Image": c.Image}, "", "  ")
	if err != nil {
		e.t.Fatal(err)
	}
	return append(text, '\n'), c.ID
}
