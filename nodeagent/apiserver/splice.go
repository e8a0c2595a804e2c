package apiserver

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// splice replaces data[at:end] with text.
type splice struct {
	at, end int
	text    string
}

// apply makes all splices, which must not overlap. Insertions at one place stay in their order.
func apply(data []byte, splices []splice) ([]byte, []splice, error) {
	sorted := slices.Clone(splices)
	slices.SortStableFunc(sorted, func(a, b splice) int { return a.at - b.at })
	var out bytes.Buffer
	at := 0
	for _, s := range sorted {
		if s.at < at || s.end < s.at || s.end > len(data) {
			return nil, nil, fmt.Errorf("splice at byte %d overlaps another", s.at)
		}
		out.Write(data[at:s.at])
		out.WriteString(s.text)
		at = s.end
	}
	out.Write(data[at:])
	return out.Bytes(), sorted, nil
}

// block returns the splice that inserts whole lines after the line that at is in.
func (s *source) block(at int, lines []string) splice {
	to := s.lineEnd(at)
	text := strings.Join(lines, s.newline)
	if to == len(s.data) && (to == 0 || s.data[to-1] != '\n') { // the file's last line has no end, and keeps having none
		return splice{at: to, end: to, text: s.newline + text}
	}
	return splice{at: to, end: to, text: text + s.newline}
}

// appendItems adds items to the end of a list. Strings take the last item's quoting.
func (s *source) appendItems(list *yaml.Node, items []any, dash int) (splice, error) {
	if list.Kind != yaml.SequenceNode {
		return splice{}, errorAtNode(list, NotEditable, "not a list that can be added to")
	}
	n := len(list.Content)
	var style yaml.Style
	if n > 0 {
		style = list.Content[n-1].Style & (yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle)
	}
	if isFlow(list) || n == 0 {
		if s.json {
			style = yaml.DoubleQuotedStyle
		}
		texts := make([]string, len(items))
		for i, item := range items {
			texts[i] = renderFlow(item, style)
		}
		return s.appendFlow(list, list.Content, texts)
	}
	last := list.Content[n-1]
	end, err := s.end(last)
	if err != nil {
		return splice{}, err
	}
	indent, gap, err := s.dash(list, last)
	if err != nil {
		return splice{}, err
	}
	var lines []string
	for _, item := range items {
		lines = append(lines, prefixed(indent+"-"+gap, indent+" "+strings.Repeat(" ", len(gap)), renderBlock(item, style, dash))...)
	}
	return s.block(end, lines), nil
}

// dash finds the dash of a block list's item: what stands before it on its line and between it and the item.
func (s *source) dash(list, item *yaml.Node) (indent, gap string, err error) {
	start := s.start(item)
	line := string(s.data[s.lineStart(start):start])
	indent, gap, ok := strings.Cut(line, "-")
	if ok && strings.Trim(indent, " ") == "" && gap != "" && strings.Trim(gap, " ") == "" {
		return indent, gap, nil
	}
	if start = s.content(list); start < len(s.data) && s.data[start] == '-' { // the item stands on a line after its dash
		indent = string(s.data[s.lineStart(start):start])
		if strings.Trim(indent, " ") == "" {
			return indent, " ", nil
		}
	}
	return "", "", errorAtNode(item, NotEditable, "the list item's dash was not found")
}

// appendFlow adds texts to the end of a flow collection whose entries begin with the given nodes, and end with the
// collection's last node. White space between entries is repeated.
func (s *source) appendFlow(n *yaml.Node, starts []*yaml.Node, texts []string) (splice, error) {
	open := s.content(n) + 1
	if open > len(s.data) || !bytes.ContainsRune([]byte("[{"), rune(s.data[open-1])) {
		return splice{}, errorAtNode(n, NotEditable, "the start of the collection was not found")
	}
	if len(starts) == 0 {
		return splice{at: open, end: open, text: strings.Join(texts, ", ")}, nil
	}
	end, err := s.end(n.Content[len(n.Content)-1])
	if err != nil {
		return splice{}, err
	}
	gap := s.flowGap(n, open, starts)
	var text strings.Builder
	for _, t := range texts {
		text.WriteString("," + gap + t)
	}
	return splice{at: end, end: end, text: text.String()}, nil
}

// flowGap is the white space before a flow collection's last entry.
func (s *source) flowGap(n *yaml.Node, open int, starts []*yaml.Node) string {
	last := s.start(starts[len(starts)-1])
	from := open
	if len(starts) > 1 {
		previous := n.Content[len(n.Content)-len(n.Content)/len(starts)-1]
		end, err := s.end(previous)
		if err != nil {
			return " "
		}
		comma := bytes.IndexByte(s.data[end:last], ',')
		if comma < 0 {
			return " "
		}
		from = end + comma + 1
	}
	gap := string(s.data[from:last])
	if strings.TrimSpace(gap) != "" || len(starts) == 1 && !strings.Contains(gap, "\n") {
		return " "
	}
	return gap
}

// keys are a mapping's key nodes.
func keys(mapping *yaml.Node) []*yaml.Node {
	var out []*yaml.Node
	for i := 0; i < len(mapping.Content); i += 2 {
		out = append(out, mapping.Content[i])
	}
	return out
}

// appendEntries adds entries to the end of a mapping.
func (s *source) appendEntries(mapping *yaml.Node, entries []field, dash int) (splice, error) {
	if mapping.Kind != yaml.MappingNode {
		return splice{}, errorAtNode(mapping, NotEditable, "not a mapping that can be added to")
	}
	if isFlow(mapping) || len(mapping.Content) == 0 {
		texts := make([]string, len(entries))
		for i, e := range entries {
			texts[i] = doubleQuote(e.key) + ": " + renderFlow(e.value, yaml.DoubleQuotedStyle)
		}
		return s.appendFlow(mapping, keys(mapping), texts)
	}
	end, err := s.end(mapping.Content[len(mapping.Content)-1])
	if err != nil {
		return splice{}, err
	}
	first := s.start(mapping.Content[0])
	pad := strings.Repeat(" ", first-s.lineStart(first))
	return s.block(end, prefixed(pad, pad, renderBlock(entries, 0, dash))), nil
}

// fill gives a value to a key that has none, or null.
func (s *source) fill(empty *yaml.Node, v any) (splice, error) {
	at := s.start(empty)
	text := renderFlow(v, yaml.DoubleQuotedStyle)
	if isEmptyScalar(empty) {
		if at == 0 || s.data[at-1] != ':' || empty.Anchor != "" || empty.Style != 0 {
			return splice{}, errorAtNode(empty, NotEditable, "an empty value that cannot be filled")
		}
		return splice{at: at, end: at, text: " " + text}, nil
	}
	end, err := s.end(empty)
	if err != nil {
		return splice{}, err
	}
	return splice{at: at, end: end, text: text}, nil
}

// isNull reports a value that is null or missing.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// replaceItem returns the splice that gives a scalar a new text, in its style where that can hold it. flow says whether
// the scalar stands in a flow collection.
func (s *source) replaceItem(n *yaml.Node, text string, flow bool) (splice, error) {
	if n.Kind == yaml.AliasNode {
		end, err := s.end(n)
		return splice{at: s.start(n), end: end, text: quote(text, 0, flow)}, err
	}
	sc, err := s.scalar(n)
	if err != nil {
		return splice{}, err
	}
	style := sc.style
	if style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return splice{}, errorAtNode(n, NotEditable, "a block scalar as a flag")
	}
	if s.json {
		style = yaml.DoubleQuotedStyle
	}
	return splice{at: sc.start, end: sc.end, text: quote(text, style, flow)}, nil
}

// within returns the splice that replaces value[from:to] of a scalar, from > 0, with text.
func (s *source) within(n *yaml.Node, from, to int, text string) (splice, error) {
	if n.Kind != yaml.ScalarNode {
		return splice{}, errorAtNode(n, NotEditable, "a string that is written elsewhere (an alias)")
	}
	sc, err := s.scalar(n)
	if err != nil {
		return splice{}, err
	}
	out := splice{at: sc.to[from-1], end: sc.to[from-1]}
	if to > from {
		out.at, out.end = sc.from[from], sc.to[to-1]
	}
	switch sc.style {
	case yaml.DoubleQuotedStyle:
		quoted := doubleQuote(text)
		out.text = quoted[1 : len(quoted)-1]
	case yaml.SingleQuotedStyle:
		out.text = strings.ReplaceAll(text, "'", "''")
	case 0: // a comma is one unless the string is in a flow collection, which the proof of the result would show
		if strings.Contains(text, ": ") || strings.Contains(text, " #") || strings.ContainsAny(text, "[]{}") {
			return splice{}, errorAtNode(n, NotEditable, "%q cannot be written into this unquoted string", text)
		}
		out.text = text
	default:
		out.text = text
	}
	return out, nil
}
