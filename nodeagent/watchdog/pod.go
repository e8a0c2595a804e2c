package watchdog

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/txn"
)

const (
	// podFile is the manifest's name in the kubelet's directory.
	podFile = "k8s-audit-enabler-watchdog.yaml"
	// podDir holds what is known about the pod while it is armed.
	podDir    = txn.StateDir + "/watchdog"
	podRecord = podDir + "/armed.json"
	// maxPodFile bounds what is read of ours.
	maxPodFile = 64 << 10
)

// podPatience is how long a kubelet may take to start the pod; it lists its directory every 20 s.
const podPatience = time.Minute

// StaticPod arms the watchdog on a host where systemd cannot run it: there is none, /etc is read-only, or /var/lib runs no
// programs. The kubelet starts the pod without an API server, also after a reboot.
type StaticPod struct {
	Host *hostfs.FS
	// Image is the agent's own, which is on the host because the agent runs from it.
	Image string
	// Dir is the kubelet's directory of static pods.
	Dir func(ctx context.Context) (string, error)

	mu sync.Mutex
}

// armed says where the pod's manifest is, and under which name its process holds a lock. The name is another one each time,
// so that a pod that is just ending is not taken for the one that is to start.
type armed struct {
	Manifest string `json:"manifest"`
	Name     string `json:"name"`
}

func lockPath(name string) string { return path.Join(podDir, name+".lock") }

// Arm implements [txn.Watchdog]. It returns once the pod's process holds its lock.
func (p *StaticPod) Arm(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Image == "" {
		return errors.New("the agent does not know its own image, so it cannot be started as a static pod")
	}
	dir, err := p.Dir(ctx)
	if err != nil {
		return err
	}
	info, err := p.Host.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("the kubelet reads static pods from the one file %q, so another one cannot be added", dir)
	}
	a, err := p.put(path.Join(dir, podFile))
	if err != nil {
		return err
	}
	return p.started(ctx, a)
}

// put writes the manifest, unless it is there already. What is to be removed later is written down before it is there.
func (p *StaticPod) put(manifest string) (armed, error) {
	if a, err := p.record(); err == nil && a.Manifest == manifest {
		have, err := p.Host.ReadFile(manifest, maxPodFile)
		if err == nil && string(have) == podManifest(p.Image, a.Name) {
			return a, nil
		}
	}
	if err := p.remove(); err != nil {
		return armed{}, err
	}
	if err := p.Host.MkdirAll(podDir, 0o700); err != nil {
		return armed{}, err
	}
	a := armed{Manifest: manifest, Name: rand.Text()}
	data, err := json.Marshal(a)
	if err != nil {
		return armed{}, fmt.Errorf("encode record of the watchdog's pod: %w", err)
	}
	if err := p.Host.WriteFileAtomic(podRecord, data, hostfs.WriteOptions{Mode: 0o600}); err != nil {
		return armed{}, err
	}
	return a, p.Host.WriteFileAtomic(manifest, []byte(podManifest(p.Image, a.Name)), hostfs.WriteOptions{Mode: 0o600})
}

// started waits until the pod's process holds its lock.
func (p *StaticPod) started(ctx context.Context, a armed) error {
	ctx, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	for {
		lock, err := p.Host.Flock(lockPath(a.Name))
		if errors.Is(err, hostfs.ErrLocked) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := lock.Unlock(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the kubelet has not started the static pod %s within %s: %w", a.Manifest, podPatience, ctx.Err())
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// Disarm implements [txn.Watchdog]. The kubelet ends a pod whose manifest is gone; until it does, the pod does nothing.
func (p *StaticPod) Disarm(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove()
}

// Uninstall implements [txn.Watchdog]: nothing is left after [StaticPod.Disarm].
func (p *StaticPod) Uninstall(ctx context.Context) error { return p.Disarm(ctx) }

func (p *StaticPod) remove() error {
	a, err := p.record()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		if err := p.Host.Remove(a.Manifest); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, err := p.Host.RemoveTemps(a.Manifest); err != nil {
			return err
		}
	}
	return p.Host.RemoveAll(podDir, txn.StateDir)
}

// record reads what is armed; the error wraps [fs.ErrNotExist] where nothing is.
func (p *StaticPod) record() (armed, error) {
	data, err := p.Host.ReadFile(podRecord, maxPodFile)
	if err != nil {
		return armed{}, err
	}
	var a armed
	if err := json.Unmarshal(data, &a); err != nil {
		return armed{}, fmt.Errorf("read %q: %w", podRecord, err)
	}
	if path.Base(a.Manifest) != podFile { // nothing else is ever removed by it
		return armed{}, fmt.Errorf("read %q: %q is not the watchdog's manifest", podRecord, a.Manifest)
	}
	return a, nil
}

// Hold is called by the pod's process: it takes the lock that [StaticPod.Arm] waits for, to be held until the process ends.
// The error wraps [fs.ErrNotExist] where the pod was disarmed before that.
func Hold(ctx context.Context, host *hostfs.FS, name string) (*hostfs.Lock, error) {
	for {
		lock, err := host.Flock(lockPath(name))
		if !errors.Is(err, hostfs.ErrLocked) {
			return lock, err
		}
		select { // Arm holds it for a moment when it looks
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Armed reports whether the pod of that name is.
func Armed(host *hostfs.FS, name string) bool {
	_, err := host.Lstat(lockPath(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// podManifest is the agent's own container with another command. It asks for no memory and no CPU: every static pod is
// critical, so the kubelet would evict others to make room for it.
func podManifest(image, name string) string {
	return fmt.Sprintf(`# Written by k8s-audit-enabler while it changes this node's kube-apiserver; removed with it.
apiVersion: v1
kind: Pod
metadata:
  name: k8s-audit-enabler-watchdog
  namespace: kube-system
  labels:
    app.kubernetes.io/name: k8s-audit-enabler
    app.kubernetes.io/component: watchdog
spec:
  hostNetwork: true
  hostPID: true
  dnsPolicy: Default
  priorityClassName: system-node-critical
  priority: 2000001000
  restartPolicy: Always
  terminationGracePeriodSeconds: 5
  tolerations:
  - operator: Exists
  containers:
  - name: watchdog
    image: %q
    imagePullPolicy: IfNotPresent
    args:
    - watchdog
    - --host-root=/host
    - --armed-as=%s
    securityContext:
      privileged: true
      runAsUser: 0
      readOnlyRootFilesystem: true
    volumeMounts:
    - name: host
      mountPath: /host
      mountPropagation: HostToContainer
  volumes:
  - name: host
    hostPath:
      path: /
      type: Directory
`, image, name)
}
