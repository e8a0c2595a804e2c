package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/cri"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/procfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/configfile"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/strategy/program"
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
		return slices.Contains([]wire.Strategy{wire.StrategyDropIn, wire.StrategyConfigFile, wire.StrategyArgsFile, wire.StrategyContainer, wire.StrategyFile}, p.Strategy)
	}
	return live != nil && live.Unit != ""
}

// listen is where the apiserver of a service, or of a container, is reached.
func (seen *observation) listen() (bind, port string) {
	if seen.container.ID() != "" {
		return seen.container.Listen()
	}
	return seen.settings.Listen()
}

// findFile looks for our file among those that a service reads.
func (o *observer) findFile(ctx context.Context, seen *observation, p *wire.Plan, live *txn.Live) {
	unit := ""
	if live != nil {
		unit = live.Unit
	}
	if p != nil && p.Strategy == wire.StrategyContainer || p == nil && unit == container.Unit {
		o.findContainer(ctx, seen)
		return
	}
	if p != nil && p.Strategy == wire.StrategyFile || p == nil && unit == fileonly.Unit {
		o.findHanded(seen, live)
		return
	}
	by, ok := programOf(p, unit)
	if !ok {
		of := unit
		if p != nil {
			of = p.Distribution
		}
		seen.refusal = refusal(reason.PlanInvalid, "there is no service known that starts the apiserver of %q", of)
		return
	}
	var command dropin.Command
	if !by.Pods {
		if command, seen.refusal = o.command(ctx, by); seen.refusal != nil {
			return
		}
	}
	seen.settings, seen.refusal = by.Read(o.host, command)
	seen.manifest.Path, seen.manifest.Data = seen.settings.File()
	if seen.refusal != nil {
		return
	}
	if o.listens != nil {
		o.listens(seen.listen())
	}
}

// programOf is the one that a plan, or where there is none a unit, is about.
func programOf(plan *wire.Plan, unit string) (program.Program, bool) {
	if plan == nil {
		return program.ByUnit(unit)
	}
	return program.ByName(plan.Distribution)
}

// command asks how a service is started, and refuses a host on which nobody could restart it.
func (o *observer) command(ctx context.Context, p program.Program) (dropin.Command, *strategy.Refusal) {
	if o.services == nil {
		return dropin.Command{}, refusal(reason.ServiceNotFound, "this agent knows of no services")
	}
	s, err := o.services.Service(ctx, p.Unit)
	switch {
	case errors.Is(err, systemd.ErrNoSystemd), errors.Is(err, systemd.ErrNoUnit), err == nil && s.Active == "inactive":
		return dropin.Command{}, refusal(reason.ServiceNotFound, "no %s of systemd runs %s on this host, so it could not be restarted after a change; %s", p.Unit, p.Name, p.Elsewhere)
	case err != nil:
		return dropin.Command{}, refusal(reason.ServiceNotFound, "%s cannot be looked at: %v", p.Unit, err)
	}
	return dropin.Command{Args: s.Command, Environment: slices.Concat(s.Environment, o.environment(s.EnvironmentFiles))}, nil
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
	engine  containerEngine
	// runs are those of the apiservers that services have as their children.
	runs *childRuns
}

// Restart implements [txn.Services].
func (s services) Restart(ctx context.Context, unit string) error {
	if unit == container.Unit {
		return containerOf{s}.restart(ctx)
	}
	if p, ok := configfile.ByUnit(unit); ok && p.Pods {
		return masters{s}.restart(ctx, p)
	}
	return s.systemd.RestartSoon(ctx, unit)
}

// Runtime implements [txn.Services].
func (s services) Runtime(unit string) txn.Runtime {
	if unit == container.Unit {
		return containerOf{s}
	}
	if p, ok := dropin.ByUnit(unit); ok && p.Pods {
		return servicePods{services: s, logs: &runtime{cri: s.cri, proc: s.proc, host: s.host, log: s.log}}
	}
	if p, ok := configfile.ByUnit(unit); ok && p.Pods {
		return masters{s}
	} else if ok {
		return serviceChild{serviceProcess{services: s, unit: unit}}
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
