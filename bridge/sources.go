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

	"k8s-audit-enabler.io/bridge/checkpoint"
	"k8s-audit-enabler.io/bridge/delivery"
	"k8s-audit-enabler.io/bridge/sink"
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
	sink    *sink.Sink
	filter  delivery.Filter
	cancel  context.CancelFunc
	running sync.WaitGroup
	server  *server
	lock    *hostfs.Lock
	letters delivery.Graveyard

	mu      sync.Mutex
	names   []string
	keepers []*checkpoint.Keeper
	// led is how many of them, the last, are read because this bridge leads.
	led int
	// leader says who leads, where that counts; trouble, what keeps a source from being read.
	leader, trouble string
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

// says is what readiness tells of them.
func (s *sources) says() (text string, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != "" {
		return s.trouble, false
	}
	for _, k := range s.keepers {
		if k.Failing() {
			return "positions cannot be saved: " + k.Place(), false
		}
	}
	var parts []string
	if len(s.names) > 0 {
		parts = append(parts, "reads "+strings.Join(s.names, ", "))
	}
	if s.leader != "" && s.led == 0 {
		parts = append(parts, s.leader)
	}
	return strings.Join(parts, "; "), true
}

// reads says that a source is read from now on, with its keeper where it has one.
func (s *sources) reads(name string, k *checkpoint.Keeper) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
	if k != nil {
		s.keepers = append(s.keepers, k)
	}
}

// start carries out a plan. It returns nil where the plan has nothing for this bridge.
func (b *bridge) start(ctx context.Context, plan *wire.BridgePlan, drops delivery.Filter) (*sources, error) {
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
	if !b.o.carries(CarryGKE) {
		from.GKE = nil
	}
	if from.None() {
		return nil, nil //nolint:nilnil // nothing to do is no error
	}
	if plan.Sink.URL == "" {
		return nil, errors.New("the plan names a source and no sink")
	}
	to, err := b.sink(plan.Sink, plan.Gzip)
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	s := &sources{sink: to, filter: drops, cancel: cancel}
	err = b.openState(s)
	if err == nil && from.File != nil {
		b.startFile(running, s, from.File)
	}
	if err == nil && from.Receiver != nil {
		err = b.startReceiver(running, s, from.Receiver)
	}
	if err == nil && from.Cloud() {
		err = b.startClouds(running, s, from)
	}
	if err != nil {
		s.stop(ctx)
		return nil, err
	}
	return s, nil
}

func (b *bridge) sink(w wire.Webhook, compress bool) (*sink.Sink, error) {
	c := sink.Config{
		URL: w.URL, CAData: []byte(w.CABundle), ServerName: w.ServerName, InsecureSkipVerify: w.InsecureSkipVerify,
		UserAgent: buildinfo.UserAgent("bridge"), Gzip: compress,
		Warn: func(message string, err error) { b.log.Warn(message, "error", err) },
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
		Sink: s.sink, Filter: s.filter, Letters: letters, Limits: delivery.DefaultLimits(), Backoff: delivery.DefaultBackoff(), Metrics: b.metrics, Log: b.log, Source: source,
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

// keeper keeps the position of one log on this host's disk.
func (b *bridge) keeper(name string) *checkpoint.Keeper {
	return checkpoint.New(hostfs.New("/"), path.Join(b.o.StateDir, positionKey(name)), name, b.metrics, b.log.With(slog.String("log", name)))
}

// startFile follows each log.
func (b *bridge) startFile(ctx context.Context, s *sources, from *wire.FileSource) {
	begin := file.Beginning(from.From)
	if begin == "" {
		begin = file.FromActive
	}
	for _, name := range from.Paths {
		keeper := b.keeper(name)
		follow := file.Options{
			Host: hostfs.New("/"), Path: name, From: begin, LineLimit: file.DefaultLineLimit,
			Delivery: b.delivery(s, name, s.letters), Keeper: keeper, Metrics: b.metrics, Log: b.log.With(slog.String("log", name)),
		}
		s.reads(name, keeper)
		s.running.Go(func() { _ = file.Follow(ctx, follow) }) // ends with the context
	}
}

// positionKey is where a log's position is kept: one for each, whatever characters its name has.
func positionKey(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "position-" + hex.EncodeToString(sum[:6]) + ".json"
}

func (b *bridge) startReceiver(ctx context.Context, s *sources, from *wire.ReceiverSource) error {
	const name = CarryReceiver
	o := receiver.Options{
		Delivery: func() *delivery.Delivery { return b.delivery(s, name, s.letters) },
		Metrics:  b.metrics, Log: b.log, Source: name,
	}
	if from.Policy != "" {
		var err error
		if o.Policy, err = receiver.LoadPolicy([]byte(from.Policy)); err != nil {
			return err //nolint:wrapcheck // it says what is wrong with the policy
		}
	}
	who := identity(b.o.ReceiverCertDir)
	secured, err := who.secured()
	if err != nil {
		return err
	}
	if s.server, err = serve(ctx, b.o.ReceiverAddress, who.admit(receiver.New(o)), secured); err != nil {
		return err
	}
	s.reads(name+" at "+s.server.address, nil)
	return nil
}
