package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// serviceManager knows the host's services.
type serviceManager interface {
	Service(ctx context.Context, unit string) (systemd.Service, error)
}

// ofService: a plan, or where there is none what is live, is about an apiserver that a service starts.
func ofService(p *wire.Plan, live *txn.Live) bool {
	if p != nil {
		return p.Strategy == wire.StrategyDropIn || p.Strategy == wire.StrategyArgsFile
	}
	return live != nil && live.Unit != ""
}

// serviceFile is what a service reads, with the file in which ours is.
type serviceFile interface {
	Propose(p *wire.Plan, c staticpod.Credentials, running *version.Version) (*txn.Change, *staticpod.Refusal)
	// ProposeRevert returns nil where nothing of ours is there.
	ProposeRevert(p *wire.Plan, live *txn.Live) *txn.Change
	// Overridden says what of others makes ours of no effect; nil for nothing.
	Overridden() *staticpod.Refusal
	// Listen is where the apiserver is reached.
	Listen() (bind, port string)
}

// findFile looks for our file among those that a service reads, or for the one with lines of ours in it.
func (o *observer) findFile(ctx context.Context, seen *observation, p *wire.Plan, live *txn.Live) {
	unit := ""
	if live != nil {
		unit = live.Unit
	}
	if p != nil && p.Strategy == wire.StrategyArgsFile || p == nil && unit == argsfile.Unit {
		o.findArgs(ctx, seen)
	} else {
		o.findDropIn(ctx, seen, p, unit)
	}
	if seen.settings != nil && o.listens != nil {
		o.listens(seen.settings.Listen())
	}
}

func (o *observer) findArgs(ctx context.Context, seen *observation) {
	if _, seen.refusal = o.service(ctx, argsfile.Unit, argsfile.Name, argsfile.Elsewhere); seen.refusal != nil {
		return
	}
	settings, refused := argsfile.Read(o.host)
	if seen.refusal = refused; refused != nil {
		return
	}
	seen.settings, seen.manifest = settings, staticpod.Manifest{Path: argsfile.Path, Data: settings.Data}
}

// findDropIn is for the program that a plan is about, or where there is none a unit.
func (o *observer) findDropIn(ctx context.Context, seen *observation, p *wire.Plan, unit string) {
	product, ok := dropin.ByUnit(unit)
	of := unit
	if p != nil {
		product, ok = dropin.ByName(p.Distribution)
		of = p.Distribution
	}
	if !ok {
		seen.refusal = refusal(reason.PlanInvalid, "no configuration of %q is known", of)
		return
	}
	s, refused := o.service(ctx, product.Unit, product.Name, product.Elsewhere())
	if seen.refusal = refused; refused != nil {
		return
	}
	command := dropin.Command{Args: s.Command, Environment: slices.Concat(s.Environment, o.environment(s.EnvironmentFiles))}
	settings, refused := dropin.Read(o.host, product, command)
	if seen.refusal = refused; refused != nil {
		return
	}
	seen.settings, seen.manifest = settings, staticpod.Manifest{Path: settings.Path, Data: settings.Data}
}

// service asks how a service is started, and refuses a host on which nobody could restart it.
func (o *observer) service(ctx context.Context, unit, name, elsewhere string) (systemd.Service, *staticpod.Refusal) {
	if o.services == nil {
		return systemd.Service{}, refusal(reason.ServiceNotFound, "this agent knows of no services")
	}
	s, err := o.services.Service(ctx, unit)
	switch {
	case errors.Is(err, systemd.ErrNoSystemd), errors.Is(err, systemd.ErrNoUnit), err == nil && s.Active == "inactive":
		return s, refusal(reason.ServiceNotFound, "no %s of systemd runs %s on this host, so it could not be restarted after a change; %s", unit, name, elsewhere)
	case err != nil:
		return s, refusal(reason.ServiceNotFound, "%s cannot be looked at: %v", unit, err)
	}
	return s, nil
}

// environment reads the variables that a service gets from files. One that is not there sets none.
func (o *observer) environment(files []string) []string {
	var all []string
	for _, file := range files {
		data, err := o.host.ReadFile(file, maxSmallFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if ok && !strings.HasPrefix(name, "#") {
				all = append(all, name+"="+strings.Trim(value, `"'`))
			}
		}
	}
	return all
}

// locate looks where the apiserver of an open change listens.
func (o *observer) locate(ctx context.Context, j *txn.Journal) {
	live := j.Live
	if j.Open != nil && j.Open.Unit != "" && live == nil {
		live = &txn.Live{Unit: j.Open.Unit}
	}
	o.observe(ctx, nil, live)
}

// services implements [txn.Services] with the host's systemd.
type services struct {
	systemd *systemd.Client
	cri     *cri.Client
	proc    *procfs.FS
	host    *hostfs.FS
	log     *slog.Logger
}

// Restart implements [txn.Services].
func (s services) Restart(ctx context.Context, unit string) error {
	return s.systemd.RestartSoon(ctx, unit)
}

// Runtime implements [txn.Services].
func (s services) Runtime(unit string) txn.Runtime {
	if p, ok := dropin.ByUnit(unit); ok && p.Pods {
		return servicePods{services: s, logs: &runtime{cri: s.cri, proc: s.proc, host: s.host, log: s.log}}
	}
	return serviceProcess{services: s, unit: unit}
}

// serviceProcess is an apiserver that is part of a service's own process. What files it has read, nobody can see from outside.
type serviceProcess struct {
	services
	unit string
}

// Instances implements [txn.Runtime]: the process that was started last.
func (s serviceProcess) Instances(ctx context.Context) ([]txn.Instance, error) {
	state, err := s.systemd.Service(ctx, s.unit)
	if err != nil {
		return nil, err
	}
	return processOf(s.unit, state), nil
}

func processOf(unit string, s systemd.Service) []txn.Instance {
	if s.LastPID == 0 {
		return nil
	}
	i := txn.Instance{
		ID: fmt.Sprintf("%s-%d-%d", unit, s.LastPID, s.LastStart), Opaque: true, Exits: s.Restarts,
		Ready: s.MainPID != 0, Running: s.MainPID != 0 && s.Active != "deactivating",
	}
	if s.MainPID == 0 && (s.Sub == "auto-restart" || s.Active == "failed") {
		i.Exits++
	}
	return []txn.Instance{i}
}

// Stop implements [txn.Runtime]. Nobody asks for it: a service ends its process itself.
func (s serviceProcess) Stop(context.Context, txn.Instance) error {
	return fmt.Errorf("stop apiserver: it is part of %s", s.unit)
}

// journalFile is where the host's journal is copied to, for a moment.
const journalFile = txn.StateDir + "/service.log"

// LogTail implements [txn.Runtime]: what the service has said last, whichever of its processes.
func (s serviceProcess) LogTail(ctx context.Context, _ txn.Instance, lines int) ([]string, error) {
	defer func() { _ = s.host.Remove(journalFile) }()
	if err := s.host.Remove(journalFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	program := "/usr/bin/journalctl"
	if _, err := s.host.Stat(program); err != nil {
		program = "/bin/journalctl"
	}
	command := []string{program, "--unit", s.unit, "--lines", fmt.Sprint(lines), "--output", "cat", "--no-pager", "--quiet"}
	if err := s.systemd.Run(ctx, "k8s-audit-enabler-journal.service", command, journalFile); err != nil {
		return nil, err
	}
	data, err := s.host.ReadFile(journalFile, maxSmallFile)
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n"), nil
}

// servicePods is an apiserver that runs in a static pod whose manifest a service writes at each start. No annotation of ours is in
// it; the arguments of the process tell the revision.
type servicePods struct {
	services
	logs *runtime
}

// Instances implements [txn.Runtime]. While the service restarts, so does its container runtime, and nobody can be asked.
func (s servicePods) Instances(ctx context.Context) ([]txn.Instance, error) {
	sandboxes, err := s.cri.ApiserverSandboxes(ctx)
	if err != nil {
		return nil, err
	}
	list, err := describeAll(ctx, s.cri, sandboxes)
	if err != nil {
		return nil, err
	}
	processes, err := s.proc.Find("kube-apiserver")
	if err != nil {
		return nil, err
	}
	for i := range list {
		containers, err := s.cri.Containers(ctx, list[i].ID)
		if err != nil {
			return nil, err
		}
		args := s.argsOf(processes, containers)
		list[i].Revision, list[i].Opaque = revisionOf(args), args == nil
	}
	return list, nil
}

// argsOf are the arguments of the apiserver that runs in one of the containers, nil where none runs.
func (s servicePods) argsOf(processes []procfs.Process, containers []cri.Container) []string {
	for _, c := range containers {
		if apiserver.Companion(c.Name) || c.State != cri.ContainerRunning {
			continue
		}
		for _, p := range processes {
			if s.proc.InGroup(p.PID, c.ID) {
				return p.Args
			}
		}
	}
	return nil
}

// Stop implements [txn.Runtime].
func (s servicePods) Stop(ctx context.Context, i txn.Instance) error { return s.logs.Stop(ctx, i) }

// LogTail implements [txn.Runtime].
func (s servicePods) LogTail(ctx context.Context, i txn.Instance, lines int) ([]string, error) {
	return s.logs.LogTail(ctx, i, lines)
}
