package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/distribution"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/kube"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/strategy/program"
	"k8s-audit-enabler.io/nodeagent/strategy/staticpod"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// observation is what a round sees.
type observation struct {
	// now is when it was made.
	now time.Time
	// machine is the host's identity; its Name and UID are left empty.
	machine wire.NodeIdentity
	// manifest is the apiserver's; refusal says why there is none.
	// Of a program it is the file that holds our settings, without data where that is not there, and settings are all that it reads;
	// nil where none is looked at.
	manifest staticpod.Manifest
	settings program.Settings
	// container is the apiserver's where it runs as one without a kubelet; lost: it was not created from the file.
	container container.Settings
	lost      bool
	// handed are our files where somebody else tells the apiserver of one.
	handed  fileonly.Settings
	refusal *strategy.Refusal
	// mismatch says why this host is not what an enabling plan was made for; nil where nothing speaks against it.
	mismatch *strategy.Refusal
	// filesIntact: the files that the live revision's manifest refers to are as they were written.
	filesIntact bool
	// version is what the running apiserver reports, empty while it does not answer.
	version string
	// unsettled says what an upgraded apiserver still lacks to be changed; empty for nothing.
	unsettled string
	// struggle is how often a repair was made lately.
	struggle struggle
	// credentials are the plan's Secret, and credentialsErr why they are not there.
	credentials    strategy.Credentials
	credentialsErr error
}

// Kubelet says how this node's kubelet was started.
type Kubelet interface {
	// StaticPodPath is the directory, or the file, of its static pods. It may be the last one known.
	StaticPodPath(ctx context.Context) (string, error)
}

// localApiserver is the apiserver that a manifest starts.
type localApiserver interface {
	// follow takes from a manifest where it listens.
	follow(manifest []byte)
	Version(ctx context.Context) (string, error)
}

// Secrets reads one Secret of the release's namespace.
type Secrets interface {
	Secret(ctx context.Context, name string) (map[string][]byte, error)
}

// observer gathers observations. Its methods are called by the loop only.
type observer struct {
	host    *hostfs.FS
	kubelet Kubelet
	health  localApiserver
	secrets Secrets
	log     *slog.Logger
	// upgrade may be nil, then an upgraded apiserver is at rest as soon as it answers.
	upgrade *upgradeWatch
	// programs are the command lines of those on the host that own apiservers; nil where nobody looks.
	programs func() []string
	// services may be nil, then no plan about one is carried out.
	services serviceManager
	// engine may be nil, then no plan about a container is carried out.
	engine containerEngine
	// listens is told where an apiserver listens that a service starts.
	listens func(bind, port string)
	// secretEvery is how long a Secret that was read is taken for granted.
	secretEvery time.Duration

	secret struct {
		name string
		at   time.Time
		data strategy.Credentials
		// known: data is what was read last, however long ago.
		known bool
		err   error
	}
	// confirmed is what was found last about the distribution of a plan.
	confirmed struct {
		distribution string
		mismatch     *strategy.Refusal
	}
	version struct {
		hash string
		at   time.Time
		text string
	}
}

const (
	// versionEvery is how long an apiserver's version is taken for granted while its manifest does not change.
	versionEvery = 5 * time.Minute
	maxSmallFile = 64 << 10
)

// observe looks at the host. p may be nil.
func (o *observer) observe(ctx context.Context, p *wire.Plan, live *txn.Live) observation {
	seen := observation{now: time.Now()}
	seen.machine = machineOf(o.host)
	var dir string
	if ofService(p, live) {
		o.findFile(ctx, &seen, p, live)
	} else {
		dir, seen.manifest, seen.refusal = o.findManifest(ctx, live)
	}
	if p != nil && p.Desired.Enabled {
		seen.mismatch = o.confirm(p.Distribution, dir, seen)
	}
	if seen.refusal == nil {
		if !ofService(p, live) {
			o.health.follow(seen.manifest.Data)
		}
		if o.upgrade != nil && upgraded(seen.manifest, live) {
			seen.unsettled = o.upgrade.unsettled(ctx, seen.manifest, seen.now)
		}
		if seen.unsettled != "" {
			o.forgetVersion() // the old one may still answer
		} else {
			seen.version = o.runningVersion(ctx, txn.Hash(seen.manifest.Data)+seen.container.ID())
		}
	}
	seen.filesIntact = live == nil || live.FilesIntact(o.host)
	if p != nil && p.Desired.Enabled && p.Desired.Webhook.CredentialsSecret != "" {
		seen.credentials, seen.credentialsErr = o.readSecret(ctx, p.Desired.Webhook.CredentialsSecret)
	}
	return seen
}

// glance looks at what a repair needs and nothing else: no API is asked, and no process is looked for. It reports false
// where that is not enough to go on.
func (o *observer) glance(p *wire.Plan, live *txn.Live) (observation, bool) {
	seen := observation{now: time.Now(), machine: machineOf(o.host)}
	if live.Unit != "" {
		return seen, false // nobody restarts a service because a file has changed
	}
	seen.manifest, seen.refusal = staticpod.ReadManifest(o.host, live.Manifest)
	if seen.refusal != nil || txn.Hash(seen.manifest.Data) == live.ManifestHash || knownVersion(seen.manifest, live) == "" {
		return seen, false
	}
	if o.confirmed.distribution == p.Distribution {
		seen.mismatch = o.confirmed.mismatch
	}
	seen.filesIntact = live.FilesIntact(o.host)
	if name := p.Desired.Webhook.CredentialsSecret; name != "" {
		if o.secret.name != name || !o.secret.known {
			return seen, false
		}
		seen.credentials = o.secret.data
	}
	return seen, true
}

// findManifest also returns the kubelet's directory, empty where it is not known.
func (o *observer) findManifest(ctx context.Context, live *txn.Live) (dir string, m staticpod.Manifest, refused *strategy.Refusal) {
	dir, err := o.kubelet.StaticPodPath(ctx)
	if err != nil && live == nil {
		return "", m, staticpod.NotFound("the kubelet's static pod directory is not known: %v", err)
	}
	if err != nil {
		m, refused = staticpod.ReadManifest(o.host, live.Manifest)
		return "", m, refused
	}
	m, refused = staticpod.FindManifest(o.host, dir)
	return dir, m, refused
}

// confirm holds the coordinator's answer against the host.
func (o *observer) confirm(name, dir string, seen observation) *strategy.Refusal {
	var programs []string
	if o.programs != nil {
		programs = o.programs()
	}
	manifest := seen.manifest
	if seen.container.ID() != "" {
		manifest = staticpod.Manifest{} // the file is ours, and says nothing
	}
	if name == distribution.OpenShift4 {
		manifest = staticpod.Manifest{Path: seen.handed.ManifestPath(), Data: seen.handed.Manifest}
	}
	host := distribution.Look(o.host, dir, programs, manifest.Path, manifest.Data)
	host.ContainerOfRKE = seen.container.OfRKE
	host.Missing = dir != "" && seen.refusal != nil && seen.refusal.Reason == reason.ManifestNotFound
	o.confirmed.distribution, o.confirmed.mismatch = name, nil
	if what := distribution.Mismatch(name, host); what != "" {
		o.confirmed.mismatch = refusal(reason.DistributionMismatch, "%s; nothing is written; if the recognition is wrong, set distribution in the values", what)
	}
	return o.confirmed.mismatch
}

// runningVersion asks again when the manifest has changed, and every few minutes: an upgrade rewrites the manifest.
func (o *observer) runningVersion(ctx context.Context, hash string) string {
	v := &o.version
	if v.text != "" && v.hash == hash && time.Since(v.at) < versionEvery {
		return v.text
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	text, err := o.health.Version(ctx)
	if err != nil {
		o.log.DebugContext(ctx, "Apiserver does not tell its version", "error", err)
		v.text = ""
		return ""
	}
	v.text, v.hash, v.at = text, hash, time.Now()
	return text
}

// forgetVersion makes the next round ask again: the apiserver was restarted.
func (o *observer) forgetVersion() { o.version.text = "" }

func (o *observer) readSecret(ctx context.Context, name string) (strategy.Credentials, error) {
	s := &o.secret
	if s.name == name && s.err == nil && time.Since(s.at) < o.secretEvery {
		return s.data, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	data, err := o.secrets.Secret(ctx, name)
	if s.name != name {
		s.known = false
	}
	s.name, s.at, s.err = name, time.Now(), err
	switch {
	case err == nil:
		s.data, s.known = strategy.CredentialsFrom(data), true
		return s.data, nil
	case s.known && !errors.Is(err, kube.ErrNotFound):
		return s.data, nil // the API is away; a Secret that was there a moment ago still counts
	default:
		s.known = false
		return strategy.Credentials{}, err
	}
}

// machineOf reads the host's identity where the kubelet reads it (cadvisor's machine info), so that both say the same.
func machineOf(host *hostfs.FS) wire.NodeIdentity {
	var id wire.NodeIdentity
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if id.MachineID = line(host, file); id.MachineID != "" {
			break
		}
	}
	id.SystemUUID = line(host, "/sys/class/dmi/id/product_uuid")
	return id
}

func line(host *hostfs.FS, file string) string {
	data, err := host.ReadFile(file, maxSmallFile)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// CheckHostRoot reports an error where a directory is not the root of a host: a pod without the mount would otherwise
// read and write its own empty file system.
func CheckHostRoot(host *hostfs.FS) error {
	for _, file := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		data, err := host.ReadFile(file, maxSmallFile)
		if err == nil && len(strings.TrimSpace(string(data))) > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("check host root %q: %w", host.Root(), err)
		}
	}
	return fmt.Errorf("check host root %q: it has no /etc/machine-id, so it is not a host's root: mount the host's / there (hostPath /) or set --host-root", host.Root())
}
