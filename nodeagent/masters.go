package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"k8s-audit-enabler.io/nodeagent/strategy/configfile"
	"k8s-audit-enabler.io/nodeagent/systemd"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// masterRestart is OpenShift 3.11's own program for it (openshift-ansible, roles/openshift_control_plane/files/scripts).
const masterRestart = "/usr/local/bin/master-restart"

// masters are apiservers in static pods that read a configuration file when they start. What they have read, nobody can see.
type masters struct{ services }

// restart has the apiserver start anew: by the distribution's own program, with the controllers after it as its manual has it, and where
// there is none, or nobody to run it, by ending the pod, which the kubelet then starts again. The latter is what the program does.
func (m masters) restart(ctx context.Context, p configfile.Product) error {
	_, err := m.host.Stat(masterRestart)
	if err == nil && p.Unit == configfile.MasterRestart {
		err = m.systemd.RunSoon(ctx, p.Unit, []string{"/bin/sh", "-c", masterRestart + " api; " + masterRestart + " controllers"})
		if err == nil || !errors.Is(err, systemd.ErrNoSystemd) {
			return err
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, systemd.ErrNoSystemd) {
		return fmt.Errorf("look for %s: %w", masterRestart, err)
	}
	sandboxes, err := m.cri.ApiserverSandboxes(ctx)
	if err != nil {
		return fmt.Errorf("find the apiserver's pod: %w", err)
	}
	for _, s := range sandboxes {
		if s.Ready {
			if err := m.cri.StopSandbox(ctx, s.ID); err != nil {
				return fmt.Errorf("end the apiserver's pod: %w", err)
			}
		}
	}
	return nil
}

// Instances implements [txn.Runtime].
func (m masters) Instances(ctx context.Context) ([]txn.Instance, error) {
	sandboxes, err := m.cri.ApiserverSandboxes(ctx)
	if err != nil {
		return nil, err
	}
	var list []txn.Instance
	for _, s := range sandboxes {
		containers, err := m.cri.Containers(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		i := txn.Instance{ID: s.ID, Ready: s.Ready, Opaque: true}
		describe(&i, containers)
		i.Exits -= m.runs.before(s.ID, containers)
		list = append(list, i)
	}
	return list, nil
}

// Stop implements [txn.Runtime].
func (m masters) Stop(ctx context.Context, i txn.Instance) error { return m.logs().Stop(ctx, i) }

// LogTail implements [txn.Runtime].
func (m masters) LogTail(ctx context.Context, i txn.Instance, lines int) ([]string, error) {
	return m.logs().LogTail(ctx, i, lines)
}

func (m masters) logs() *runtime {
	return &runtime{cri: m.cri, proc: m.proc, host: m.host, log: m.log}
}
