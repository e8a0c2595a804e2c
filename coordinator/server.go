package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	clientfeatures "k8s.io/client-go/features"
)

const (
	// watchListMinor is the first minor version whose API server streams a list through a watch. An older one takes the request
	// for a plain watch and never sends the bookmark that the client waits for.
	watchListMinor = 27
	leaseGroup     = "coordination.k8s.io"
	serverRetry    = 2 * time.Second
)

// server is what the coordinator adapts itself to.
type server struct {
	version *version.Version
	// leases: coordination.k8s.io/v1 is served.
	leases bool
}

// awaitServer asks the API server what it is, for as long as it takes: a coordinator may start while the only control plane
// restarts.
func awaitServer(ctx context.Context, client discovery.DiscoveryInterface, log *slog.Logger) (server, error) {
	for {
		s, err := askServer(client)
		if err == nil {
			return s, nil
		}
		log.Info("Waiting for the API server", "detail", err.Error())
		select {
		case <-ctx.Done():
			return server{}, ctx.Err()
		case <-time.After(serverRetry):
		}
	}
}

func askServer(client discovery.DiscoveryInterface) (server, error) {
	info, err := client.ServerVersion()
	if err != nil {
		return server{}, fmt.Errorf("read server version: %w", err)
	}
	v, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return server{}, fmt.Errorf("parse server version: %w", err)
	}
	groups, err := client.ServerGroups()
	if err != nil {
		return server{}, fmt.Errorf("list API groups: %w", err)
	}
	s := server{version: v}
	for i := range groups.Groups {
		for _, gv := range groups.Groups[i].Versions {
			s.leases = s.leases || gv.GroupVersion == leaseGroup+"/v1"
		}
	}
	return s, nil
}

// adapt sets what client-go must not do with this API server. It has to be called before any informer starts.
func (s server) adapt() error {
	if !s.version.LessThan(version.MajorMinor(1, watchListMinor)) {
		return nil
	}
	gates, ok := clientfeatures.FeatureGates().(interface {
		Set(feature clientfeatures.Feature, value bool) error
	})
	if !ok {
		return fmt.Errorf("turn off %s: client-go's feature gates cannot be set", clientfeatures.WatchListClient)
	}
	if err := gates.Set(clientfeatures.WatchListClient, false); err != nil {
		return fmt.Errorf("turn off %s: %w", clientfeatures.WatchListClient, err)
	}
	return nil
}
