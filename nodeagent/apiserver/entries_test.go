package apiserver

import (
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

func TestEntriesOfAMapFlag(t *testing.T) {
	t.Parallel()
	const gates = "feature-gates"
	for name, tt := range map[string]struct {
		words []string
		entry string
		has   bool
		// want is the value of the last occurrence with the entry, and back the value without it again.
		want, back string
	}{
		"the flag without a key":                     {[]string{"--feature-gates="}, "A=true", false, "A=true", ""},
		"another key":                                {[]string{"--feature-gates=B=false"}, "A=true", false, "B=false,A=true", "B=false"},
		"a comma at the end":                         {[]string{"--feature-gates=B=false,"}, "A=true", false, "B=false,A=true", "B=false"},
		"the key with another value":                 {[]string{"--feature-gates=B=1,A=false,C=0"}, "A=true", false, "B=1,A=true,C=0", "B=1,C=0"},
		"the key with space around it":               {[]string{"--feature-gates", "B=1 , A = true"}, "A=true", true, "B=1 , A=true", "B=1 "},
		"the value in another spelling":              {[]string{"--feature-gates=A=1"}, "A=true", true, "A=true", ""},
		"no value, which is true":                    {[]string{"--feature-gates=A"}, "A=true", true, "A=true", ""},
		"a key that only begins alike":               {[]string{"--feature-gates=AB=true"}, "A=true", false, "AB=true,A=true", "AB=true"},
		"two occurrences, the last without the key":  {[]string{"--feature-gates=A=true", "--feature_gates=B=true"}, "A=true", true, "A=true", ""},
		"two occurrences, the last with the key off": {[]string{"--feature-gates=A=true", "--feature-gates=A=false"}, "A=true", false, "A=true", ""},
		"the key twice in one":                       {[]string{"--feature-gates=A=true,A=false"}, "A=true", false, "A=true,A=true", "A=true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := ParseArgs(tt.words)
			if got := args.HasEntry(gates, tt.entry); got != tt.has {
				t.Errorf("has it: %v, want %v", got, tt.has)
			}
			arg, at, there := args.holder(gates, "A")
			if !there {
				t.Fatal("the flag is not found")
			}
			got := withEntry(arg.Value, at, tt.entry)
			if got != tt.want {
				t.Errorf("with it: %q, want %q", got, tt.want)
			}
			with := ParseArgs([]string{"--feature-gates=" + got})
			if !with.HasEntry(gates, tt.entry) {
				t.Errorf("%q lacks it", got)
			}
			arg, at, _ = with.holder(gates, "A")
			if back := withoutEntry(arg.Value, *at); back != tt.back {
				t.Errorf("without it: %q, want %q", back, tt.back)
			}
		})
	}
}

// TestRevertTakesOurKeyOutOfASharedFlag edits, lets somebody else change the flag that holds our key, and expects their flag without it.
func TestRevertTakesOurKeyOutOfASharedFlag(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		golden string
		// theirs is what somebody makes of our text, want what is left of that.
		ours, theirs, want string
		kept               int
	}{
		"a key behind ours, in a flag that we made": {
			"minikube-1.17", "--feature-gates=DynamicAuditing=true", "--feature-gates=DynamicAuditing=true,A=true", "--feature-gates=A=true", 0,
		},
		"a key before ours, in a flag that they had": {
			"minikube-1.17-gates", "--feature-gates=EphemeralContainers=true,DynamicAuditing=true", "--feature-gates=EphemeralContainers=true,A=true,DynamicAuditing=true",
			"--feature-gates=EphemeralContainers=true,A=true", 0,
		},
		"another value for their key": {
			"minikube-1.17-gates", "--runtime-config=api/all=true,auditregistration.k8s.io/v1alpha1=true", "--runtime-config=api/all=false,auditregistration.k8s.io/v1alpha1=true",
			"--runtime-config=api/all=false", 0,
		},
		"ours turned off": {
			"minikube-1.17-gates", "EphemeralContainers=true,DynamicAuditing=true", "EphemeralContainers=true,DynamicAuditing=false", "EphemeralContainers=true,DynamicAuditing=false", 1,
		},
		"ours taken out": {
			"minikube-1.17-gates", "EphemeralContainers=true,DynamicAuditing=true", "A=true", "A=true", 0,
		},
		"theirs taken out": {
			"minikube-1.17-gates", "    - --feature-gates=EphemeralContainers=true,DynamicAuditing=true\n", "    - --feature-gates=DynamicAuditing=true\n", "", 0,
		},
		"a key in a shell's string": {
			"kops-1.13-shell", "PodPriority=true,DynamicAuditing=true", "PodPriority=true,DynamicAuditing=true,A=true", "PodPriority=true,A=true", 0,
		},
		"a key beside one that we turned on": {
			"string-denied", "DynamicAuditing=true,PodPriority=true", "DynamicAuditing=true,PodPriority=true,A=true", "DynamicAuditing=false,PodPriority=true,A=true", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile("testdata/dynamic/" + tt.golden + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			in := section(t, archive, "in")
			out, change := mustEdit(t, in, dynamic("r1"))
			theirs := strings.Replace(string(out), tt.ours, tt.theirs, 1)
			if theirs == string(out) {
				t.Fatal("nothing was changed")
			}
			got, kept, err := Revert([]byte(theirs), change)
			if err != nil || len(kept) != tt.kept {
				t.Fatalf("revert: %v %q", err, kept)
			}
			if strings.Contains(string(got), "auditregistration") || tt.want != "" && !strings.Contains(string(got), tt.want) {
				t.Errorf("left:\n%s", Diff(in, got))
			}
			if tt.want == "" && strings.Contains(string(got), "feature-gates") {
				t.Errorf("left:\n%s", Diff(in, got))
			}
			for _, f := range change.Flags {
				if m, err := ParseManifest(got); err != nil || f.Entry != "" && f.PreviousEntry == "" && f.Stands(m.Args()) {
					t.Errorf("%s is still there: %v", f.Entry, err)
				}
			}
		})
	}
}
