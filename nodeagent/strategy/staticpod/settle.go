package staticpod

import (
	"errors"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// settled is what was decided about each setting, ours and those that are there.
type settled struct {
	apiserver.Decision
	entries []wire.Flag
}

// settle decides flag by flag. m is the manifest without our own last edit.
func settle(in Input, m *apiserver.Manifest, revision string) (settled, *strategy.Refusal) {
	desired := strategy.Desired(in.Plan, revision, strategy.UsualPlaces())
	decision, err := apiserver.Decide(apiserver.Existing(m.Args(), m.Revision()), apiserver.Origin(in.Plan.Distribution), in.Plan.Desired.Existing, desired)
	var refused *apiserver.RefusedError
	switch {
	case errors.As(err, &refused):
		return settled{}, refuse(refused.ConditionReason(), "%s: %s", in.Manifest.Path, refused.Error())
	case err != nil:
		return settled{}, refuse(reason.ManifestNotUnderstood, "%s: %v", in.Manifest.Path, err)
	}
	return settled{Decision: decision, entries: strategy.Entries(in.Plan)}, nil
}

// intent is what the manifest shall contain.
func (s settled) intent(revision string) apiserver.Intent {
	volumes := []apiserver.Volume{apiserver.RevisionVolume(revision)}
	if s.LogOurs {
		volumes = append(volumes, apiserver.LogVolume())
	}
	return apiserver.Intent{Flags: s.Flags, Entries: s.entries, Volumes: volumes, Annotations: map[string]string{wire.AnnotationRevision: revision}}
}

func (s settled) logBytes() int64 {
	if !s.LogOurs {
		return 0
	}
	return strategy.LogSize(s.Flags)
}

// effects describe the node once this is live.
func (s settled) effects(in Input, original *apiserver.Manifest) txn.Effects {
	e := txn.Effects{
		PolicyOurs: s.PolicyOurs, SinkURL: in.Plan.Desired.Webhook.URL, LogPath: s.Log,
		Image: original.Image(), Version: "v" + in.Version.String(), Foreign: foreign(original),
	}
	if !s.LogOurs {
		e.LogPath = onHost(in.Manifest.Data, s.Log)
	}
	var kept []string
	args := original.Args()
	if policy, _ := args.Lookup(auditflag.PolicyFile); !s.PolicyOurs && policy != "" {
		kept = append(kept, "the audit policy "+policy+" that was there is kept")
	}
	if log, _ := args.Lookup(auditflag.LogPath); !s.LogOurs && log != "" {
		kept = append(kept, "the audit log "+log+" that was there is kept")
	}
	e.Kept = strings.Join(kept, "; ")
	return e
}

// onHost is where a file of the apiserver's container lies on the host, empty where it lies in no directory of the host.
func onHost(manifest []byte, file string) string {
	var pod struct {
		Spec struct {
			Volumes []struct {
				Name     string `json:"name"`
				HostPath *struct {
					Path string `json:"path"`
				} `json:"hostPath"`
			} `json:"volumes"`
			Containers []struct {
				VolumeMounts []struct {
					Name      string `json:"name"`
					MountPath string `json:"mountPath"`
					SubPath   string `json:"subPath"`
				} `json:"volumeMounts"`
			} `json:"containers"`
		} `json:"spec"`
	}
	if !strings.HasPrefix(file, "/") || yaml.Unmarshal(manifest, &pod) != nil {
		return "" // "-" is the standard output
	}
	sources := map[string]string{}
	for _, v := range pod.Spec.Volumes {
		if v.HostPath != nil {
			sources[v.Name] = v.HostPath.Path
		}
	}
	best, found := "", ""
	for _, c := range pod.Spec.Containers {
		for _, m := range c.VolumeMounts {
			rest, ok := strings.CutPrefix(file, path.Clean(m.MountPath))
			if !ok || rest != "" && !strings.HasPrefix(rest, "/") || len(m.MountPath) < len(best) {
				continue
			}
			best, found = m.MountPath, ""
			if source := sources[m.Name]; source != "" {
				found = path.Join(source, m.SubPath, rest)
			}
		}
	}
	return found
}
