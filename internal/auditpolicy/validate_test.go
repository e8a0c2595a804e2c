package auditpolicy_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/audit/policy"

	"k8s-audit-enabler.io/internal/auditpolicy"
)

// numbered joins lines, so that a test can count them.
func numbered(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

const (
	apiV1      = "apiVersion: audit.k8s.io/v1"
	apiV1beta1 = "apiVersion: audit.k8s.io/v1beta1"
	kind       = "kind: Policy"
)

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy string
		minor  uint
		field  string
		line   int
		detail string
	}{
		"an empty text":                {"", 30, "", 1, "empty"},
		"a comment alone":              {"# nothing\n", 30, "", 1, "empty"},
		"a list":                       {"- a\n", 30, "", 1, "mapping"},
		"text that is not YAML":        {numbered(apiV1, kind, "rules:", "- level: [", "x"), 30, "", 4, "',' or ']'"},
		"a tab as indentation":         {numbered(apiV1, kind, "rules:", "\t- level: Metadata"), 30, "", 4, "cannot start any token"},
		"no apiVersion":                {numbered(kind, "rules:", "- level: Metadata"), 30, "apiVersion", 1, "write audit.k8s.io/v1"},
		"apiVersion in the wrong case": {numbered("apiversion: audit.k8s.io/v1", kind, "rules:", "- level: Metadata"), 30, "apiversion", 1, "written apiVersion"},
		"another API's version":        {numbered("apiVersion: v1", kind, "rules:", "- level: Metadata"), 30, "apiVersion", 1, "write audit.k8s.io/v1"},
		"another kind":                 {numbered(apiV1, "kind: PolicyList", "rules: []"), 30, "kind", 2, "not Policy"},
		"no rules":                     {numbered(apiV1, kind), 30, "rules", 1, "no rules"},
		"an empty list of rules":       {numbered(apiV1, kind, "# all of them:", "rules: []"), 30, "rules", 4, "no rules"},
		"a second document":            {numbered(apiV1, kind, "rules:", "- level: Metadata", "---", apiV1), 30, "", 5, "second document"},

		"v1beta1 from 1.24":                      {numbered("# mine", apiV1beta1, kind, "rules:", "- level: Metadata"), 24, "apiVersion", 2, "not read by kube-apiserver 1.24; write audit.k8s.io/v1"},
		"v1alpha1 from 1.24":                     {numbered("apiVersion: audit.k8s.io/v1alpha1", kind, "rules:", "- level: Metadata"), 24, "apiVersion", 1, "not read"},
		"v1 by 1.11":                             {numbered(apiV1, kind, "rules:", "- level: Metadata"), 11, "apiVersion", 1, "write audit.k8s.io/v1beta1"},
		"omitManagedFields before 1.23":          {numbered(apiV1, kind, "omitManagedFields: true", "rules:", "- level: Metadata"), 22, "omitManagedFields", 3, "known from kube-apiserver 1.23"},
		"a rule's omitManagedFields before 1.23": {numbered(apiV1, kind, "rules:", "- level: None", "  verbs: [get]", "- level: Metadata", "  omitManagedFields: false"), 17, "rules[1].omitManagedFields", 7, "ignored by 1.17"},
		"a star for every group before 1.36":     {numbered(apiV1, kind, "rules:", "- level: Metadata", "  resources:", "  - group: apps", `  - group: "*"`), 35, "rules[0].resources[1].group", 7, "1.35 does not start with it"},

		"a misspelt field of a rule": {numbered(apiV1, kind, "rules:", "- level: None", "  verb: [get]", "- level: Metadata"), 30, "rules[0].verb", 5, `no field "verb" here; is verbs meant?`},
		"a misspelt resource list":   {numbered(apiV1, kind, "rules:", "- level: None", "  resources:", "  - group: apps", "    resource: [deployments]"), 30, "rules[0].resources[0].resource", 7, "is resources meant?"},
		"a field in the wrong case":  {numbered(apiV1, kind, "rules:", "- level: Metadata", "  usergroups: [a]"), 30, "rules[0].usergroups", 5, "is userGroups meant?"},
		"a field that means nothing": {numbered(apiV1, kind, "backend: webhook", "rules:", "- level: Metadata"), 30, "backend", 3, `no field "backend" here`},
		"two unknown fields":         {numbered(apiV1, kind, "rules:", "- level: Metadata", "  a: 1", "  b: 2"), 30, "rules[0].a", 5, "and 1 more"},
		"a repeated field":           {numbered(apiV1, kind, "rules:", "- level: None", "  verbs: [get]", "  verbs: [list]"), 30, "rules[0].verbs", 6, "second time"},
		"a repeated list of rules":   {numbered(apiV1, kind, "rules:", "- level: None", "rules:", "- level: Metadata"), 30, "rules", 5, "second time"},

		"a level that does not exist":     {numbered(apiV1, kind, "rules:", "- verbs: [get]", "  level: metadata"), 30, "rules[0].level", 5, "supported values"},
		"a rule without a level":          {numbered(apiV1, kind, "rules:", "- level: None", "- verbs: [get]"), 30, "rules[1].level", 5, "Required"},
		"an empty rule":                   {numbered(apiV1, kind, "rules:", "- level: None", "-"), 30, "rules[1].level", 5, "Required"},
		"a stage that does not exist":     {numbered(apiV1, kind, "omitStages:", "- RequestReceived", "- Done", "rules:", "- level: None"), 30, "omitStages[1]", 5, "allowed stages"},
		"a rule's stage that does not":    {numbered(apiV1, kind, "rules:", "- level: None", "  omitStages: [Done]"), 30, "rules[0].omitStages[0]", 5, "allowed stages"},
		"a path without a slash":          {numbered(apiV1, kind, "rules:", "- level: None", "  nonResourceURLs:", "  - /a", "  - b"), 30, "rules[0].nonResourceURLs[1]", 7, "must begin with"},
		"a star within a path":            {numbered(apiV1, kind, "rules:", "- level: None", "  nonResourceURLs: [/a/*/b]"), 30, "rules[0].nonResourceURLs[0]", 5, "final character"},
		"paths and resources in one rule": {numbered(apiV1, kind, "rules:", "- level: None", "  namespaces: [a]", "  nonResourceURLs: [/a]"), 30, "rules[0].nonResourceURLs", 6, "both"},
		"names without a resource":        {numbered(apiV1, kind, "rules:", "- level: None", "  resources:", "  - resources: [pods]", "    resourceNames: [a]", "  - group: apps", "    resourceNames: [b]"), 30, "rules[0].resources.resourceNames", 9, "at least one resource"},
		"a group with its version":        {numbered(apiV1, kind, "rules:", "- level: None", "  resources:", "  - group: apps", "  - group: rbac/v1"), 30, "rules[0].resources.group", 7, "rbac/v1"},
		"several errors":                  {numbered(apiV1, kind, "rules:", "- level: a", "- level: b", "- level: c"), 30, "rules[0].level", 4, "and 2 more"},

		"a number where a level stands":      {numbered(apiV1, kind, "rules:", "- level: None", "- level: 3"), 30, "rules[1].level", 5, "must be a string"},
		"a number after an alias":            {numbered(apiV1, kind, "rules:", "- level: None", "  verbs: &v [get]", "- verbs: *v", "  level: 3"), 30, "rules[1].level", 7, "must be a string"},
		"one value where a list stands":      {numbered(apiV1, kind, "rules:", "- level: None", "  verbs: get"), 30, "rules[0].verbs", 5, `must be a list, not "get"`},
		"a mapping where the rules stand":    {numbered(apiV1, kind, "rules:", "  level: None"), 30, "rules", 4, "must be a list, not a mapping"},
		"a word where a rule stands":         {numbered(apiV1, kind, "rules:", "- None"), 30, "rules[0]", 4, "must be a mapping"},
		"a list where a group stands":        {numbered(apiV1, kind, "rules:", "- level: None", "  resources:", "  - group: [apps]"), 30, "rules[0].resources[0].group", 6, "must be one value, not a list"},
		"a word where true or false stands":  {numbered(apiV1, kind, "omitManagedFields: perhaps", "rules:", "- level: None"), 30, "omitManagedFields", 3, "must be true or false"},
		"a user that YAML reads as a number": {numbered(apiV1, kind, "rules:", "- level: None", "  users: [alice, 1000]"), 30, "rules[0].users[1]", 5, "put it in quotes"},
		"a text too large to travel":         {numbered(apiV1, kind, "rules:", "- level: None") + strings.Repeat("# padding\n", 60000), 30, "", 1, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := auditpolicy.Validate([]byte(test.policy), version.MajorMinor(1, test.minor))
			var invalid *auditpolicy.InvalidError
			if !errors.As(err, &invalid) {
				t.Fatalf("error %v, want an *InvalidError", err)
			}
			if invalid.Field != test.field || invalid.Line != test.line || !strings.Contains(invalid.Detail, test.detail) {
				t.Errorf("got  %q line %d: %s\nwant %q line %d: …%s…", invalid.Field, invalid.Line, invalid.Detail, test.field, test.line, test.detail)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy   string
		minor    uint
		warnings []string
	}{
		"the smallest policy":               {policy: numbered(apiV1, kind, "rules:", "- level: Metadata"), minor: 30},
		"v1beta1 up to 1.23":                {policy: numbered(apiV1beta1, kind, "rules:", "- level: Metadata"), minor: 23},
		"v1beta1 by 1.11":                   {policy: numbered(apiV1beta1, kind, "rules:", "- level: Metadata"), minor: 11},
		"v1 from 1.12":                      {policy: numbered(apiV1, kind, "rules:", "- level: Metadata"), minor: 12},
		"omitManagedFields from 1.23":       {policy: numbered(apiV1, kind, "omitManagedFields: true", "rules:", "- level: Metadata", "  omitManagedFields: false"), minor: 23},
		"omitManagedFields: false anywhere": {policy: numbered(apiV1, kind, "omitManagedFields: false", "rules:", "- level: Metadata"), minor: 17},
		"a star for every group from 1.36":  {policy: numbered(apiV1, kind, "rules:", "- level: Metadata", "  resources:", `  - group: "*"`), minor: 36},
		"no kind, as the apiserver does":    {policy: numbered(apiV1, "rules:", "- level: Metadata"), minor: 30},
		"JSON":                              {policy: "{\n\t\"apiVersion\": \"audit.k8s.io/v1\",\n\t\"kind\": \"Policy\",\n\t\"rules\": [\n\t\t{\"level\": \"Metadata\"}\n\t]\n}\n", minor: 30},
		"a document mark and Windows lines": {policy: "---\r\napiVersion: 'audit.k8s.io/v1beta1'\r\nkind: Policy\r\nrules:\r\n- level: Metadata\r\n", minor: 20},
		"anchors and aliases":               {policy: numbered(apiV1, kind, "rules:", "- level: None", "  verbs: &v [get]", "- level: Metadata", "  verbs: *v"), minor: 30},
		"a name of its own":                 {policy: numbered(apiV1, kind, "metadata:", "  name: mine", "rules:", "- level: Metadata"), minor: 30},
		"a rule that is never reached, with a warning": {
			policy: numbered(apiV1, kind, "rules:", "- level: Metadata", "- level: None", "  verbs: [get]"), minor: 30,
			warnings: []string{"rules[1] is never reached: rules[0] before it matches every request"},
		},
		"deployments in the core group, with a warning": {
			policy: numbered(apiV1, kind, "rules:", "- level: Metadata", "  resources:", `  - group: ""`, "    resources: [pods, deployments]"), minor: 30,
			warnings: []string{"rules[0].resources[0] never matches deployments, which are not in the core group; write group: apps"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report, err := auditpolicy.Validate([]byte(test.policy), version.MajorMinor(1, test.minor))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.warnings, report.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsReadAsSentences(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*auditpolicy.InvalidError{
		"line 7: rules[1].level: Required value": {Field: "rules[1].level", Line: 7, Detail: "Required value"},
		"line 1: the policy is empty":            {Line: 1, Detail: "the policy is empty"},
	} {
		if err.Error() != want {
			t.Errorf("%q, want %q", err.Error(), want)
		}
	}
}

func TestNormaliseChangesTheVersionAlone(t *testing.T) {
	t.Parallel()
	const rest = "kind: Policy # yes\nrules:\n- {level: Metadata}\n"
	for name, test := range map[string]struct {
		policy, want string
		minor        uint
	}{
		"to v1 from 1.24":            {"# mine\napiVersion: audit.k8s.io/v1beta1   # old\n" + rest, "# mine\napiVersion: audit.k8s.io/v1   # old\n" + rest, 24},
		"v1alpha1 too":               {"apiVersion: audit.k8s.io/v1alpha1\n" + rest, "apiVersion: audit.k8s.io/v1\n" + rest, 37},
		"to v1beta1 for 1.11":        {"apiVersion: audit.k8s.io/v1\n" + rest, "apiVersion: audit.k8s.io/v1beta1\n" + rest, 11},
		"in single quotes":           {"apiVersion: 'audit.k8s.io/v1beta1'\n" + rest, "apiVersion: 'audit.k8s.io/v1'\n" + rest, 30},
		"in double quotes":           {"apiVersion: \"audit.k8s.io/v1beta1\"\n" + rest, "apiVersion: \"audit.k8s.io/v1\"\n" + rest, 30},
		"with Windows lines":         {"apiVersion: audit.k8s.io/v1beta1\r\nkind: Policy\r\nrules: [{level: None}]\r\n", "apiVersion: audit.k8s.io/v1\r\nkind: Policy\r\nrules: [{level: None}]\r\n", 30},
		"in JSON":                    {"{\t\"apiVersion\":\"audit.k8s.io/v1beta1\",\"kind\":\"Policy\",\"rules\":[{\"level\":\"None\"}]}", "{\t\"apiVersion\":\"audit.k8s.io/v1\",\"kind\":\"Policy\",\"rules\":[{\"level\":\"None\"}]}", 30},
		"not where it need not":      {"apiVersion: audit.k8s.io/v1beta1\n" + rest, "apiVersion: audit.k8s.io/v1beta1\n" + rest, 23},
		"not where it is right":      {"apiVersion: audit.k8s.io/v1\n" + rest, "apiVersion: audit.k8s.io/v1\n" + rest, 30},
		"at the end of the text":     {rest + "apiVersion: audit.k8s.io/v1beta1", rest + "apiVersion: audit.k8s.io/v1", 30},
		"the value, not a comment's": {"# apiVersion: audit.k8s.io/v1beta1\napiVersion: audit.k8s.io/v1beta1\n" + rest, "# apiVersion: audit.k8s.io/v1beta1\napiVersion: audit.k8s.io/v1\n" + rest, 30},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := version.MajorMinor(1, test.minor)
			got, report, err := auditpolicy.Prepare([]byte(test.policy), v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(report.Policy.Rules) != 1 {
				t.Errorf("rules: %v", report.Policy.Rules)
			}
		})
	}
}

func TestNormaliseRefusesWhatItCannotChangeSafely(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a block scalar":                        "apiVersion: >-\n  audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]\n",
		"an anchor":                             "apiVersion: &a audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]\n",
		"an alias":                              "metadata: {name: &a audit.k8s.io/v1beta1}\napiVersion: *a\nkind: Policy\nrules: [{level: None}]\n",
		"an escaped letter":                     "apiVersion: \"audit.k8s.i\\u006f/v1beta1\"\nkind: Policy\nrules: [{level: None}]\n",
		"characters of several bytes before it": "{metadata: {name: \"ä\"}, apiVersion: audit.k8s.io/v1beta1, kind: Policy, rules: [{level: None}]}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := auditpolicy.Normalise([]byte(text), version.MajorMinor(1, 30))
			var invalid *auditpolicy.InvalidError
			if !errors.As(err, &invalid) || invalid.Field != "apiVersion" {
				t.Errorf("error %v, want one about apiVersion", err)
			}
		})
	}
}

func TestALittleTextThatExpandsWithoutEndIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(apiV1 + "\n" + kind + "\nmetadata:\n  a0: &a0 [x]\n")
	for i := range 30 {
		fmt.Fprintf(&text, "  a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 20), i)
	}
	text.WriteString("rules: *a30\n")
	started := time.Now()
	if _, err := auditpolicy.Validate([]byte(text.String()), version.MajorMinor(1, 37)); err == nil {
		t.Error("accepted")
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

// sameVerdict compares with what an apiserver of today does: what it refuses we refuse, and what we refuse beyond that is
// something it would silently ignore.
func sameVerdict(t *testing.T, text []byte) {
	t.Helper()
	_, theirs := policy.LoadPolicyFromBytes(text)
	report, ours := auditpolicy.Validate(text, version.MajorMinor(1, 37))
	var invalid *auditpolicy.InvalidError
	if ours != nil && (!errors.As(ours, &invalid) || invalid.Line < 1 || invalid.Detail == "") {
		t.Fatalf("error without a place: %#v", ours)
	}
	if ours == nil && theirs != nil {
		t.Fatalf("we accept what an apiserver refuses: %v\n%s", theirs, text)
	}
	if ours != nil && theirs == nil && !invalid.Ignored {
		t.Fatalf("we refuse what an apiserver reads: %v\n%s", ours, text)
	}
	if ours == nil {
		loaded, _ := policy.LoadPolicyFromBytes(text)
		if diff := cmp.Diff(loaded, report.Policy); diff != "" {
			t.Fatalf("we read another policy (-apiserver +we):\n%s", diff)
		}
	}
}

// corpus are policies of all kinds, right and wrong.
func corpus(t testing.TB) [][]byte {
	t.Helper()
	var texts [][]byte
	for _, pattern := range []string{"../../manifests/policy/*.yaml", "../../manifests/policy/testdata/*.yaml", "testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, text)
		}
	}
	for _, rules := range []string{
		"rules: [{level: Metadata}]", "rules: []", "rules: null", "rules: {}", "rules: [null]", "rules: [[]]", "rules: [{}]", "",
		"rules: [{level: Metadata, verb: [get]}]", "rules: [{level: Metadata, verbs: get}]", "rules: [{level: 1}]",
		"rules: [{level: None, users: [1]}]", "rules: [{level: None, omitStages: [X]}]", "rules: [{level: None, level: None}]",
		"rules: [{level: None, resources: [{group: '*'}]}]", "rules: [{level: None, resources: [{group: A}]}]",
		"rules: [{level: None, resources: [{resourceNames: [a]}]}]", "rules: [{level: None, nonResourceURLs: ['']}]",
		"rules: [{level: None, nonResourceURLs: ['*']}]", "rules: [{level: None, nonResourceURLs: ['/a*b']}]",
		"rules: &r [{level: None}]\nomitStages: *r", "rules: [{level: None}]\n---\nx: 1", "rules: [{level: None}]\n...\n",
		"rules: [{level: None}]\nmetadata: 3", "rules: [{level: None}]\nmetadata: {labels: {a: 1}}", "rules: [{level: None}]\nmetadata: {creationTimestamp: x}",
		"rules: [{level: None}]\nomitManagedFields: 'true'", "rules: [{level: None}]\nomitManagedFields: yes", "RULES: [{level: None}]",
		"<<: {rules: [{level: None}]}", "? rules\n: - level: None", "rules: !!seq [{level: None}]", "rules: [{level: !!str None}]",
	} {
		for _, head := range []string{apiV1 + "\n" + kind, apiV1beta1 + "\n" + kind, "apiVersion: v1\n" + kind, apiV1 + "\nkind: Event", apiV1, kind, "{", "\ufeff" + apiV1 + "\n" + kind} {
			texts = append(texts, []byte(head+"\n"+rules+"\n"))
		}
	}
	return texts
}

func TestVerdictsAreTheAPIServers(t *testing.T) {
	t.Parallel()
	for _, text := range corpus(t) {
		sameVerdict(t, text)
	}
}

func FuzzValidate(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text)
	}
	f.Fuzz(sameVerdict)
}

func FuzzNormalise(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text, uint8(11))
		f.Add(text, uint8(30))
	}
	f.Fuzz(func(t *testing.T, text []byte, minor uint8) {
		v := version.MajorMinor(1, uint(minor))
		out, err := auditpolicy.Normalise(text, v)
		if err != nil {
			return
		}
		if again, err := auditpolicy.Normalise(out, v); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("a second time gives %q, %v after %q", again, err, out)
		}
		if bytes.Count(out, []byte("\n")) != bytes.Count(text, []byte("\n")) {
			t.Fatalf("line numbers moved: %q became %q", text, out)
		}
		if want, err := auditpolicy.APIVersion(v); err == nil && !bytes.Equal(out, text) && !bytes.Contains(out, []byte(want)) {
			t.Fatalf("changed without reason: %q became %q", text, out)
		}
	})
}
