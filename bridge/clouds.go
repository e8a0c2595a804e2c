package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"cloud.google.com/go/compute/metadata"
	logging "cloud.google.com/go/logging/apiv2"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/bridge/source/gke"
	"k8s-audit-enabler.io/bridge/source/window"
	"k8s-audit-enabler.io/internal/wire"
)

// reader is one cloud's log, ready to be read.
type reader struct {
	name   string
	keeper *checkpoint.Keeper
	// read ends with its context.
	read func(ctx context.Context)
}

// startClouds reads clouds' logs: at once where this bridge is the only one, and whenever it leads where there are others.
func (b *bridge) startClouds(ctx context.Context, s *sources, from wire.BridgeSources) error {
	if b.group == nil {
		readers, err := b.clouds(ctx, s, from)
		for _, r := range readers {
			s.reads(r.name, r.keeper)
			s.running.Go(func() { r.read(ctx) })
		}
		return err
	}
	s.follows("")
	s.running.Go(func() {
		err := b.group.lead(ctx, b.log, s.follows, func(ctx context.Context) { b.leads(ctx, s, from) })
		if err != nil && ctx.Err() == nil {
			s.fails(err)
		}
	})
	return nil
}

// leads reads clouds' logs until the context ends, and all is saved.
func (b *bridge) leads(ctx context.Context, s *sources, from wire.BridgeSources) {
	b.log.Info("Leads: reads what only one bridge should")
	defer s.resigns()
	readers, err := b.clouds(ctx, s, from)
	for err != nil {
		s.fails(err)
		b.log.Error("Cannot carry out the plan", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(startRetry):
		}
		readers, err = b.clouds(ctx, s, from)
	}
	s.leads(readers)
	var reading sync.WaitGroup
	for _, r := range readers {
		reading.Go(func() { r.read(ctx) })
	}
	reading.Wait()
}

// clouds makes ready what the plan names.
func (b *bridge) clouds(ctx context.Context, s *sources, from wire.BridgeSources) ([]reader, error) {
	var readers []reader
	if from.EKS != nil {
		r, err := b.eks(ctx, s, from.EKS)
		if err != nil {
			return nil, err
		}
		readers = append(readers, r)
	}
	if from.GKE != nil {
		r, err := b.gke(ctx, s, from.GKE)
		if err != nil {
			return nil, err
		}
		readers = append(readers, r)
	}
	return readers, nil
}

// cloudKeeper keeps a position where the next leader finds it.
func (b *bridge) cloudKeeper(name string) *checkpoint.Keeper {
	if b.group == nil {
		return b.keeper(name)
	}
	return checkpoint.NewShared(b.group.positions, wire.BridgeCheckpointName, positionKey(name), name, b.metrics, b.log.With(slog.String("log", name)))
}

// eks reads CloudWatch Logs with whatever credentials the SDK finds: of a ServiceAccount, of the pod, or of the instance.
func (b *bridge) eks(ctx context.Context, s *sources, from *wire.EKSSource) (reader, error) {
	if from.Cluster == "" {
		return reader{}, errors.New("the plan's eks source names no cluster; set bridge.eks.cluster")
	}
	region := config.WithRegion(from.Region)
	if from.Region == "" {
		region = config.WithEC2IMDSRegion()
	}
	c, err := config.LoadDefaultConfig(ctx, region)
	if err != nil {
		return reader{}, fmt.Errorf("find AWS credentials: %w", err)
	}
	return b.poll(s, "eks/"+from.Cluster, eks.Log{Client: cloudwatchlogs.NewFromConfig(c), Cluster: from.Cluster}, eks.Interval, 0), nil
}

// gke reads Cloud Logging with the credentials of the pod or of the node. What the plan does not say, the metadata server does.
func (b *bridge) gke(ctx context.Context, s *sources, from *wire.GKESource) (reader, error) {
	cluster, err := gke.Complete(ctx, gke.Cluster{Project: from.Project, Location: from.Location, Name: from.Cluster}, metadata.NewClient(nil))
	if err != nil {
		return reader{}, err //nolint:wrapcheck // it says what is missing
	}
	client, err := logging.NewClient(ctx)
	if err != nil {
		return reader{}, fmt.Errorf("make client of Cloud Logging: %w", err)
	}
	log := gke.Log{Client: client, Cluster: cluster, DataAccess: from.DataAccess}
	r := b.poll(s, "gke/"+cluster.Project+"/"+cluster.Location+"/"+cluster.Name, log, gke.Interval, gke.Recent)
	read := r.read
	r.read = func(ctx context.Context) {
		read(ctx)
		_ = client.Close() // nothing is under way any more
	}
	return r, nil
}

// poll reads a log that can be asked for what was written between two times.
func (b *bridge) poll(s *sources, name string, log window.Log, interval, recent time.Duration) reader {
	o := window.Options{
		Log: log, Delivery: b.delivery(s, name, s.letters), Keeper: b.cloudKeeper(name),
		Metrics: b.metrics, Logger: b.log.With(slog.String("log", name)), Source: name, Interval: interval, Recent: recent, Now: time.Now,
	}
	return reader{name, o.Keeper, func(ctx context.Context) { _ = window.Poll(ctx, o) }} // ends with the context
}

// follows says who leads, as far as that is known.
func (s *sources) follows(leader string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = "waits for the lease " + wire.BridgeLease
	if leader != "" {
		s.leader = leader + " holds the lease " + wire.BridgeLease
	}
}

func (s *sources) fails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = "carry out the plan: " + err.Error()
}

func (s *sources) leads(readers []reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble, s.led = "", len(readers)
	for _, r := range readers {
		s.names, s.keepers = append(s.names, r.name), append(s.keepers, r.keeper)
	}
}

// resigns takes back what leads has said.
func (s *sources) resigns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = ""
	s.names, s.keepers = s.names[:len(s.names)-s.led], s.keepers[:len(s.keepers)-s.led]
	s.led = 0
}
