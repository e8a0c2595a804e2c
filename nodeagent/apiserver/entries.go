package apiserver

import (
	"strconv"
	"strings"
)

// A flag that holds a map, as --feature-gates and --runtime-config do, is shared: others keep their keys in it, and all its occurrences
// are merged, the last one of a key winning (k8s.io/component-base featuregate and cli/flag). So a key goes in where the flag stands,
// and comes out of whatever the flag has become since.

// entrySpan is one entry of a map flag's value, where it stands, without the space around it.
type entrySpan struct {
	from, to   int
	key, value string
}

// entrySpans reads a map flag's value as the apiserver does: parts between commas, of which empty ones count for nothing.
func entrySpans(value string) []entrySpan {
	var out []entrySpan
	at := 0
	for part := range strings.SplitSeq(value, ",") {
		trimmed := strings.TrimSpace(part)
		from := at + strings.Index(part, trimmed)
		at += len(part) + 1
		if trimmed == "" {
			continue
		}
		key, v, _ := strings.Cut(trimmed, "=")
		out = append(out, entrySpan{from: from, to: from + len(trimmed), key: strings.TrimSpace(key), value: strings.TrimSpace(v)})
	}
	return out
}

// entries are what all occurrences of a map flag come to.
func (a Args) entries(name string) map[string]string {
	out := map[string]string{}
	for _, value := range a.All(name) {
		for _, e := range entrySpans(value) {
			out[e.key] = e.value
		}
	}
	return out
}

// holder is the occurrence of a map flag that decides about a key, and where the key stands in it; the last occurrence and no place
// where none has the key.
func (a Args) holder(name, key string) (arg Arg, at *entrySpan, there bool) {
	arg, there = a.last(name)
	for i := range a {
		if a[i].Name != name {
			continue
		}
		for _, e := range entrySpans(a[i].Value) {
			if e.key == key {
				arg, at = a[i], &e
			}
		}
	}
	return arg, at, there
}

// with is the occurrence of a flag that has a value.
func (a Args) with(name, value string) (Arg, bool) {
	for _, arg := range a {
		if arg.Name == name && arg.Value == value {
			return arg, true
		}
	}
	return Arg{}, false
}

// text is the entry as it is written.
func (e entrySpan) text(in Arg) string { return in.Value[e.from:e.to] }

// sameEntry reports whether two values of a key mean the same: none is true, and truth is written in several ways.
func sameEntry(a, b string) bool {
	truth := func(s string) string {
		if s == "" {
			return "true"
		}
		if b, err := strconv.ParseBool(s); err == nil {
			return strconv.FormatBool(b)
		}
		return s
	}
	return truth(a) == truth(b)
}

// HasEntry reports whether a map flag has an entry, written as key=value.
func (a Args) HasEntry(name, entry string) bool {
	key, want, _ := strings.Cut(entry, "=")
	_, at, _ := a.holder(name, key)
	return at != nil && sameEntry(at.value, want)
}

// withEntry is a map flag's value with an entry: in the place of the key's other value, or behind the rest.
func withEntry(value string, at *entrySpan, entry string) string {
	switch {
	case at != nil:
		return value[:at.from] + entry + value[at.to:]
	case strings.TrimSpace(value) == "" || strings.HasSuffix(strings.TrimSpace(value), ","):
		return value + entry
	default:
		return value + "," + entry
	}
}

// withoutEntry is a map flag's value without one of its entries, and without the comma that it no longer needs.
func withoutEntry(value string, at entrySpan) string {
	before, after := strings.TrimRight(value[:at.from], " \t"), value[at.to:]
	if rest, ok := strings.CutSuffix(before, ","); ok {
		return rest + after
	}
	return before + strings.TrimPrefix(after, ",")
}

// Stands reports whether the flag, or the entry of it that is ours, is as the edit left it.
func (f FlagChange) Stands(args Args) bool {
	if f.Entry != "" {
		return args.HasEntry(f.Name, f.Entry)
	}
	value, ok := args.Lookup(f.Name)
	return ok && value == f.Value
}

// key is that of the entry that is ours.
func (f FlagChange) key() string {
	key, _, _ := strings.Cut(f.Entry, "=")
	return key
}
