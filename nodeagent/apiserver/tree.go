package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	kyaml "sigs.k8s.io/yaml"
)

// decode reads a document as the kubelet does.
func decode(data []byte) (map[string]any, error) {
	text := data
	if !json.Valid(data) {
		var err error
		if text, err = kyaml.YAMLToJSON(data); err != nil {
			return nil, &NotUnderstoodError{Reason: NotParsed, Detail: err.Error()}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var tree map[string]any
	if err := dec.Decode(&tree); err != nil {
		return nil, &NotUnderstoodError{Reason: NotParsed, Detail: err.Error()}
	}
	return tree, nil
}

// modify replaces what is at a path of a decoded document with what change makes of it (nil where nothing is there).
func modify(tree any, keys []any, change func(any) (any, error)) (any, error) {
	if len(keys) == 0 {
		return change(tree)
	}
	switch key := keys[0].(type) {
	case string:
		m, ok := tree.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%v: not a mapping", keys)
		}
		v, err := modify(m[key], keys[1:], change)
		if err != nil {
			return nil, err
		}
		m[key] = v
		return m, nil
	case int:
		list, ok := tree.([]any)
		if !ok || key >= len(list) {
			return nil, fmt.Errorf("%v: not a list of that length", keys)
		}
		v, err := modify(list[key], keys[1:], change)
		if err != nil {
			return nil, err
		}
		list[key] = v
		return list, nil
	}
	return nil, fmt.Errorf("%v: not a path", keys)
}

// appended returns a change that adds items to a list.
func appended(items []any) func(any) (any, error) {
	return func(old any) (any, error) {
		list, ok := old.([]any)
		if old != nil && !ok {
			return nil, fmt.Errorf("%T is not a list", old)
		}
		for _, item := range items {
			list = append(list, decoded(item))
		}
		return list, nil
	}
}

// removed returns a change that takes an item out of a list.
func removed(index int) func(any) (any, error) {
	return func(old any) (any, error) {
		list, ok := old.([]any)
		if !ok || index >= len(list) {
			return nil, fmt.Errorf("no item %d", index)
		}
		return slices.Delete(list, index, index+1), nil
	}
}

// set returns a change to a value.
func set(v any) func(any) (any, error) {
	return func(any) (any, error) { return decoded(v), nil }
}
