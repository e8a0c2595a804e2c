package apiserver

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Edit makes a manifest contain what is intended and returns its new content, which is proved to differ in nothing else.
// Flags with the wanted value stay untouched, others get it where they stand, missing ones are appended after the last
// word of the list, or of the string, that the flags are in. A mount of the same path is used where it fits. When the
// manifest already is as intended, the content is returned as it is and the change is empty. Errors about the manifest
// are of type [*NotUnderstoodError]; no content comes with an error.
func Edit(data []byte, intent Intent) ([]byte, Change, error) {
	if err := intent.validate(); err != nil {
		return nil, Change{}, fmt.Errorf("check intended settings: %w", err)
	}
	m, err := ParseManifest(data)
	if err != nil {
		return nil, Change{}, err
	}
	tree, err := decode(data)
	if err != nil {
		return nil, Change{}, err
	}
	e := &editor{m: m, tree: tree, strings: map[*yaml.Node][]splice{}, dash: m.dashIndent()}
	for _, step := range []func(Intent) error{e.flags, e.volumes, e.annotations, e.finishStrings} {
		if err := step(intent); err != nil {
			return nil, Change{}, err
		}
	}
	out, done, err := apply(data, e.splices)
	if err != nil {
		return nil, Change{}, err
	}
	if err := prove(m, out, e.tree, intent); err != nil {
		return nil, Change{}, err
	}
	e.change.Before, e.change.After = digest(data), digest(out)
	e.change.Splices = recorded(data, done)
	return out, e.change, nil
}

// recorded turns splices of the old content into splices that lead back from the new one.
func recorded(data []byte, done []splice) []Splice {
	var out []Splice
	shift := 0
	for _, s := range done {
		out = append(out, Splice{Offset: s.at + shift, Removed: string(data[s.at:s.end]), Inserted: s.text})
		shift += len(s.text) - (s.end - s.at)
	}
	return out
}

// editor collects the splices of an edit, and makes the same changes in the decoded document.
type editor struct {
	m       *Manifest
	tree    any
	splices []splice
	// strings are the changes within a string, in terms of its value.
	strings map[*yaml.Node][]splice
	paths   []stringPath
	change  Change
	dash    int
}

// stringPath is where a string with changes stands in the decoded document.
type stringPath struct {
	node *yaml.Node
	path []any
}

// add keeps a splice and makes the change in the decoded document.
func (e *editor) add(s splice, err error, path []any, change func(any) (any, error)) error {
	if err != nil {
		return err
	}
	if e.tree, err = modify(e.tree, path, change); err != nil {
		return &NotUnderstoodError{Reason: NotEditable, Detail: err.Error()}
	}
	e.splices = append(e.splices, s)
	return nil
}

func (e *editor) flags(intent Intent) error {
	var missing []string
	for _, f := range intent.Flags {
		arg, ok := e.m.args.last(f.Name)
		current, _ := e.m.args.Lookup(f.Name)
		switch {
		case !ok:
			missing = append(missing, "--"+f.Name+"="+f.Value)
			e.change.Flags = append(e.change.Flags, FlagChange{Name: f.Name, Value: f.Value})
		case current != f.Value:
			if err := e.replaceFlag(arg, FlagChange{Name: f.Name, Value: f.Value, Previous: current}); err != nil {
				return err
			}
		}
	}
	added, err := e.entries(intent)
	if missing = append(missing, added...); err != nil || len(missing) == 0 {
		return err
	}
	cmd := e.m.command
	if cmd.list == nil {
		last := cmd.binary
		if n := len(cmd.words); n > 0 {
			last = cmd.words[n-1]
		}
		var text strings.Builder
		for _, flag := range missing {
			quoted, err := cmd.quote(flag, last)
			if err != nil {
				return err
			}
			text.WriteString(" " + quoted)
		}
		return e.inString(last, last.to, last.to, text.String())
	}
	items := make([]any, len(missing))
	for i, flag := range missing {
		items[i] = flag
	}
	s, err := e.m.src.appendItems(cmd.list, items, e.dash)
	return e.add(s, err, cmd.listPath, appended(items))
}

// entries puts keys into flags that others have keys in, and returns the flags that are missing.
func (e *editor) entries(intent Intent) (missing []string, err error) {
	for _, f := range intent.Entries {
		key, want, _ := strings.Cut(f.Value, "=")
		arg, at, there := e.m.args.holder(f.Name, key)
		switch {
		case !there:
			missing = append(missing, "--"+f.Name+"="+f.Value)
			e.change.Flags = append(e.change.Flags, FlagChange{Name: f.Name, Value: f.Value, Entry: f.Value})
		case at != nil && sameEntry(at.value, want):
		case !arg.HasValue:
			return nil, errorAtNode(e.m.command.words[arg.index].node, NotEditable, "--%s has no value", f.Name)
		default:
			change := FlagChange{Name: f.Name, Value: withEntry(arg.Value, at, f.Value), Previous: arg.Value, Entry: f.Value}
			if at != nil {
				change.PreviousEntry = at.text(arg)
			}
			if err := e.replaceFlag(arg, change); err != nil {
				return nil, err
			}
		}
	}
	return missing, nil
}

// quote writes a word for the string that the command is.
func (c *command) quote(text string, near word) (string, error) {
	if c.form == FormShell {
		return shellQuote(text), nil
	}
	if strings.ContainsAny(text, " \t\r\n") {
		return "", errorAtNode(near.node, NotEditable, "%q cannot be written into a string that is split at white space", text)
	}
	return text, nil
}

// replaceFlag gives a flag another value where it stands.
func (e *editor) replaceFlag(arg Arg, change FlagChange) error {
	cmd := e.m.command
	w, text, err := cmd.rewritten(arg, change.Value)
	if err != nil {
		return err
	}
	change.Replaced, change.PreviousText = true, w.text
	src := e.m.src
	if w.whole {
		s, err := src.replaceItem(w.node, text, e.inFlow(w))
		if err == nil {
			change.PreviousSource = string(src.data[s.at:s.end])
		}
		e.change.Flags = append(e.change.Flags, change)
		return e.add(s, err, w.path, set(text))
	}
	quoted, err := cmd.quote(text, w)
	if err != nil {
		return err
	}
	change.PreviousSource = deref(w.node).Value[w.from:w.to]
	e.change.Flags = append(e.change.Flags, change)
	return e.inString(w, w.from, w.to, quoted)
}

// rewritten is the word to write in place of another so that a flag has a value.
func (c *command) rewritten(arg Arg, value string) (word, string, error) {
	w := c.words[arg.index]
	name, _, _ := strings.Cut(w.text, "=")
	if !arg.split {
		return w, name + "=" + value, nil
	}
	w = c.words[arg.index+1]
	if strings.HasPrefix(value, "-") || value == "" {
		return w, "", errorAtNode(w.node, NotEditable, "--%s %q cannot be written as two words", arg.Name, value)
	}
	return w, value, nil
}

// inFlow reports whether a word is an item of a flow list.
func (e *editor) inFlow(w word) bool {
	key, _ := w.path[3].(string)
	_, list := value(e.m.container, key)
	return isFlow(deref(list))
}

// inString changes part of a string's value.
func (e *editor) inString(w word, from, to int, text string) error {
	s, err := e.m.src.within(w.node, from, to, text)
	if err != nil {
		return err
	}
	e.splices = append(e.splices, s)
	if _, ok := e.strings[w.node]; !ok {
		e.paths = append(e.paths, stringPath{node: w.node, path: w.path})
	}
	e.strings[w.node] = append(e.strings[w.node], splice{at: from, end: to, text: text})
	return nil
}

// finishStrings makes the changes within strings in the decoded document.
func (e *editor) finishStrings(Intent) error {
	for _, p := range e.paths {
		text, _, err := apply([]byte(p.node.Value), e.strings[p.node])
		if err == nil {
			e.tree, err = modify(e.tree, p.path, set(string(text)))
		}
		if err != nil {
			return errorAtNode(p.node, NotEditable, "%v", err)
		}
	}
	return nil
}

// annotations sets the pod's annotations, in the order of their keys.
func (e *editor) annotations(intent Intent) error {
	_, existing := value(e.m.metadata, "annotations")
	var missing []field
	for _, key := range slices.Sorted(maps.Keys(intent.Annotations)) {
		want := intent.Annotations[key]
		current, ok := e.m.Annotation(key)
		switch {
		case !ok:
			missing = append(missing, field{key, want})
			e.change.Annotations = append(e.change.Annotations, AnnotationChange{Key: key, Value: want})
		case current != want:
			_, node := value(deref(existing), key)
			s, err := e.m.src.replaceAnnotation(existing, node, want)
			if err != nil {
				return err
			}
			source := string(e.m.src.data[s.at:s.end])
			e.change.Annotations = append(e.change.Annotations,
				AnnotationChange{Key: key, Value: want, Replaced: true, Previous: current, PreviousSource: source})
			if err := e.add(s, err, []any{"metadata", "annotations", key}, set(want)); err != nil {
				return err
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	path := []any{"metadata", "annotations"}
	switch {
	case existing == nil:
		e.change.AddedBlocks = append(e.change.AddedBlocks, "annotations")
		s, err := e.m.src.appendEntries(e.m.metadata, []field{{"annotations", missing}}, e.dash)
		return e.add(s, err, path, set(missing))
	case isNull(existing):
		return e.fill("annotations", existing, missing, path)
	}
	s, err := e.m.src.appendEntries(existing, missing, e.dash)
	return e.add(s, err, path, func(old any) (any, error) {
		m, ok := old.(map[string]any)
		if !ok {
			return nil, errors.New("annotations are not a mapping")
		}
		maps.Copy(m, decoded(missing).(map[string]any)) //nolint:forcetypeassert // decoded fields are a map
		return m, nil
	})
}

// fill gives a key without a value one.
func (e *editor) fill(key string, empty *yaml.Node, v any, path []any) error {
	s, err := e.m.src.fill(empty, v)
	if err != nil {
		return err
	}
	if e.change.FilledBlocks == nil {
		e.change.FilledBlocks = map[string]string{}
	}
	e.change.FilledBlocks[key] = string(e.m.src.data[s.at:s.end])
	return e.add(s, nil, path, set(v))
}

// replaceAnnotation writes an annotation's value in double quotes, unless it was in single ones.
func (s *source) replaceAnnotation(annotations, node *yaml.Node, text string) (splice, error) {
	if annotations.Kind != yaml.MappingNode {
		return splice{}, errorAtNode(annotations, NotEditable, "annotations that are written elsewhere (an alias)")
	}
	if isNull(node) {
		return s.fill(node, text)
	}
	return s.replaceItem(node, text, true)
}

// dashIndent is how far the dashes of this document's lists stand from their key.
func (m *Manifest) dashIndent() int {
	key, list := value(m.spec, "containers")
	if isFlow(list) || list.Kind != yaml.SequenceNode {
		return 0
	}
	indent, _, err := m.src.dash(list, m.container)
	start := m.src.start(key)
	if d := len(indent) - (start - m.src.lineStart(start)); err == nil && d > 0 && d <= 8 {
		return d
	}
	return 0
}

// prove checks an edit's result: it parses, it differs from the original exactly as the decoded document was changed,
// and it satisfies the intent when it is read anew.
func prove(before *Manifest, out []byte, expected any, intent Intent) error {
	after, err := ParseManifest(out)
	if err != nil {
		return unproved("the result does not parse: %v", err)
	}
	tree, err := decode(out)
	if err != nil {
		return unproved("the result does not decode: %v", err)
	}
	if !reflect.DeepEqual(expected, any(tree)) {
		return unproved("the result would differ in more than what is intended")
	}
	if before.src.json && !after.src.json {
		return unproved("the result would not be JSON any more")
	}
	return after.satisfies(before, intent)
}

func unproved(format string, args ...any) error {
	return &NotUnderstoodError{Reason: NotEditable, Detail: fmt.Sprintf(format, args...)}
}

// satisfies checks that a manifest has what is intended, and its predecessor's other flags as they were.
func (m *Manifest) satisfies(before *Manifest, intent Intent) error {
	wanted := map[string]string{}
	for _, f := range intent.Flags {
		wanted[f.Name] = f.Value
		if got, ok := m.args.Lookup(f.Name); !ok || got != f.Value {
			return unproved("--%s would be %q, not %q", f.Name, got, f.Value)
		}
	}
	for _, f := range intent.Entries {
		wanted[f.Name] = f.Value
		key, value, _ := strings.Cut(f.Value, "=")
		entries := before.args.entries(f.Name)
		if got, ok := entries[key]; !ok || !sameEntry(got, value) {
			entries[key] = value
		}
		if times := len(m.args.All(f.Name)); !maps.Equal(entries, m.args.entries(f.Name)) || times != max(1, len(before.args.All(f.Name))) {
			return unproved("--%s would hold something else", f.Name)
		}
	}
	if m.command.form != before.command.form || !slices.Equal(m.others(wanted), before.others(wanted)) {
		return unproved("another flag would change")
	}
	for key, want := range intent.Annotations {
		if got, ok := m.Annotation(key); !ok || got != want {
			return unproved("annotation %q would be %q", key, got)
		}
	}
	for _, v := range intent.Volumes {
		if mount, err := m.findMount(v); err != nil || mount == nil {
			return unproved("%q would not be mounted", v.MountPath)
		}
	}
	return nil
}

// others are the words that do not belong to some flags.
func (m *Manifest) others(flags map[string]string) []string {
	words := m.command.texts()
	skip := map[int]bool{}
	for _, arg := range m.args {
		if _, ok := flags[arg.Name]; ok {
			skip[arg.index] = true
			skip[arg.index+1] = skip[arg.index+1] || arg.split
		}
	}
	var out []string
	for i, w := range words {
		if !skip[i] {
			out = append(out, w)
		}
	}
	return out
}
