package container

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path"
	"strconv"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Images are what the names of images stand for.
type Images interface {
	ImageID(ctx context.Context, name string) (string, error)
}

// Settings is what there is.
type Settings struct {
	// File is the content of ours, nil where there is none.
	File []byte
	// OfRKE: the container has RKE's label.
	OfRKE bool
	// Leftover: the container from before a change is still there.
	Leftover bool

	current *docker.Container
	// was is the container without anything of ours, and args are the apiserver's in it.
	was  form
	args apiserver.Args
	// defaultPolicy: the policy in RKE's place is the one that it has by itself.
	defaultPolicy bool
	// image says what speaks against creating the container anew; empty for nothing.
	image string
}

// Read gathers what there is.
func Read(ctx context.Context, host *hostfs.FS, engine interface {
	Engine
	Images
},
) (Settings, *strategy.Refusal) {
	current, old, err := both(ctx, engine)
	if err == nil && current == nil && old != nil { // a change has come so far; where it listens is known all the same
		s := Settings{current: old}
		if was, err := original(old); err == nil {
			s.args, _ = was.args()
		}
		return s, strategy.Refuse(reason.ManifestNotFound, "the container %s is set aside as %s, and none has taken its place yet", Name, OldName)
	}
	switch {
	case errors.Is(err, docker.ErrNoEngine):
		return Settings{}, strategy.Refuse(reason.ServiceNotFound, "%v, and with RKE it is what starts the apiserver", err)
	case err != nil:
		return Settings{}, strategy.Refuse(reason.ManifestNotUnderstood, "%v", err)
	case current == nil:
		return Settings{}, strategy.Refuse(reason.ManifestNotFound, "the Docker Engine has no container %s, as which RKE runs the apiserver", Name)
	}
	s := Settings{current: current, OfRKE: current.Labels()[labelOfRKE] == Name, Leftover: old != nil}
	if s.was, err = original(current); err == nil {
		s.args, err = s.was.args()
	}
	if err != nil {
		return Settings{}, strategy.Refuse(reason.ManifestNotUnderstood, "container %s: %v", Name, err)
	}
	s.File, err = host.ReadFile(File, maxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Settings{}, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", File, err)
	}
	s.defaultPolicy = isDefaultPolicy(host, s.was.onHost(policyOfRKE))
	s.image = sameImage(ctx, engine, current)
	return s, nil
}

// sameImage says why a container that is created anew would have another image.
func sameImage(ctx context.Context, images Images, c *docker.Container) string {
	var name string
	if err := json.Unmarshal(c.Config["Image"], &name); err != nil {
		return "the container does not name its image"
	}
	id, err := images.ImageID(ctx, name)
	switch {
	case err != nil:
		return err.Error()
	case id != c.Image:
		return "the name " + name + " stands for another image now than when the container was created"
	}
	return ""
}

// isDefaultPolicy tells RKE's own policy, metadata of everything (github.com/rancher/rke, cluster/defaults.go), from one that cluster.yml gives
// and that RKE puts into the same place.
func isDefaultPolicy(host *hostfs.FS, file string) bool {
	if file == "" {
		return false
	}
	data, err := host.ReadFile(file, maxFile)
	if err != nil {
		return false
	}
	var policy struct {
		OmitStages []string         `json:"omitStages"`
		Rules      []map[string]any `json:"rules"`
	}
	if yaml.Unmarshal(data, &policy) != nil || len(policy.OmitStages) > 0 || len(policy.Rules) != 1 || policy.Rules[0]["level"] != "Metadata" {
		return false
	}
	for key, value := range policy.Rules[0] {
		if key != "level" && value != nil {
			return false
		}
	}
	return true
}

// Revision is the one that the container was created with; empty where it has nothing of ours.
func (s Settings) Revision() string { return RevisionIn(s.current) }

// InForce reports whether the container was created from the file that is there, or without one.
func (s Settings) InForce() bool {
	if s.File == nil {
		return !isOurs(s.current)
	}
	return s.current.Labels()[labelFile] == txn.Hash(s.File)
}

// ID is the container's; empty where there is none.
func (s Settings) ID() string {
	if s.current == nil {
		return ""
	}
	return s.current.ID
}

// Listen is where the apiserver is reached: the address that it is bound to, and the port.
func (s Settings) Listen() (bind, port string) {
	return s.args.BindAddress(), strconv.Itoa(s.args.SecurePort())
}

// places are where our files lie: below a directory that the container sees anyhow, or else one that is bound into it, which is the
// second value.
func (s Settings) places() (strategy.Places, []string) {
	for _, m := range s.was.mounts() {
		at := strategy.Places{Host: path.Join(m.host, dirName), Apiserver: path.Join(m.container, dirName)}
		if m.container != etcKubernetes || m.readOnly {
			continue
		}
		for _, known := range hostfs.DataDirs() {
			if at.Host == known {
				return at, nil
			}
		}
	}
	at := strategy.UsualPlaces()
	return at, []string{at.Host + ":" + at.Apiserver}
}
