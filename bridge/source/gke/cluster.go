package gke

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Cluster is a GKE cluster. Its name alone is not enough: projects have several of one name, in other locations.
type Cluster struct {
	Project, Location, Name string
}

var errEmpty = errors.New("it is empty")

// Metadata is the part of a node's metadata server that is asked.
type Metadata interface {
	ProjectIDWithContext(ctx context.Context) (string, error)
	InstanceAttributeValueWithContext(ctx context.Context, attribute string) (string, error)
}

// Complete asks the node's metadata server for what is empty.
func Complete(ctx context.Context, c Cluster, node Metadata) (Cluster, error) {
	attribute := func(name string) func() (string, error) {
		return func() (string, error) { return node.InstanceAttributeValueWithContext(ctx, name) }
	}
	for _, part := range []struct {
		value *string
		key   string
		ask   func() (string, error)
	}{
		{&c.Project, "project", func() (string, error) { return node.ProjectIDWithContext(ctx) }},
		{&c.Location, "location", attribute("cluster-location")},
		{&c.Name, "cluster", attribute("cluster-name")},
	} {
		if *part.value != "" {
			continue
		}
		value, err := part.ask()
		if value = strings.TrimSpace(value); err == nil && value == "" {
			err = errEmpty
		}
		if err != nil {
			return Cluster{}, fmt.Errorf("bridge.gke.%s is not set, and the metadata server does not tell it: %w", part.key, err)
		}
		*part.value = value
	}
	return c, nil
}
