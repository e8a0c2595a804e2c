package strategy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Decide says flag by flag what a revision of a plan sets beside the flags that others have set. where names the place for a refusal.
func Decide(where, distribution string, args apiserver.Args, p *wire.Plan, revision string, at Places) (apiserver.Decision, *Refusal) {
	d, err := apiserver.Decide(apiserver.Existing(args, ""), apiserver.Origin(distribution), p.Desired.Existing, Desired(p, revision, at))
	var refused *apiserver.RefusedError
	switch {
	case errors.As(err, &refused):
		return d, Refuse(refused.ConditionReason(), "%s: %s", where, refused.Error())
	case err != nil:
		return d, Refuse(reason.ManifestNotUnderstood, "%s: %v", where, err)
	}
	return d, nil
}

// Effects describe a node on which a decision is live beside the flags of others. The version is not tied to the file that holds the
// flags, which outlives upgrades.
func Effects(p *wire.Plan, d apiserver.Decision, args apiserver.Args, running *version.Version, at Places) txn.Effects {
	e := txn.Effects{PolicyOurs: d.PolicyOurs, SinkURL: p.Desired.Webhook.URL, LogPath: at.onHost(d.Log), Version: "v" + running.String()}
	if !strings.HasPrefix(e.LogPath, "/") {
		e.LogPath = "" // "-" is the standard output
	}
	for _, f := range apiserver.Existing(args, "").Flags {
		e.Foreign = append(e.Foreign, "--"+f.Name+"="+f.Value)
	}
	slices.Sort(e.Foreign)
	var kept []string
	for _, k := range []struct {
		ours       bool
		flag, what string
	}{{d.PolicyOurs, auditflag.PolicyFile, "policy"}, {d.LogOurs, auditflag.LogPath, "log"}} {
		if value, _ := args.Lookup(k.flag); !k.ours && value != "" {
			kept = append(kept, fmt.Sprintf("the audit %s %s that was there is kept", k.what, value))
		}
	}
	e.Kept = strings.Join(kept, "; ")
	return e
}
