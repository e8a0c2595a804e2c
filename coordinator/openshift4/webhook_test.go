package openshift4

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

func TestWhoMustHaveTheFileBeforeTheOperatorIsToldOfIt(t *testing.T) {
	t.Parallel()
	before, file := wire.WebhookFile("r0123456789ab"), wire.WebhookFile("rba9876543210")
	flags := []wire.Flag{{Name: "audit-webhook-batch-max-wait", Value: "5s"}}
	note := func(takenOut bool) *Note {
		_, record, err := Merge(nil, nil, Webhook(before, flags), nil)
		if err != nil {
			t.Fatal(err)
		}
		return &Note{Owner: "a/b", Arguments: record, TakenOut: takenOut}
	}
	_, sinks, err := Merge(nil, nil, DynamicBackend(), nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []Master{{"m0", file}, {"m1", file}, {"m2", file}}
	for name, tt := range map[string]struct {
		masters []Master
		known   []string
		note    *Note
		// told is the file, empty for none; says is in what is waited for.
		told, says string
	}{
		"all of them": {all, []string{"m0", "m1", "m2"}, nil, file, ""},
		"of which the operator tells nothing yet": {all, nil, nil, file, ""},
		"nobody":                                    {nil, nil, nil, "", "no master is known"},
		"one is without":                            {[]Master{{"m0", file}, {"m1", ""}}, nil, nil, "", "on 1 of 2 masters, and missing on m1"},
		"one has another":                           {[]Master{{"m0", file}, {"m1", before}}, nil, nil, "", "the same file"},
		"one says what is no file of ours":          {[]Master{{"m0", file}, {"m1", "/etc/passwd"}}, nil, nil, "", "missing on m1"},
		"one of which only the operator knows":      {all, []string{"m0", "m3"}, nil, "", "on 3 of 4 masters, and missing on m3"},
		"another file, and one is without":          {[]Master{{"m0", file}, {"m1", ""}}, nil, note(false), before, "missing on m1"},
		"another file, which all have":              {all, nil, note(false), file, ""},
		"taken out meanwhile, and one is without":   {[]Master{{"m0", file}, {"m1", ""}}, nil, note(true), "", "missing on m1"},
		"AuditSinks before, and one is without":     {[]Master{{"m0", file}, {"m1", ""}}, nil, &Note{Owner: "a/b", Arguments: sinks}, "", "missing on m1"},
		"a master joins those that are told of one": {append(all, Master{"m3", ""}), []string{"m0", "m1", "m2", "m3"}, note(false), before, "missing on m3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Operator{Note: tt.note}
			for _, n := range tt.known {
				o.Status.NodeStatuses = append(o.Status.NodeStatuses, NodeStatus{NodeName: n})
			}
			arguments, waitsFor := Handed(tt.masters, flags, o)
			told := map[string]string{}
			for _, a := range arguments {
				told[a.Name] = strings.Join(a.Values, " ")
			}
			want := map[string]string{}
			if tt.told != "" {
				want = map[string]string{auditflag.WebhookConfigFile: tt.told, auditflag.WebhookMode: "batch", "audit-webhook-batch-max-wait": "5s"}
			}
			if diff := cmp.Diff(want, told); diff != "" || (waitsFor == "") != (tt.says == "") || !strings.Contains(waitsFor, tt.says) {
				t.Errorf("waits for %q, want %q; told (-want +got):\n%s", waitsFor, tt.says, diff)
			}
		})
	}
}

func TestTheArgumentsOfTheWebhookAreTakenOutAlone(t *testing.T) {
	t.Parallel()
	for overrides, says := range map[string]string{
		``: "",
		`{"apiServerArguments":{"v":["4"],"audit-log-maxage":["9"]},"x":1}`:            "",
		`{"apiServerArguments":{"audit-webhook-mode":["batch"]}}`:                      "",
		`{"apiServerArguments":{"audit-webhook-mode":["blocking"]}}`:                   "--audit-webhook-mode is blocking already",
		`{"apiServerArguments":{"audit-webhook-config-file":["/etc/theirs.yaml"]}}`:    "--audit-webhook-config-file is /etc/theirs.yaml already",
		`{"apiServerArguments":{"audit-webhook-batch-max-wait":["5s"],"a":["b","c"]}}`: "",
	} {
		before := config(t, overrides)
		out, record, err := Merge(config(t, observed), before, Webhook(wire.WebhookFile("r0123456789ab"), nil), nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", overrides, err, says)
		}
		if err != nil {
			continue
		}
		if back, kept, err := Take(out, record); err != nil || len(kept) > 0 || !Same(back, before) {
			t.Errorf("%s: taken out %v, kept %q, %v", overrides, back, kept, err)
		}
	}
}
