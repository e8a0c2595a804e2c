package cli

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"

	"k8s-audit-enabler.io/internal/auditpolicy"
	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
)

func TestAProofSaysNoMoreThanIsKnown(t *testing.T) {
	t.Parallel()
	const sink = "http://10.0.0.1:7765/k8s_audit"
	yes, no, unknown := Hop{Yes, "y"}, Hop{No, "n"}, Hop{Unknown, "u"}
	applied := wire.NodeStatus{Phase: wire.PhaseApplied}
	counted := func(delivered, failed, lost float64) health.Counters {
		return health.Counters{Delivered: delivered, Failed: failed, AuditWebhookErrors: lost}
	}
	for name, c := range map[string]struct {
		e       evidence
		verdict string
		code    status.Outcome
		cause   string
	}{
		"delivered": {evidence{status: applied, logged: yes, seen: unknown, before: counted(4, 2, 1), after: counted(5, 2, 1)}, "delivered", status.IsReady, ""},
		"seen":      {evidence{status: applied, logged: yes, seen: yes, after: counted(1, 0, 0)}, "seen", status.IsReady, ""},
		"seen without counters is seen, and nobody says delivered": {
			evidence{status: applied, logged: yes, seen: yes, counted: errors.New("403")}, "seen", status.IsReady, "",
		},
		"neither":                            {evidence{status: applied, logged: yes, seen: unknown, counted: errors.New("403")}, "unknown", status.NotYet, ""},
		"delivered at the second attempt":    {evidence{status: applied, logged: yes, seen: unknown, after: counted(1, 2, 0)}, "delivered", status.IsReady, ""},
		"delivered, but not to the receiver": {evidence{status: applied, logged: yes, seen: no, after: counted(1, 0, 0)}, "failed", status.IsStalled, "something took them"},
		"given up":                           {evidence{status: applied, logged: yes, seen: unknown, after: counted(1, 5, 3)}, "failed", status.IsStalled, "policy drops"},
		"a wrong path":                       {evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"404": 1}}, "failed", status.IsStalled, "is wrong"},
		"no credentials":                     {evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"401": 1}}, "failed", status.IsStalled, "credentialsSecret"},
		"a sink that is broken":              {evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"503": 1}}, "failed", status.IsStalled, "cannot take the events"},
		"another answer":                     {evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"302": 1}}, "failed", status.IsStalled, "answers 302"},
		"no answer":                          {evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"<error>": 1}}, "failed", status.IsStalled, "NetworkPolicy"},
		"what failed before the canary is not told": {
			evidence{status: applied, logged: yes, seen: unknown, after: counted(0, 1, 0), answers: health.Answers{"404": 7, "500": 1}, since: health.Answers{"404": 7}}, "failed", status.IsStalled, "answers 500",
		},
		"nothing posted":                       {evidence{status: applied, logged: yes, seen: unknown}, "failed", status.IsStalled, "not due yet"},
		"nothing posted, as nothing is logged": {evidence{status: applied, logged: no, seen: unknown, unaudited: "dropped"}, "unknown", status.NotYet, ""},
		"not logged":                           {evidence{status: applied, logged: no, seen: unknown, after: counted(1, 0, 0)}, "failed", status.IsStalled, "policy drops it"},
		"not logged, as it is not applied":     {evidence{status: wire.NodeStatus{Phase: wire.PhaseRefused, Reason: "WebhookNotOurs"}, logged: no, seen: unknown}, "failed", status.IsStalled, "WebhookNotOurs"},
		"not posted, as it is not applied":     {evidence{status: wire.NodeStatus{Phase: wire.PhasePending, Reason: "Paused"}, logged: unknown, seen: unknown}, "failed", status.IsStalled, "Paused"},
		"restarted meanwhile":                  {evidence{status: applied, logged: yes, seen: unknown, before: counted(9, 0, 0), after: counted(1, 0, 0)}, "unknown", status.NotYet, ""},
		"not reached":                          {evidence{status: applied, logged: yes, seen: yes, sent: errors.New("refused"), after: counted(1, 0, 0)}, "failed", status.IsStalled, "port-forward"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.e.sink = sink
			p := c.e.proof()
			if p.verdict() != c.verdict || outcome([]Proof{p}) != c.code || (c.cause == "") != (len(p.Causes) == 0) || !strings.Contains(strings.Join(p.Causes, "\n"), c.cause) {
				t.Errorf("%s, outcome %d: %+v", p.verdict(), outcome([]Proof{p}), p)
			}
			if c.e.counted != nil && p.Delivered.Answer != Unknown {
				t.Errorf("nobody has counted, and delivered is said: %+v", p)
			}
			if c.e.sent != nil && (p.Logged.Answer != Unknown || p.Delivered.Answer != Unknown || p.Seen.Answer != Unknown) {
				t.Errorf("of a canary that was not sent, more is said: %+v", p)
			}
		})
	}
	if outcome(nil) != status.NotYet {
		t.Error("no apiserver at all is a proof")
	}
}

func TestWhetherTheCanaryIsLoggedThePolicySays(t *testing.T) {
	t.Parallel()
	recommended, err := auditpolicy.Render(auditpolicy.Options{Version: version.MajorMinor(1, 34), CanaryUser: "system:serviceaccount:audit:agent"})
	if err != nil {
		t.Fatal(err)
	}
	const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n"
	for name, c := range map[string]struct {
		policy string
		logged bool
	}{
		"the recommended one": {string(recommended), true},
		"Secrets only":        {head + "- level: Metadata\n  resources: [{resources: [secrets]}]\n", false},
		"nothing":             {head + "- level: None\n", false},
		"none":                {"", false},
	} {
		p := &wire.Plan{KubernetesVersion: "v1.34.4", Desired: wire.Desired{Policy: c.policy}}
		if why := unaudited(p, "audit"); (why == "") != c.logged {
			t.Errorf("%s: %q", name, why)
		}
	}
	if unaudited(nil, "audit") == "" {
		t.Error("without a plan, the policy is known")
	}
}
