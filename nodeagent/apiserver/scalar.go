package apiserver

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// scalar maps each byte of a scalar's value to the source bytes it comes from. It is found by walking source and value
// together, so where the two do not fit the scalar is not edited.
type scalar struct {
	// start and end are the scalar's source bytes, quotes and block header included, anchor and tag not.
	start, end int
	// from[i] and to[i] are the source bytes of value byte i.
	from, to []int
	style    yaml.Style
}

// walker matches a value against its source.
type walker struct {
	src   []byte
	value string
	at    int // in src
	sc    *scalar
	ok    bool
}

func (s *source) scalar(n *yaml.Node) (*scalar, error) {
	start := s.content(n)
	sc := &scalar{start: start, style: n.Style &^ (yaml.TaggedStyle | yaml.FlowStyle)}
	w := &walker{src: s.data, value: n.Value, at: start, sc: sc, ok: true}
	switch sc.style {
	case 0:
		w.plain()
	case yaml.SingleQuotedStyle:
		w.quoted('\'')
	case yaml.DoubleQuotedStyle:
		w.quoted('"')
	case yaml.LiteralStyle, yaml.FoldedStyle:
		w.block(sc.style == yaml.FoldedStyle)
	default:
		w.ok = false
	}
	if !w.ok || len(sc.to) != len(n.Value) {
		return nil, errorAtNode(n, NotEditable, "the text of this value was not found as it was read")
	}
	return sc, nil
}

// done reports whether the whole value was matched.
func (w *walker) done() bool { return !w.ok || len(w.sc.to) >= len(w.value) }

// emit matches text as the next bytes of the value, which come from the next size bytes of the source.
func (w *walker) emit(text string, size int) {
	if !strings.HasPrefix(w.value[len(w.sc.to):], text) {
		w.ok = false
		return
	}
	for range len(text) {
		w.sc.from, w.sc.to = append(w.sc.from, w.at), append(w.sc.to, w.at+size)
	}
	w.at += size
}

// char matches one source byte as it stands.
func (w *walker) char() {
	if w.at >= len(w.src) {
		w.ok = false
		return
	}
	w.emit(string(w.src[w.at:w.at+1]), 1)
}

// breaks counts the line ends in the white space at the current place, and returns the white space's length.
func (w *walker) breaks() (count, size int) {
	for _, b := range w.src[w.at:] {
		if !isSpace(b) {
			break
		}
		if b == '\n' {
			count++
		}
		size++
	}
	return count, size
}

// fold matches a line break within a plain or quoted scalar, if there is one here.
func (w *walker) fold() bool {
	if w.at >= len(w.src) || !isSpace(w.src[w.at]) {
		return false
	}
	blank := w.src[w.at:]
	blank = bytes.TrimLeft(blank, " \t")
	if !bytes.HasPrefix(blank, []byte("\n")) && !bytes.HasPrefix(blank, []byte("\r\n")) {
		return false
	}
	count, size := w.breaks()
	if count == 1 {
		w.emit(" ", size)
	} else {
		w.emit(strings.Repeat("\n", count-1), size)
	}
	return true
}

func (w *walker) plain() {
	for !w.done() {
		if !w.fold() {
			w.char()
		}
	}
	w.sc.end = w.at
}

func (w *walker) quoted(quote byte) {
	if w.at >= len(w.src) || w.src[w.at] != quote {
		w.ok = false
		return
	}
	w.at++
	for w.ok && w.at < len(w.src) {
		b := w.src[w.at]
		switch {
		case b == quote && quote == '\'' && bytes.HasPrefix(w.src[w.at:], []byte("''")):
			w.emit("'", 2)
		case b == quote:
			w.at++
			w.sc.end = w.at
			return
		case b == '\\' && quote == '"':
			w.escape()
		case !w.fold():
			w.char()
		}
	}
	w.ok = false
}

// escapes are YAML's, by the character after the backslash.
var escapes = map[byte]string{
	'0': "\x00", 'a': "\a", 'b': "\b", 't': "\t", '\t': "\t", 'n': "\n", 'v': "\v", 'f': "\f", 'r': "\r", 'e': "\x1b",
	' ': " ", '"': "\"", '/': "/", '\\': "\\", '\'': "'", 'N': "\u0085", '_': "\u00a0", 'L': "\u2028", 'P': "\u2029",
}

func (w *walker) escape() {
	if w.at+1 >= len(w.src) {
		w.ok = false
		return
	}
	kind := w.src[w.at+1]
	if kind == '\n' || kind == '\r' { // an escaped line break means nothing, nor does the next line's indentation
		w.at++
		if kind == '\r' {
			w.at++
		}
		w.at++
		for w.at < len(w.src) && (w.src[w.at] == ' ' || w.src[w.at] == '\t') {
			w.at++
		}
		return
	}
	if text, ok := escapes[kind]; ok {
		w.emit(text, 2)
		return
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[kind]
	if digits == 0 || w.at+2+digits > len(w.src) {
		w.ok = false
		return
	}
	code, err := strconv.ParseUint(string(w.src[w.at+2:w.at+2+digits]), 16, 32)
	if err != nil || !utf8.ValidRune(rune(code)) {
		w.ok = false
		return
	}
	w.emit(string(rune(code)), 2+digits)
}

func (w *walker) block(folded bool) {
	header := w.src[w.at:]
	if i := bytes.IndexByte(header, '\n'); i >= 0 {
		header = header[:i]
	}
	head, _, _ := strings.Cut(string(header), "#")
	if strings.ContainsAny(head, "123456789") { // an indentation that cannot be seen from the text
		w.ok = false
		return
	}
	w.at += len(header)
	w.sc.end = w.at
	if w.value == "" {
		return
	}
	count, size := w.breaks()
	indent := w.column(w.at + size)
	if count == 0 {
		w.ok = false
		return
	}
	w.leading(count-1, size, indent)
	for !w.done() {
		if w.at < len(w.src) && w.src[w.at] != '\n' && !bytes.HasPrefix(w.src[w.at:], []byte("\r\n")) {
			w.char()
			w.sc.end = w.at
			continue
		}
		w.lines(folded, indent)
	}
}

// leading matches the blank lines before a block scalar's first line.
func (w *walker) leading(blank, size, indent int) {
	text := w.at + size
	if blank > 0 {
		w.at++ // the header's own line end
		w.emit(strings.Repeat("\n", blank), size-1)
	}
	w.at = text - w.column(text) + indent
}

// column is how many bytes stand before at on its line.
func (w *walker) column(at int) int { return at - bytes.LastIndexByte(w.src[:at], '\n') - 1 }

// lines matches a block scalar's line end and the blank lines after it.
func (w *walker) lines(folded bool, indent int) {
	count, at := 0, w.at
	for at < len(w.src) {
		line := w.src[at:]
		if i := bytes.IndexByte(line, '\n'); i < 0 || len(bytes.TrimRight(line[:i], " \r")) > 0 {
			break
		} else {
			at += i + 1
			count++
		}
	}
	next := at
	for range indent {
		if next < len(w.src) && w.src[next] == ' ' {
			next++
		}
	}
	rest := w.value[len(w.sc.to):]
	newlines := len(rest) - len(strings.TrimLeft(rest, "\n"))
	switch {
	case count == 0: // the file ends without a line end, which the parser supplies
		w.emit("\n", 0)
	case folded && count == 1 && strings.HasPrefix(rest, " "):
		w.emit(" ", next-w.at)
	case newlines == 0:
		w.ok = false
	default:
		w.emit(strings.Repeat("\n", min(newlines, count)), next-w.at)
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }
