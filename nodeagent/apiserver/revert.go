package apiserver

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Revert takes an edit back. When the content is what [Edit] returned, the result is byte for byte what Edit was given.
// When somebody else changed it since, the result is their content without what the edit had put in: flags, annotations,
// mounts and volumes that still are as the edit left them; blocks that the edit made go when nothing else is in them.
// What somebody else gave another value stays, and is listed in kept, one phrase for each. An edit that is not there
// any more, as after a rewrite by the distribution, leaves the content as it is.
func Revert(current []byte, change Change) (out []byte, kept []string, err error) {
	switch digest(current) {
	case change.Before:
		return current, nil, nil
	case change.After:
		out, err := revertExactly(current, change)
		return out, nil, err
	}
	r := &reverter{data: current, change: change}
	for _, step := range []func() error{r.flags, r.annotations, r.volumes} {
		if err := step(); err != nil {
			return nil, nil, err
		}
	}
	return r.data, r.kept, nil
}

func revertExactly(current []byte, change Change) ([]byte, error) {
	var splices []splice
	for _, s := range change.Splices {
		end := s.Offset + len(s.Inserted)
		if s.Offset < 0 || end > len(current) || string(current[s.Offset:end]) != s.Inserted {
			return nil, errors.New("revert edit: the record does not fit the content it was made for")
		}
		splices = append(splices, splice{at: s.Offset, end: end, text: s.Removed})
	}
	out, _, err := apply(current, splices)
	if err != nil {
		return nil, fmt.Errorf("revert edit: %w", err)
	}
	if digest(out) != change.Before {
		return nil, errors.New("revert edit: the result is not the original content")
	}
	return out, nil
}

// reverter takes one setting after another out of content that others have changed, and proves each step.
type reverter struct {
	data   []byte
	change Change
	kept   []string
}

func (r *reverter) keepf(format string, args ...any) {
	r.kept = append(r.kept, fmt.Sprintf(format, args...))
}

// step makes a splice, and checks that it changes the decoded document as said.
func (r *reverter) step(s splice, path []any, change func(any) (any, error)) error {
	tree, err := decode(r.data)
	if err != nil {
		return err
	}
	expected, err := modify(tree, path, change)
	if err != nil {
		return unproved("%v", err)
	}
	out, _, err := apply(r.data, []splice{s})
	if err != nil {
		return unproved("%v", err)
	}
	got, err := decode(out)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(expected, any(got)) {
		return unproved("taking back the setting at %v would change more than that", path)
	}
	if _, err := ParseManifest(out); err != nil {
		return err
	}
	r.data = out
	return nil
}

func (r *reverter) flags() error {
	for _, f := range slices.Backward(r.change.Flags) {
		m, err := ParseManifest(r.data)
		if err != nil {
			return err
		}
		if f.Entry != "" && !slices.Contains(m.args.All(f.Name), f.Value) {
			if err := r.entry(m, f); err != nil {
				return err
			}
			continue
		}
		arg, ok := m.args.last(f.Name)
		if f.Entry != "" {
			arg, ok = m.args.with(f.Name, f.Value)
		}
		if !ok {
			continue
		}
		if now := arg.text(); now != f.Value {
			if !f.Replaced || now != f.Previous {
				r.keepf("flag --%s has been changed to %q", f.Name, now)
			}
			continue
		}
		if f.Replaced {
			err = r.restoreFlag(m, arg, f)
		} else {
			err = r.removeFlag(m, arg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry takes a key out of a flag that others have changed since: their keys stay.
func (r *reverter) entry(m *Manifest, f FlagChange) error {
	arg, at, ok := m.args.holder(f.Name, f.key())
	if !ok || at == nil || at.text(arg) == f.PreviousEntry {
		return nil
	}
	if _, ours, _ := strings.Cut(f.Entry, "="); !sameEntry(at.value, ours) {
		r.keepf("%s of --%s has been changed to %q", at.key, f.Name, at.value)
		return nil
	}
	value := withoutEntry(arg.Value, *at)
	if f.PreviousEntry != "" {
		value = withEntry(arg.Value, at, f.PreviousEntry)
	}
	if value == "" {
		return r.removeFlag(m, arg)
	}
	w, text, err := m.command.rewritten(arg, value)
	if err != nil {
		return err
	}
	if w.whole {
		e := &editor{m: m}
		s, err := m.src.replaceItem(w.node, text, e.inFlow(w))
		if err != nil {
			return err
		}
		return r.step(s, w.path, set(text))
	}
	quoted, err := m.command.quote(text, w)
	if err != nil {
		return err
	}
	return r.inString(m, w, quoted)
}

// inString writes other source in place of a word of a string.
func (r *reverter) inString(m *Manifest, w word, source string) error {
	s, err := m.src.within(w.node, w.from, w.to, source)
	if err != nil {
		return err
	}
	value := w.node.Value
	return r.step(s, w.path, set(value[:w.from]+source+value[w.to:]))
}

func (r *reverter) restoreFlag(m *Manifest, arg Arg, f FlagChange) error {
	w := m.command.words[arg.index]
	text := f.PreviousText
	if arg.split {
		w, text = m.command.words[arg.index+1], f.Previous
	}
	if !w.whole {
		return r.inString(m, w, f.PreviousSource)
	}
	e := &editor{m: m}
	s, err := m.src.replaceItem(w.node, text, e.inFlow(w))
	if err != nil {
		return err
	}
	return r.restore(s, f.PreviousSource, w.path, text)
}

// restore makes a splice, with the bytes that stood there before the edit where they still mean the same there.
func (r *reverter) restore(s splice, source string, path []any, text string) error {
	asBefore := s
	asBefore.text = source
	if err := r.step(asBefore, path, set(text)); err == nil {
		return nil
	}
	return r.step(s, path, set(text)) // the file's style changed meanwhile
}

func (r *reverter) removeFlag(m *Manifest, arg Arg) error {
	if arg.split {
		return unproved("--%s was written in another way meanwhile", arg.Name)
	}
	w := m.command.words[arg.index]
	if !w.whole {
		before := m.command.binary
		if arg.index > 0 {
			before = m.command.words[arg.index-1]
		}
		s, err := m.src.within(w.node, before.to, w.to, "")
		if err != nil {
			return err
		}
		return r.step(s, w.path, set(w.node.Value[:before.to]+w.node.Value[w.to:]))
	}
	key, _ := w.path[3].(string)
	index, _ := w.path[4].(int)
	return r.removeItem(m, m.container, key, index, w.path[:4])
}

// removeItem takes an item out of a list; the last one leaves what was there before the edit.
func (r *reverter) removeItem(m *Manifest, parent *yaml.Node, key string, index int, path []any) error {
	_, list := value(parent, key)
	if list.Kind != yaml.SequenceNode {
		return errorAtNode(list, NotEditable, "a list that is written elsewhere (an alias)")
	}
	if len(list.Content) == 1 {
		return r.removeBlock(m, parent, key, path)
	}
	s, err := m.src.cutItem(list, index)
	if err != nil {
		return err
	}
	return r.step(s, path, removed(index))
}

// removeBlock takes the last entry out of a collection: the collection goes if the edit made it, is left without a value
// if it had none, and is left empty otherwise.
func (r *reverter) removeBlock(m *Manifest, parent *yaml.Node, key string, path []any) error {
	if slices.Contains(r.change.AddedBlocks, key) {
		return r.removeEntry(m, parent, key, path[:len(path)-1])
	}
	k, block := value(parent, key)
	text, null := r.change.FilledBlocks[key]
	var left any
	switch {
	case null && text != "":
		text = " " + text
	case !null && block.Kind == yaml.SequenceNode:
		text, left = " []", []any{}
	case !null:
		text, left = " {}", []field{}
	}
	s, err := m.src.emptied(k, block, text)
	if err != nil {
		return err
	}
	return r.step(s, path, set(left))
}

// removeEntry takes an entry out of a mapping.
func (r *reverter) removeEntry(m *Manifest, mapping *yaml.Node, key string, path []any) error {
	if mapping.Kind != yaml.MappingNode {
		return errorAtNode(mapping, NotEditable, "a mapping that is written elsewhere (an alias)")
	}
	index := slices.IndexFunc(keys(mapping), func(k *yaml.Node) bool { return k.Value == key })
	s, err := m.src.cutEntry(mapping, index)
	if err != nil {
		return err
	}
	return r.step(s, path, func(old any) (any, error) {
		entries, ok := old.(map[string]any)
		if !ok {
			return nil, errors.New("not a mapping")
		}
		delete(entries, key)
		return entries, nil
	})
}

func (r *reverter) annotations() error {
	for _, a := range slices.Backward(r.change.Annotations) {
		m, err := ParseManifest(r.data)
		if err != nil {
			return err
		}
		now, ok := m.Annotation(a.Key)
		if !ok {
			continue
		}
		if now != a.Value {
			if !a.Replaced || now != a.Previous {
				r.keepf("annotation %q has been changed to %q", a.Key, now)
			}
			continue
		}
		if err := r.revertAnnotation(m, a); err != nil {
			return err
		}
	}
	return nil
}

func (r *reverter) revertAnnotation(m *Manifest, a AnnotationChange) error {
	_, annotations := value(m.metadata, "annotations")
	_, node := value(deref(annotations), a.Key)
	if a.Replaced {
		s, err := m.src.replaceAnnotation(annotations, node, a.Previous)
		if err != nil {
			return err
		}
		return r.restore(s, a.PreviousSource, []any{"metadata", "annotations", a.Key}, a.Previous)
	}
	if len(annotations.Content) == 2 {
		return r.removeBlock(m, m.metadata, "annotations", []any{"metadata", "annotations"})
	}
	return r.removeEntry(m, annotations, a.Key, []any{"metadata", "annotations"})
}

func (r *reverter) volumes() error {
	for _, v := range slices.Backward(r.change.Volumes) {
		if err := r.revertMount(v); err != nil {
			return err
		}
		if err := r.revertVolume(v); err != nil {
			return err
		}
	}
	return nil
}

func (r *reverter) revertMount(v VolumeChange) error {
	m, err := ParseManifest(r.data)
	if err != nil || !v.MountAdded {
		return err
	}
	index := slices.IndexFunc(sequence(m.container, "volumeMounts"), func(n *yaml.Node) bool {
		n = deref(n)
		return n.Kind == yaml.MappingNode && scalarText(n, "name") == v.Name && scalarText(n, "mountPath") == v.MountPath
	})
	if index < 0 {
		return nil
	}
	for _, arg := range m.args {
		if arg.Value == v.MountPath || strings.HasPrefix(arg.Value, v.MountPath+"/") {
			r.keepf("mount %q is still used by --%s", v.MountPath, arg.Name)
			return nil
		}
	}
	return r.removeItem(m, m.container, "volumeMounts", index, m.path("volumeMounts"))
}

func (r *reverter) revertVolume(v VolumeChange) error {
	m, err := ParseManifest(r.data)
	if err != nil || !v.VolumeAdded {
		return err
	}
	index := slices.IndexFunc(sequence(m.spec, "volumes"), func(n *yaml.Node) bool {
		n = deref(n)
		if n.Kind != yaml.MappingNode {
			return false
		}
		path, _ := hostPath(n)
		return scalarText(n, "name") == v.Name && path == v.HostPath
	})
	if index < 0 || m.mounted(v.Name) {
		return nil
	}
	return r.removeItem(m, m.spec, "volumes", index, []any{"spec", "volumes"})
}

// mounted reports whether any container of the pod mounts a volume.
func (m *Manifest) mounted(name string) bool {
	for _, kind := range []string{"containers", "initContainers"} {
		for _, c := range sequence(m.spec, kind) {
			if c = deref(c); c.Kind != yaml.MappingNode {
				continue
			}
			for _, n := range sequence(c, "volumeMounts") {
				if n = deref(n); n.Kind == yaml.MappingNode && scalarText(n, "name") == name {
					return true
				}
			}
		}
	}
	return false
}
