// Package fileonly is the way of configuring an apiserver that its operator configures: OpenShift 4's, which rewrites every file that it
// owns. All that the agent does there is to put the webhook's kubeconfig where the apiserver can read it; the coordinator then has the
// operator tell the apiservers of it, once it lies on all masters. So nothing restarts here, and neither the policy nor a flag is ours.
//
// An apiserver that is told of a file that is not there does not start. Therefore a file is never changed and never replaced: a new content
// has a path of its own, earlier files stay until no apiserver is told of them any more, and one that this host's apiserver is told of by its
// own configuration is not removed, whatever the plan says. [Read] gathers; all else is pure.
package fileonly

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Unit stands for the apiserver in a change: nothing restarts for it.
const Unit = txn.FileUnit

// Port is where the operator has its apiservers listen.
const Port = "6443"

const (
	// operatorManifest is written by the operator's installer pods (openshift/library-go, pkg/operator/staticpod/installerpod).
	operatorManifest = "/etc/kubernetes/manifests/kube-apiserver-pod.yaml"
	// resources has a directory for each revision of the operator's, which the manifest mounts, with the apiserver's configuration.
	resources     = "/etc/kubernetes/static-pod-resources/kube-apiserver-pod-"
	configuration = "configmaps/config/config.yaml"
	maxFile       = 1 << 20
)

// Settings are what a master shows.
type Settings struct {
	// Files are ours, by their paths.
	Files map[string][]byte
	// Manifest is the operator's, nil where it has written none yet: a master that joins is made ready before its apiserver starts.
	Manifest []byte
	// mounted: it mounts the directory of our files.
	mounted bool
	// told is the file of ours that the apiserver's own configuration names; empty for none.
	told string
}

// ManifestPath is where the operator's manifest is, empty where there is none.
func (s Settings) ManifestPath() string {
	if s.Manifest == nil {
		return ""
	}
	return operatorManifest
}

// Read looks at a host.
func Read(host hostfs.Reader) (Settings, *strategy.Refusal) {
	s := Settings{Files: map[string][]byte{}}
	infos, err := host.ReadDir(wire.WebhookFileDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, notUnderstood(wire.WebhookFileDir, err)
	}
	for _, info := range infos {
		name := path.Join(wire.WebhookFileDir, info.Name)
		if _, ours := wire.WebhookFileRevision(name); !ours {
			continue
		}
		if s.Files[name], err = host.ReadFile(name, maxFile); err != nil {
			return s, notUnderstood(name, err)
		}
	}
	s.Manifest, err = host.ReadFile(operatorManifest, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		s.Manifest = nil
		return s, nil
	}
	if err != nil {
		return s, notUnderstood(operatorManifest, err)
	}
	var pod struct {
		Spec struct {
			Volumes []struct {
				HostPath struct {
					Path string `json:"path"`
				} `json:"hostPath"`
			} `json:"volumes"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(s.Manifest, &pod); err != nil {
		return s, notUnderstood(operatorManifest, err)
	}
	for _, v := range pod.Spec.Volumes {
		dir := path.Clean(v.HostPath.Path)
		s.mounted = s.mounted || dir == wire.WebhookFileDir
		if !strings.HasPrefix(dir, resources) {
			continue
		}
		// What cannot be read says nothing: the coordinator has asked the operator itself.
		if config, err := host.ReadFile(path.Join(dir, configuration), maxFile); err == nil {
			s.told = s.namedIn(config)
		}
	}
	return s, nil
}

func (s Settings) namedIn(config []byte) string {
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		if bytes.Contains(config, []byte(name)) {
			return name
		}
	}
	return ""
}

func notUnderstood(name string, err error) *strategy.Refusal {
	return strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", name, err)
}

// Propose returns the change that puts the plan's file beside those that there are.
func (s Settings) Propose(p *wire.Plan, c strategy.Credentials) (*txn.Change, *strategy.Refusal) {
	v, err := version.ParseGeneric(p.KubernetesVersion)
	if err != nil {
		return nil, strategy.Refuse(reason.PlanInvalid, "the plan is for Kubernetes %q: %v", p.KubernetesVersion, err)
	}
	if p.Desired.Policy != "" || len(p.Desired.Flags) > 0 || p.Desired.Backend != "" {
		return nil, strategy.Refuse(reason.PlanInvalid, "the plan asks for more than the webhook's file, and the operator owns all else")
	}
	if s.Manifest != nil && !s.mounted {
		return nil, strategy.Refuse(reason.ManifestNotUnderstood, "%s does not mount %s, so that the apiserver could not read a file there", operatorManifest, wire.WebhookFileDir)
	}
	revision := strategy.EffectiveRevision(p.Revision, c)
	text, refusal := strategy.Webhook(p, c, v)
	if refusal != nil {
		return nil, refusal
	}
	name := wire.WebhookFile(revision)
	return &txn.Change{
		Kind: txn.KindApply, Revision: revision, PlanRevision: p.Revision, Manifest: name, Unit: Unit, Base: s.Files[name],
		New: append(fmt.Appendf(nil, "# Written by k8s-audit-enabler, revision %s; an apiserver that is told of it does not start without it.\n", revision), text...),
		Effects: txn.Effects{
			SinkURL: p.Desired.Webhook.URL, Version: "v" + v.String(),
			Kept: "the audit policy in force is the cluster's own, spec.audit of apiserver.config.openshift.io/cluster",
		},
		ReadyTimeout: strategy.ReadyTimeout(p),
	}, nil
}

// ProposeRevert returns the change that removes our file, nil where there is none; the others of ours go with it. It refuses while this
// host's apiserver is told of one.
func (s Settings) ProposeRevert(p *wire.Plan, live *txn.Live) (*txn.Change, *strategy.Refusal) {
	if s.told != "" {
		return nil, strategy.Refuse(reason.FileInUse, "the apiserver of this node is told to read %s, and would not start without it; it is removed once the operator has taken that out", s.told)
	}
	names := slices.Sorted(maps.Keys(s.Files))
	if len(names) == 0 {
		return nil, nil
	}
	name := names[0]
	if live != nil && s.Files[live.Manifest] != nil {
		name = live.Manifest
	}
	revision, _ := wire.WebhookFileRevision(name)
	return &txn.Change{
		Kind: txn.KindRevert, PlanRevision: p.Revision, Manifest: name, Unit: Unit, Base: s.Files[name], BaseRevision: revision,
		ReadyTimeout: strategy.ReadyTimeout(p),
	}, nil
}

// Stale are our files of which no apiserver is told any more, once all of them run with the one that is live.
func (s Settings) Stale(p *wire.Plan, live *txn.Live) []string {
	if p.Told == "" || live == nil || p.Told != live.Manifest || s.told != "" && s.told != live.Manifest {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.Files)), func(name string) bool { return name == live.Manifest })
}
