package apiserver

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cutItem returns the splice that takes an item out of a list that has others.
func (s *source) cutItem(list *yaml.Node, index int) (splice, error) {
	if isFlow(list) {
		return s.cutFlow(list.Content, list.Content, index)
	}
	item := list.Content[index]
	if _, _, err := s.dash(list, item); err != nil {
		return splice{}, err
	}
	return s.cutLines(s.start(item), item)
}

// cutEntry returns the splice that takes an entry out of a mapping.
func (s *source) cutEntry(mapping *yaml.Node, index int) (splice, error) {
	if index < 0 || 2*index+1 >= len(mapping.Content) {
		return splice{}, errorAtNode(mapping, NotEditable, "an entry was not found")
	}
	k, v := mapping.Content[2*index], mapping.Content[2*index+1]
	if isFlow(mapping) {
		var values []*yaml.Node
		for i := 1; i < len(mapping.Content); i += 2 {
			values = append(values, mapping.Content[i])
		}
		return s.cutFlow(keys(mapping), values, index)
	}
	start := s.start(k)
	if strings.TrimLeft(string(s.data[s.lineStart(start):start]), " ") == "" {
		return s.cutLines(start, v)
	}
	if 2*index+2 < len(mapping.Content) { // the first entry, after a list item's dash
		return splice{at: start, end: s.start(mapping.Content[2*index+2])}, nil
	}
	return splice{}, errorAtNode(k, NotEditable, "an entry that does not begin its line")
}

// cutLines takes out the lines from the one that start is in to the one that a node ends in.
func (s *source) cutLines(start int, last *yaml.Node) (splice, error) {
	end, err := s.end(last)
	if err != nil {
		return splice{}, err
	}
	out := splice{at: s.lineStart(start), end: s.lineEnd(end)}
	if out.end == len(s.data) && !bytes.HasSuffix(s.data, []byte("\n")) && out.at > 0 { // the last line keeps having no end
		out.at--
		if out.at > 0 && s.data[out.at-1] == '\r' {
			out.at--
		}
	}
	return out, nil
}

// cutFlow takes an entry with the comma before it, or after it where it is the first, out of a flow collection. starts
// and ends are the entries' first and last nodes.
func (s *source) cutFlow(starts, ends []*yaml.Node, index int) (splice, error) {
	end, err := s.end(ends[index])
	if err != nil {
		return splice{}, err
	}
	switch {
	case len(starts) == 1:
		return splice{at: s.start(starts[0]), end: end}, nil
	case index == 0:
		return splice{at: s.start(starts[0]), end: s.start(starts[1])}, nil
	}
	previous, err := s.end(ends[index-1])
	return splice{at: previous, end: end}, err
}

// emptied returns the splice that leaves a key with an empty collection.
func (s *source) emptied(key, collection *yaml.Node, text string) (splice, error) {
	keyEnd, err := s.end(key)
	if err != nil {
		return splice{}, err
	}
	end, err := s.end(collection)
	if err != nil {
		return splice{}, err
	}
	colon := bytes.IndexByte(s.data[keyEnd:end], ':')
	if colon < 0 {
		return splice{}, errorAtNode(key, NotEditable, "the key's colon was not found")
	}
	return splice{at: keyEnd + colon + 1, end: end, text: text}, nil
}
