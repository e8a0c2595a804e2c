package openshift4

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func config(t *testing.T, text string) Config {
	t.Helper()
	if text == "" {
		return nil
	}
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

const observed = `{"apiServerArguments":{"feature-gates":["ExperimentalCriticalPodAnnotation=true","RotateKubeletServerCertificate=true","SupportPodPidsLimit=true"]},"servicesSubnet":"172.30.0.0/16"}`

const gates = `"feature-gates":["ExperimentalCriticalPodAnnotation=true","RotateKubeletServerCertificate=true","SupportPodPidsLimit=true","DynamicAuditing=true"]`

const rest = `"audit-dynamic-configuration":["true"],"runtime-config":["auditregistration.k8s.io/v1alpha1=true"]`

func TestTheOperatorsOwnArgumentsAreNotLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ overrides, want string }{
		"no overrides":               {"", `{"apiServerArguments":{` + gates + `,` + rest + `}}`},
		"empty ones":                 {"{}", `{"apiServerArguments":{` + gates + `,` + rest + `}}`},
		"somebody else's, of others": {`{"x":{"y":[1]},"apiServerArguments":{"v":["4"]}}`, `{"x":{"y":[1]},"apiServerArguments":{"v":["4"],` + gates + `,` + rest + `}}`},
		"somebody else's gates replace the observed ones already": {
			`{"apiServerArguments":{"feature-gates":["A=true,B=false"]}}`, `{"apiServerArguments":{"feature-gates":["A=true","B=false","DynamicAuditing=true"],` + rest + `}}`,
		},
		"it is there already": {
			`{"apiServerArguments":{"runtime-config":["auditregistration.k8s.io/v1alpha1=true","x=true"],"audit-dynamic-configuration":["true"]}}`,
			`{"apiServerArguments":{` + gates + `,"audit-dynamic-configuration":["true"],"runtime-config":["auditregistration.k8s.io/v1alpha1=true","x=true"]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := config(t, c.overrides)
			out, record, err := Merge(config(t, observed), before, DynamicBackend(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(config(t, c.want), out); diff != "" {
				t.Errorf("overrides (-want +got):\n%s", diff)
			}
			if !Same(before, config(t, c.overrides)) {
				t.Error("what was given was changed")
			}
			again, _, err := Merge(config(t, observed), out, DynamicBackend(), record)
			if err != nil || !Same(again, out) {
				t.Errorf("a second time: %v, %v", err, cmp.Diff(out, again))
			}
			back, kept, err := Take(out, record)
			if err != nil || len(kept) > 0 || !Same(back, before) {
				t.Errorf("taken out: %v, kept %q\n%s", err, kept, cmp.Diff(before, back))
			}
		})
	}
}

func TestWhatTheOperatorObservesLaterIsTakenOver(t *testing.T) {
	t.Parallel()
	out, record, err := Merge(config(t, observed), nil, DynamicBackend(), nil)
	if err != nil {
		t.Fatal(err)
	}
	later := config(t, strings.Replace(observed, `"SupportPodPidsLimit=true"`, `"New=true"`, 1))
	out, record, err = Merge(later, out, DynamicBackend(), record)
	if err != nil {
		t.Fatal(err)
	}
	want := config(t, `{"apiServerArguments":{`+strings.Replace(gates, `"SupportPodPidsLimit=true"`, `"New=true"`, 1)+`,`+rest+`}}`)
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("overrides (-want +got):\n%s", diff)
	}
	if back, _, err := Take(out, record); err != nil || !Same(back, nil) {
		t.Errorf("taken out: %v, %v", err, back)
	}
}

func TestSomebodysLaterEditStaysWithoutOurs(t *testing.T) {
	t.Parallel()
	out, record, err := Merge(config(t, observed), nil, DynamicBackend(), nil)
	if err != nil {
		t.Fatal(err)
	}
	edited := config(t, strings.Replace(string(must(json.Marshal(out))), `"DynamicAuditing=true"`, `"DynamicAuditing=true","Mine=true"`, 1))
	back, kept, err := Take(edited, record)
	want := config(t, `{"apiServerArguments":{"feature-gates":["ExperimentalCriticalPodAnnotation=true","RotateKubeletServerCertificate=true","SupportPodPidsLimit=true","Mine=true"]}}`)
	if err != nil || len(kept) != 1 || !strings.Contains(kept[0], "feature-gates") || !Same(back, want) {
		t.Errorf("%v, kept %q\n%s", err, kept, cmp.Diff(want, back))
	}
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

func TestWhatContradictsUsIsRefused(t *testing.T) {
	t.Parallel()
	for overrides, says := range map[string]string{
		`{"apiServerArguments":{"audit-dynamic-configuration":["false"]}}`:       "--audit-dynamic-configuration is false already",
		`{"apiServerArguments":{"feature-gates":["DynamicAuditing=false"]}}`:     "--feature-gates has DynamicAuditing=false already",
		`{"apiServerArguments":{"feature-gates":"DynamicAuditing=true"}}`:        "is not a list",
		`{"apiServerArguments":{"feature-gates":[true]}}`:                        "is not a string",
		`{"apiServerArguments":["feature-gates"]}`:                               "is not a mapping",
		`{"apiServerArguments":{"runtime-config":["a=true"],"v":{"x":"y"}}}`:     "",
		`{"apiServerArguments":{"feature-gates":["DynamicAuditingOther=true"]}}`: "",
	} {
		_, _, err := Merge(config(t, observed), config(t, overrides), DynamicBackend(), nil)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", overrides, err, says)
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	at := func(revisions ...int) (nodes []NodeStatus) {
		for i, r := range revisions {
			nodes = append(nodes, NodeStatus{NodeName: string(rune('a' + i)), CurrentRevision: r})
		}
		return nodes
	}
	failed := at(7, 6, 6)
	failed[1].LastFailedRevision, failed[1].LastFailedErrors = 7, []string{"crash"}
	older := at(7, 7)
	older[0].LastFailedRevision = 6
	for name, c := range map[string]struct {
		status Status
		want   State
		says   string
	}{
		"no masters":                 {Status{LatestAvailableRevision: 7}, Waiting, "no masters"},
		"one of three":               {Status{LatestAvailableRevision: 7, NodeStatuses: at(7, 6, 6)}, Rolling, "1 of 3 masters run revision 7"},
		"all":                        {Status{LatestAvailableRevision: 7, NodeStatuses: at(7, 7, 7)}, Done, "all 3 masters"},
		"one failed":                 {Status{LatestAvailableRevision: 7, NodeStatuses: failed}, Failed, "master b did not come up with revision 7: crash"},
		"one failed, and came after": {Status{LatestAvailableRevision: 7, NodeStatuses: older}, Done, "all 2 masters"},
	} {
		if got, message := Progress(true, c.status); got != c.want || !strings.Contains(message, c.says) {
			t.Errorf("%s: %d, %q", name, got, message)
		}
	}
	if got, message := Progress(false, Status{LatestAvailableRevision: 7, NodeStatuses: at(7, 7)}); got != Waiting || !strings.Contains(message, "newest is 7") {
		t.Errorf("every master runs a revision from before the change: %d, %q", got, message)
	}
}

func TestARevisionCountsOnceItsConfigurationHoldsTheChange(t *testing.T) {
	t.Parallel()
	seen := config(t, observed)
	in, record, err := Merge(seen, nil, DynamicBackend(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const logs = `"audit-log-path":["/var/log/kube-apiserver/audit.log"],`
	before := config(t, strings.Replace(observed, `{"apiServerArguments":{`, `{"apiServerArguments":{`+logs, 1))
	after := config(t, `{"apiServerArguments":{`+logs+gates+`,`+rest+`}}`)
	lost := config(t, `{"apiServerArguments":{"feature-gates":["DynamicAuditing=true"],`+rest+`}}`)
	for name, c := range map[string]struct {
		rendered, observed, overrides Config
		want                          bool
	}{
		"put in, in a revision from before":         {before, seen, in, false},
		"put in":                                    {after, seen, in, true},
		"put in, and the operator's own are lost":   {lost, seen, in, false},
		"taken out, in a revision from before":      {after, seen, nil, false},
		"taken out, but ours are there still":       {config(t, strings.Replace(observed, `{"apiServerArguments":{`, `{"apiServerArguments":{`+rest+`,`, 1)), seen, nil, false},
		"taken out":                                 {before, seen, nil, true},
		"taken out, and the operator observes none": {after, nil, nil, false},
	} {
		if got, err := Rendered(c.rendered, c.observed, c.overrides, record); err != nil || got != c.want {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	if _, err := Rendered(config(t, `{"apiServerArguments":["x"]}`), seen, in, record); err == nil {
		t.Error("a configuration that cannot be read counts")
	}
}
