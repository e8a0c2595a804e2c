package event

import (
	"errors"
	"fmt"
)

// ErrNotList says that an object is no list of audit events.
var ErrNotList = errors.New("not an EventList of " + V1 + " or " + V1beta1)

// ListHead and ListTail are what stands around the events of a list, which commas separate.
const (
	ListHead = `{"kind":"EventList","apiVersion":"` + V1 + `","metadata":{},"items":[`
	ListTail = "]}\n"
)

// Items are the bytes of each item of an EventList, in order, as parts of data. They are JSON, and not checked further.
func Items(data []byte) ([][]byte, error) {
	var kind, version string
	var items span
	s := scanner{data: data}
	s.visit = func(key, value span) {
		text := ""
		if data[value.from] == '"' {
			text = string(data[value.from+1 : value.to-1])
		}
		switch string(data[key.from+1 : key.to-1]) {
		case "kind":
			kind = text
		case "apiVersion":
			version = text
		case "items":
			items = value
		}
	}
	if err := s.text(); err != nil {
		return nil, err
	}
	if kind != "EventList" || version != V1 && version != V1beta1 {
		return nil, ErrNotList
	}
	if items == (span{}) || string(data[items.from:items.to]) == "null" {
		return nil, nil
	}
	if data[items.from] != '[' {
		return nil, fmt.Errorf("%w: items is no array", ErrNotList)
	}
	return Elements(data[items.from:items.to])
}

// Elements are the bytes of each element of a JSON array, as parts of data.
func Elements(data []byte) ([][]byte, error) {
	s := scanner{data: data}
	s.blanks()
	if s.at >= len(data) || data[s.at] != '[' {
		return nil, &SyntaxError{s.at}
	}
	s.at++
	var list [][]byte
	for s.blanks(); s.at < len(data) && data[s.at] != ']'; s.blanks() {
		if len(list) > 0 {
			if data[s.at] != ',' {
				return nil, &SyntaxError{s.at}
			}
			s.at++
			s.blanks()
		}
		from := s.at
		if !s.value() {
			return nil, &SyntaxError{s.at}
		}
		list = append(list, data[from:s.at:s.at])
	}
	if s.at >= len(data) {
		return nil, &SyntaxError{s.at}
	}
	s.at++
	if s.blanks(); s.at != len(data) {
		return nil, &SyntaxError{s.at}
	}
	return list, nil
}
