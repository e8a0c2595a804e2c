package apiserver

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	desired := enabled("r2").Flags
	names := func(flags []Flag) (out []string) {
		for _, f := range flags {
			out = append(out, f.Name)
		}
		return out
	}
	all := names(desired)
	policy, log, webhook := all[0:1:1], all[1:4:4], all[4:6:6]
	kubespray := []string{
		"--audit-log-maxage=30", "--audit-log-maxsize=100", "--audit-log-path=/var/log/kubernetes/audit/kube-apiserver-audit.log",
		"--audit-policy-file=/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml",
	}
	const rkeLog = "/var/log/kube-audit/audit-log.json"
	rke := []string{"--audit-policy-file", "/etc/kubernetes/audit-policy.yaml", "--audit-log-path", rkeLog, "--audit-log-format=json"}
	users := []string{"--audit-policy-file=/etc/my.yaml", "--audit-log-path=/var/log/my.log"}
	ours := []string{"--audit-policy-file=/var/lib/k8s_audit/r1/audit-policy.yaml", "--audit-log-path=/var/lib/k8s_audit/log/k8s_audit_events.log", "--audit-log-maxsize=5", "--audit-webhook-config-file=/var/lib/k8s_audit/r1/webhook-config.yaml"}
	const switchedOn = "audit-dynamic-configuration"
	const ourLog = "/var/lib/k8s_audit/log/k8s_audit_events.log"

	for name, tc := range map[string]struct {
		args     []string
		revision string
		origin   Origin
		options  ExistingOptions
		flags    []string
		log      string
		policy   bool // ours
		reason   string
		refused  string
		dynamic  bool
	}{
		"nothing there: all is added":                       {origin: OriginKubeadm, flags: all, log: ourLog, policy: true},
		"kubespray: policy replaced, log kept":              {args: kubespray, origin: OriginKubespray, flags: append(policy, webhook...), log: "/var/log/kubernetes/audit/kube-apiserver-audit.log", policy: true},
		"rke: policy replaced, log kept":                    {args: rke, origin: OriginRKE, flags: append(policy, webhook...), log: rkeLog, policy: true},
		"rke's files in kubeadm are the user's":             {args: rke, origin: OriginKubeadm, flags: webhook, log: rkeLog, reason: reason.PolicyNotOurs},
		"the user's policy and log are kept":                {args: users, origin: OriginKubeadm, flags: webhook, log: "/var/log/my.log", reason: reason.PolicyNotOurs},
		"the user's policy alone: only the webhook":         {args: users[:1], origin: OriginKops, flags: webhook, reason: reason.PolicyNotOurs},
		"the user's policy alone, log asked for":            {args: users[:1], options: ExistingOptions{Log: "replace"}, flags: append(log, webhook...), log: ourLog, reason: reason.PolicyNotOurs},
		"the user's log alone: policy and webhook":          {args: users[1:], origin: OriginKubeadm, flags: append(policy, webhook...), log: "/var/log/my.log", policy: true},
		"the user's policy replaced as asked":               {args: users, options: ExistingOptions{Policy: "replace", Log: "auto", Webhook: "refuse"}, flags: append(policy, webhook...), log: "/var/log/my.log", policy: true},
		"the user's log replaced as asked":                  {args: users, options: ExistingOptions{Log: "replace"}, flags: append(log, webhook...), log: ourLog, reason: reason.PolicyNotOurs},
		"a distribution's policy kept as asked":             {args: kubespray, origin: OriginKubespray, options: ExistingOptions{Policy: "keep", Log: "keep"}, flags: webhook, log: "/var/log/kubernetes/audit/kube-apiserver-audit.log", reason: reason.PolicyNotOurs},
		"an earlier revision is replaced":                   {args: ours, revision: "r1", origin: OriginKubeadm, options: ExistingOptions{Policy: "keep", Log: "keep"}, flags: all, log: ourLog, policy: true},
		"our directory without our annotation is a user's":  {args: ours[:1], origin: OriginKubeadm, flags: webhook, reason: reason.PolicyNotOurs},
		"somebody else's webhook is refused":                {args: []string{"--audit-webhook-config-file=/etc/falco.yaml"}, refused: reason.WebhookNotOurs},
		"somebody else's webhook is refused, with our mark": {args: append([]string{"--audit-webhook-config-file=/etc/falco.yaml"}, ours[:2]...), revision: "r1", refused: reason.WebhookNotOurs},
		"somebody else's webhook replaced as asked":         {args: []string{"--audit-webhook-config-file=/etc/falco.yaml", "--audit-webhook-mode=blocking"}, options: ExistingOptions{Webhook: "replace"}, flags: append(all, "audit-webhook-mode"), log: ourLog, policy: true},
		"an AuditSink, nothing there":                       {dynamic: true, flags: append(append(policy, log...), switchedOn), log: ourLog, policy: true},
		"an AuditSink beside somebody else's webhook":       {dynamic: true, args: []string{"--audit-webhook-config-file=/etc/falco.yaml", "--audit-webhook-mode=blocking"}, flags: append(append(policy, log...), switchedOn), log: ourLog, policy: true},
		"an AuditSink beside the user's policy and log":     {dynamic: true, args: users, flags: []string{switchedOn}, log: "/var/log/my.log", reason: reason.PolicyNotOurs},
		"an AuditSink that is on already":                   {dynamic: true, args: append([]string{"--audit-dynamic-configuration=true"}, users...), flags: []string{switchedOn}, log: "/var/log/my.log", reason: reason.PolicyNotOurs},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			desired := desired
			if tc.dynamic {
				desired = dynamic("r2").Flags
			}
			got, err := Decide(Existing(ParseArgs(tc.args), tc.revision), tc.origin, tc.options, desired)
			if tc.refused != "" {
				var refused *RefusedError
				if !errors.As(err, &refused) || refused.ConditionReason() != tc.refused {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.flags, names(got.Flags)); d != "" {
				t.Errorf("flags (-want +got):\n%s", d)
			}
			if got.Log != tc.log || got.PolicyOurs != tc.policy || got.Reason != tc.reason || got.WebhookOurs == tc.dynamic {
				t.Errorf("log %q, policy ours %v, reason %q", got.Log, got.PolicyOurs, got.Reason)
			}
			if len(got.Verdicts) < len(desired) {
				t.Errorf("%d verdicts for %d flags", len(got.Verdicts), len(desired))
			}
			for _, v := range got.Verdicts {
				if v.Reason == "" || v.Action == Add && v.Current != "" || v.Action == Replace && v.Current == v.Desired {
					t.Errorf("verdict %+v", v)
				}
			}
		})
	}
}

func TestExistingReadsTheLastOfARepeatedFlag(t *testing.T) {
	t.Parallel()
	got := Existing(ParseArgs([]string{"--audit-log-path=/a", "--v=2", "--audit_log_path", "/b", "--audit-dynamic-configuration"}), "")
	want := Audit{Log: "/b", Dynamic: true, Flags: []Flag{{Name: "audit-log-path", Value: "/b"}, {Name: "audit-dynamic-configuration", Value: "true"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
