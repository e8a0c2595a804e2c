package apiserver

import (
	"errors"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Form is how a container starts kube-apiserver.
type Form string

// Forms.
const (
	// FormList: the binary and its flags are items of command or args (kubeadm; kops 1.15–1.22).
	FormList Form = "list"
	// FormWrapped: as FormList, but another program comes first and is given the binary (kops from 1.23: /go-runner).
	FormWrapped Form = "wrapped"
	// FormShell: a shell is given a script that runs the binary (kops before 1.15).
	FormShell Form = "shell"
	// FormString: binary and flags are one string, separated by white space.
	FormString Form = "string"
)

// wrappers are programs that run the program they are given.
var wrappers = []string{"go-runner", "hyperkube", "tini", "dumb-init", "entrypoint.sh"}

var shells = []string{"sh", "bash", "ash", "dash"}

// word is one argument and where it stands.
type word struct {
	text string
	node *yaml.Node // the list item; may be an alias
	path []any      // of the item in the decoded document
	// whole is set where the word is the item; otherwise it is value[from:to] of the item.
	whole    bool
	from, to int
}

// command is how a container starts kube-apiserver.
type command struct {
	form   Form
	binary word
	words  []word // after the binary
	// list is where new flags are appended as items; nil where they belong into the string after the last word.
	list     *yaml.Node
	listPath []any
}

func (c *command) texts() []string {
	out := make([]string, len(c.words))
	for i, w := range c.words {
		out[i] = w.text
	}
	return out
}

// findCommand returns how a container starts kube-apiserver, nil where it runs something else, or an error where it
// should be kube-apiserver but cannot be understood.
func findCommand(container *yaml.Node, index int) (*command, error) {
	items, last, lastPath, err := items(container, index)
	if err != nil {
		if looksLikeApiserver(container) {
			return nil, err
		}
		return nil, nil //nolint:nilnil // not the apiserver
	}
	cmd, err := understand(items)
	switch {
	case err != nil:
		return nil, err
	case cmd == nil && looksLikeApiserver(container):
		return nil, errorAtNode(container, UnknownForm, "container %q has no command that runs kube-apiserver", scalarText(container, "name"))
	case cmd == nil:
		return nil, nil //nolint:nilnil // not the apiserver
	}
	if slices.ContainsFunc(cmd.words, func(w word) bool { return w.text == "--" }) {
		return nil, errorAtNode(container, UnknownForm, "the word -- among the flags")
	}
	if cmd.form == FormList || cmd.form == FormWrapped {
		cmd.list, cmd.listPath = last, lastPath
	}
	return cmd, nil
}

// items are the words of command and args, and the list that the last of them is in.
func items(container *yaml.Node, index int) (words []word, last *yaml.Node, lastPath []any, err error) {
	for _, key := range []string{"command", "args"} {
		_, list := value(container, key)
		target := deref(list)
		if target == nil || target.Kind == yaml.ScalarNode && target.Tag == "!!null" {
			continue
		}
		if target.Kind != yaml.SequenceNode {
			return nil, nil, nil, errorAtNode(list, UnknownForm, "%s is not a list", key)
		}
		listPath := []any{"spec", "containers", index, key}
		for i, item := range target.Content {
			text := deref(item)
			if text.Kind != yaml.ScalarNode {
				return nil, nil, nil, errorAtNode(item, UnknownForm, "item %d of %s is not a string", i, key)
			}
			words = append(words, word{text: text.Value, node: item, path: append(slices.Clone(listPath), i), whole: true, to: len(text.Value)})
			last, lastPath = list, listPath
		}
	}
	return words, last, lastPath, nil
}

// understand finds kube-apiserver among the words of a container.
func understand(items []word) (*command, error) {
	if len(items) == 0 {
		return nil, nil //nolint:nilnil // the image's own command
	}
	first := path.Base(items[0].text)
	if slices.Contains(shells, first) {
		return understandScript(items)
	}
	if parts := fields(items[0].text); len(parts) > 1 && path.Base(parts[0].text) == binaryName {
		return understandString(items, parts)
	}
	at := 0
	if slices.Contains(wrappers, first) {
		at = slices.IndexFunc(items, func(w word) bool {
			base := path.Base(w.text)
			return !isFlag(w.text) && (base == binaryName || first == "hyperkube" && base == "apiserver")
		})
	} else if first != binaryName {
		at = -1
	}
	if at < 0 {
		return nil, nil //nolint:nilnil // something else
	}
	cmd := &command{form: FormList, binary: items[at], words: items[at+1:]}
	if at > 0 {
		cmd.form = FormWrapped
	}
	return cmd, nil
}

func understandScript(items []word) (*command, error) {
	at := slices.IndexFunc(items, func(w word) bool { return w.text == "-c" || w.text == "-ec" || w.text == "-xc" || w.text == "-lc" })
	if at < 0 || at+1 >= len(items) {
		return nil, nil //nolint:nilnil // a script in a file
	}
	script := items[at+1]
	binary, words, err := shellCommand(script.text)
	if errors.Is(err, errNotInScript) || err != nil && !strings.Contains(script.text, binaryName) {
		return nil, nil //nolint:nilnil // something else
	}
	if err != nil {
		var known *NotUnderstoodError
		if errors.As(err, &known) {
			known.Line, known.Column = script.node.Line, script.node.Column
			return nil, known
		}
		return nil, errorAtNode(script.node, UnknownForm, "shell script with %v", err)
	}
	cmd := &command{form: FormShell, binary: part(script, binary)}
	for _, w := range words {
		cmd.words = append(cmd.words, part(script, w))
	}
	return cmd, nil
}

func understandString(items []word, parts []span) (*command, error) {
	if len(items) > 1 {
		return nil, errorAtNode(items[1].node, UnknownForm, "more words after one string with binary and flags")
	}
	cmd := &command{form: FormString, binary: part(items[0], parts[0])}
	for _, p := range parts[1:] {
		cmd.words = append(cmd.words, part(items[0], p))
	}
	return cmd, nil
}

// part is a word within an item.
func part(item word, s span) word {
	item.text, item.from, item.to, item.whole = s.text, s.from, s.to, false
	return item
}
