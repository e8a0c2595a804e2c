package apiserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Setting is one value of a configuration file that an apiserver is started from, such as OpenShift's master-config.yaml.
type Setting struct {
	// Path are the keys that lead to it from the document's root. Those that are missing are made.
	Path []string
	// Value is a string, a bool, an int, a []string, or nil for null.
	Value any
}

// SettingsChange is what [EditSettings] did: the record that [RevertSettings] needs. It is stored on the host as JSON.
type SettingsChange struct {
	// Before and After are the SHA-256 of the content, in hexadecimal.
	Before string `json:"before"`
	After  string `json:"after"`
	// Steps are the settings that were not as they should be, in the order in which they were changed.
	Steps []SettingStep `json:"steps,omitempty"`
}

// SettingStep is one setting that was made or replaced.
type SettingStep struct {
	Path  []string        `json:"path"`
	Value json.RawMessage `json:"value"`
	// Depth is how many of the path's keys lead to what was added or replaced; the keys after those were made with it.
	Depth int `json:"depth"`
	// Replaced tells a value that was there from one that was not.
	Replaced bool `json:"replaced,omitempty"`
	// Previous is the value that was replaced, and Source what stood between its key's colon and its end.
	Previous json.RawMessage `json:"previous,omitempty"`
	Source   string          `json:"source,omitempty"`
	// Splice is the exchange of bytes in the content after this step.
	Splice Splice `json:"splice"`
}

// Empty reports that the file already was as intended.
func (c SettingsChange) Empty() bool { return len(c.Steps) == 0 }

// Lookup decodes the value at a path of a configuration file; there is false where it is missing.
func Lookup(data []byte, path ...string) (value any, there bool, err error) {
	d, err := openSettings(data)
	if err != nil {
		return nil, false, err
	}
	value, there = at(d.tree, path)
	return value, there, nil
}

// EditSettings gives a configuration file the values that are intended and returns its new content, which is proved to differ in
// nothing else. Where all is as intended already, the content is returned as it is and the change is empty. Errors about the
// file are of type [*NotUnderstoodError]; no content comes with an error.
func EditSettings(data []byte, settings []Setting) ([]byte, SettingsChange, error) {
	d, err := openSettings(data)
	if err != nil {
		return nil, SettingsChange{}, err
	}
	change := SettingsChange{Before: digest(data)}
	for _, s := range settings {
		next, step, err := d.apply(s)
		if err != nil {
			return nil, SettingsChange{}, err
		}
		if step != nil {
			d = next
			change.Steps = append(change.Steps, *step)
		}
	}
	change.After = digest(d.src.data)
	return d.src.data, change, nil
}

// settingsDoc is a configuration file as it is parsed, once with positions and once as its reader decodes it.
type settingsDoc struct {
	src  *source
	root *yaml.Node
	tree map[string]any
}

func openSettings(data []byte) (*settingsDoc, error) {
	src, err := newSource(data)
	if err != nil {
		return nil, err
	}
	d := &settingsDoc{src: src}
	if d.root, err = parseDocument(src); err != nil {
		return nil, err
	}
	d.tree, err = decode(data)
	return d, err
}

// at is the decoded value at a path.
func at(tree any, path []string) (any, bool) {
	for _, key := range path {
		m, ok := tree.(map[string]any)
		if !ok {
			return nil, false
		}
		if tree, ok = m[key]; !ok {
			return nil, false
		}
	}
	return tree, true
}

// find walks as far along a path as there are keys: the mapping that the last key found stands in, that key and its value, and
// how many keys were found.
func (d *settingsDoc) find(path []string) (mapping, key, val *yaml.Node, depth int, err error) {
	mapping = d.root
	for i, name := range path {
		k, v := value(mapping, name)
		if k == nil {
			return mapping, nil, nil, i, nil
		}
		if i == len(path)-1 || isNull(v) {
			return mapping, k, v, i + 1, nil
		}
		if v.Kind != yaml.MappingNode {
			return nil, nil, nil, 0, errorAtNode(v, NotEditable, "%s is not a mapping that is written here", strings.Join(path[:i+1], "."))
		}
		mapping = v
	}
	return nil, nil, nil, 0, errors.New("a setting without a path")
}

// apply returns the file with one setting, and no step where it has it.
func (d *settingsDoc) apply(s Setting) (*settingsDoc, *SettingStep, error) {
	want, err := settingValue(s.Value)
	if err != nil {
		return nil, nil, fmt.Errorf("check setting %s: %w", strings.Join(s.Path, "."), err)
	}
	if now, there := at(d.tree, s.Path); there && reflect.DeepEqual(now, decoded(want)) {
		return d, nil, nil
	}
	mapping, key, old, depth, err := d.find(s.Path)
	if err != nil {
		return nil, nil, err
	}
	step := &SettingStep{Path: s.Path, Value: encoded(want), Depth: depth, Replaced: key != nil}
	var sp splice
	if key == nil {
		step.Depth++
		sp, err = d.src.appendEntries(mapping, []field{{s.Path[depth], nested(s.Path[depth+1:], want)}}, d.dash())
	} else {
		previous, _ := at(d.tree, s.Path[:depth])
		step.Previous = encoded(previous)
		sp, err = d.replace(mapping, key, old, nested(s.Path[depth:], want))
		step.Source = string(d.src.data[sp.at:sp.end])
	}
	if err != nil {
		return nil, nil, err
	}
	out, err := d.splice(sp, s.Path[:step.Depth], decoded(nested(s.Path[step.Depth:], want)), true)
	step.Splice = Splice{Offset: sp.at, Removed: string(d.src.data[sp.at:sp.end]), Inserted: sp.text}
	return out, step, err
}

// replace gives a key another value: a mapping on lines of its own, where there are lines, and anything else on the key's.
func (d *settingsDoc) replace(mapping, key, old *yaml.Node, v any) (splice, error) {
	style := yaml.Style(0)
	if d.src.json {
		style = yaml.DoubleQuotedStyle
	}
	text := " " + renderFlow(v, style)
	start := d.src.start(key)
	indent := string(d.src.data[d.src.lineStart(start):start])
	if entries, ok := v.([]field); ok && !isFlow(mapping) && strings.Trim(indent, " ") == "" {
		pad := indent + "  "
		text = d.src.newline + strings.Join(prefixed(pad, pad, renderBlock(entries, 0, d.dash())), d.src.newline)
	}
	return d.src.emptied(key, old, text)
}

// splice makes a splice, and proves that it does to the decoded document at a path what value says: that value, or none.
func (d *settingsDoc) splice(s splice, path []string, value any, there bool) (*settingsDoc, error) {
	out, _, err := apply(d.src.data, []splice{s})
	if err != nil {
		return nil, unproved("%v", err)
	}
	after, err := openSettings(out)
	if err != nil {
		return nil, unproved("the result does not parse: %v", err)
	}
	parent, ok := at(d.tree, path[:len(path)-1])
	m, isMap := parent.(map[string]any)
	if !ok || !isMap {
		return nil, unproved("%s is not in a mapping", strings.Join(path, "."))
	}
	if there {
		m[path[len(path)-1]] = value
	} else {
		delete(m, path[len(path)-1])
	}
	if !reflect.DeepEqual(after.tree, d.tree) {
		return nil, unproved("setting %s would change more than that", strings.Join(path, "."))
	}
	return after, nil
}

// dash is how far the dashes of lists stand from their key: as in the document's first block list.
func (d *settingsDoc) dash() int {
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if n, ok := d.dashBelow(d.root.Content[i], d.root.Content[i+1]); ok {
			return n
		}
	}
	return 0
}

func (d *settingsDoc) dashBelow(key, v *yaml.Node) (int, bool) {
	switch {
	case isFlow(v):
	case v.Kind == yaml.SequenceNode && len(v.Content) > 0:
		if indent, _, err := d.src.dash(v, v.Content[0]); err == nil {
			start := d.src.start(key)
			n := len(indent) - (start - d.src.lineStart(start))
			return n, n >= 0 && n <= 8
		}
	case v.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(v.Content); i += 2 {
			if n, ok := d.dashBelow(v.Content[i], v.Content[i+1]); ok {
				return n, true
			}
		}
	}
	return 0, false
}

// nested is a value below keys.
func nested(keys []string, v any) any {
	for _, key := range slices.Backward(keys) {
		v = []field{{key, v}}
	}
	return v
}

// settingValue is a value as it is rendered and decoded.
func settingValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, bool:
		return v, nil
	case int:
		return json.Number(strconv.Itoa(v)), nil
	case string:
		if !printable(v) {
			return nil, errors.New("a character that cannot be printed")
		}
		return v, nil
	case []string:
		out := make([]any, len(v))
		for i, text := range v {
			if !printable(text) {
				return nil, errors.New("a character that cannot be printed")
			}
			out[i] = text
		}
		return out, nil
	}
	return nil, fmt.Errorf("a value of type %T", v)
}

// encoded is a decoded value as JSON. What was decoded from JSON can be encoded.
func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// RevertSettings takes an edit back. When the content is what [EditSettings] returned, the result is byte for byte what that was
// given. When somebody else changed it since, the result is their content without what the edit had put in: settings that still
// are as the edit left them. What somebody else gave another value stays, and is listed in kept, one phrase for each.
func RevertSettings(current []byte, change SettingsChange) (out []byte, kept []string, err error) {
	switch digest(current) {
	case change.Before:
		return current, nil, nil
	case change.After:
		out, err := unwindSettings(current, change)
		return out, nil, err
	}
	d, err := openSettings(current)
	if err != nil {
		return nil, nil, err
	}
	for _, step := range slices.Backward(change.Steps) {
		var note string
		if d, note, err = d.revert(step); err != nil {
			return nil, nil, err
		}
		if note != "" {
			kept = append(kept, note)
		}
	}
	return d.src.data, kept, nil
}

// unwindSettings takes the steps back byte by byte.
func unwindSettings(current []byte, change SettingsChange) ([]byte, error) {
	out := current
	for _, step := range slices.Backward(change.Steps) {
		s := step.Splice
		end := s.Offset + len(s.Inserted)
		if s.Offset < 0 || end > len(out) || string(out[s.Offset:end]) != s.Inserted {
			return nil, errors.New("revert settings: the record does not fit the content it was made for")
		}
		out = slices.Concat(out[:s.Offset], []byte(s.Removed), out[end:])
	}
	if digest(out) != change.Before {
		return nil, errors.New("revert settings: the result is not the original content")
	}
	return out, nil
}

// revert takes one step back where nobody has changed what it made, and says so where somebody has.
func (d *settingsDoc) revert(step SettingStep) (out *settingsDoc, kept string, err error) {
	if len(step.Path) == 0 || step.Depth < 1 || step.Depth > len(step.Path) {
		return nil, "", errors.New("revert settings: the record has a step without a place")
	}
	name := strings.Join(step.Path, ".")
	now, there := at(d.tree, step.Path)
	switch text := encoded(now); {
	case !there:
		return d, "", nil
	case step.Replaced && step.Depth == len(step.Path) && bytes.Equal(text, compacted(step.Previous)):
		return d, "", nil // somebody has put back what was there
	case !bytes.Equal(text, compacted(step.Value)):
		return d, fmt.Sprintf("%s has been changed to %s", name, text), nil
	}
	depth := len(step.Path)
	for depth > step.Depth {
		if parent, _ := at(d.tree, step.Path[:depth-1]); len(parent.(map[string]any)) > 1 { //nolint:forcetypeassert // the path was walked
			break
		}
		depth--
	}
	out, err = d.takeOut(step, depth)
	return out, "", err
}

// takeOut removes what is at a depth of a step's path, or puts back what it replaced there.
func (d *settingsDoc) takeOut(step SettingStep, depth int) (*settingsDoc, error) {
	path := step.Path[:depth]
	mapping, key, val, found, err := d.find(path)
	if err != nil {
		return nil, err
	}
	if key == nil || found != depth {
		return nil, unproved("%s was not found where it is", strings.Join(path, "."))
	}
	if step.Replaced && depth == step.Depth {
		s, err := d.src.emptied(key, val, step.Source)
		if err != nil {
			return nil, err
		}
		var previous any
		dec := json.NewDecoder(bytes.NewReader(step.Previous))
		dec.UseNumber()
		if err := dec.Decode(&previous); err != nil {
			return nil, fmt.Errorf("revert settings: read the record's previous value of %s: %w", strings.Join(path, "."), err)
		}
		return d.splice(s, path, previous, true)
	}
	if len(mapping.Content) == 2 && depth > 1 { // others took out the rest: what is left is a mapping without entries
		_, parent, block, _, err := d.find(path[:depth-1])
		if err != nil {
			return nil, err
		}
		s, err := d.src.emptied(parent, block, " {}")
		if err != nil {
			return nil, err
		}
		return d.splice(s, path, nil, false)
	}
	s, err := d.src.cutEntry(mapping, slices.Index(keys(mapping), key))
	if err != nil {
		return nil, err
	}
	return d.splice(s, path, nil, false)
}

// compacted is JSON as the encoder writes it; what is no JSON equals nothing.
func compacted(text json.RawMessage) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil
	}
	return out.Bytes()
}
