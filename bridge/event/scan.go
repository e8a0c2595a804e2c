package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// maxDepth is how deeply values may be nested. It is what encoding/json accepts.
const maxDepth = 10000

// ErrNotObject says that the bytes are JSON, but no object.
var ErrNotObject = errors.New("not a JSON object")

// SyntaxError says where bytes stop being JSON. It never repeats them: an event may hold a Secret.
type SyntaxError struct{ Offset int }

func (e *SyntaxError) Error() string { return fmt.Sprintf("not JSON from byte %d on", e.Offset) }

// span is a part of the scanned bytes.
type span struct{ from, to int }

// scanner walks JSON once, without copying it. visit, where it is set, is called with each member of the outermost object: its
// key as written, with the quotes, and its value.
type scanner struct {
	data  []byte
	at    int
	depth int
	visit func(key, value span)
}

// text is a scan of a whole text: one object with blanks around it.
func (s *scanner) text() error {
	s.blanks()
	if s.at >= len(s.data) {
		return &SyntaxError{s.at}
	}
	object := s.data[s.at] == '{'
	if !s.value() {
		return &SyntaxError{s.at}
	}
	s.blanks()
	if s.at != len(s.data) {
		return &SyntaxError{s.at}
	}
	if !object {
		return ErrNotObject
	}
	return nil
}

func (s *scanner) blanks() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) value() bool {
	if s.at >= len(s.data) {
		return false
	}
	switch s.data[s.at] {
	case '"':
		return s.str()
	case '{':
		return s.object()
	case '[':
		return s.array()
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) object() bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	outermost := s.depth == 1 && s.visit != nil
	s.at++
	s.blanks()
	if s.at < len(s.data) && s.data[s.at] == '}' {
		s.at++
		s.depth--
		return true
	}
	for {
		key := span{from: s.at}
		if s.at >= len(s.data) || s.data[s.at] != '"' || !s.str() {
			return false
		}
		key.to = s.at
		s.blanks()
		if s.at >= len(s.data) || s.data[s.at] != ':' {
			return false
		}
		s.at++
		s.blanks()
		value := span{from: s.at}
		if !s.value() {
			return false
		}
		value.to = s.at
		if outermost {
			s.visit(key, value)
		}
		s.blanks()
		if s.at >= len(s.data) {
			return false
		}
		switch s.data[s.at] {
		case ',':
			s.at++
			s.blanks()
		case '}':
			s.at++
			s.depth--
			return true
		default:
			return false
		}
	}
}

func (s *scanner) array() bool {
	if s.depth++; s.depth > maxDepth {
		return false
	}
	s.at++
	s.blanks()
	if s.at < len(s.data) && s.data[s.at] == ']' {
		s.at++
		s.depth--
		return true
	}
	for {
		if !s.value() {
			return false
		}
		s.blanks()
		if s.at >= len(s.data) {
			return false
		}
		switch s.data[s.at] {
		case ',':
			s.at++
			s.blanks()
		case ']':
			s.at++
			s.depth--
			return true
		default:
			return false
		}
	}
}

const (
	each = 0x0101010101010101
	tops = 0x8080808080808080
)

// str walks a string. Eight bytes are looked at in one step for what ends one, escapes, or must not be in one: of all that is done
// to an event, this takes the longest.
func (s *scanner) str() bool {
	data, at := s.data, s.at+1
	for {
		for at+8 <= len(data) {
			word := binary.LittleEndian.Uint64(data[at:])
			quote, escape := word^(each*'"'), word^(each*'\\')
			// The top bit of each byte that is a quote, a backslash or below a blank; the lowest one set is exact.
			found := ((quote - each) &^ quote) | ((escape - each) &^ escape) | ((word - each*' ') &^ word)
			if found &= tops; found != 0 {
				at += bits.TrailingZeros64(found) / 8
				break
			}
			at += 8
		}
		if at >= len(data) {
			s.at = at
			return false
		}
		switch c := data[at]; {
		case c == '"':
			s.at = at + 1
			return true
		case c == '\\':
			size := escapeSize(data[at:])
			if size == 0 {
				s.at = at
				return false
			}
			at += size
		case c < ' ':
			s.at = at
			return false
		default:
			at++
		}
	}
}

// escapeSize is the length of the escape that the bytes begin with, or zero where it is none.
func escapeSize(data []byte) int {
	if len(data) < 2 {
		return 0
	}
	switch data[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(data) < 6 {
			return 0
		}
		for _, c := range data[2:6] {
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return 0
			}
		}
		return 6
	default:
		return 0
	}
}

func (s *scanner) word(word string) bool {
	if len(s.data)-s.at < len(word) || string(s.data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

func (s *scanner) number() bool {
	if s.at < len(s.data) && s.data[s.at] == '-' {
		s.at++
	}
	if s.at < len(s.data) && s.data[s.at] == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.at < len(s.data) && s.data[s.at] == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if s.at < len(s.data) && (s.data[s.at] == 'e' || s.data[s.at] == 'E') {
		s.at++
		if s.at < len(s.data) && (s.data[s.at] == '+' || s.data[s.at] == '-') {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.data) && s.data[s.at] >= '0' && s.data[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}
