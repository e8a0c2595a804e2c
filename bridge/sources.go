package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/sink"
	"k8s-audit-enabler.io/bridge/source/eks"
	"k8s-audit-enabler.io/bridge/source/file"
	"k8s-audit-enabler.io/bridge/source/receiver"
	"k8s-audit-enabler.io/internal/buildinfo"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// lettersLimit bounds the file of dead letters.
const lettersLimit = 64 << 20

// sources are what runs for one plan.
type sources struct {
	name string
	sink *sink.Sink
	// problem says what is wrong with the bridge itself, or nothing.
	problem func() string
	cancel  context.CancelFunc
	running sync.WaitGroup
	server  *server
	lock    *hostfs.Lock
	keepers []*checkpoint.Keeper
	letters delivery.Graveyard
}

// stop ends them, and returns when their positions are saved.
func (s *sources) stop(ctx context.Context) {
	if s.server != nil {
		s.server.stop(ctx)
	}
	s.cancel()
	s.running.Wait()
	if s.lock != nil {
		_ = s.lock.Unlock()
	}
}

// start carries out a plan. It returns nil where the plan has nothing for this bridge.
func (b *bridge) start(ctx context.Context, plan *wire.BridgePlan) (*sources, error) {
	from := plan.Sources
	if !b.o.carries(CarryFile) {
		from.File = nil
	}
	if !b.o.carries(CarryReceiver) {
		from.Receiver = nil
	}
	if !b.o.carries(CarryEKS) {
		from.EKS = nil
	}
	if from.None() {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	if plan.Sink.URL == "" {
		return nil, errors.New("the plan names a source and no sink")
	}
	to, err := b.sink(plan.Sink)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	s := &sources{sink: to, cancel: cancel}
	s.problem = func() string { return b.unsaved(s.keepers) }
	if from.File != nil || from.EKS != nil {
		err = b.openState(s)
	}
	if err == nil && from.File != nil {
		b.startFile(running, s, from.File)
	}
	if err == nil && from.EKS != nil {
		err = b.startEKS(running, s, from.EKS)
	}
	if err == nil && from.Receiver != nil {
		err = b.startReceiver(running, s, from.Receiver)
	}
	if err != nil {
		s.stop(ctx)
		return nil, err
	}
	return s, nil
}

func (b *bridge) sink(w wire.Webhook) (*sink.Sink, error) {
	c := sink.Config{
		URL: w.URL, CAData: []byte(w.CABundle), ServerName: w.ServerName, InsecureSkipVerify: w.InsecureSkipVerify,
		UserAgent: buildinfo.UserAgent("bridge"),
		Warn: func(err error) {
			b.log.Warn("The sink's new credentials cannot be used; those before are kept", "error", err)
		},
	}
	if dir := b.o.CredentialsDir; dir != "" {
		c.OptionalFiles = true
		c.CertFile, c.KeyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
		c.TokenFile = filepath.Join(dir, "token")
		if !w.InsecureSkipVerify {
			c.CAFile = filepath.Join(dir, "ca.crt")
		}
	}
	return sink.New(c) //nolint:wrapcheck // it says what is wrong with the sink
}

func (b *bridge) delivery(s *sources, source string, letters delivery.Graveyard) *delivery.Delivery {
	return delivery.New(delivery.Options{
		Sink: s.sink, Letters: letters, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: b.metrics, Log: b.log, Source: source,
	})
}

// openState opens the directory for positions. Two bridges on one node, as in the middle of an update, would read the same: the second
// waits.
func (b *bridge) openState(s *sources) error {
	host := hostfs.New("/")
	if err := host.MkdirAll(b.o.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the directory for positions: %w", err)
	}
	lock, err := host.Flock(path.Join(b.o.StateDir, "lock"))
	if err != nil {
		return fmt.Errorf("wait for another bridge on this node: %w", err)
	}
	s.lock = lock
	s.letters = delivery.NewLetters(host, path.Join(b.o.StateDir, "dead-letters.log"), lettersLimit)
	return nil
}

// keeper keeps the position of one log.
func (b *bridge) keeper(s *sources, name string) *checkpoint.Keeper {
	k := checkpoint.New(hostfs.New("/"), path.Join(b.o.StateDir, positionFile(name)), name, b.metrics, b.log.With(slog.String("log", name)))
	s.keepers = append(s.keepers, k)
	s.name = strings.TrimPrefix(s.name+", "+name, ", ")
	return k
}

// unsaved says that positions cannot be saved, or nothing.
func (b *bridge) unsaved(keepers []*checkpoint.Keeper) string {
	for _, k := range keepers {
		if k.Failing() {
			return "positions cannot be saved in " + b.o.StateDir
		}
	}
	return ""
}

// startFile follows each log.
func (b *bridge) startFile(ctx context.Context, s *sources, from *wire.FileSource) {
	begin := file.Beginning(from.From)
	if begin == "" {
		begin = file.FromActive
	}
	for _, name := range from.Paths {
		follow := file.Options{
			Host: hostfs.New("/"), Path: name, From: begin, LineLimit: file.DefaultLineLimit,
			Delivery: b.delivery(s, name, s.letters), Keeper: b.keeper(s, name), Metrics: b.metrics, Log: b.log.With(slog.String("log", name)),
		}
		s.running.Go(func() { _ = file.Follow(ctx, follow) }) // ends with the context
	}
}

// startEKS reads CloudWatch Logs with whatever credentials the SDK finds: of a ServiceAccount, of the pod, or of the instance.
func (b *bridge) startEKS(ctx context.Context, s *sources, from *wire.EKSSource) error {
	if from.Cluster == "" {
		return errors.New("the plan's eks source names no cluster")
	}
	region := config.WithRegion(from.Region)
	if from.Region == "" {
		region = config.WithEC2IMDSRegion()
	}
	c, err := config.LoadDefaultConfig(ctx, region)
	if err != nil {
		return fmt.Errorf("find AWS credentials: %w", err)
	}
	name := "eks/" + from.Cluster
	poll := eks.Options{
		Client: cloudwatchlogs.NewFromConfig(c), Cluster: from.Cluster, Delivery: b.delivery(s, name, s.letters), Keeper: b.keeper(s, name),
		Metrics: b.metrics, Log: b.log.With(slog.String("log", name)), Source: name, Interval: eks.Interval, Now: time.Now,
	}
	s.running.Go(func() { _ = eks.Poll(ctx, poll) }) // ends with the context
	return nil
}

// positionFile is where a log's position is kept: one file for each path, whatever characters it has.
func positionFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "position-" + hex.EncodeToString(sum[:6]) + ".json"
}

func (b *bridge) startReceiver(ctx context.Context, s *sources, from *wire.ReceiverSource) error {
	const name = CarryReceiver
	o := receiver.Options{
		Delivery: func() *delivery.Delivery { return b.delivery(s, name, delivery.Nowhere{}) },
		Metrics:  b.metrics, Log: b.log, Source: name,
	}
	if from.Policy != "" {
		var err error
		if o.Policy, err = receiver.LoadPolicy([]byte(from.Policy)); err != nil {
			return err //nolint:wrapcheck // it says what is wrong with the policy
		}
	}
	secured, err := serverTLS(b.o.ReceiverCertDir)
	if err != nil {
		return err
	}
	if s.server, err = serve(ctx, b.o.ReceiverAddress, receiver.New(o), secured); err != nil {
		return err
	}
	s.name = strings.Trim(s.name+", "+name+" at "+s.server.address, ", ")
	return nil
}
