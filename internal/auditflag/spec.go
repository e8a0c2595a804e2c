package auditflag

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

// Names of the audit flags, without dashes, as far as other packages name them.
const (
	PolicyFile        = "audit-policy-file"
	LogPath           = "audit-log-path"
	LogFormat         = "audit-log-format"
	LogMaxAge         = "audit-log-maxage"
	LogMaxBackup      = "audit-log-maxbackup"
	LogMaxSize        = "audit-log-maxsize"
	LogVersion        = "audit-log-version"
	WebhookConfigFile = "audit-webhook-config-file"
	WebhookMode       = "audit-webhook-mode"
	WebhookVersion    = "audit-webhook-version"
	WebhookBatchWait  = "audit-webhook-batch-max-wait"
	WebhookBatchSize  = "audit-webhook-batch-max-size"
	WebhookBuffer     = "audit-webhook-batch-buffer-size"
	WebhookQPS        = "audit-webhook-batch-throttle-qps"
	WebhookBurst      = "audit-webhook-batch-throttle-burst"
	WebhookBackoff    = "audit-webhook-initial-backoff"
	WebhookTruncate   = "audit-webhook-truncate-enabled"
	WebhookMaxEvent   = "audit-webhook-truncate-max-event-size"
	WebhookMaxBatch   = "audit-webhook-truncate-max-batch-size"
	Dynamic           = "audit-dynamic-configuration"
	FeatureGates      = "feature-gates"
	RuntimeConfig     = "runtime-config"
)

// Kind says how a flag's value is written and what a second occurrence of the flag means.
type Kind int

// Kinds.
const (
	// KindScalar takes one value; the last occurrence wins.
	KindScalar Kind = iota
	// KindBool may stand without a value, which means true, and never takes the next argument as its value; the last
	// occurrence wins.
	KindBool
	// KindMap takes comma-separated key=value pairs; all occurrences are merged key by key, so whoever adds a key must
	// keep the others.
	KindMap
)

// Spec is what is known about one flag.
type Spec struct {
	// Name is the flag's name without dashes.
	Name string
	Kind Kind
	// Since is the first minor version of 1.x that has the flag. 11, the oldest this project supports, also stands for
	// anything older.
	Since uint
	// Removed is the first minor version of 1.x without the flag; 0 while it lives.
	Removed uint
	// Path reports whether the value is a path in the apiserver's file system.
	Path bool
	// defaults are the values in force from a minor version on, ascending.
	defaults []defaultFrom
}

type defaultFrom struct {
	minor uint
	value string
}

// OldestMinor is the oldest minor version of Kubernetes 1.x that the table covers.
const OldestMinor = 11

// Specs is the whole table, in the order in which the flags are best written: the policy, the log, the webhook.
func Specs() []Spec {
	specs := []Spec{
		{Name: PolicyFile, Since: OldestMinor, Path: true},
		{Name: LogPath, Since: OldestMinor, Path: true},
		{Name: LogMaxBackup, Since: OldestMinor, defaults: []defaultFrom{{OldestMinor, "0"}, {36, "100"}}},
		{Name: LogMaxSize, Since: OldestMinor, defaults: []defaultFrom{{OldestMinor, "0"}, {36, "100"}}},
		{Name: LogMaxAge, Since: OldestMinor, defaults: []defaultFrom{{OldestMinor, "0"}, {36, "366"}}},
		{Name: LogFormat, Since: OldestMinor, defaults: always("json")},
		{Name: LogVersion, Since: OldestMinor, defaults: eventVersion()},
		{Name: "audit-log-compress", Kind: KindBool, Since: 20, defaults: always("false")},
	}
	specs = append(specs, backend("log", "blocking", "1", "0s", "false", "0", "0")...)
	specs = append(specs,
		Spec{Name: WebhookConfigFile, Since: OldestMinor, Path: true},
		Spec{Name: WebhookVersion, Since: OldestMinor, defaults: eventVersion()},
		Spec{Name: WebhookBackoff, Since: OldestMinor, defaults: always("10s")},
		// The name before 1.10; still read, with a warning.
		Spec{Name: "audit-webhook-batch-initial-backoff", Since: OldestMinor, defaults: always("10s")},
	)
	specs = append(specs, backend("webhook", "batch", "400", "30s", "true", "10", "15")...)
	return append(specs,
		// The dynamic backend lived from 1.13 to 1.18; later apiservers exit at its flag.
		Spec{Name: Dynamic, Kind: KindBool, Since: 13, Removed: 19, defaults: always("false")},
		// No audit flags, but the dynamic backend needs entries in both.
		Spec{Name: FeatureGates, Kind: KindMap, Since: OldestMinor},
		Spec{Name: RuntimeConfig, Kind: KindMap, Since: OldestMinor},
	)
}

// backend lists the flags that exist for the log and for the webhook alike.
func backend(plugin, mode, size, wait, throttle, qps, burst string) []Spec {
	name := func(rest string) string { return "audit-" + plugin + "-" + rest }
	return []Spec{
		{Name: name("mode"), Since: OldestMinor, defaults: always(mode)},
		{Name: name("batch-buffer-size"), Since: OldestMinor, defaults: always("10000")},
		{Name: name("batch-max-size"), Since: OldestMinor, defaults: always(size)},
		{Name: name("batch-max-wait"), Since: OldestMinor, defaults: always(wait)},
		{Name: name("batch-throttle-enable"), Kind: KindBool, Since: OldestMinor, defaults: always(throttle)},
		{Name: name("batch-throttle-qps"), Since: OldestMinor, defaults: always(qps)},
		{Name: name("batch-throttle-burst"), Since: OldestMinor, defaults: always(burst)},
		{Name: name("truncate-enabled"), Kind: KindBool, Since: OldestMinor, defaults: always("false")},
		{Name: name("truncate-max-batch-size"), Since: OldestMinor, defaults: always("10485760")},
		{Name: name("truncate-max-event-size"), Since: OldestMinor, defaults: always("102400")},
	}
}

func always(value string) []defaultFrom { return []defaultFrom{{OldestMinor, value}} }

// eventVersion is the version in which events are written: audit.k8s.io/v1 exists from 1.12 and is the default from 1.13.
func eventVersion() []defaultFrom {
	return []defaultFrom{{OldestMinor, "audit.k8s.io/v1beta1"}, {13, "audit.k8s.io/v1"}}
}

// Lookup finds a flag by its name. Flags may be written with underscores, as the apiserver's own parser allows.
func Lookup(name string) (Spec, bool) {
	name = strings.ReplaceAll(name, "_", "-")
	specs := Specs()
	i := slices.IndexFunc(specs, func(s Spec) bool { return s.Name == name })
	if i < 0 {
		return Spec{}, false
	}
	return specs[i], true
}

// Known reports whether kube-apiserver of that version has the flag. A nil version or one below 1.11 knows nothing.
func Known(name string, v *version.Version) bool {
	spec, ok := Lookup(name)
	return ok && spec.In(v)
}

// In reports whether kube-apiserver of that version has the flag.
func (s Spec) In(v *version.Version) bool {
	return supported(v) && v.Minor() >= s.Since && (s.Removed == 0 || v.Minor() < s.Removed)
}

// Default is the value in force when the flag is not given, as it would be written. It is empty for paths and for flags
// that the version does not have.
func (s Spec) Default(v *version.Version) string {
	value := ""
	if !s.In(v) {
		return value
	}
	for _, d := range s.defaults {
		if v.Minor() >= d.minor {
			value = d.value
		}
	}
	return value
}

func supported(v *version.Version) bool {
	return v != nil && v.Major() == 1 && v.Minor() >= OldestMinor
}
