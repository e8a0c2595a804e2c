package auditflag_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
)

// paths are where the project's files lie, as an apiserver sees them.
func paths(s auditflag.Settings) auditflag.Settings {
	s.PolicyFile = "/var/lib/k8s_audit/r1/audit-policy.yaml"
	s.LogPath = "/var/lib/k8s_audit/log/k8s_audit_events.log"
	s.WebhookConfigFile = "/var/lib/k8s_audit/r1/webhook-config.yaml"
	return s
}

func arguments(flags []auditflag.Flag) []string {
	var list []string
	for _, f := range flags {
		list = append(list, f.String())
	}
	return list
}

func TestDesired(t *testing.T) {
	t.Parallel()
	mission := []string{
		"--audit-policy-file=/var/lib/k8s_audit/r1/audit-policy.yaml",
		"--audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log",
		"--audit-log-maxbackup=1",
		"--audit-log-maxsize=10",
		"--audit-webhook-config-file=/var/lib/k8s_audit/r1/webhook-config.yaml",
		"--audit-webhook-batch-max-wait=5s",
	}
	for name, test := range map[string]struct {
		settings auditflag.Settings
		minor    uint
		want     []string
	}{
		"nothing configured gives six flags": {paths(auditflag.Settings{}), 34, mission},
		"the same on the oldest version":     {paths(auditflag.Settings{}), 11, mission},
		"1.12 is told to write v1, as others do": {paths(auditflag.Settings{}), 12, slices.Concat(
			mission[:4], []string{"--audit-log-version=audit.k8s.io/v1"},
			mission[4:], []string{"--audit-webhook-version=audit.k8s.io/v1"})},
		"v1 where it is the default needs no flag": {paths(auditflag.Settings{EventVersion: "audit.k8s.io/v1"}), 13, mission},
		"v1beta1 for an old sink": {paths(auditflag.Settings{EventVersion: "audit.k8s.io/v1beta1"}), 20, slices.Concat(
			mission[:4], []string{"--audit-log-version=audit.k8s.io/v1beta1"},
			mission[4:], []string{"--audit-webhook-version=audit.k8s.io/v1beta1"})},
		"no paths, no flags that hold one":  {auditflag.Settings{}, 34, []string{mission[2], mission[3], mission[5]}},
		"somebody else's log is left alone": {paths(auditflag.Settings{NoLog: true}), 34, []string{mission[0], mission[4], mission[5]}},
		"everything configured, in a fixed order": {
			paths(auditflag.Settings{
				LogMaxBackup: 3, LogMaxSizeMB: 50, Mode: "batch", BatchMaxWait: 90 * time.Second, BatchMaxSize: 100, BatchBufferSize: 20000,
				ThrottleQPS: 20, ThrottleBurst: 30, InitialBackoff: 2 * time.Second,
				Truncate: &auditflag.Truncate{MaxEventSize: 262144, MaxBatchSize: 1048576},
			}), 34,
			[]string{
				mission[0], mission[1], "--audit-log-maxbackup=3", "--audit-log-maxsize=50", mission[4],
				"--audit-webhook-batch-max-wait=1m30s", "--audit-webhook-mode=batch", "--audit-webhook-batch-max-size=100",
				"--audit-webhook-batch-buffer-size=20000", "--audit-webhook-batch-throttle-qps=20", "--audit-webhook-batch-throttle-burst=30",
				"--audit-webhook-initial-backoff=2s", "--audit-webhook-truncate-enabled=true",
				"--audit-webhook-truncate-max-event-size=262144", "--audit-webhook-truncate-max-batch-size=1048576",
			},
		},
		"with an AuditSink, the webhook's flags are left out": {paths(auditflag.Settings{Dynamic: true, ThrottleQPS: 20}), 17, append(mission[:4:4], "--audit-dynamic-configuration=true")},
		"what an AuditSink shares with the webhook stays": {
			paths(auditflag.Settings{Dynamic: true, Truncate: &auditflag.Truncate{MaxEventSize: 262144}}), 13,
			append(mission[:4:4], "--audit-dynamic-configuration=true", "--audit-webhook-truncate-enabled=true", "--audit-webhook-truncate-max-event-size=262144"),
		},
		"blocking, if somebody insists": {paths(auditflag.Settings{Mode: "blocking", AllowBlocking: true}), 34, append(slices.Clone(mission), "--audit-webhook-mode=blocking")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := version.MajorMinor(1, test.minor)
			flags, err := auditflag.Desired(test.settings, v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, arguments(flags)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, f := range flags {
				if !auditflag.Known(f.Name, v) {
					t.Errorf("%s is not known to the version", f.Name)
				}
			}
		})
	}
}

func TestDesiredRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings auditflag.Settings
		minor    uint
		flag     string
		detail   string
	}{
		"blocking":                       {auditflag.Settings{Mode: "blocking"}, 34, auditflag.WebhookMode, "write batch"},
		"a mode that does not exist":     {auditflag.Settings{Mode: "fast", AllowBlocking: true}, 34, auditflag.WebhookMode, "write batch"},
		"blocking-strict before 1.14":    {auditflag.Settings{Mode: "blocking-strict", AllowBlocking: true}, 13, auditflag.WebhookMode, "write batch"},
		"v1 events from 1.11":            {auditflag.Settings{EventVersion: "audit.k8s.io/v1"}, 11, auditflag.WebhookVersion, "v1beta1 only"},
		"v1beta1 events from 1.24":       {auditflag.Settings{EventVersion: "audit.k8s.io/v1beta1"}, 24, auditflag.WebhookVersion, "v1 only"},
		"events of another version":      {auditflag.Settings{EventVersion: "v2"}, 24, auditflag.WebhookVersion, "is not"},
		"AuditSinks before 1.13":         {auditflag.Settings{Dynamic: true}, 12, auditflag.Dynamic, "does not have"},
		"AuditSinks from 1.19":           {auditflag.Settings{Dynamic: true}, 19, auditflag.Dynamic, "does not have"},
		"a negative wait":                {auditflag.Settings{BatchMaxWait: -1}, 34, auditflag.WebhookBatchWait, "negative"},
		"a negative number of backups":   {auditflag.Settings{LogMaxBackup: -1}, 34, auditflag.LogMaxBackup, "negative"},
		"a negative event size":          {auditflag.Settings{Truncate: &auditflag.Truncate{MaxEventSize: -1}}, 34, auditflag.WebhookMaxEvent, "negative"},
		"a negative batch size in bytes": {auditflag.Settings{Truncate: &auditflag.Truncate{MaxBatchSize: -1}}, 34, auditflag.WebhookMaxBatch, "negative"},
		"a batch larger than the buffer": {auditflag.Settings{BatchMaxSize: 500, BatchBufferSize: 400}, 34, auditflag.WebhookBatchSize, "do not fit"},
		"a buffer smaller than a batch":  {auditflag.Settings{BatchBufferSize: 100}, 34, auditflag.WebhookBatchSize, "400 events"},
		"an event larger than a batch":   {auditflag.Settings{Truncate: &auditflag.Truncate{MaxBatchSize: 1000}}, 34, auditflag.WebhookMaxEvent, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := auditflag.Desired(test.settings, version.MajorMinor(1, test.minor))
			var setting *auditflag.SettingError
			if !errors.As(err, &setting) || setting.Flag != test.flag || !strings.Contains(setting.Detail, test.detail) {
				t.Errorf("error %v, want one of %s: …%s…", err, test.flag, test.detail)
			}
		})
	}
	for _, v := range []*version.Version{nil, version.MajorMinor(1, 10), version.MajorMinor(2, 0)} {
		if _, err := auditflag.Desired(auditflag.Settings{}, v); !errors.Is(err, auditflag.ErrVersion) {
			t.Errorf("version %s: error %v", v, err)
		}
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flag  string
		first uint
		last  uint // 0: still there
	}{
		"the mission's flags are everywhere":     {flag: auditflag.PolicyFile, first: 11},
		"so is the webhook":                      {flag: auditflag.WebhookConfigFile, first: 11},
		"and truncation":                         {flag: auditflag.WebhookMaxBatch, first: 11},
		"underscores are dashes":                 {flag: "audit_log_path", first: 11},
		"compressed logs came with 1.20":         {flag: "audit-log-compress", first: 20},
		"the dynamic backend came and went":      {flag: auditflag.Dynamic, first: 13, last: 18},
		"the old name of the back-off is read":   {flag: "audit-webhook-batch-initial-backoff", first: 11},
		"no flag of that name was ever known":    {flag: "audit-webhook-url", first: 99},
		"the log has no back-off":                {flag: "audit-log-initial-backoff", first: 99},
		"feature gates, for the dynamic backend": {flag: auditflag.FeatureGates, first: 11},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for minor := uint(8); minor <= 40; minor++ {
				want := minor >= test.first && (test.last == 0 || minor <= test.last)
				if got := auditflag.Known(test.flag, version.MajorMinor(1, minor)); got != want {
					t.Errorf("1.%d: %t, want %t", minor, got, want)
				}
			}
			if auditflag.Known(test.flag, nil) {
				t.Error("known to no version at all")
			}
		})
	}
}

// TestSpecsAreTheFlagsOf compares with the flags that AddFlags of pkg/server/options/audit.go registers in these versions.
func TestSpecsAreTheFlagsOf(t *testing.T) {
	t.Parallel()
	common := strings.Fields(`
		audit-log-batch-buffer-size audit-log-batch-max-size audit-log-batch-max-wait audit-log-batch-throttle-burst
		audit-log-batch-throttle-enable audit-log-batch-throttle-qps audit-log-format audit-log-maxage audit-log-maxbackup
		audit-log-maxsize audit-log-mode audit-log-path audit-log-truncate-enabled audit-log-truncate-max-batch-size
		audit-log-truncate-max-event-size audit-log-version audit-policy-file audit-webhook-batch-buffer-size
		audit-webhook-batch-initial-backoff audit-webhook-batch-max-size audit-webhook-batch-max-wait
		audit-webhook-batch-throttle-burst audit-webhook-batch-throttle-enable audit-webhook-batch-throttle-qps
		audit-webhook-config-file audit-webhook-initial-backoff audit-webhook-mode audit-webhook-truncate-enabled
		audit-webhook-truncate-max-batch-size audit-webhook-truncate-max-event-size audit-webhook-version`)
	for minor, more := range map[uint]string{17: "audit-dynamic-configuration", 19: "", 20: "audit-log-compress", 37: "audit-log-compress"} {
		want := slices.Sorted(slices.Values(append(slices.Clone(common), strings.Fields(more)...)))
		var got []string
		for _, spec := range auditflag.Specs() {
			if spec.In(version.MajorMinor(1, minor)) && strings.HasPrefix(spec.Name, "audit-") {
				got = append(got, spec.Name)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("1.%d (-want +got):\n%s", minor, diff)
		}
	}
}

func TestKindsAndDefaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		flag  string
		minor uint
		kind  auditflag.Kind
		value string
	}{
		"switches may stand without a value":      {auditflag.WebhookTruncate, 30, auditflag.KindBool, "false"},
		"throttling is on for the webhook":        {"audit-webhook-batch-throttle-enable", 30, auditflag.KindBool, "true"},
		"and off for the log":                     {"audit-log-batch-throttle-enable", 30, auditflag.KindBool, "false"},
		"gates are merged":                        {auditflag.FeatureGates, 30, auditflag.KindMap, ""},
		"the webhook waits half a minute":         {auditflag.WebhookBatchWait, 30, auditflag.KindScalar, "30s"},
		"the webhook batches":                     {auditflag.WebhookMode, 30, auditflag.KindScalar, "batch"},
		"the log blocks":                          {"audit-log-mode", 30, auditflag.KindScalar, "blocking"},
		"logs grew without end":                   {auditflag.LogMaxSize, 35, auditflag.KindScalar, "0"},
		"until 1.36":                              {auditflag.LogMaxSize, 36, auditflag.KindScalar, "100"},
		"events were v1beta1 by default":          {auditflag.WebhookVersion, 12, auditflag.KindScalar, "audit.k8s.io/v1beta1"},
		"until 1.13":                              {auditflag.WebhookVersion, 13, auditflag.KindScalar, "audit.k8s.io/v1"},
		"a flag that is not there has no default": {"audit-log-compress", 19, auditflag.KindBool, ""},
		"a path has no default":                   {auditflag.LogPath, 30, auditflag.KindScalar, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec, ok := auditflag.Lookup(test.flag)
			if !ok || spec.Kind != test.kind || spec.Default(version.MajorMinor(1, test.minor)) != test.value {
				t.Errorf("%+v, default %q", spec, spec.Default(version.MajorMinor(1, test.minor)))
			}
		})
	}
}
