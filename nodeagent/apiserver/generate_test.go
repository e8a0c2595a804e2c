package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// generator writes manifests of every shape that a sequence of choices describes. Bytes changed at random are hardly
// ever YAML any more; choices changed at random always are.
type generator struct {
	choices []byte
	step    int // of indentation
	dash    int // of lists below their key
}

// pick returns a number below n.
func (g *generator) pick(n int) int {
	if len(g.choices) == 0 {
		return 0
	}
	c := int(g.choices[0])
	g.choices = g.choices[1:]
	return c % n
}

func (g *generator) one(of ...string) string { return of[g.pick(len(of))] }

// comment is what may follow a line's content.
func (g *generator) comment() string {
	return g.one("", "", " # note", "  # it's: a [note]", "   ", " # é ✓")
}

// gap are lines that may stand between others.
func (g *generator) gap(indent int) string {
	return g.one("", "", "", "\n", strings.Repeat(" ", indent)+"# between\n", "# at the left\n", "  \n\n")
}

// scalar writes a string in some style that can hold it on one line.
func (g *generator) scalar(text string, flow bool) string {
	props := g.one("", "", "", "", "&a"+fmt.Sprint(g.pick(200))+fmt.Sprint(len(g.choices))+" ", "!!str ")
	switch g.pick(4) {
	case 0:
		return props + doubleQuote(text)
	case 1:
		return props + "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	if plain := quote(text, 0, flow); plain[0] != '"' {
		return props + plain
	}
	return props + doubleQuote(text)
}

// list writes strings below a key.
func (g *generator) list(indent int, items []string) string {
	var out strings.Builder
	if g.pick(3) == 0 {
		nl := g.one("", "", "\n"+strings.Repeat(" ", indent+4), " # c\n"+strings.Repeat(" ", indent+4))
		out.WriteString(" [" + nl)
		for i, item := range items {
			if i > 0 {
				out.WriteString("," + g.one(" ", "", "  ") + nl)
			}
			out.WriteString(g.scalar(item, true))
		}
		out.WriteString(g.one("", " ", ",") + nl + "]" + g.comment() + "\n")
		return out.String()
	}
	pad := strings.Repeat(" ", indent+g.dash)
	out.WriteString(g.comment() + "\n")
	for _, item := range items {
		out.WriteString(g.gap(indent) + pad + g.one("- ", "- ", "-   ") + g.scalar(item, false) + g.comment() + "\n")
	}
	return out.String()
}

// flags are an apiserver's, some of them audit flags in several spellings.
func (g *generator) flags() []string {
	var out []string
	for range g.pick(6) {
		out = append(out, strings.Fields(g.one("--secure-port=6443", "--v=2", "--v 3", "--audit-log-path=/x", "--audit_policy_file=/y",
			"--audit-log-maxsize 7", "--audit-policy-file", "--audit-policy-file=/z --audit-policy-file=/zz", "--é=ü", "--a=[b],{c}", "--quoted='x\"y'", "-v=4",
			"--feature-gates=A=true", "--feature-gates A=true,DynamicAuditing=false", "--feature_gates=", "--runtime-config=api/all=false,", "--runtime-config=auditregistration.k8s.io/v1alpha1 --runtime-config=a/b=true"))...)
	}
	return out
}

func (g *generator) command(indent int) string {
	pad := strings.Repeat(" ", indent)
	flags := g.flags()
	switch g.pick(6) {
	case 0:
		return pad + "args:" + g.list(indent, append([]string{"--also-stdout", "/usr/local/bin/kube-apiserver"}, flags...)) +
			pad + "command:" + g.list(indent, []string{"/go-runner"})
	case 1:
		return pad + "command:" + g.list(indent, []string{"/usr/local/bin/kube-apiserver"}) + g.gap(indent) +
			pad + "args:" + g.list(indent, append(flags, "--last"))
	case 2:
		return pad + "command:\n" + pad + "- /bin/sh\n" + pad + "- -c\n" + g.script(indent, flags)
	case 3:
		return pad + "command:\n" + pad + "- kube-apiserver " + strings.Join(plainOnly(flags), g.one(" ", "  ", "\n"+pad+"    ")) + " --end\n"
	}
	return pad + "command:" + g.list(indent, append([]string{"kube-apiserver"}, flags...))
}

// plainOnly leaves out what an unquoted scalar or a shell would read differently.
func plainOnly(flags []string) []string {
	var out []string
	for _, f := range flags {
		if !strings.ContainsAny(f, "'\"[]{}") {
			out = append(out, f)
		}
	}
	return out
}

func (g *generator) script(indent int, flags []string) string {
	flags = plainOnly(flags)
	pad := strings.Repeat(" ", indent)
	end := g.one("", " > /tmp/pipe 2>&1", " 2>&1 | tee x", "; true")
	switch g.pick(4) {
	case 0:
		return pad + "- |" + g.one("", "-", "+", " # c") + "\n" + pad + "   exec /bin/kube-apiserver " + strings.Join(flags, " \\\n"+pad+"     ") + end + "\n" + g.one("", "\n")
	case 1:
		return pad + "- >" + g.one("", "-") + "\n" + pad + "   exec /bin/kube-apiserver " + strings.Join(flags, "\n"+pad+"   ") + end + "\n"
	case 2:
		return pad + "- \"exec /bin/kube-apiserver " + strings.Join(flags, g.one(" ", "\\\n"+pad+"  \\ ", "\n"+pad+"   ")) + end + "\"\n"
	}
	return pad + "- 'exec /bin/kube-apiserver --n=''x'' " + strings.Join(flags, " ") + end + "'" + g.comment() + "\n"
}

// pairs are volumes and their mounts that make a valid pod together.
var pairs = []struct{ mount, volume, flowMount, flowVolume string }{
	{"mountPath: /p\nname: p", "name: p\nhostPath: {path: /p}", "{name: p, mountPath: /p}", "{name: p, emptyDir: {}}"},
	{"name: own\nmountPath: /var/lib/k8s_audit/log", "name: own\nhostPath:\n  path: /var/lib/k8s_audit/log", "{name: own, mountPath: /var/lib/k8s_audit/log}", "{name: own, hostPath: {path: /var/lib/k8s_audit/log}}"},
	{"name: k8s-audit\nmountPath: /q", "name: k8s-audit\nemptyDir: {}", "{mountPath: /q, name: k8s-audit}", "{\"name\": \"k8s-audit\"}"},
}

// items writes a list of one mapping below a key, or an empty one, or nothing.
func (g *generator) items(key string, indent int, none bool, block, flow string) string {
	pad := strings.Repeat(" ", indent)
	if none {
		return g.one("", pad+key+":"+g.one("", " null", " ~", " []", " [ ]")+g.comment()+"\n")
	}
	switch g.pick(4) {
	case 0:
		return pad + key + ": [" + flow + g.one("", " ", ",") + "]" + g.comment() + "\n"
	case 1:
		return pad + key + ":\n" + pad + "  -\n" + pad + "    " + strings.ReplaceAll(block, "\n", "\n"+pad+"    ") + "\n"
	}
	item := pad + strings.Repeat(" ", g.dash)
	return pad + key + ":" + g.comment() + "\n" + g.gap(indent) + item + "- " + strings.ReplaceAll(block, "\n", "\n"+item+"  ") + g.comment() + "\n"
}

func (g *generator) metadata() string {
	pad := strings.Repeat(" ", g.step)
	annotations := g.one("", pad+"annotations:\n"+pad+pad+"x/y: z\n", pad+"annotations: {x/y: z}\n", pad+"annotations: {}\n", pad+"annotations:\n",
		pad+"annotations: null # none\n", pad+"annotations:\n"+pad+pad+"k8s-audit-enabler.io/revision: r0 # old\n", pad+"annotations: {\"k8s-audit-enabler.io/revision\": 'r1', b: c}\n")
	name := pad + "name: kube-apiserver" + g.comment() + "\n"
	if g.pick(2) == 0 {
		return "metadata:\n" + annotations + g.gap(2) + name
	}
	return "metadata:" + g.comment() + "\n" + name + g.gap(2) + annotations
}

// manifest is the whole file.
func (g *generator) manifest() []byte {
	g.step, g.dash = 2+2*g.pick(2), 2*g.pick(2)
	pad := strings.Repeat(" ", g.step)
	inner := g.step + g.dash + 2
	none, pair := g.pick(3) == 0, pairs[g.pick(len(pairs))]
	container := []string{
		strings.Repeat(" ", inner) + "image: registry.k8s.io/kube-apiserver:v1.30.0" + g.comment() + "\n",
		g.command(inner),
		g.items("volumeMounts", inner, none, pair.mount, pair.flowMount),
	}
	if g.pick(2) == 0 {
		container[0], container[2] = container[2], container[0]
	}
	if g.pick(2) == 0 {
		container[1], container[2] = container[2], container[1]
	}
	containers := pad + "containers:\n" + pad + strings.Repeat(" ", g.dash) + "- name: kube-apiserver\n" + strings.Join(container, g.gap(inner))
	volumes := g.items("volumes", g.step, none, pair.volume, pair.flowVolume)
	spec := []string{pad + "hostNetwork: true\n", containers, volumes}
	if g.pick(2) == 0 {
		spec[0], spec[2] = spec[2], spec[0]
	}
	if g.pick(2) == 0 {
		spec[1], spec[2] = spec[2], spec[1]
	}
	parts := []string{"apiVersion: v1\nkind: Pod\n", g.metadata(), "spec:\n" + strings.Join(spec, g.gap(g.step))}
	if g.pick(2) == 0 {
		parts[1], parts[2] = parts[2], parts[1]
	}
	text := g.one("", "---\n", "# head\n\n") + strings.Join(parts, g.gap(0)) + g.one("", "status: {}\n", "# tail\n", "...\n", "\n\n")
	if g.pick(3) == 0 {
		text = strings.TrimRight(text, "\n")
	}
	if g.pick(4) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return []byte(text)
}

// FuzzEditShapes edits manifests of every shape. Unlike [FuzzEdit] it also counts a refusal as a failure where there is
// no reason for one.
func FuzzEditShapes(f *testing.F) {
	for seed := range 64 {
		choices := make([]byte, 64+seed%2)
		for i := range choices {
			choices[i] = byte((seed*31 + i*i*7 + i*seed) >> 1)
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		in := (&generator{choices: choices}).manifest()
		if _, err := ParseManifest(in); err != nil {
			t.Skip(err)
		}
		intent := enabled("r0123456789ab")
		if len(choices)%2 == 1 {
			intent = dynamic("r0123456789ab")
		}
		out, change, err := Edit(in, intent)
		if err != nil {
			t.Skip(err)
		}
		again, second, err := Edit(out, intent)
		if err != nil || !second.Empty() || !bytes.Equal(again, out) {
			t.Fatalf("not idempotent: %v\n%s", err, Diff(out, again))
		}
		back, kept, err := Revert(out, change)
		if err != nil || len(kept) > 0 || !bytes.Equal(back, in) {
			t.Fatalf("not reverted: %v %v\n%s", err, kept, Diff(in, back))
		}
		checkSemantics(t, in, out, intent)
		checkLooseRevert(t, in, out, change)
	})
}

// TestEditShapes counts what the generator's manifests come to, so that neither the generator nor the editor can refuse
// most of them unseen.
func TestEditShapes(t *testing.T) {
	t.Parallel()
	const total = 500
	parsed, edited, reverted := 0, 0, 0
	refusals := map[string]int{}
	example := map[string]string{}
	state := uint32(12345)
	for i := range total {
		choices := make([]byte, 96)
		for i := range choices {
			state = state*1664525 + 1013904223
			choices[i] = byte(state >> 24)
		}
		in := (&generator{choices: choices}).manifest()
		if _, err := ParseManifest(in); err != nil {
			refusals["parse: "+reasonOf(err)]++
			example["parse: "+reasonOf(err)] = err.Error() + "\n" + string(in)
			continue
		}
		parsed++
		intent := enabled("r0123456789ab")
		if i%2 == 1 {
			intent = dynamic("r0123456789ab")
		}
		out, change, err := Edit(in, intent)
		if err != nil {
			refusals["edit: "+reasonOf(err)]++
			example["edit: "+reasonOf(err)] = err.Error() + "\n" + string(in)
			continue
		}
		edited++
		change.After = "another"
		back, _, err := Revert(out, change)
		switch {
		case err != nil:
			refusals["revert: "+reasonOf(err)]++
			example["revert: "+reasonOf(err)] = err.Error() + "\n" + string(in) + "\n---\n" + string(out)
		case bytes.Equal(back, in):
			reverted++
		default:
			refusals["revert: not exact"]++
			example["revert: not exact"] = Diff(in, back)
		}
	}
	t.Logf("of %d manifests %d parsed, %d were edited, %d were reverted exactly without the record's offsets", total, parsed, edited, reverted)
	for why, n := range refusals {
		t.Logf("%4d %s", n, why)
		if testing.Verbose() {
			t.Log(example[why])
		}
	}
	if parsed < total*9/10 || edited < parsed*9/10 || reverted < edited*9/10 {
		t.Errorf("too many manifests are refused")
	}
}

func reasonOf(err error) string {
	var known *NotUnderstoodError
	if errors.As(err, &known) {
		return string(known.Reason) + ": " + known.Detail
	}
	return err.Error()
}
