package auditpolicy

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a policy's text with the positions of its nodes. It only ever says where something is; what is right and
// wrong is for the apiserver's decoder to say.
type document struct {
	text []byte
	root *yaml.Node
	// second is the line at which another YAML document starts, 0 if there is none.
	second int
}

// parseDocument reads the positions. JSON is YAML but for tabs in its white space, which are read as blanks.
func parseDocument(text []byte) (*document, *InvalidError) {
	readable := text
	if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 && trimmed[0] == '{' {
		readable = bytes.ReplaceAll(text, []byte("\t"), []byte(" "))
	}
	decoder := yaml.NewDecoder(bytes.NewReader(readable))
	var first yaml.Node
	if err := decoder.Decode(&first); errors.Is(err, io.EOF) {
		return nil, &InvalidError{Line: 1, Detail: "the policy is empty"}
	} else if err != nil {
		return nil, syntaxError(err)
	}
	doc := &document{text: text, root: resolve(&first)}
	if doc.root == nil || doc.root.Kind != yaml.MappingNode {
		return nil, &InvalidError{Line: 1, Detail: "the policy is not a YAML mapping"}
	}
	var next yaml.Node
	switch err := decoder.Decode(&next); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, syntaxError(err)
	default:
		doc.second = max(next.Line, 1)
	}
	return doc, nil
}

// yamlLine finds the line in the messages of the YAML parsers.
var yamlLine = regexp.MustCompile(`line (\d+)`)

// fromZero recognises the messages of the YAML parser proper, whose lines count from 0; those of its scanner count from 1.
var fromZero = regexp.MustCompile(`did not find expected (?:'|<|key|node content)`)

func syntaxError(err error) *InvalidError {
	invalid := &InvalidError{Line: 1, Detail: strings.TrimPrefix(err.Error(), "yaml: ")}
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return invalid
	}
	invalid.Line, _ = strconv.Atoi(m[1])
	if fromZero.MatchString(err.Error()) {
		invalid.Line++
	}
	invalid.Line = max(invalid.Line, 1)
	invalid.Detail = strings.TrimPrefix(invalid.Detail, m[0]+": ")
	return invalid
}

// resolve follows document nodes and aliases to the node that holds content. Aliases cannot form a loop: the parser
// refuses an anchor that contains itself, and the depth is bounded anyway.
func resolve(node *yaml.Node) *yaml.Node {
	for range 100 {
		switch {
		case node == nil:
			return nil
		case node.Kind == yaml.AliasNode:
			node = node.Alias
		case node.Kind == yaml.DocumentNode && len(node.Content) > 0:
			node = node.Content[0]
		default:
			return node
		}
	}
	return nil
}

// child returns the key's node and the value's node of a mapping.
func child(node *yaml.Node, name string) (key, value *yaml.Node) {
	node = resolve(node)
	if node == nil || node.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			key, value = node.Content[i], node.Content[i+1]
		}
	}
	return key, value
}

// scalar is the text of a top-level field, empty if it is missing or not a scalar.
func (d *document) scalar(name string) string {
	_, value := child(d.root, name)
	if value = resolve(value); value == nil || value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
		return ""
	}
	return value.Value
}

// foldedKey finds a top-level key that is the name but for the case of its letters, where the name itself is missing.
// The apiserver's lenient decoder takes one for the other.
func (d *document) foldedKey(name string) *yaml.Node {
	if exact, _ := child(d.root, name); exact != nil {
		return nil
	}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if key := d.root.Content[i]; strings.EqualFold(key.Value, name) {
			return key
		}
	}
	return nil
}

// repeated finds the first key that stands twice in one mapping, and its path.
func repeated(node *yaml.Node, path string) (key *yaml.Node, at string) {
	switch node.Kind {
	case yaml.MappingNode:
		seen := make(map[string]bool)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			at := strings.TrimPrefix(path+"."+key.Value, ".")
			if key.Kind == yaml.ScalarNode && seen[key.Value] {
				return key, at
			}
			seen[key.Value] = true
			if found, at := repeated(value, at); found != nil {
				return found, at
			}
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			if found, at := repeated(item, path+"["+strconv.Itoa(i)+"]"); found != nil {
				return found, at
			}
		}
	}
	return nil, ""
}

// step is one element of a field path: a name or an index.
type step struct {
	name  string
	index int
}

// pathPattern splits "rules[3].resources[0].group" into names and indexes.
var pathPattern = regexp.MustCompile(`([^.\[\]]+)|\[(\d+)\]`)

func parsePath(path string) []step {
	var steps []step
	for _, m := range pathPattern.FindAllStringSubmatch(path, -1) {
		if m[1] != "" {
			steps = append(steps, step{name: m[1], index: -1})
			continue
		}
		index, err := strconv.Atoi(m[2])
		if err != nil {
			return steps
		}
		steps = append(steps, step{index: index})
	}
	return steps
}

// line is the line at which the field stands, or else the nearest thing around it that does: a missing field is reported
// where it should be. Where the path names a field of a list without saying which item (the apiserver's validation does
// so for resources), the item that satisfies suits is taken, or the first that has the field.
func (d *document) line(path string, suits func(item *yaml.Node) bool) int {
	node, line := d.root, max(d.root.Line, 1)
	for _, s := range parsePath(path) {
		node = resolve(node)
		if node == nil {
			return line
		}
		if node.Kind == yaml.SequenceNode && s.index < 0 {
			if node = pickItem(node, s.name, suits); node == nil {
				return line
			}
			line = node.Line
		}
		switch {
		case s.index >= 0:
			if node.Kind != yaml.SequenceNode || s.index >= len(node.Content) {
				return line
			}
			node = node.Content[s.index]
			line = node.Line
		default:
			key, value := child(node, s.name)
			if key == nil {
				return line
			}
			node, line = value, key.Line
		}
	}
	return line
}

func pickItem(list *yaml.Node, name string, suits func(*yaml.Node) bool) *yaml.Node {
	var first *yaml.Node
	for _, item := range list.Content {
		item = resolve(item)
		if suits != nil && suits(item) {
			return item
		}
		if key, _ := child(item, name); first == nil && key != nil {
			first = item
		}
	}
	return first
}
