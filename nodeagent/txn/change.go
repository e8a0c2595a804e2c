package txn

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// Directories on the host.
const (
	// StateDir holds the journal, the lock and the backups. No container mounts it but the agent's.
	StateDir = hostfs.StateDir
	// DataDir holds a directory for each revision and the audit log. Parts of it are mounted into the apiserver.
	DataDir = hostfs.DataDir
	// LogDir is where the apiserver writes its audit log.
	LogDir = DataDir + "/log"
)

// An apiserver's container is created anew from a file that nobody but us reads, so that it lies beside the journal; what recreates it stands
// for a service.
const (
	ContainerFile = StateDir + "/kube-apiserver.container.json"
	ContainerUnit = "docker://kube-apiserver"
)

// FileUnit stands for an apiserver that somebody else tells of the file: nothing restarts when it changes, and nothing is awaited.
const FileUnit = "file://kube-apiserver"

const (
	journalFile = StateDir + "/journal.json"
	lockFile    = StateDir + "/lock"
	backupDir   = StateDir + "/backup"
)

// Kind says what a change is for.
type Kind string

// Kinds.
const (
	// KindApply puts our settings in, or other ones of ours.
	KindApply Kind = "apply"
	// KindRevert takes them out.
	KindRevert Kind = "revert"
)

// Change is a new content for the file that an apiserver is started from, mostly a manifest, with everything that the content needs.
type Change struct {
	Kind Kind
	// Revision is what the new manifest's revision annotation says; empty after a revert.
	Revision string
	// PlanRevision is the plan's revision, which differs from Revision where credentials are part of that.
	PlanRevision string
	// Fence is the number of the permit this change is made under.
	Fence int64
	// Manifest is the file's path on the host.
	Manifest string
	// Unit is the service that reads the file when it starts, and that is restarted after each swap; empty where the kubelet acts on
	// the file by itself.
	Unit string
	// Base is the content that New was made from. If the file holds anything else when it is to be replaced, it is not. A nil one of
	// the two means that there is no file; only a service's file may come and go.
	Base, New []byte
	// BaseRevision is what the annotation in Base says, empty where it has none.
	BaseRevision string
	// Dir is the new revision's directory below one of [hostfs.DataDirs], and Files are what is written into it. The log lies beside
	// it, in a directory of its own.
	Dir   string
	Files []File
	// Owner owns Dir, Files and LogDir; nil leaves them to root.
	Owner *hostfs.Owner
	// LogBytes is how large the audit log may grow, all its files together. Zero: no log of ours is written.
	LogBytes int64
	// Record is what a later revert needs to know about the edit. It is kept as it is.
	Record json.RawMessage
	// Effects describe the node once the change is live.
	Effects Effects
	// Flags are those of the apiserver that it sets.
	Flags []wire.Flag
	// Note says in a phrase why it is made, where that is worth saying for as long as it is live.
	Note string
	// ReadyTimeout bounds the wait for the new apiserver, and again the wait for the old one after a rollback.
	ReadyTimeout time.Duration
	// Rehearse and Handover say how much is asked of those steps; a handover needs a rehearsal.
	Rehearse, Handover Mode
	// Drain is how long an apiserver that refuses connections may go on with those it has, where nothing was handed over. It
	// is ended then. Zero leaves that to the kubelet, which ends it when its grace period is over.
	Drain time.Duration
	// Audited: the policy in force logs the agent's canary, so that a rehearsal can be asked for it.
	Audited bool
	// Front is where clients reach the apiserver now.
	Front Front
}

// Front is where clients on this host and from others reach the apiserver.
type Front struct {
	// Port is the apiserver's secure port.
	Port int
	// Services are the addresses of the `kubernetes` Service, as host:port, one for each IP family.
	Services []string
}

// File is one file beside the manifest. Its content may be secret and is never logged.
type File struct {
	Path string
	Data []byte
	Mode fs.FileMode
}

// contained refuses a change with a path that is none of ours. Nobody makes such a change; should a plan ever find a way to
// name a path, it ends here, before the host is touched.
func (c Change) contained() *Fault {
	stray := func(name string) *Fault {
		return faultf(reason.PlanInvalid, "the change would write %q, which is outside of the agent's directories", name)
	}
	if _, handed := wire.WebhookFileRevision(c.Manifest); handed != (c.Unit == FileUnit) {
		return stray(c.Manifest)
	}
	if of := c.Unit == ContainerUnit; of != (c.Manifest == ContainerFile) {
		return stray(c.Manifest)
	} else if !of && (path.Clean(c.Manifest) != c.Manifest || !path.IsAbs(c.Manifest) || within(c.Manifest, append(hostfs.DataDirs(), StateDir)...)) {
		return stray(c.Manifest)
	}
	if c.Unit == "" && (c.Base == nil || c.New == nil) {
		return faultf(reason.PlanInvalid, "the change would make or remove %q, which the kubelet reads", c.Manifest)
	}
	if c.Unit != "" && c.Unit != ContainerUnit && c.Unit != FileUnit && !unitName.MatchString(c.Unit) {
		return faultf(reason.PlanInvalid, "the change would restart %q, which is no service", c.Unit)
	}
	if c.Dir != "" && (!slices.Contains(hostfs.DataDirs(), path.Dir(c.Dir)) || !revisionDir.MatchString(path.Base(c.Dir))) {
		return stray(c.Dir)
	}
	for _, f := range c.Files {
		if c.Dir == "" || path.Dir(f.Path) != c.Dir || path.Clean(f.Path) != f.Path {
			return stray(f.Path)
		}
	}
	return nil
}

// unitName is that of a service.
var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.@\\-]+\.service$`)

func within(name string, dirs ...string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") })
}

// restarts reports whether a change restarts anything; what does not can harm nobody while it is made.
func (c Change) restarts() bool { return c.Unit != FileUnit }

// dataDir is where the revision's directory and the log lie.
func (c Change) dataDir() string {
	if c.Dir == "" {
		return DataDir
	}
	return path.Dir(c.Dir)
}

func (c Change) logDir() string { return path.Join(c.dataDir(), path.Base(LogDir)) }

// entry is the journal's, at the beginning.
func (c Change) entry() *Entry {
	var notes []string
	if c.Note != "" {
		notes = append(notes, c.Note)
	}
	return &Entry{
		Notes: notes,
		State: StatePrepared, Kind: c.Kind, Revision: c.Revision, PlanRevision: c.PlanRevision, BaseRevision: c.BaseRevision,
		Fence: c.Fence, Manifest: c.Manifest, BaseHash: contentHash(c.Base), NewHash: contentHash(c.New), Dir: c.Dir, Unit: c.Unit, Record: c.Record,
		Effects: c.Effects, Files: c.fileHashes(), ReadyTimeout: c.ReadyTimeout, Drain: c.Drain,
	}
}

// fileHashes maps each file to the hash of its content.
func (c Change) fileHashes() map[string]string {
	hashes := map[string]string{}
	for _, f := range c.Files {
		hashes[f.Path] = Hash(f.Data)
	}
	return hashes
}

// Effects are facts about a live change that its manifest alone does not tell.
type Effects struct {
	// PolicyOurs: the audit policy in force is the plan's.
	PolicyOurs bool `json:"policyOurs"`
	// LogPath is the audit log in force, as a path on the host; empty where there is none.
	LogPath string `json:"logPath,omitempty"`
	// SinkURL is where the webhook posts to.
	SinkURL string `json:"sinkURL,omitempty"`
	// Kept says, in a sentence, which settings of others were kept.
	Kept string `json:"kept,omitempty"`
	// Image is the apiserver's, and Version what it reports: another image in the manifest is another version.
	Image   string `json:"image,omitempty"`
	Version string `json:"version,omitempty"`
	// Foreign are the audit flags beside ours, as --name=value.
	Foreign []string `json:"foreign,omitempty"`
}

// contentHash is the name of a file's content, empty where there is no file.
func contentHash(data []byte) string {
	if data == nil {
		return ""
	}
	return Hash(data)
}

// Hash is the name of a content.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
