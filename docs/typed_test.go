package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestWhatTheDocumentationSaysToTypeIsTyped holds that every command that a page says to type is typed by a script that a test runs, or
// is none of ours. A word in angle brackets stands for any word; what stands some spaces behind a command says what it is for.
func TestWhatTheDocumentationSaysToTypeIsTyped(t *testing.T) {
	t.Parallel()
	var typed []string
	for _, folder := range []string{
		"../internal/cli/testdata/script", // the plugin, against a cluster that answers from files
		"../cmd/bridge/testdata/script",   // the bridge's program
		"../test/chart/testdata/script",   // Helm, which renders
		"../test/e2e/testdata/script",     // Helm, kubectl and the plugin on a real control plane
	} {
		read(t, folder, ".txtar", func(_, text string) { typed = append(typed, scripted(text)...) })
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	count, placeholder := 0, regexp.MustCompile(`<[^<> ][^<>]*>`)
	check := func(page, text string) {
		for _, command := range commands(text) {
			program, rest, _ := strings.Cut(command, " ")
			count++
			switch program {
			case "oc", "kops": // another system's own program
			case "make":
				for word := range strings.FieldsSeq(placeholder.ReplaceAllString(rest, "")) {
					if !strings.Contains(word, "=") && !strings.Contains(string(makefile), "\n"+word+":") {
						t.Errorf("%s says to type %q, and the Makefile has no %s", page, command, word)
					}
				}
			default:
				if !slices.ContainsFunc(typed, pattern(command).MatchString) {
					t.Errorf("%s says to type what no script types: %s", page, command)
				}
			}
		}
	}
	read(t, ".", ".md", check)
	for _, file := range []string{"../README.md", "../CONTRIBUTING.md", "../SECURITY.md", "../charts/k8s-audit-enabler/README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, string(text))
	}
	if count == 0 {
		t.Error("no document says to type anything")
	}
}

func TestACommandIsFoundInAPageAndInAScript(t *testing.T) {
	t.Parallel()
	page := "Type `helm list`:\n\n    helm install <your name> \\\n      --set a=b\n    kubectl get it          says what it is\n    key: value\n\n- or\n\n" +
		"      rm -rf it | sh\n\n```\nbridge run <file\n```\n"
	want := []string{"helm install <your name> --set a=b", "kubectl get it", "rm -rf it | sh", "bridge run <file"}
	if got := commands(page); !slices.Equal(got, want) {
		t.Errorf("commands %q, want %q", got, want)
	}
	script := "# one\nexec helm install mine --set a=b\n! exec kubectl get it\nexits 3 kubectl wait it &w&\nexec sh -c 'rm -rf it | sed ''s/a/b/'''\non cp1 grep it\n"
	typed := scripted(script)
	if want := []string{"helm install mine --set a=b", "kubectl get it", "kubectl wait it", "rm -rf it | sed 's/a/b/'", "grep it"}; !slices.Equal(typed, want) {
		t.Errorf("typed %q, want %q", typed, want)
	}
	for command, want := range map[string]bool{
		"helm install <your name> --set a=b": true, "helm install <your name> --set a=c": false, "helm install <your name>": false, "--set a=b": true, "--set a=": false,
	} {
		if got := slices.ContainsFunc(typed, pattern(command).MatchString); got != want {
			t.Errorf("%q is typed: %v, want %v", command, got, want)
		}
	}
}

// commands are what a page says to type: the lines of its code that begin with a program. Options alone are to be added to the
// installation.
func commands(page string) []string {
	programs := []string{"kubectl", "helm", "bridge", "make", "oc", "kops", "gcloud", "aws", "zcat", "rm", "grep", "cp", "--set"}
	comment, folded := regexp.MustCompile(` {3}.*| {2}#.*`), regexp.MustCompile(` *\\\n *`)
	var out []string
	fenced := false
	for line := range strings.Lines(folded.ReplaceAllString(page, " ")) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			continue
		}
		command := comment.ReplaceAllString(strings.TrimSpace(line), "")
		if program, _, _ := strings.Cut(command, " "); slices.Contains(programs, program) {
			out = append(out, command)
		}
	}
	return out
}

// scripted are the commands that a script runs: by itself, with an exit code, in a shell or on a node.
func scripted(script string) []string {
	line, shell := regexp.MustCompile(`(?m)^(?:! )?(?:exec|perhaps|exits \d+|on \S+) (.*?)(?: &\w*&?)?$`), regexp.MustCompile(`^sh -c '(.*)'$`)
	var out []string
	for _, found := range line.FindAllStringSubmatch(script, -1) {
		command := found[1]
		if inner := shell.FindStringSubmatch(command); inner != nil {
			command = strings.ReplaceAll(inner[1], "''", "'")
		}
		out = append(out, command)
	}
	return out
}

// pattern is a command as it may be typed.
func pattern(command string) *regexp.Regexp {
	text := regexp.MustCompile(`<[^<> ][^<>]*>`).ReplaceAllString(regexp.QuoteMeta(command), `\S+`)
	if strings.HasPrefix(command, "--") {
		return regexp.MustCompile(` ` + text + `( |$)`)
	}
	return regexp.MustCompile(`^` + text + `$`)
}
