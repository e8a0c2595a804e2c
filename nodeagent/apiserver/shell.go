package apiserver

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// span is a part of a string.
type span struct {
	text     string // as the program sees it, as far as that can be known
	from, to int
}

// fields splits at white space and nothing else.
func fields(s string) []span {
	var out []span
	for i := 0; i < len(s); {
		if isSpace(s[i]) {
			i++
			continue
		}
		from := i
		for i < len(s) && !isSpace(s[i]) {
			i++
		}
		out = append(out, span{text: s[from:i], from: from, to: i})
	}
	return out
}

// errNotInScript is returned for a script that does not run kube-apiserver at all.
var errNotInScript = errors.New("kube-apiserver is not a command of the script")

// shellToken is a word or an operator of a shell script.
type shellToken struct {
	span
	operator bool
}

// shellCommand finds the one simple command of a shell script that runs kube-apiserver, and returns its binary and its
// words. It knows quoting, operators and redirections; whatever else could change the words' meaning is an error.
func shellCommand(script string) (binary span, words []span, err error) {
	tokens, err := shellTokens(script)
	if err != nil {
		return span{}, nil, err
	}
	found := false
	command := true // the next word is a command's name
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		if t.operator {
			if isRedirect(t.text) {
				i++ // its target
				continue
			}
			command = true
			continue
		}
		if !command || isAssignment(t.text) || t.text == "exec" {
			continue
		}
		command = false
		if path.Base(t.text) != binaryName {
			continue
		}
		if found {
			return span{}, nil, &NotUnderstoodError{Reason: TwoContainers, Detail: "the script runs kube-apiserver twice"}
		}
		found = true
		binary = t.span
		if words, err = shellWords(tokens[i+1:]); err != nil {
			return span{}, nil, err
		}
	}
	if !found {
		return span{}, nil, errNotInScript
	}
	return binary, words, nil
}

// shellWords are the words up to the end of a simple command.
func shellWords(tokens []shellToken) ([]span, error) {
	var words []span
	redirected := false
	for i := 0; i < len(tokens); i++ {
		switch t := tokens[i]; {
		case t.operator && isRedirect(t.text):
			redirected = true
			i++
		case t.operator:
			return words, nil
		case redirected:
			return nil, fmt.Errorf("word %q after a redirection", t.text)
		default:
			words = append(words, t.span)
		}
	}
	return words, nil
}

func isRedirect(op string) bool { return strings.ContainsAny(op, "<>") }

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

// shellTokens splits a script.
func shellTokens(s string) ([]shellToken, error) {
	var out []shellToken
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\\' && strings.HasPrefix(s[i:], "\\\n"):
			i += 2
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#':
			if end := strings.IndexByte(s[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(s)
			}
		case strings.HasPrefix(s[i:], "<<"):
			return nil, errors.New("a here-document")
		case strings.ContainsRune(";&|()<>\n", rune(c)):
			op := shellOperator(s[i:])
			out = append(out, shellToken{span: span{text: op, from: i, to: i + len(op)}, operator: true})
			i += len(op)
		default:
			word, err := shellWord(s, i)
			if err != nil {
				return nil, err
			}
			// "2>" is a redirection of file 2, not the word "2".
			if word.to < len(s) && (s[word.to] == '>' || s[word.to] == '<') && strings.Trim(s[word.from:word.to], "0123456789") == "" {
				i = word.to
				continue
			}
			out = append(out, shellToken{span: word})
			i = word.to
		}
	}
	return out, nil
}

func shellOperator(s string) string {
	for _, op := range []string{"&>>", ">&", "<&", "&>", ">>", ">|", "<>", "&&", "||", ";;", "|&"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return s[:1]
}

// shellWord reads the word that starts at from. Quotes are taken away; an expansion stays as it is written.
func shellWord(s string, from int) (span, error) {
	var text strings.Builder
	i := from
	for i < len(s) && !strings.ContainsRune(" \t\r\n;&|()<>", rune(s[i])) {
		switch s[i] {
		case '\'':
			end := strings.IndexByte(s[i+1:], '\'')
			if end < 0 {
				return span{}, errors.New("a quote that is not closed")
			}
			text.WriteString(s[i+1 : i+1+end])
			i += end + 2
		case '"':
			end, err := doubleQuoted(s, i+1, &text)
			if err != nil {
				return span{}, err
			}
			i = end
		case '\\':
			if i+1 >= len(s) {
				return span{}, errors.New("a backslash at the end")
			}
			if s[i+1] != '\n' {
				text.WriteByte(s[i+1])
			}
			i += 2
		case '`':
			return span{}, errors.New("a command substitution")
		case '$':
			if strings.HasPrefix(s[i:], "$(") || strings.HasPrefix(s[i:], "$'") {
				return span{}, errors.New("a command substitution")
			}
			text.WriteByte('$')
			i++
		default:
			text.WriteByte(s[i])
			i++
		}
	}
	return span{text: text.String(), from: from, to: i}, nil
}

func doubleQuoted(s string, i int, text *strings.Builder) (int, error) {
	for ; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return i + 1, nil
		case s[i] == '`' || strings.HasPrefix(s[i:], "$("):
			return 0, errors.New("a command substitution")
		case s[i] == '\\' && i+1 < len(s) && strings.ContainsRune("$`\"\\\n", rune(s[i+1])):
			i++
			if s[i] != '\n' {
				text.WriteByte(s[i])
			}
		default:
			text.WriteByte(s[i])
		}
	}
	return 0, errors.New("a quote that is not closed")
}

// shellQuote writes a word so that a shell reads it as it is.
func shellQuote(word string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=./:,@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !safe(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
