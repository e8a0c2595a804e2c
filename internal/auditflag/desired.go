package auditflag

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
)

// Flag is one apiserver flag, its name without dashes.
type Flag struct {
	Name  string
	Value string
}

// String is the flag as an argument.
func (f Flag) String() string { return "--" + f.Name + "=" + f.Value }

// Settings are what the flags are made of. The zero value asks for the project's own values and leaves everything else
// to the apiserver's defaults.
type Settings struct {
	// PolicyFile, LogPath and WebhookConfigFile are paths as the apiserver sees them. The flag of an empty one is left out.
	PolicyFile        string
	LogPath           string
	WebhookConfigFile string

	// NoLog leaves out the log's flags, where a log of somebody else's is kept.
	NoLog bool
	// LogMaxBackup is the number of rotated log files to keep, LogMaxSizeMB the megabytes at which the log is rotated.
	// Zero asks for 1 and 10; the apiserver's own meaning of 0, no limit, cannot be had.
	LogMaxBackup int
	LogMaxSizeMB int

	// Dynamic leaves the webhook's flags out and has the apiserver take AuditSinks, which needs [DynamicEntries] too. What follows is
	// then the apiserver's own, but for Truncate, which is for both.
	Dynamic bool
	// Mode is batch, or empty for it. blocking and blocking-strict make every API request wait for the sink and are
	// refused unless AllowBlocking is set.
	Mode          string
	AllowBlocking bool
	// BatchMaxWait is how long an event waits for company, zero for 5s. The following are the apiserver's own where zero.
	BatchMaxWait    time.Duration
	BatchMaxSize    int
	BatchBufferSize int
	ThrottleQPS     int
	ThrottleBurst   int
	InitialBackoff  time.Duration
	// Truncate, when present, has oversized events lose their bodies instead of being refused by the sink.
	Truncate *Truncate
	// EventVersion is audit.k8s.io/v1 or audit.k8s.io/v1beta1; empty asks for v1 wherever the apiserver has it.
	EventVersion string
}

// Truncate bounds what is sent, in bytes; zero for the apiserver's own limits of 100 KiB an event and 10 MiB a batch.
type Truncate struct {
	MaxEventSize int
	MaxBatchSize int
}

// The project's own values.
const (
	defaultMaxBackup = 1
	defaultMaxSizeMB = 10
	defaultBatchWait = 5 * time.Second
)

// SettingError says which setting cannot be had, and what to write instead.
type SettingError struct {
	// Flag is the name of the flag that the setting would have become.
	Flag   string
	Detail string
}

func (e *SettingError) Error() string { return e.Flag + ": " + e.Detail }

// ErrVersion is returned for a version that the table does not cover: none, below 1.11, or not 1.x.
var ErrVersion = errors.New("audit flags are known from kube-apiserver 1.11")

// Desired lists the flags that the settings ask for, in order, with names and values that kube-apiserver of that version
// accepts. It returns ErrVersion or a *SettingError.
func Desired(s Settings, v *version.Version) ([]Flag, error) {
	if !supported(v) {
		return nil, fmt.Errorf("list flags for version %s: %w", v, ErrVersion)
	}
	eventVersion, err := s.eventVersion(v)
	if err != nil {
		return nil, err
	}
	if err := s.check(v); err != nil {
		return nil, err
	}
	var flags list
	flags.text(PolicyFile, s.PolicyFile)
	if !s.NoLog {
		flags.text(LogPath, s.LogPath)
		flags.add(LogMaxBackup, strconv.Itoa(positive(s.LogMaxBackup, defaultMaxBackup)))
		flags.add(LogMaxSize, strconv.Itoa(positive(s.LogMaxSizeMB, defaultMaxSizeMB)))
		flags.text(LogVersion, eventVersion)
	}
	if s.Dynamic {
		flags.add(Dynamic, "true")
	} else {
		flags.webhook(s, eventVersion)
	}
	if s.Truncate != nil {
		flags.add(WebhookTruncate, "true")
		flags.number(WebhookMaxEvent, s.Truncate.MaxEventSize)
		flags.number(WebhookMaxBatch, s.Truncate.MaxBatchSize)
	}
	for _, f := range flags {
		if !Known(f.Name, v) {
			return nil, &SettingError{Flag: f.Name, Detail: fmt.Sprintf("kube-apiserver %s does not have this flag", short(v))}
		}
	}
	return flags, nil
}

// webhook adds the flags of the static webhook.
func (l *list) webhook(s Settings, eventVersion string) {
	l.text(WebhookConfigFile, s.WebhookConfigFile)
	l.add(WebhookBatchWait, positive(s.BatchMaxWait, defaultBatchWait).String())
	l.text(WebhookVersion, eventVersion)
	l.text(WebhookMode, s.Mode)
	l.number(WebhookBatchSize, s.BatchMaxSize)
	l.number(WebhookBuffer, s.BatchBufferSize)
	l.number(WebhookQPS, s.ThrottleQPS)
	l.number(WebhookBurst, s.ThrottleBurst)
	if s.InitialBackoff > 0 {
		l.add(WebhookBackoff, s.InitialBackoff.String())
	}
}

// DynamicEntries are the keys, in flags that hold a map, without which [Dynamic] stops an apiserver or means nothing.
func DynamicEntries() []Flag {
	return []Flag{{FeatureGates, "DynamicAuditing=true"}, {RuntimeConfig, "auditregistration.k8s.io/v1alpha1=true"}}
}

// eventVersion is the value for both version flags, empty where the apiserver's default is what is wanted.
func (s Settings) eventVersion(v *version.Version) (string, error) {
	spec, _ := Lookup(WebhookVersion)
	switch want := s.EventVersion; {
	case want == "" && v.Minor() == 12:
		return "audit.k8s.io/v1", nil
	case want == "":
		return "", nil
	case want == "audit.k8s.io/v1" && v.Minor() < 12:
		return "", &SettingError{Flag: WebhookVersion, Detail: fmt.Sprintf("kube-apiserver %s writes audit.k8s.io/v1beta1 only", short(v))}
	case want == "audit.k8s.io/v1beta1" && v.Minor() >= 24:
		return "", &SettingError{Flag: WebhookVersion, Detail: fmt.Sprintf("kube-apiserver %s writes audit.k8s.io/v1 only", short(v))}
	case want != "audit.k8s.io/v1" && want != "audit.k8s.io/v1beta1":
		return "", &SettingError{Flag: WebhookVersion, Detail: fmt.Sprintf("%q is not audit.k8s.io/v1 or audit.k8s.io/v1beta1", want)}
	case want == spec.Default(v):
		return "", nil
	default:
		return want, nil
	}
}

// check refuses what the apiserver would refuse at its start, and what would put API requests behind the sink.
func (s Settings) check(v *version.Version) error {
	modes := []string{"", "batch"}
	if s.AllowBlocking {
		modes = append(modes, "blocking")
		if v.Minor() >= 14 {
			modes = append(modes, "blocking-strict")
		}
	}
	if !slices.Contains(modes, s.Mode) {
		return &SettingError{Flag: WebhookMode, Detail: fmt.Sprintf("%q is not allowed: write batch, in which no API request waits for the sink", s.Mode)}
	}
	for _, n := range []struct {
		flag  string
		value int
	}{
		{LogMaxBackup, s.LogMaxBackup},
		{LogMaxSize, s.LogMaxSizeMB},
		{WebhookBatchWait, int(s.BatchMaxWait)},
		{WebhookBatchSize, s.BatchMaxSize},
		{WebhookBuffer, s.BatchBufferSize},
		{WebhookQPS, s.ThrottleQPS},
		{WebhookBurst, s.ThrottleBurst},
		{WebhookBackoff, int(s.InitialBackoff)},
	} {
		if n.value < 0 {
			return &SettingError{Flag: n.flag, Detail: "must not be negative"}
		}
	}
	return s.checkSizes(v)
}

// checkSizes compares the sizes with each other, with the apiserver's defaults in the place of those not given.
func (s Settings) checkSizes(v *version.Version) error {
	buffer, size := orDefault(WebhookBuffer, s.BatchBufferSize, v), orDefault(WebhookBatchSize, s.BatchMaxSize, v)
	if size > buffer {
		return &SettingError{Flag: WebhookBatchSize, Detail: fmt.Sprintf("%d events do not fit into a buffer of %d; raise %s", size, buffer, WebhookBuffer)}
	}
	if s.Truncate == nil {
		return nil
	}
	if s.Truncate.MaxEventSize < 0 {
		return &SettingError{Flag: WebhookMaxEvent, Detail: "must not be negative"}
	}
	if s.Truncate.MaxBatchSize < 0 {
		return &SettingError{Flag: WebhookMaxBatch, Detail: "must not be negative"}
	}
	event, batch := orDefault(WebhookMaxEvent, s.Truncate.MaxEventSize, v), orDefault(WebhookMaxBatch, s.Truncate.MaxBatchSize, v)
	if event > batch {
		return &SettingError{Flag: WebhookMaxEvent, Detail: fmt.Sprintf("an event of %d bytes does not fit into a batch of %d", event, batch)}
	}
	return nil
}

func orDefault(flag string, value int, v *version.Version) int {
	if value != 0 {
		return value
	}
	spec, _ := Lookup(flag)
	n, err := strconv.Atoi(spec.Default(v))
	if err != nil {
		return 0
	}
	return n
}

func positive[T int | time.Duration](value, otherwise T) T {
	if value > 0 {
		return value
	}
	return otherwise
}

func short(v *version.Version) string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// list collects flags in order.
type list []Flag

func (l *list) add(name, value string) { *l = append(*l, Flag{Name: name, Value: value}) }

func (l *list) text(name, value string) {
	if value != "" {
		l.add(name, value)
	}
}

func (l *list) number(name string, value int) {
	if value > 0 {
		l.add(name, strconv.Itoa(value))
	}
}
