package render

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document that is edited in place among others that stay as they are, byte for byte.
type document struct {
	before, after []byte
	node          *yaml.Node // the document
	root          *yaml.Node // its mapping
}

// newDocument is an empty one.
func newDocument() *document {
	root := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	return &document{root: root, node: &yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{root}}}
}

// openDocument finds the one document of a kind in a file of several.
func openDocument(data []byte, kind string) (*document, error) {
	var found *document
	var kinds []string
	for _, part := range split(data) {
		var node yaml.Node
		if err := yaml.Unmarshal(part.text, &node); err != nil {
			return nil, fmt.Errorf("the file that is given with -f is not YAML: %w", err)
		}
		if len(node.Content) == 0 || node.Content[0].Kind != yaml.MappingNode {
			continue
		}
		root := node.Content[0]
		is := scalar(root, "kind")
		kinds = append(kinds, is)
		if is != kind {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("the file that is given with -f has two documents of kind %s; give one at a time", kind)
		}
		found = &document{before: data[:part.from], after: data[part.to:], node: &node, root: root}
	}
	if found == nil {
		return nil, fmt.Errorf("the file that is given with -f has no document of kind %s, but %s", kind, strings.Join(append(kinds, "nothing else"), ", "))
	}
	return found, nil
}

// part is the text of one document without the line that separates it from the one before.
type part struct {
	text     []byte
	from, to int
}

func split(data []byte) []part {
	var parts []part
	from := 0
	for at := 0; at < len(data); {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		line := strings.TrimRight(string(data[at:end]), " \t\r\n")
		if line == "---" {
			parts = append(parts, part{data[from:at], from, at})
			from = end
		}
		at = end
	}
	return append(parts, part{data[from:], from, len(data)})
}

// bytes is the whole file with the document as it is now.
func (d *document) bytes() ([]byte, error) {
	var out bytes.Buffer
	out.Write(d.before)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	if err := errors.Join(enc.Encode(d.node), enc.Close()); err != nil {
		return nil, fmt.Errorf("write YAML: %w", err)
	}
	out.Write(d.after)
	return out.Bytes(), nil
}

// child is the value of a mapping's key, nil where it is not there or null.
func child(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key && mapping.Content[i+1].Tag != "!!null" {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// scalar is the text of a mapping's key, empty where it is none.
func scalar(mapping *yaml.Node, keys ...string) string {
	n := mapping
	for _, key := range keys {
		n = child(n, key)
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// put sets a mapping's key, where it stands or at the end.
func put(mapping *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			old := mapping.Content[i+1]
			value.HeadComment, value.LineComment, value.FootComment = old.HeadComment, old.LineComment, old.FootComment
			mapping.Content[i+1] = value
			return
		}
	}
	mapping.Content = append(mapping.Content, text(key), value)
}

// mappingAt returns the mapping at a path, made where it is missing.
func mappingAt(root *yaml.Node, path ...string) (*yaml.Node, error) {
	return collection(root, yaml.MappingNode, "!!map", "a mapping", path)
}

// listAt returns the list at a path, made where it is missing.
func listAt(root *yaml.Node, path ...string) (*yaml.Node, error) {
	n, err := mappingAt(root, path[:len(path)-1]...)
	if err != nil {
		return nil, err
	}
	return collection(n, yaml.SequenceNode, "!!seq", "a list", path[len(path)-1:])
}

func collection(root *yaml.Node, kind yaml.Kind, tag, what string, path []string) (*yaml.Node, error) {
	n := root
	for _, key := range path {
		next := child(n, key)
		if next == nil {
			next = &yaml.Node{Kind: kind, Tag: tag}
			put(n, key, next)
		}
		if next.Kind != kind {
			return nil, fmt.Errorf("line %d of the file that is given with -f: %s is not %s", next.Line, key, what)
		}
		if len(next.Content) == 0 {
			next.Style = 0 // [] and {} are not written on one line any more
		}
		n = next
	}
	return n, nil
}

// text is a string, as a block where it has several lines.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// plain is a scalar of another type than string.
func plain(value, tag string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// entry is one key of a mapping that is made.
type entry struct {
	key   string
	value *yaml.Node
}

func mapping(entries ...entry) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, e := range entries {
		put(m, e.key, e.value)
	}
	return m
}

// upsert replaces the item of a list that matches, or appends it.
func upsert(list, item *yaml.Node, matches func(*yaml.Node) bool) {
	for i, old := range list.Content {
		if matches(old) {
			item.HeadComment, item.LineComment, item.FootComment = old.HeadComment, old.LineComment, old.FootComment
			list.Content[i] = item
			return
		}
	}
	list.Content = append(list.Content, item)
}
