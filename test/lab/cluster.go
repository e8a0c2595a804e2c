package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// cluster boots the named hosts, the first being a control plane, and makes a cluster of them.
func (l *Lab) cluster(ctx context.Context, names []string) error {
	var hosts []*Host
	for _, name := range names {
		h, err := l.host(name)
		if err != nil {
			return err
		}
		hosts = append(hosts, h)
	}
	err := errors.Join(l.writeBackends(hosts), l.startBalancer())
	if err != nil {
		return err
	}
	errs := make([]error, len(hosts))
	var all sync.WaitGroup
	for i, h := range hosts {
		all.Go(func() { errs[i] = l.prepare(ctx, h) })
	}
	all.Wait()
	err = errors.Join(errs...)
	if err != nil {
		return err
	}
	err = l.initialise(ctx, hosts[0])
	if err != nil {
		return err
	}
	for _, h := range hosts[1:] {
		err := l.enlist(ctx, h)
		if err != nil {
			return err
		}
	}
	return l.waitReady(ctx, len(hosts))
}

// Join boots a new host, cpN or wN, and makes it a node of the cluster. It returns when the node is Ready.
func (l *Lab) Join(ctx context.Context, name string) (*Host, error) {
	h, err := l.host(name)
	if err != nil {
		return nil, err
	}
	if h.exists() {
		return nil, fmt.Errorf("join host %s: there is one of that name", name)
	}
	err = l.prepare(ctx, h)
	if err != nil {
		return nil, err
	}
	nodes := l.Hosts()
	err = l.writeBackends(nodes)
	if err != nil {
		return nil, err
	}
	err = l.enlist(ctx, h)
	if err != nil {
		return nil, err
	}
	return h, l.waitReady(ctx, len(nodes))
}

// prepare makes a host, boots it and imports the control plane's images.
func (l *Lab) prepare(ctx context.Context, h *Host) error {
	err := h.create()
	if err != nil {
		return err
	}
	err = h.Start(ctx)
	if err != nil {
		return err
	}
	l.logf("%s booted, %s", h.name, h.IP())
	err = h.importImages(ctx, l.set.Images)
	if err != nil {
		return err
	}
	l.logf("%s has its images", h.name)
	if l.opts.BeforeInit != nil {
		err = l.opts.BeforeInit(h)
		if err != nil {
			return fmt.Errorf("prepare host %s: %w", h.name, err)
		}
	}
	return nil
}

// initialise makes the first control plane.
func (l *Lab) initialise(ctx context.Context, h *Host) error {
	config, err := l.initConfig(h)
	if err != nil {
		return err
	}
	err = h.kubeadm(ctx, config, "init", "--skip-phases=addon")
	if err != nil {
		return err
	}
	admin, err := h.read("/etc/kubernetes/admin.conf")
	if err != nil {
		return err
	}
	err = os.WriteFile(l.Kubeconfig(), admin, 0o600)
	if err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	l.logf("%s initialised", h.name)
	return h.startProxy(ctx, admin)
}

// sharedKeys are the files below /etc/kubernetes/pki that all control planes have in common.
var sharedKeys = strings.Fields("ca.crt ca.key sa.key sa.pub front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key")

// enlist makes a further host a node.
func (l *Lab) enlist(ctx context.Context, h *Host) error {
	admin, err := os.ReadFile(l.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := l.joinConfig(h)
	if err != nil {
		return err
	}
	err = h.write(discoveryFile, admin)
	if err != nil {
		return err
	}
	if h.controlPlane {
		err = l.copyKeys(h)
		if err != nil {
			return err
		}
	}
	err = h.kubeadm(ctx, config, "join")
	if err != nil {
		return err
	}
	l.logf("%s joined", h.name)
	return h.startProxy(ctx, admin)
}

// copyKeys gives a host the cluster's keys from any running control plane that has them.
func (l *Lab) copyKeys(target *Host) error {
	var errs []error
	for _, source := range l.Hosts() {
		if source.name == target.name || !source.controlPlane {
			continue
		}
		err := copyKeysFrom(source, target)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("copy keys to host %s: no control plane has them: %w", target.name, errors.Join(errs...))
}

func copyKeysFrom(source, target *Host) error {
	for _, name := range sharedKeys {
		path := "/etc/kubernetes/pki/" + name
		data, err := source.read(path)
		if err != nil {
			return err
		}
		err = target.write(path, data)
		if err != nil {
			return err
		}
	}
	return nil
}

// kubeadm runs kubeadm with the given configuration. What it says is kept in the lab's folder.
func (h *Host) kubeadm(ctx context.Context, config []byte, args ...string) (err error) {
	err = h.write(kubeadmFile, config)
	if err != nil {
		return err
	}
	args = append([]string{"kubeadm"}, append(args, "--config", kubeadmFile, "--ignore-preflight-errors=all")...)
	cmd, err := h.Command(ctx, args...)
	if err != nil {
		return err
	}
	said, err := cmd.CombinedOutput()
	logs := filepath.Join(h.lab.opts.Root, "logs")
	kept := errors.Join(os.MkdirAll(logs, 0o755), os.WriteFile(filepath.Join(logs, h.name+"-kubeadm.log"), said, 0o600))
	if err != nil {
		return fmt.Errorf("run kubeadm %s in host %s: %w: %s", args[1], h.name, err, lastLines(strings.TrimSpace(string(said)), 30))
	}
	if kept != nil {
		return fmt.Errorf("keep output of kubeadm: %w", kept)
	}
	return nil
}

// startProxy starts kube-proxy with the given kubeconfig; from then on it starts with the host.
func (h *Host) startProxy(ctx context.Context, kubeconfig []byte) error {
	err := h.write("/etc/kubernetes/kube-proxy.conf", kubeconfig)
	if err != nil {
		return err
	}
	_, err = h.Exec(ctx, "systemctl", "start", "kube-proxy")
	return err
}

// waitReady waits until there are n nodes and all of them are Ready.
func (l *Lab) waitReady(ctx context.Context, n int) error {
	err := poll(ctx, 3*time.Minute, 250*time.Millisecond, func(ctx context.Context) (bool, error) {
		cmd := command(ctx, l.Program("kubectl"), "--kubeconfig", l.Kubeconfig(), "get", "nodes",
			"-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status} {end}`)
		out, err := output(cmd)
		if err != nil {
			return false, err
		}
		ready := strings.Count(string(out), "True")
		return ready == n, fmt.Errorf("%d of %d nodes are Ready", ready, n)
	})
	if err != nil {
		return fmt.Errorf("wait for nodes: %w", err)
	}
	l.logf("all %d nodes Ready", n)
	return nil
}
