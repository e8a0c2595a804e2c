package strategy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

// checkValue refuses a value with which an apiserver does not start (k8s.io/apiserver pkg/server/options, AuditOptions.Validate),
// or with which it would wait for the sink. What form a value must have, its flag's default tells.
func checkValue(f wire.Flag, spec auditflag.Spec, v *version.Version) error {
	const wantsNumber, wantsDuration = "a number", "a duration, as in 5s,"
	want := func(what string) error { return fmt.Errorf("--%s=%s: %s is needed", f.Name, f.Value, what) }
	positive := strings.Contains(f.Name, "-batch-") || strings.Contains(f.Name, "-truncate-") || f.Name == auditflag.WebhookBackoff
	if spec.Kind == auditflag.KindBool {
		if _, err := strconv.ParseBool(f.Value); err != nil {
			return want("true or false")
		}
		return nil
	}
	if f.Name == auditflag.WebhookMode && f.Value != "batch" {
		return want("batch, in which no API request waits for the sink,")
	}
	usual := spec.Default(v)
	if _, err := strconv.ParseInt(usual, 10, 64); err == nil {
		switch n, err := strconv.ParseInt(f.Value, 10, 32); {
		case err != nil || n < 0:
			return want(wantsNumber)
		case n == 0 && positive:
			return want(wantsNumber + " above zero")
		}
		return nil
	}
	if _, err := time.ParseDuration(usual); err == nil {
		switch d, err := time.ParseDuration(f.Value); {
		case err != nil || d < 0:
			return want(wantsDuration)
		case d == 0 && positive:
			return want(wantsDuration + " above zero")
		}
	}
	return nil
}
