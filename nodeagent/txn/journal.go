package txn

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// State is how far a transaction got. It is written before the step that follows it.
type State string

// States, in order. RollingBack may follow Swapped.
const (
	// StatePrepared: preflight passed; the files beside the manifest are written next.
	StatePrepared State = "prepared"
	// StateFilesWritten: the files and the backup are durable; the watchdog is armed next, and the manifest swapped unless
	// the change is rehearsed first.
	StateFilesWritten State = "filesWritten"
	// StateRehearsing: the rehearsal's manifest is put beside the real one next, or runs already.
	StateRehearsing State = "rehearsing"
	// StateRehearsed: the rehearsal was good and still runs; the manifest is swapped next.
	StateRehearsed State = "rehearsed"
	// StateSwapped: the manifest is swapped; the new apiserver is awaited.
	StateSwapped State = "swapped"
	// StateRollingBack: the old manifest is put back next, or its apiserver is awaited.
	StateRollingBack State = "rollingBack"
	// StateCommitted, StateRolledBack and StateAborted end a transaction. Aborted: the manifest was not swapped, or
	// somebody else's version of it stays.
	StateCommitted  State = "committed"
	StateRolledBack State = "rolledBack"
	StateAborted    State = "aborted"
)

const journalVersion = 1

// maxJournal bounds what is read. A journal holds two manifests' edit records and a few log lines.
const maxJournal = 4 << 20

// Journal is what the agent remembers on the host.
type Journal struct {
	Version int `json:"version"`
	// Open is the transaction that has begun and not ended.
	Open *Entry `json:"open,omitempty"`
	// Last is the one that ended last.
	Last *Entry `json:"last,omitempty"`
	// Live is what was committed last and not reverted since.
	Live *Live `json:"live,omitempty"`
	// Strays are edits of ours that may be in the manifest although they were not committed, oldest first. Without their records
	// nobody could take them out again. A commit makes the manifest without them.
	Strays []Stray `json:"strays,omitempty"`
	// Failed is the last change that was taken back; a commit clears it.
	Failed *Failure `json:"failed,omitempty"`
	// Leftover is the manifest of a rehearsal that has ended and could not be removed: a second apiserver is not forgotten.
	Leftover string `json:"leftover,omitempty"`
	// Fence is the highest permit acted on.
	Fence int64 `json:"fence,omitempty"`
	// Restarts counts the apiserver's restarts that changes have caused.
	Restarts int `json:"restarts,omitempty"`
	// Unavailable is how long the last of them kept the apiserver from being ready, in nanoseconds.
	Unavailable time.Duration `json:"unavailable,omitempty"`
}

// Entry is one transaction.
type Entry struct {
	State        State  `json:"state"`
	Kind         Kind   `json:"kind"`
	Revision     string `json:"revision,omitempty"`
	PlanRevision string `json:"planRevision,omitempty"`
	BaseRevision string `json:"baseRevision,omitempty"`
	Fence        int64  `json:"fence"`
	Manifest     string `json:"manifest"`
	// BaseHash and NewHash are empty where there is no file.
	BaseHash string `json:"baseHash"`
	NewHash  string `json:"newHash"`
	// Unit is the change's. Restarting: it may have been restarted since the swap.
	Unit       string `json:"unit,omitempty"`
	Restarting bool   `json:"restarting,omitempty"`
	// MadeDir: the file's directory is ours, and goes with the file if it is empty then.
	MadeDir bool            `json:"madeDir,omitempty"`
	Dir     string          `json:"dir,omitempty"`
	Record  json.RawMessage `json:"record,omitempty"`
	Effects Effects         `json:"effects"`
	// Files maps each file beside the manifest to the hash of its content.
	Files map[string]string `json:"files,omitempty"`
	// Before names the apiserver's incarnations that were there before the swap; the new one is none of them.
	Before       []string      `json:"before,omitempty"`
	ReadyTimeout time.Duration `json:"readyTimeout"`
	// Drain is the change's, or zero where its clients were handed over.
	Drain time.Duration `json:"drain,omitempty"`
	// Rehearsal is the temporary manifest, from before it is written until it is gone.
	Rehearsal string `json:"rehearsal,omitempty"`
	// Notes say, in phrases, why the change was made where that is not the plan, and which step was left out and why.
	Notes []string `json:"notes,omitempty"`
	// BootID is the host's boot during which the entry was last written.
	BootID string `json:"bootID,omitempty"`
	// Uptime is how long that boot had lasted then: unlike Time it does not jump with the clock.
	Uptime time.Duration `json:"uptime,omitempty"`
	// Fault is why it is rolled back.
	Fault *Fault    `json:"fault,omitempty"`
	Time  time.Time `json:"time"`
}

// Stray is an edit that somebody else's version of the manifest may hold: theirs was made from ours, and stays.
type Stray struct {
	Revision string          `json:"revision"`
	Record   json.RawMessage `json:"record"`
}

// maxStrays bounds the journal. Whoever changes a manifest under each of so many changes gets the oldest edit left in it.
const maxStrays = 8

// stray remembers the open change's edit.
func (j *Journal) stray() {
	if e := j.Open; e.Kind == KindApply && len(e.Record) > 0 {
		j.Strays = append(j.Strays, Stray{Revision: e.Revision, Record: e.Record})
		j.Strays = j.Strays[max(0, len(j.Strays)-maxStrays):]
	}
}

// Ours reports whether something of ours may be in the manifest.
func (j *Journal) Ours() bool { return j.Live != nil || j.Failed != nil || len(j.Strays) > 0 }

// Live is a committed change.
type Live struct {
	Revision     string `json:"revision"`
	PlanRevision string `json:"planRevision"`
	Manifest     string `json:"manifest"`
	ManifestHash string `json:"manifestHash"`
	// Unit and MadeDir are those of the entry.
	Unit        string          `json:"unit,omitempty"`
	MadeDir     bool            `json:"madeDir,omitempty"`
	Dir         string          `json:"dir"`
	PreviousDir string          `json:"previousDir,omitempty"`
	Record      json.RawMessage `json:"record,omitempty"`
	Effects     Effects         `json:"effects"`
	// Files maps each file beside the manifest to the hash of its content.
	Files map[string]string `json:"files,omitempty"`
	// Notes are those of the entry.
	Notes []string  `json:"notes,omitempty"`
	Since time.Time `json:"since"`
}

// FilesIntact reports whether the files of a live change are on the host as they were written: without them the apiserver
// would not start again.
func (l *Live) FilesIntact(host *hostfs.FS) bool {
	for file, want := range l.Files {
		data, err := host.ReadFile(file, maxManifest)
		if err != nil || Hash(data) != want {
			return false
		}
	}
	return true
}

// Failure is a change that was taken back.
type Failure struct {
	Fault
	Revision     string        `json:"revision"`
	PlanRevision string        `json:"planRevision"`
	ReadyTimeout time.Duration `json:"readyTimeout"`
	Time         time.Time     `json:"time"`
	// BaseHash is of the manifest that the change was made to, and that is back now.
	BaseHash string `json:"baseHash,omitempty"`
	// Attempts counts the failures of this revision in a row.
	Attempts int `json:"attempts,omitempty"`
}

// Of reports whether a manifest is the one that the change did not work with. Where somebody else has changed it since, the
// failure says nothing about it.
func (f *Failure) Of(manifest []byte) bool { return f.BaseHash == "" || f.BaseHash == Hash(manifest) }

// Waits between two attempts at a change that was taken back for a reason that may go away by itself.
const (
	firstRetry = 10 * time.Minute
	lastRetry  = 2 * time.Hour
)

// RetryAt is when the same revision may be tried again by itself, and whether it may at all: what made an apiserver exit
// will make it exit again.
func (f *Failure) RetryAt() (time.Time, bool) {
	if !Heals(f.Reason) {
		return time.Time{}, false
	}
	return f.Time.Add(min(firstRetry<<min(max(f.Attempts-1, 0), 10), lastRetry)), true
}

// Fault is why something was not done, or was taken back.
type Fault struct {
	// Reason is one of package reason's.
	Reason  string   `json:"reason"`
	Message string   `json:"message"`
	LogTail []string `json:"logTail,omitempty"`
}

// fail remembers that the open change failed, and how often in a row it has.
func (j *Journal) fail(f Fault) {
	e, attempts := j.Open, 1
	if j.Failed != nil && j.Failed.Revision == e.Revision {
		attempts += j.Failed.Attempts
	}
	j.Failed = &Failure{
		Fault: f, BaseHash: e.BaseHash, Revision: e.Revision, PlanRevision: e.PlanRevision, ReadyTimeout: e.ReadyTimeout,
		Time: time.Now().UTC(), Attempts: attempts,
	}
}

func faultf(reason, format string, args ...any) *Fault {
	return &Fault{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// LoadJournal reads the journal. A host without one gets an empty one. A journal that cannot be read is an error:
// without it nobody knows what on this host is ours.
func LoadJournal(host *hostfs.FS) (*Journal, error) {
	data, err := host.ReadFile(journalFile, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return &Journal{Version: journalVersion}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var j Journal
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("read journal %q: %w", journalFile, err)
	}
	if j.Version != journalVersion {
		return nil, fmt.Errorf("read journal %q: version %d is not known here, want %d", journalFile, j.Version, journalVersion)
	}
	return &j, nil
}

// save makes the journal durable.
func (j *Journal) save(host *hostfs.FS) error {
	data, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return fmt.Errorf("encode journal: %w", err)
	}
	if err := host.WriteFileAtomic(journalFile, append(data, '\n'), hostfs.WriteOptions{Mode: 0o600}); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}
