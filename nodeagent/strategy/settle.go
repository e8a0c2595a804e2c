package strategy

import (
	"errors"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Settle decides flag by flag what of a plan goes beside the arguments that others give an apiserver that a service starts. name is
// the distribution's.
func Settle(name string, others apiserver.Args, p *wire.Plan, revision string) (apiserver.Decision, *Refusal) {
	d, err := apiserver.Decide(apiserver.Existing(others, ""), apiserver.Origin(name), p.Desired.Existing, Desired(p, revision))
	var refused *apiserver.RefusedError
	switch {
	case errors.As(err, &refused):
		return d, Refuse(refused.ConditionReason(), "%s: %s", name, refused.Error())
	case err != nil:
		return d, Refuse(reason.ManifestNotUnderstood, "%s: %v", name, err)
	}
	return d, nil
}

// Effects describe a node whose service starts the apiserver, once the change is live. That apiserver sees the host's paths. The version
// is not tied to the file, which outlives upgrades.
func Effects(p *wire.Plan, d apiserver.Decision, others apiserver.Args, running *version.Version) txn.Effects {
	e := txn.Effects{PolicyOurs: d.PolicyOurs, SinkURL: p.Desired.Webhook.URL, LogPath: d.Log, Version: "v" + running.String()}
	if !strings.HasPrefix(e.LogPath, "/") {
		e.LogPath = "" // "-" is the standard output
	}
	var kept []string
	for _, f := range apiserver.Existing(others, "").Flags {
		e.Foreign = append(e.Foreign, "--"+f.Name+"="+f.Value)
	}
	slices.Sort(e.Foreign)
	if policy, _ := others.Lookup(auditflag.PolicyFile); !d.PolicyOurs && policy != "" {
		kept = append(kept, "the audit policy "+policy+" that was there is kept")
	}
	if log, _ := others.Lookup(auditflag.LogPath); !d.LogOurs && log != "" {
		kept = append(kept, "the audit log "+log+" that was there is kept")
	}
	e.Kept = strings.Join(kept, "; ")
	return e
}
