package openshift4

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// keyArguments is the mapping of the apiserver's arguments, names without dashes to lists of values, in all three configurations.
const keyArguments = "apiServerArguments"

// Argument is one that an apiserver shall have. Values are added to those that are there, but for a single one, which replaces them.
type Argument struct {
	Name   string
	Values []string
	// Single: the argument has one value, as --audit-dynamic-configuration; otherwise it is a list of name=value, as --feature-gates.
	Single bool
}

// DynamicBackend are the arguments with which an apiserver of Kubernetes 1.13 to 1.18 takes AuditSinks.
func DynamicBackend() []Argument {
	return []Argument{
		{Name: "audit-dynamic-configuration", Values: []string{"true"}, Single: true},
		{Name: "feature-gates", Values: []string{"DynamicAuditing=true"}},
		{Name: "runtime-config", Values: []string{"auditregistration.k8s.io/v1alpha1=true"}},
	}
}

// Record is what was in the overrides before, and what was made of it, by argument. Without it nobody could take ours out again.
type Record map[string]Entry

// Entry is one argument's.
type Entry struct {
	// Before is what stood there; nil where the argument was not in the overrides.
	Before []string `json:"before,omitempty"`
	// Ours are the values that were added, and After is the whole list.
	Ours  []string `json:"ours"`
	After []string `json:"after"`
}

// Config is a configuration as the operator's resource holds it.
type Config map[string]any

// Merge returns overrides in which the arguments are, and the record of what was there; earlier is the record of an earlier merge. What
// the overrides hold besides is kept. Where the lists that ours begin with have changed since, they are begun anew. An error names an
// argument that somebody else has set to another value.
func Merge(observed, overrides Config, arguments []Argument, earlier Record) (Config, Record, error) {
	base, _, err := Take(overrides, earlier)
	if err != nil {
		return nil, nil, err
	}
	out, record := base, Record{}
	for _, a := range arguments {
		seen, err := list(observed, a.Name)
		if err != nil {
			return nil, nil, fmt.Errorf("read what the operator has observed: %w", err)
		}
		there, err := list(base, a.Name)
		if err != nil {
			return nil, nil, fmt.Errorf("read the overrides: %w", err)
		}
		entry := Entry{Before: there, Ours: a.Values}
		begin := seen
		if there != nil {
			begin = there
		}
		if entry.After, err = a.added(begin); err != nil {
			return nil, nil, err
		}
		record[a.Name] = entry
		out = with(out, a.Name, entry.After)
	}
	return out, record, nil
}

// added is the list with the argument's values.
func (a Argument) added(begin []string) ([]string, error) {
	if a.Single {
		if len(begin) > 0 && !slices.Equal(begin, a.Values) {
			return nil, fmt.Errorf("--%s is %s already; take that out of the overrides first", a.Name, strings.Join(begin, ","))
		}
		return a.Values, nil
	}
	out := flatten(begin)
	for _, value := range a.Values {
		name, _, _ := strings.Cut(value, "=")
		i := slices.IndexFunc(out, func(have string) bool { return strings.HasPrefix(have, name+"=") })
		switch {
		case i < 0:
			out = append(out, value)
		case out[i] != value:
			return nil, fmt.Errorf("--%s has %s already, and %s is needed; take that out of the overrides first", a.Name, out[i], value)
		}
	}
	return out, nil
}

// flatten makes an element of each name=value: they may also stand in one string, with commas between them.
func flatten(list []string) []string {
	var out []string
	for _, text := range list {
		for _, part := range strings.Split(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
	}
	return out
}

// Take returns the overrides without what a record says is ours. Where a list is as it was made, what stood there before is put back;
// where somebody has changed it since, only our values go, and kept says so, one phrase for each.
func Take(overrides Config, record Record) (out Config, kept []string, err error) {
	out = clone(overrides)
	for _, name := range slices.Sorted(maps.Keys(record)) {
		entry := record[name]
		now, err := list(out, name)
		if err != nil {
			return nil, nil, fmt.Errorf("read the overrides: %w", err)
		}
		switch {
		case now == nil:
		case slices.Equal(now, entry.After):
			out = with(out, name, entry.Before)
		default:
			rest := slices.DeleteFunc(flatten(now), func(v string) bool {
				return slices.Contains(entry.Ours, v) && !slices.Contains(flatten(entry.Before), v)
			})
			kept = append(kept, fmt.Sprintf("%s has been changed by somebody else, and stays without ours: %s", name, strings.Join(rest, ",")))
			out = with(out, name, rest)
		}
	}
	return out, kept, nil
}

// list is an argument's value, nil where it is missing.
func list(c Config, name string) ([]string, error) {
	if c[keyArguments] == nil {
		return nil, nil
	}
	arguments, ok := c[keyArguments].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not a mapping", keyArguments)
	}
	switch v := arguments[name].(type) {
	case nil:
		return nil, nil
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%s.%s holds %v, which is not a string", keyArguments, name, e)
			}
			out = append(out, text)
		}
		return out, nil
	default:
		return nil, fmt.Errorf("%s.%s is not a list", keyArguments, name)
	}
}

// with sets an argument in a copy; an empty one is taken out, and the mapping of arguments with the last of them.
func with(c Config, name string, values []string) Config {
	out := clone(c)
	arguments, _ := out[keyArguments].(map[string]any)
	if len(values) > 0 {
		if arguments == nil {
			arguments = map[string]any{}
		}
		list := make([]any, len(values))
		for i, v := range values {
			list[i] = v
		}
		arguments[name] = list
		out[keyArguments] = arguments
		return out
	}
	delete(arguments, name)
	if len(arguments) == 0 {
		delete(out, keyArguments)
	}
	return out
}

// clone is a copy, of nothing an empty one. What came out of JSON goes through it unharmed.
func clone(c Config) Config {
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	out := Config{}
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	if out == nil {
		out = Config{}
	}
	return out
}

// Same reports whether two overrides say the same, nothing and an empty mapping included.
func Same(a, b Config) bool { return reflect.DeepEqual(clone(a), clone(b)) }
