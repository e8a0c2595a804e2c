package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxManifest bounds what is parsed, in bytes. The largest manifests seen have 20 KiB.
const maxManifest = 1 << 20

// source is a document's bytes with what is needed to turn the parser's positions into offsets.
type source struct {
	data  []byte
	lines []int // the offset of each line's first byte
	// newline is the document's line end: "\n" or "\r\n".
	newline string
	// json is set where the document is JSON and has to stay so.
	json bool
}

func newSource(data []byte) (*source, error) {
	s := &source{data: data, lines: []int{0}, newline: "\n", json: json.Valid(data)}
	for i, b := range data {
		if b == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	if len(data) > maxManifest {
		return nil, &NotUnderstoodError{Reason: NotParsed, Detail: fmt.Sprintf("more than %d bytes", maxManifest)}
	}
	if i := bytes.IndexByte(data, '\n'); i > 0 && data[i-1] == '\r' {
		s.newline = "\r\n"
	}
	return s, s.checkCharacters()
}

// checkCharacters refuses what YAML 1.1, YAML 1.2 and JSON count differently as line ends or columns.
func (s *source) checkCharacters() error {
	for i := 0; i < len(s.data); {
		r, size := utf8.DecodeRune(s.data[i:])
		what := ""
		switch {
		case r == utf8.RuneError && size == 1:
			what = "not UTF-8"
		case r == '\uFEFF':
			what = "a byte order mark"
		case r == '\u0085' || r == '\u2028' || r == '\u2029':
			what = fmt.Sprintf("line break %U", r)
		case r == '\r' && (i+1 >= len(s.data) || s.data[i+1] != '\n'):
			what = "a carriage return without a line feed"
		}
		if what != "" {
			return s.errorAt(i, NotParsed, what)
		}
		i += size
	}
	return nil
}

// positions returns the bytes to parse for positions: the YAML parser refuses the tabs that JSON allows between tokens.
func (s *source) positions() []byte {
	if s.json {
		return bytes.ReplaceAll(s.data, []byte("\t"), []byte(" "))
	}
	return s.data
}

// offset turns a position into an offset. Columns count characters from 1.
func (s *source) offset(line, column int) int {
	if line < 1 || line > len(s.lines) {
		return len(s.data)
	}
	at := s.lines[line-1]
	for ; column > 1 && at < len(s.data); column-- {
		_, size := utf8.DecodeRune(s.data[at:])
		at += size
	}
	return at
}

// place is the inverse of offset.
func (s *source) place(at int) (line, column int) {
	line, found := slices.BinarySearch(s.lines, at)
	if found {
		line++
	}
	return line, utf8.RuneCount(s.data[s.lines[line-1]:at]) + 1
}

func (s *source) errorAt(at int, why NotUnderstoodReason, detail string) *NotUnderstoodError {
	line, column := s.place(min(at, len(s.data)))
	return &NotUnderstoodError{Reason: why, Line: line, Column: column, Detail: detail}
}

func errorAtNode(n *yaml.Node, why NotUnderstoodReason, format string, args ...any) *NotUnderstoodError {
	return &NotUnderstoodError{Reason: why, Line: n.Line, Column: n.Column, Detail: fmt.Sprintf(format, args...)}
}

// start is where a node begins, its anchor and tag included.
func (s *source) start(n *yaml.Node) int { return s.offset(n.Line, n.Column) }

// lineStart is the first byte of the line that at is in.
func (s *source) lineStart(at int) int { return bytes.LastIndexByte(s.data[:at], '\n') + 1 }

// lineEnd is the first byte after the line that at is in.
func (s *source) lineEnd(at int) int {
	if i := bytes.IndexByte(s.data[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(s.data)
}

// skipSpace moves over white space, line ends and comments.
func (s *source) skipSpace(at int) int {
	for at < len(s.data) {
		switch s.data[at] {
		case ' ', '\t', '\r', '\n':
			at++
		case '#':
			at = s.lineEnd(at)
		default:
			return at
		}
	}
	return at
}

// content is where a node's content begins: after its anchor and tag.
func (s *source) content(n *yaml.Node) int {
	at := s.start(n)
	for at < len(s.data) && (s.data[at] == '&' || s.data[at] == '!') {
		for at < len(s.data) && !bytes.ContainsRune([]byte(" \t\r\n,[]{}"), rune(s.data[at])) {
			at++
		}
		at = s.skipSpace(at)
	}
	return at
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// isEmptyScalar reports a value that is not written at all, as in "key:".
func isEmptyScalar(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&^yaml.TaggedStyle == 0
}

// end is the first byte after a node.
func (s *source) end(n *yaml.Node) (int, error) {
	switch {
	case n.Kind == yaml.AliasNode:
		return s.start(n) + 1 + len(n.Value), nil
	case isEmptyScalar(n):
		if n.Anchor != "" || n.Style != 0 {
			return 0, errorAtNode(n, NotEditable, "an empty value with an anchor or a tag")
		}
		return s.start(n), nil
	case n.Kind == yaml.ScalarNode:
		sc, err := s.scalar(n)
		if err != nil {
			return 0, err
		}
		return sc.end, nil
	case isFlow(n):
		return s.flowEnd(n)
	case len(n.Content) == 0:
		return 0, errorAtNode(n, NotEditable, "an empty block collection")
	}
	return s.end(n.Content[len(n.Content)-1])
}

func (s *source) flowEnd(n *yaml.Node) (int, error) {
	at := s.content(n) + 1
	if len(n.Content) > 0 {
		var err error
		if at, err = s.end(n.Content[len(n.Content)-1]); err != nil {
			return 0, err
		}
	}
	closing := byte(']')
	if n.Kind == yaml.MappingNode {
		closing = '}'
	}
	for at = s.skipSpace(at); at < len(s.data) && s.data[at] == ','; {
		at = s.skipSpace(at + 1)
	}
	if at >= len(s.data) || s.data[at] != closing {
		return 0, errorAtNode(n, NotEditable, "the end of the collection was not found")
	}
	return at + 1, nil
}
