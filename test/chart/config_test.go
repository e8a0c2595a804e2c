package chart

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"k8s-audit-enabler.io/coordinator/plan"
	"k8s-audit-enabler.io/internal/wire"
)

// certificate is no real one; only its form matters here.
const certificate = `-----BEGIN CERTIFICATE-----
MIIBszCCAVmgAwIBAgIUE0F1ZGl0IFJlY2VpdmVyIENBMAoGCCqGSM49BAMCMC8x
LTArBgNVBAMMJGs4cy1hdWRpdCByZWNlaXZlcg==
-----END CERTIFICATE-----
`

// TestConfig_IsWhatTheValuesSay decodes the ConfigMap as the coordinator does: strictly.
func TestConfig_IsWhatTheValuesSay(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values values
		want   func(*wire.Config)
	}{
		"defaults": {installable(), func(*wire.Config) {}},
		"a URL": {
			installable().with("https://audit.example.com:8443/x?a=b", "sink", "url"),
			func(c *wire.Config) { c.Sink.URL, c.Sink.Service = "https://audit.example.com:8443/x?a=b", nil },
		},
		"a port by name": {
			installable().with("k8s-audit", "sink", "service", "port"),
			func(c *wire.Config) { c.Sink.Service.Port = intstr.FromString("k8s-audit") },
		},
		"another service": {
			installable().with(values{"namespace": "falco", "name": "receiver", "port": 9765, "path": "/k8s-audit", "scheme": "https"}, "sink", "service"),
			func(c *wire.Config) {
				c.Sink.Service = &wire.ServiceSink{Namespace: "falco", Name: "receiver", Port: intstr.FromInt32(9765), Path: "/k8s-audit", Scheme: "https"}
			},
		},
		"TLS": {
			installable().with(values{"caBundle": certificate + certificate, "serverName": "audit.example.com"}, "sink", "tls").with("receiver-token", "sink", "credentialsSecret"),
			func(c *wire.Config) {
				c.Sink.TLS = wire.SinkTLS{CABundle: certificate + certificate, ServerName: "audit.example.com"}
				c.Sink.CredentialsSecret = "receiver-token"
			},
		},
		"no checking of certificates": {
			installable().with(true, "sink", "tls", "insecureSkipVerify"),
			func(c *wire.Config) { c.Sink.TLS.InsecureSkipVerify = true },
		},
		"truncation": {
			installable().with(values{"enabled": true, "maxEventSize": 102400, "maxBatchSize": 10485760}, "webhook", "truncate"),
			func(c *wire.Config) {
				c.Webhook.Truncate = &wire.Truncate{MaxEventSize: 102400, MaxBatchSize: 10485760}
			},
		},
		"truncation with the apiserver's sizes": {
			installable().with(true, "webhook", "truncate", "enabled"),
			func(c *wire.Config) { c.Webhook.Truncate = &wire.Truncate{} },
		},
		"batches": {
			installable().with(values{
				"batchMaxWait": "1m30s", "batchMaxSize": 400, "batchBufferSize": 20000000,
				"throttleQPS": 10, "throttleBurst": 15, "initialBackoff": "500ms",
			}, "webhook"),
			func(c *wire.Config) {
				c.Webhook = wire.WebhookSettings{
					BatchMaxWait: duration(90 * time.Second), BatchMaxSize: 400, BatchBufferSize: 20000000,
					ThrottleQPS: 10, ThrottleBurst: 15, InitialBackoff: duration(500 * time.Millisecond),
				}
			},
		},
		"disabled, paused, overridden": {
			installable().with(false, "enabled").with(true, "paused").with("1.2", "distribution").with("forward", "backend"),
			func(c *wire.Config) {
				c.Enabled, c.Paused, c.Distribution, c.Backend = false, true, "1.2", "forward"
			},
		},
		"an AuditSink": {
			installable().with("dynamic", "backend").
				with(values{"level": "Request", "stages": []any{"Panic"}, "throttleQPS": 100, "throttleBurst": 200}, "dynamic", "auditSink").with(true, "dynamic", "acceptSecretsInAudit").
				with(values{"existingSecret": "receiver", "caBundle": certificate}, "bridge", "receiver"),
			func(c *wire.Config) {
				c.Backend = "dynamic"
				c.Dynamic = wire.DynamicSettings{
					AuditSink:            wire.AuditSinkSettings{Level: "Request", Stages: []string{"Panic"}, ThrottleQPS: 100, ThrottleBurst: 200},
					AcceptSecretsInAudit: true, ReceiverTLS: true, ReceiverCABundle: certificate,
				}
			},
		},
		"what the bridge compresses": {
			installable().with(true, "bridge", "gzip"),
			func(c *wire.Config) { c.Bridge.Gzip = true },
		},
		"what the bridge drops": {
			installable().with(values{"dropLoopback": true, "dropWhen": `event.userAgent.matches("^kubelet/v1\\.[0-9]+") && event.verb != 'get' // ä`}, "bridge", "filter"),
			func(c *wire.Config) {
				c.Bridge.Filter = wire.EventFilter{DropLoopback: true, DropWhen: `event.userAgent.matches("^kubelet/v1\\.[0-9]+") && event.verb != 'get' // ä`}
			},
		},
		"an audit profile": {
			installable().with("AsBefore", "openshift4", "auditProfile"),
			func(c *wire.Config) { c.OpenShift4.AuditProfile = "AsBefore" },
		},
		"log, pace and existing settings": {
			installable().with(values{"maxBackup": 5, "maxSizeMB": 1000000}, "log").
				with(values{"readyTimeout": "10m", "settle": "0s", "sinkDebounce": "1m", "rehearse": "never", "handover": "off", "drain": "0s"}, "rollout").
				with(values{"policy": "keep", "log": "replace", "webhook": "replace"}, "existing"),
			func(c *wire.Config) {
				c.Log = wire.LogSettings{MaxBackup: 5, MaxSizeMB: 1000000}
				c.Rollout = wire.RolloutSettings{ReadyTimeout: duration(10 * time.Minute), SinkDebounce: duration(time.Minute), Rehearse: "never", Handover: "off"}
				c.Existing = wire.ExistingSettings{Policy: "keep", Log: "replace", Webhook: "replace"}
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := defaultConfig()
			test.want(&want)
			if diff := cmp.Diff(want, config(t, renderValues(t, test.values))); diff != "" {
				t.Errorf("Config (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConfig_DefaultsAreThoseThatArePlannedWithoutARelease compares them with what `kubectl audit-enabler plan --offline` takes.
func TestConfig_DefaultsAreThoseThatArePlannedWithoutARelease(t *testing.T) {
	t.Parallel()
	want := plan.ChartDefaults()
	got := config(t, renderValues(t, installable()))
	got.TypeMeta, got.Generation, got.Release, got.Sink = want.TypeMeta, want.Generation, want.Release, want.Sink
	if diff := cmp.Diff(*want, got); diff != "" {
		t.Errorf("Config (-planned +rendered):\n%s", diff)
	}
}

func TestConfig_KeepsAPolicyByteForByte(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"plain":                    "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n",
		"without a last line end":  "kind: Policy",
		"quotes and backslashes":   "a: \"b\\n\" # it's 'c' \\\\ \\x41\n",
		"tabs and trailing spaces": "a:\tb \t \n\n   \n",
		"template braces":          "a: \"{{ .Values.enabled }} {{- fail `no` -}} {{\"\n",
		"unicode":                  "# Prüfung 監査 🔍 \u00a0\u2028\u2029\ufeff\u200b\n",
		"control characters":       "a: \x01\x07\x0b\x1b\x7f\u0085\n",
		"Windows line ends":        "apiVersion: audit.k8s.io/v1\r\nkind: Policy\r\n",
		"document marks":           "---\n# one\n---\n# two\n...\n",
		"YAML specials":            "%YAML 1.2\n&a *a !b | > @ `\n",
		"a dollar and a percent":   "$(NAME) ${NAME} %s %d\n",
		"long lines":               strings.Repeat("resource ", 4000) + "\n",
	}
	for name, content := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := config(t, render(t, "policy.preset=custom", "--set-file=policy.content="+fileWith(t, []byte(content)))).Policy
			if diff := cmp.Diff(wire.PolicyChoice{Preset: "custom", Content: content}, got); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}

// defaultConfig is what values.yaml promises, said a second time.
func defaultConfig() wire.Config {
	return wire.Config{
		TypeMeta: wire.TypeMeta{APIVersion: wire.APIVersion, Kind: wire.KindConfig},
		Release:  release, Generation: 1, Enabled: true, Distribution: "auto", Backend: "auto",
		Sink: wire.Sink{Service: &wire.ServiceSink{
			Namespace: "sysdig-agent", Name: "sysdig-agent", Port: intstr.FromInt32(7765), Path: "/k8s_audit", Scheme: "http",
		}},
		Policy:   wire.PolicyChoice{Preset: "recommended"},
		Log:      wire.LogSettings{MaxBackup: 1, MaxSizeMB: 10},
		Webhook:  wire.WebhookSettings{BatchMaxWait: duration(5 * time.Second)},
		Rollout:  wire.RolloutSettings{ReadyTimeout: duration(5 * time.Minute), Settle: duration(10 * time.Second), SinkDebounce: duration(10 * time.Second), Rehearse: "auto", Handover: "auto", Drain: duration(5 * time.Second)},
		Existing: wire.ExistingSettings{Policy: wire.ExistingAuto, Log: wire.ExistingAuto, Webhook: wire.ExistingRefuse},
		Dynamic: wire.DynamicSettings{AuditSink: wire.AuditSinkSettings{
			Level: "RequestResponse", Stages: []string{"ResponseStarted", "ResponseComplete"}, ThrottleQPS: 10, ThrottleBurst: 15,
		}},
	}
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
