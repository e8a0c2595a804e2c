package apiserver

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// golden is the input of a golden.
func golden(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/edit/" + name + ".txtar")
	if err != nil {
		t.Fatal(err)
	}
	return string(section(t, txtar.Parse(text), "in"))
}

// TestRevertKeepsWhatOthersEdited edits, lets somebody else make the same change to the edited and to the original
// content, reverts, and expects the original with only their change.
func TestRevertKeepsWhatOthersEdited(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		golden   string
		old, new string
	}{
		"a flag before ours":                   {"kubeadm-1.34", "    - --allow-privileged=true\n", "    - --allow-privileged=true\n    - --v=4\n"},
		"another image":                        {"kubeadm-1.34", "v1.34.4", "v1.34.5"},
		"a comment on top":                     {"kubeadm-1.34", "apiVersion: v1\n", "# by hand\napiVersion: v1\n"},
		"another indentation is not an option": {"kubeadm-1.34", "status: {}\n", ""},
		"a flag in a script":                   {"kops-shell", "--anonymous-auth=false", "--anonymous-auth=true --x=y"},
		"a flag in one string":                 {"minikube-old", "--anonymous-auth=false", "--anonymous-auth=true --x=y"},
		"a flag beside replaced ones":          {"kubespray-audit", "    - --audit-log-maxage=30\n", "    - --audit-log-maxage=31\n"},
		"a key in JSON":                        {"json-pretty", "\"hostNetwork\": true,", "\"hostNetwork\": true, \"priority\": 5,"},
		"a comment between":                    {"comments", "# verbosity", "# very verbose"},
		"line ends and all":                    {"crlf", "v1.11.3", "v1.11.4"},
		"a flag in a flow list":                {"flow", "'--v=2'", "'--v=3', --w"},
		"something before a missing line end":  {"no-final-newline", "v1.31.0", "v1.31.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := golden(t, tc.golden)
			out, change := mustEdit(t, []byte(in), enabled("r1"))
			theirs := strings.Replace(string(out), tc.old, tc.new, 1)
			want := strings.Replace(in, tc.old, tc.new, 1)
			if theirs == string(out) || want == in {
				t.Fatal("nothing was changed")
			}
			got, kept, err := Revert([]byte(theirs), change)
			if err != nil || len(kept) > 0 {
				t.Fatalf("revert: %v %q", err, kept)
			}
			if string(got) != want {
				t.Errorf("unexpected (-want +got):\n%s", Diff([]byte(want), got))
			}
		})
	}
}

func TestRevertLeavesWhatIsNotOursAnyMore(t *testing.T) {
	t.Parallel()
	in := golden(t, "no-final-newline")
	out, change := mustEdit(t, []byte(in), enabled("r1"))

	t.Run("entries of others in blocks that the edit made", func(t *testing.T) {
		t.Parallel()
		theirs := strings.Replace(string(out), "  annotations:\n", "  annotations:\n    a/b: \"c\"\n", 1)
		theirs = strings.Replace(theirs, "  volumes:\n", "  volumes:\n  - name: x\n    emptyDir: {}\n", 1)
		got, kept, err := Revert([]byte(theirs), change)
		if err != nil || len(kept) > 0 {
			t.Fatalf("revert: %v %q", err, kept)
		}
		want := strings.Replace(in, "  namespace: kube-system\n", "  namespace: kube-system\n  annotations:\n    a/b: \"c\"\n", 1) +
			"\n  volumes:\n  - name: x\n    emptyDir: {}"
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Error(d)
		}
	})
	t.Run("a value of others, with the mount that it needs", func(t *testing.T) {
		t.Parallel()
		theirs := strings.Replace(string(out), "/var/lib/k8s_audit/r1/webhook-config.yaml", "/var/lib/k8s_audit/r1/mine.yaml", 1)
		theirs = strings.Replace(theirs, "revision: \"r1\"", "revision: \"mine\"", 1)
		got, kept, err := Revert([]byte(theirs), change)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			`flag --audit-webhook-config-file has been changed to "/var/lib/k8s_audit/r1/mine.yaml"`,
			`annotation "k8s-audit-enabler.io/revision" has been changed to "mine"`,
			`mount "/var/lib/k8s_audit/r1" is still used by --audit-webhook-config-file`,
		}
		if d := cmp.Diff(want, kept); d != "" {
			t.Error(d)
		}
		m, err := ParseManifest(got)
		if err != nil {
			t.Fatal(err)
		}
		if mount, err := m.findMount(RevisionVolume("r1")); mount == nil || err != nil {
			t.Errorf("the mount is gone: %v", err)
		}
		if mount, err := m.findMount(LogVolume()); mount != nil || err != nil {
			t.Errorf("the log's mount stayed: %v", err)
		}
	})
	t.Run("a manifest that was written anew", func(t *testing.T) {
		t.Parallel()
		fresh := golden(t, "kubeadm-1.34")
		got, kept, err := Revert([]byte(fresh), change)
		if err != nil || len(kept) > 0 || string(got) != fresh {
			t.Errorf("revert: %v %q\n%s", err, kept, Diff([]byte(fresh), got))
		}
	})
	t.Run("a manifest that does not parse", func(t *testing.T) {
		t.Parallel()
		got, _, err := Revert([]byte("a: ["), change)
		var unknown *NotUnderstoodError
		if !errors.As(err, &unknown) || got != nil {
			t.Errorf("revert: %q %v", got, err)
		}
	})
	t.Run("a record of something else", func(t *testing.T) {
		t.Parallel()
		wrong := change
		wrong.Splices = append([]Splice(nil), change.Splices...)
		wrong.Splices[0].Removed = "x"
		if got, _, err := Revert(out, wrong); err == nil || got != nil {
			t.Errorf("revert: %q %v", got, err)
		}
	})
}

// TestEditThenUpgradeRevision shows the way from one revision to the next: revert, then edit.
func TestEditThenUpgradeRevision(t *testing.T) {
	t.Parallel()
	in := golden(t, "kubeadm-1.34")
	first, change := mustEdit(t, []byte(in), enabled("r1"))
	base, _, err := Revert(first, change)
	if err != nil {
		t.Fatal(err)
	}
	second, change := mustEdit(t, base, enabled("r2"))
	if strings.Contains(string(second), "k8s_audit/r1") {
		t.Errorf("something of the first revision is left:\n%s", second)
	}
	if back, _, err := Revert(second, change); err != nil || string(back) != in {
		t.Errorf("revert of the second: %v", err)
	}
}

func TestEditRefuses(t *testing.T) {
	t.Parallel()
	base := pod("    command: [kube-apiserver, --v=2]\n")
	withMount := func(volume, mount string) string {
		return pod("    command: [kube-apiserver]\n    volumeMounts:\n    - " + mount + "\n  volumes:\n  - " + volume + "\n")
	}
	own := "{name: l, hostPath: {path: /var/lib/k8s_audit/log}}"
	for name, tc := range map[string]struct {
		in     string
		change func(*Intent)
		want   string
	}{
		"a flag name with a dash in front":       {base, func(i *Intent) { i.Flags[0].Name = "--x" }, "is not one"},
		"one flag twice":                         {base, func(i *Intent) { i.Flags[1] = i.Flags[0] }, "wanted twice"},
		"a value with a line end":                {base, func(i *Intent) { i.Flags[0].Value = "a\nb" }, "cannot be printed"},
		"a relative path":                        {base, func(i *Intent) { i.Volumes[0].HostPath = "a" }, "not an absolute"},
		"one mount path twice":                   {base, func(i *Intent) { i.Volumes[1] = i.Volumes[0] }, "two volumes"},
		"an annotation key with a space":         {base, func(i *Intent) { i.Annotations["a b"] = "c" }, "is not one"},
		"another volume mounted there":           {withMount("{name: l, emptyDir: {}}", "{name: l, mountPath: /var/lib/k8s_audit/log}"), nil, "another volume"},
		"the log mounted read-only":              {withMount(own, "{name: l, mountPath: /var/lib/k8s_audit/log, readOnly: true}"), nil, "read-only"},
		"a part of a volume mounted there":       {withMount(own, "{name: l, mountPath: /var/lib/k8s_audit/log, subPath: x}"), nil, "part of a volume"},
		"a mount without a volume":               {withMount(own, "{name: k, mountPath: /var/lib/k8s_audit/log}"), nil, "without a volume"},
		"a command shared by an anchor":          {"x: &c [kube-apiserver]\n" + pod("    command: *c\n"), nil, "not a list"},
		"a command that another place refers to": {pod("    command: &c [kube-apiserver]\n    args: []\n    x: *c\n"), nil, "more than what is intended"},
		"annotations shared by an anchor":        {strings.Replace(base, "metadata:\n", "x: &a {b: c}\nmetadata:\n  annotations: *a\n", 1), nil, "not a mapping"},
		"a space in one string of flags": {
			pod("    command:\n    - kube-apiserver --v=2\n"), func(i *Intent) { i.Flags[0].Value = "a b" }, "split at white space",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			intent := enabled("r1")
			if tc.change != nil {
				tc.change(&intent)
			}
			out, _, err := Edit([]byte(tc.in), intent)
			if err == nil || out != nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v\n%s", err, out)
			}
		})
	}
}

// TestEditQuotesValues writes values that YAML or a shell would read as something else.
func TestEditQuotesValues(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "y", "a: b", "a #b", "it's", `a"b\c`, "[x]", "{y}", "é✓", "*a", "&b", "%c", "@d", "a,b", "--e", "$HOME", "`x`", "null", "1e3", " x "} {
		for _, in := range []string{
			pod("    command: [kube-apiserver, --v=2]\n"),
			pod("    command:\n    - kube-apiserver\n    - --v=2\n"),
			pod("    command:\n    - kube-apiserver\n    - '--v=2'\n    - \"--audit-policy-file=x\"\n"),
			pod("    command:\n    - kube-apiserver\n    - '--v=2'\n"),
			pod("    command: [\"/bin/sh\", \"-c\", \"exec kube-apiserver --v=2 2>&1\"]\n"),
			pod("    command: [/bin/sh, -c, 'exec kube-apiserver --audit-policy-file=''x y'' 2>&1']\n"),
			pod("    command:\n    - sh\n    - -c\n    - |\n      exec kube-apiserver --v=2 2>&1\n"),
		} {
			intent := Intent{Flags: []Flag{{Name: "audit-policy-file", Value: value}}, Annotations: map[string]string{"a": value, "true": "y"}}
			out, change := mustEdit(t, []byte(in), intent)
			m, err := ParseManifest(out)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := m.Args().Lookup("audit-policy-file"); got != value {
				t.Errorf("%q was written as %q:\n%s", value, got, out)
			}
			checkRoundTrips(t, []byte(in), out, change)
		}
	}
}

// TestEditChoosesAFreeVolumeName takes neither a volume's name, mounted or not, nor one that only a mount refers to.
func TestEditChoosesAFreeVolumeName(t *testing.T) {
	t.Parallel()
	in := pod("    command: [kube-apiserver]\n  - name: side\n    volumeMounts: [{name: k8s-audit-2, mountPath: /x}]\n  volumes:\n  - {name: k8s-audit, emptyDir: {}}\n")
	out, change := mustEdit(t, []byte(in), enabled("r1"))
	if got := change.Volumes[0].Name; got != "k8s-audit-3" {
		t.Errorf("named %q:\n%s", got, out)
	}
	checkRoundTrips(t, []byte(in), out, change)
}

// TestProveIsASecondOpinion gives the proof results that an editor without mistakes never makes.
func TestProveIsASecondOpinion(t *testing.T) {
	t.Parallel()
	in := "{\"metadata\":{},\"spec\":{\"containers\":[{\"command\":[\"kube-apiserver\",\"--v=2\"]}]}}"
	m, err := ParseManifest([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		out    string
		intent Intent
		want   string
	}{
		"nothing to prove":          {in, Intent{}, ""},
		"YAML in the place of JSON": {strings.ReplaceAll(in, "\"kube-apiserver\"", "kube-apiserver"), Intent{}, "not be JSON"},
		"a flag that is missing":    {in, Intent{Flags: []Flag{{Name: "x", Value: "y"}}}, "--x would be"},
		"another flag changed":      {strings.ReplaceAll(in, "--v=2", "--v=3"), Intent{}, "another flag"},
		"an annotation missing":     {in, Intent{Annotations: map[string]string{"a": "b"}}, "annotation"},
		"a mount missing":           {in, Intent{Volumes: []Volume{LogVolume()}}, "not be mounted"},
		"something broken":          {"{", Intent{}, "does not parse"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree, err := decode([]byte(tc.out))
			if err != nil {
				tree = nil
			}
			err = prove(m, []byte(tc.out), any(tree), tc.intent)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
