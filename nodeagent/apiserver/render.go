package apiserver

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// field is an entry of a mapping to write.
type field struct {
	key   string
	value any // string, bool, json.Number, nil, []field, or []any of those
}

// plainBlock and plainFlow are strings that every YAML reader takes for the string they are: a flag or a path, without
// a colon at the end.
var (
	plainBlock = regexp.MustCompile(`^(--[A-Za-z]|/)([A-Za-z0-9._/=,@%+:-]*[A-Za-z0-9._/=,@%+-])?$`)
	plainFlow  = regexp.MustCompile(`^(--[A-Za-z]|/)[A-Za-z0-9._/=-]*$`)
	plainKey   = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9.-]*/[A-Za-z0-9._-]+|[a-z]+[A-Z][A-Za-z]*|name|path|type|volumes|annotations|enabled|audit(-[a-z]+)+)$`)
	plainWord  = regexp.MustCompile(`^(k8s-audit(-[a-z0-9-]+)?|Directory|DirectoryOrCreate|File|FileOrCreate|batch|json)$`)
)

// quote writes a string on one line in a style, or in double quotes where the style cannot hold it.
func quote(text string, style yaml.Style, flow bool) string {
	switch style {
	case 0:
		plain := plainBlock
		if flow {
			plain = plainFlow
		}
		if plain.MatchString(text) || plainWord.MatchString(text) {
			return text
		}
	case yaml.SingleQuotedStyle:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return doubleQuote(text)
}

// doubleQuote writes a string that JSON and YAML read alike.
func doubleQuote(text string) string {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic(err) // a string always encodes
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func quoteKey(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return doubleQuote(key)
}

// renderFlow writes a value on one line, as JSON does, but for a string in a list of strings of another style.
func renderFlow(v any, style yaml.Style) string {
	switch v := v.(type) {
	case string:
		return quote(v, style, true)
	case bool:
		if v {
			return "true"
		}
		return "false"
	case json.Number:
		return v.String()
	case nil:
		return "null"
	case []field:
		parts := make([]string, len(v))
		for i, f := range v {
			parts[i] = doubleQuote(f.key) + ": " + renderFlow(f.value, yaml.DoubleQuotedStyle)
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, item := range v {
			parts[i] = renderFlow(item, yaml.DoubleQuotedStyle)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return ""
}

// renderBlock writes a value as lines without indentation. dash is how far a list's dashes stand from its key.
func renderBlock(v any, style yaml.Style, dash int) []string {
	switch v := v.(type) {
	case []field:
		var lines []string
		for _, f := range v {
			lines = append(lines, renderEntry(f, style, dash)...)
		}
		return lines
	case []any:
		var lines []string
		for _, item := range v {
			lines = append(lines, prefixed("- ", "  ", renderBlock(item, style, dash))...)
		}
		return lines
	case string:
		return []string{quote(v, style, false)}
	}
	return []string{renderFlow(v, style)}
}

func renderEntry(f field, style yaml.Style, dash int) []string {
	key := quoteKey(f.key) + ":"
	switch f.value.(type) {
	case []field:
		return append([]string{key}, prefixed("  ", "  ", renderBlock(f.value, style, dash))...)
	case []any:
		pad := strings.Repeat(" ", dash)
		return append([]string{key}, prefixed(pad, pad, renderBlock(f.value, style, dash))...)
	}
	return []string{key + " " + renderBlock(f.value, style, dash)[0]}
}

func prefixed(first, others string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		if i == 0 {
			out[i] = first + line
		} else {
			out[i] = others + line
		}
	}
	return out
}

// decoded is a value as the decoder returns it.
func decoded(v any) any {
	switch v := v.(type) {
	case []field:
		out := make(map[string]any, len(v))
		for _, f := range v {
			out[f.key] = decoded(f.value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = decoded(item)
		}
		return out
	}
	return v
}
