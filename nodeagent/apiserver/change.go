package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
)

// Change is what [Edit] did: the record that [Revert] needs. It is stored on the host as JSON, and must be kept as long
// as the edit is in force. An edit on top of an edit has a change of its own, so revert first and edit the result, and
// one record is enough.
type Change struct {
	// Before and After are the SHA-256 of the content, in hexadecimal.
	Before string `json:"before"`
	After  string `json:"after"`
	// Splices are the bytes that were exchanged, in ascending order.
	Splices     []Splice           `json:"splices,omitempty"`
	Flags       []FlagChange       `json:"flags,omitempty"`
	Volumes     []VolumeChange     `json:"volumes,omitempty"`
	Annotations []AnnotationChange `json:"annotations,omitempty"`
	// AddedBlocks names what did not exist before: annotations, volumes, volumeMounts.
	AddedBlocks []string `json:"addedBlocks,omitempty"`
	// FilledBlocks are those that were there without a value: what stood for it, "null" or nothing.
	FilledBlocks map[string]string `json:"filledBlocks,omitempty"`
}

// Splice is one exchange of bytes.
type Splice struct {
	// Offset is in the content after the edit.
	Offset   int    `json:"offset"`
	Removed  string `json:"removed,omitempty"`
	Inserted string `json:"inserted,omitempty"`
}

// FlagChange is a flag that was added or got another value.
type FlagChange struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// Replaced tells a flag with another value from an added one.
	Replaced bool `json:"replaced,omitempty"`
	// Previous is the value it had.
	Previous string `json:"previous,omitempty"`
	// Entry is the key=value of a flag that holds a map, where that is all of it that is ours; PreviousEntry is what stood in its place.
	Entry         string `json:"entry,omitempty"`
	PreviousEntry string `json:"previousEntry,omitempty"`
	// PreviousText is the word that was replaced, as decoded; PreviousSource the bytes it was written with.
	PreviousText   string `json:"previousText,omitempty"`
	PreviousSource string `json:"previousSource,omitempty"`
}

// VolumeChange is a volume that is in the pod now.
type VolumeChange struct {
	// Name is the one that was free, or that of the volume that was there.
	Name      string `json:"name"`
	HostPath  string `json:"hostPath"`
	MountPath string `json:"mountPath"`
	// VolumeAdded and MountAdded say what was not there.
	VolumeAdded bool `json:"volumeAdded,omitempty"`
	MountAdded  bool `json:"mountAdded,omitempty"`
}

// AnnotationChange is an annotation that was added or got another value.
type AnnotationChange struct {
	Key      string `json:"key"`
	Value    string `json:"value"`
	Replaced bool   `json:"replaced,omitempty"`
	Previous string `json:"previous,omitempty"`
	// PreviousSource are the bytes it was written with.
	PreviousSource string `json:"previousSource,omitempty"`
}

// Empty reports that the manifest already was as intended.
func (c Change) Empty() bool { return len(c.Splices) == 0 }

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
