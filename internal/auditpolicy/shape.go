package auditpolicy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// shape is the form of a field of the Policy kind: a scalar, a list or a mapping. It serves to say where a policy of the
// wrong form is wrong, because the decoder's message does not.
type shape struct {
	// fields, for a mapping.
	fields map[string]shape
	// item, for a list.
	item *shape
	// free is a mapping that is not looked into.
	free bool
	// boolean is a scalar that is true or false.
	boolean bool
}

func policyShape() shape {
	text := shape{}
	texts := shape{item: &text}
	resources := shape{fields: map[string]shape{"group": text, "resources": texts, "resourceNames": texts}}
	rule := shape{fields: map[string]shape{
		"level": text, "users": texts, "userGroups": texts, "verbs": texts, "namespaces": texts, "nonResourceURLs": texts,
		"omitStages": texts, "resources": {item: &resources}, "omitManagedFields": {boolean: true},
	}}
	return shape{fields: map[string]shape{
		"apiVersion": text, "kind": text, "metadata": {free: true}, "omitStages": texts,
		"rules": {item: &rule}, "omitManagedFields": {boolean: true},
	}}
}

// misshapen finds the place of a decoding error that the decoder cannot name.
func (d *document) misshapen(err error) *InvalidError {
	if invalid := policyShape().check(d.root, ""); invalid != nil {
		return invalid
	}
	return syntaxError(err)
}

// check walks node and shape together and returns the first difference, in the order of the text. Aliases are not
// followed: few aliases of aliases make a text that is too long to walk.
func (s shape) check(node *yaml.Node, path string) *InvalidError {
	if node.Kind == yaml.AliasNode || node.Tag == "!!null" {
		return nil
	}
	wrong := func(want string) *InvalidError {
		return &InvalidError{Field: path, Line: node.Line, Detail: "must be " + want + ", not " + describe(node)}
	}
	switch {
	case s.free:
		return nil
	case s.item != nil:
		if node.Kind != yaml.SequenceNode {
			return wrong("a list")
		}
		for i, item := range node.Content {
			if invalid := s.item.check(item, fmt.Sprintf("%s[%d]", path, i)); invalid != nil {
				return invalid
			}
		}
	case s.fields != nil:
		if node.Kind != yaml.MappingNode {
			return wrong("a mapping")
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := node.Content[i].Value
			if field, ok := s.fields[name]; ok {
				if invalid := field.check(node.Content[i+1], strings.TrimPrefix(path+"."+name, ".")); invalid != nil {
					return invalid
				}
			}
		}
	case node.Kind != yaml.ScalarNode:
		return wrong("one value")
	case s.boolean && node.Tag != "!!bool":
		return wrong("true or false")
	case !s.boolean && node.Tag != "!!str":
		return wrong("a string; put it in quotes")
	}
	return nil
}

func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
		return fmt.Sprintf("%q", node.Value)
	}
}

// meant suggests the field that a misspelt name in that place probably stands for, or says nothing.
func meant(path, name string) string {
	s := policyShape()
	for _, step := range parsePath(path) {
		if step.index >= 0 {
			continue
		}
		next, ok := s.fields[step.name]
		if !ok {
			break
		}
		if s = next; s.item != nil {
			s = *s.item
		}
	}
	var near []string
	for field := range s.fields {
		if distance(strings.ToLower(field), strings.ToLower(name)) <= 2 {
			near = append(near, field)
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.Sort(near)
	return fmt.Sprintf("; is %s meant?", near[0])
}

// distance is the number of single-character edits between two words.
func distance(a, b string) int {
	if len(b) > 40 || len(a) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
