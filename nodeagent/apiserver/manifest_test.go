package apiserver

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"k8s-audit-enabler.io/internal/reason"
)

// pod is a manifest whose container has the given lines below its name.
func pod(container string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  - name: kube-apiserver\n" + container
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	second := "  - name: other\n    command: [/usr/local/bin/kube-apiserver]\n"
	for name, tc := range map[string]struct {
		in     string
		reason NotUnderstoodReason
		line   int
		column int
		detail string
	}{
		"an empty file":                      {"", NotParsed, 1, 1, "empty"},
		"broken YAML":                        {"a: b\nc: [d\ne: f\n", NotParsed, 2, 0, "expected ',' or ']'"},
		"a list item out of line":            {"a:\n- b\n - c\n  d\n- e: f\n g: h\n", NotParsed, 6, 0, "did not find expected key"},
		"a tab as indentation":               {"a:\n\tb: c\n", NotParsed, 2, 0, "cannot start any token"},
		"a key twice":                        {"a: 1\nb: 2\na: 3\n", NotParsed, 3, 0, "already defined"},
		"two documents":                      {pod("    command: [kube-apiserver]\n") + "---\na: b\n", NotParsed, 9, 1, "second document"},
		"an empty second document":           {pod("    command: [kube-apiserver]\n") + "---\n", NotParsed, 9, 1, "second document"},
		"a byte order mark":                  {"\ufeffa: b\n", NotParsed, 1, 1, "byte order mark"},
		"a lone carriage return":             {"a: b\rc: d\n", NotParsed, 1, 5, "carriage return"},
		"a line separator":                   {"a: b\nc: \"x\u2028y\"\n", NotParsed, 2, 6, "U+2028"},
		"bytes that are not UTF-8":           {"a: b\nc: \xff\n", NotParsed, 2, 4, "not UTF-8"},
		"a file that is too large":           {strings.Repeat("#", maxManifest+1), NotParsed, 0, 0, "more than"},
		"a list":                             {"- a\n", NotAPod, 1, 1, "not a mapping"},
		"no metadata":                        {"kind: Pod\nspec: {}\n", NotAPod, 1, 1, "no metadata"},
		"no containers":                      {"metadata: {}\nspec:\n  a: b\n", NotAPod, 3, 3, "no list of containers"},
		"another pod":                        {"metadata: {}\nspec:\n  containers:\n  - name: etcd\n    command: [etcd]\n", NoContainer, 4, 3, "none of 1"},
		"no container at all":                {"metadata: {}\nspec:\n  containers: []\n", NoContainer, 3, 15, "none of 0"},
		"a script that only names it":        {"metadata: {}\nspec:\n  containers:\n  - command: [/bin/sh, -c, pgrep kube-apiserver]\n", NoContainer, 4, 3, ""},
		"a program with a similar name":      {"metadata: {}\nspec:\n  containers:\n  - command: [/kube-apiserver-healthcheck]\n", NoContainer, 4, 3, ""},
		"two apiservers":                     {pod("    command: [kube-apiserver]\n") + second, TwoContainers, 9, 5, "line 7"},
		"a script that starts two":           {pod("    command:\n    - sh\n    - -c\n    - kube-apiserver --a=b & kube-apiserver --c=d\n"), TwoContainers, 11, 7, "twice"},
		"an image without a command":         {pod("    image: x/kube-apiserver:v1.30.0\n"), UnknownForm, 7, 5, "no command"},
		"an image with flags only":           {pod("    args: [--a=b]\n"), UnknownForm, 7, 5, "no command"},
		"a command that is a string":         {pod("    command: kube-apiserver --a=b\n"), UnknownForm, 8, 14, "not a list"},
		"a command of mappings":              {pod("    command:\n    - {a: b}\n"), UnknownForm, 9, 7, "item 0 of command"},
		"another program in front":           {pod("    command: [/opt/start, kube-apiserver]\n"), UnknownForm, 7, 5, ""},
		"words after one string":             {pod("    command:\n    - kube-apiserver --a=b\n    - --c=d\n"), UnknownForm, 10, 7, "more words"},
		"the end of flags":                   {pod("    command: [kube-apiserver, --a=b, --, c]\n"), UnknownForm, 7, 5, "word --"},
		"a script with a substitution":       {pod("    command:\n    - sh\n    - -c\n    - kube-apiserver --a=$(cat /b)\n"), UnknownForm, 11, 7, "command substitution"},
		"a script with an open quote":        {pod("    command:\n    - sh\n    - -c\n    - kube-apiserver --a='b\n"), UnknownForm, 11, 7, "not closed"},
		"a script with a here-document":      {pod("    command:\n    - sh\n    - -c\n    - kube-apiserver --a=b << EOF\n"), UnknownForm, 11, 7, "here-document"},
		"a script with a word after its log": {pod("    command:\n    - sh\n    - -c\n    - kube-apiserver --a=b > /log --c=d\n"), UnknownForm, 11, 7, "after a redirection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseManifest([]byte(tc.in))
			var got *NotUnderstoodError
			if !errors.As(err, &got) {
				t.Fatalf("got %v", err)
			}
			if got.Reason != tc.reason || got.Line != tc.line || got.Column != tc.column || !strings.Contains(got.Detail, tc.detail) {
				t.Errorf("got %q at %d:%d, %q", got.Reason, got.Line, got.Column, got.Detail)
			}
			if got.ConditionReason() != reason.ManifestNotUnderstood {
				t.Errorf("condition reason %q", got.ConditionReason())
			}
			if out, _, err := Edit([]byte(tc.in), enabled("r1")); err == nil || out != nil {
				t.Errorf("edit gave %q, %v", out, err)
			}
		})
	}
}

func TestManifestDescribesTheApiserver(t *testing.T) {
	t.Parallel()
	type facts struct {
		Form              Form
		Port              int
		Bind, Advertise   string
		Image, Version    string
		Pod, NS, Revision string
	}
	for name, tc := range map[string]struct {
		in   string
		want facts
	}{
		"flags in several spellings": {
			"apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: kube-system\n  annotations: {k8s-audit-enabler.io/revision: r7}\nspec:\n  containers:\n" +
				"  - image: r.example:5000/kube-apiserver:v1.34.4@sha256:00\n    command: [kube-apiserver, --secure_port, \"1\", --secure-port=8443, -v=2, --bind-address=::1, --advertise-address=10.0.0.1]\n",
			facts{FormList, 8443, "::1", "10.0.0.1", "r.example:5000/kube-apiserver:v1.34.4@sha256:00", "v1.34.4", "a", "kube-system", "r7"},
		},
		"defaults, and a tag that is no version": {
			pod("    image: kube-apiserver:latest\n    command: [/go-runner]\n    args: [--log-file=/x, /usr/local/bin/kube-apiserver]\n"),
			facts{FormWrapped, 6443, "0.0.0.0", "", "kube-apiserver:latest", "", "kube-apiserver", "", ""},
		},
		"a port that is none, and a vendor's tag": {
			pod("    image: x/hyperkube:1.11.3-rancher1\n    command: [/hyperkube, apiserver, --secure-port=zero]\n"),
			facts{FormWrapped, 6443, "0.0.0.0", "", "x/hyperkube:1.11.3-rancher1", "v1.11.3", "kube-apiserver", "", ""},
		},
		"a script": {
			pod("    command: [/bin/sh, -c, 'A=b exec /usr/local/bin/kube-apiserver --secure-port=443 2>&1']\n"),
			facts{FormShell, 443, "0.0.0.0", "", "", "", "kube-apiserver", "", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := ParseManifest([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			version, _ := m.Version()
			a := m.Args()
			got := facts{m.Form(), a.SecurePort(), a.BindAddress(), a.AdvertiseAddress(), m.Image(), version, m.PodName(), m.Namespace(), m.Revision()}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseArgs(t *testing.T) {
	t.Parallel()
	args := ParseArgs([]string{"stray", "--a=b", "--c", "d", "--e", "--f_g=h=i", "--j", "-k", "2", "--=x", "---l", "-", "--a=z", "--", "--m=n"})
	var got []string
	for _, arg := range args {
		got = append(got, arg.Name+"|"+arg.Value)
	}
	want := []string{"a|b", "c|d", "e|", "f-g|h=i", "j|", "k|2", "a|z"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if v, ok := args.Lookup("a"); v != "z" || !ok {
		t.Errorf("the last of a repeated flag: %q", v)
	}
	if v, _ := args.Lookup("e"); v != "true" {
		t.Errorf("a flag without a value: %q", v)
	}
	if _, ok := args.Lookup("m"); ok {
		t.Error("a word after -- is a flag")
	}
	if d := cmp.Diff([]string{"b", "z"}, args.All("a")); d != "" {
		t.Error(d)
	}
}
