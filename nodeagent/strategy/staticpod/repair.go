package staticpod

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// RepairMark is a value of [wire.AnnotationRepair] for a repair of this content after what is live. Without it, a manifest
// that was regenerated and repaired would be byte for byte the one from before: the kubelet would see no new pod, and
// `kubeadm upgrade`, which waits for the pod's hash to change, would give up and roll the node back.
func RepairMark(m Manifest, live *txn.Live) string {
	sum := sha256.Sum256([]byte(live.ManifestHash + txn.Hash(m.Data)))
	return "n" + hex.EncodeToString(sum[:4]) // the letter keeps YAML from reading a number
}

// adoptMark makes a record lead back from the mark that is in a manifest, which may be that of another repair: a program
// that takes its upgrade back restores an older manifest of ours.
func adoptMark(record *apiserver.Change, data []byte) {
	m, err := apiserver.ParseManifest(data)
	if err != nil {
		return
	}
	mark, there := m.Annotation(wire.AnnotationRepair)
	if !there {
		return
	}
	i := slices.IndexFunc(record.Annotations, func(a apiserver.AnnotationChange) bool { return a.Key == wire.AnnotationRepair })
	if i >= 0 {
		record.Annotations[i].Value = mark
		return
	}
	record.Annotations = append(record.Annotations, apiserver.AnnotationChange{Key: wire.AnnotationRepair, Value: mark})
}

// Traces are what a manifest that somebody else may have rewritten still tells of us, and of them.
type Traces struct {
	// Image is the apiserver's, Version what its tag says, where it says one.
	Image, Version string
	// Revision is what the annotation says.
	Revision string
	// Ours is how many of the flags that we have set are as we have set them, Missing names the others.
	Ours    int
	Missing []string
	// Lost says what has become of a file that no image goes with, as the end of a sentence that begins with its name.
	Lost string
	// Foreign are the audit flags that are not ours, as --name=value.
	Foreign []string
}

// TracesIn reads a manifest against what we have put into it.
func TracesIn(m Manifest, live *txn.Live, strays ...txn.Stray) (Traces, *strategy.Refusal) {
	now, err := apiserver.ParseManifest(m.Data)
	if err != nil {
		return Traces{}, notUnderstood(m.Path, err)
	}
	original, refusal := withoutOurs(m, live, strays)
	if refusal != nil {
		return Traces{}, refusal
	}
	rest, err := apiserver.ParseManifest(original)
	if err != nil {
		return Traces{}, notUnderstood(m.Path, err)
	}
	t := Traces{Image: now.Image(), Revision: now.Revision(), Foreign: foreign(rest)}
	t.Version, _ = now.Version()
	var record apiserver.Change
	if err := json.Unmarshal(live.Record, &record); err != nil {
		return t, nil // a journal without a record is of a manifest that was right before we came
	}
	for _, f := range record.Flags {
		if f.Stands(now.Args()) {
			t.Ours++
			continue
		}
		t.Missing = append(t.Missing, "--"+f.Name)
	}
	return t, nil
}

// Image is the apiserver's image, empty where the content is not a manifest.
func (m Manifest) Image() string {
	parsed, err := apiserver.ParseManifest(m.Data)
	if err != nil {
		return ""
	}
	return parsed.Image()
}

// foreign are the audit flags of a manifest without ours.
func foreign(original *apiserver.Manifest) []string {
	var flags []string
	for _, f := range apiserver.Existing(original.Args(), original.Revision()).Flags {
		flags = append(flags, "--"+f.Name+"="+f.Value)
	}
	slices.Sort(flags)
	return flags
}
