package plan

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k8s-audit-enabler.io/coordinator/auditsink"
	"k8s-audit-enabler.io/coordinator/detect"
	"k8s-audit-enabler.io/internal/wire"
)

// ChartDefaults is the configuration that the chart renders from its own values, but for the sink: for those who plan without a release.
func ChartDefaults() *wire.Config {
	duration := func(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }
	return &wire.Config{
		Release: "k8s-audit-enabler", Enabled: true, Distribution: detect.Auto, Backend: BackendAuto,
		Policy:  wire.PolicyChoice{Preset: presetRecommended},
		Log:     wire.LogSettings{MaxBackup: 1, MaxSizeMB: 10},
		Webhook: wire.WebhookSettings{BatchMaxWait: duration(5 * time.Second)},
		Rollout: wire.RolloutSettings{
			ReadyTimeout: duration(defaultReadyTimeout), Settle: duration(10 * time.Second), SinkDebounce: duration(10 * time.Second),
			Rehearse: wire.RehearseAuto, Handover: wire.HandoverAuto, Drain: duration(5 * time.Second),
		},
		Existing: wire.ExistingSettings{Policy: wire.ExistingAuto, Log: wire.ExistingAuto, Webhook: wire.ExistingRefuse},
		Dynamic:  wire.DynamicSettings{AuditSink: auditsink.Complete(wire.AuditSinkSettings{})},
	}
}
