package openshift4

import (
	"fmt"
	"reflect"
	"strings"
)

// Note is what is remembered beside the overrides, in an annotation of the same object: whoever has the one has the other.
type Note struct {
	// Owner is the release whose arguments these are, as namespace/release.
	Owner string `json:"owner"`
	// Arguments is what was there before.
	Arguments Record `json:"arguments"`
	// TakenOut: the arguments are out of the overrides again, and the note stays until every master runs without them.
	TakenOut bool `json:"takenOut,omitempty"`
}

// Operator is what was read of the operator's resource, and of what it has made.
type Operator struct {
	Observed, Overrides Config
	// Note is nil where nothing of ours is there.
	Note   *Note
	Status Status
	// Rendered is the configuration of the newest revision; nil where that cannot be found yet.
	Rendered Config
	Version  Version
}

// Decision is what the operator is to be told, and where it stands with it.
type Decision struct {
	// Change: the overrides and the note are to be written as they are here.
	Change    bool
	Overrides Config
	Note      *Note
	// Ours: our arguments are in the overrides, or shall be.
	Ours bool
	// Held is why they are not although they are wanted; empty where they are.
	Held string
	// State and Message are about every master having what is told.
	State   State
	Message string
	// Kept is what somebody else has made of our lists, which stays.
	Kept []string
}

// Idle reports whether nothing of ours is there, and nothing is on its way.
func (d Decision) Idle() bool { return d.Note == nil && !d.Change }

// Decide compares the arguments that are wanted, none for none, with what is there. An error names what a person must see to first; nothing is to be changed then.
func Decide(arguments []Argument, owner string, o Operator) (Decision, error) {
	wanted := len(arguments) > 0
	if o.Note != nil && o.Note.Owner != owner {
		if !wanted {
			return Decision{Overrides: o.Overrides, State: Done, Message: "the overrides are another release's"}, nil
		}
		return Decision{}, fmt.Errorf("the operator's overrides belong to the release %s; uninstall it first", o.Note.Owner)
	}
	held := ""
	if wanted {
		held, _ = HoldsUp(o.Version)
	}
	if wanted && held == "" {
		return putIn(arguments, owner, o)
	}
	d, err := takeOut(o)
	d.Held = held
	return d, err
}

func putIn(arguments []Argument, owner string, o Operator) (Decision, error) {
	var earlier Record
	if o.Note != nil && !o.Note.TakenOut {
		earlier = o.Note.Arguments
	}
	overrides, record, err := Merge(o.Observed, o.Overrides, arguments, earlier)
	if err != nil {
		return Decision{}, err
	}
	d := Decision{Overrides: overrides, Note: &Note{Owner: owner, Arguments: record}, Ours: true}
	if d.Change = !Same(overrides, o.Overrides) || !reflect.DeepEqual(d.Note, o.Note); d.Change {
		d.State, d.Message = Waiting, "the operator is told"
		return d, nil
	}
	return d.progress(o)
}

func takeOut(o Operator) (Decision, error) {
	d := Decision{Overrides: o.Overrides, Note: o.Note, State: Done, Message: "nothing of ours is in the operator's overrides"}
	switch {
	case o.Note == nil:
		return d, nil
	case !o.Note.TakenOut:
		var err error
		if d.Overrides, d.Kept, err = Take(o.Overrides, o.Note.Arguments); err != nil {
			return Decision{}, err
		}
		d.Note = &Note{Owner: o.Note.Owner, Arguments: o.Note.Arguments, TakenOut: true}
		d.Change, d.State, d.Message = true, Waiting, "the operator is told"
		return d, nil
	}
	d, err := d.progress(o)
	if err == nil && d.State == Done {
		d.Change, d.Note = true, nil
	}
	return d, err
}

func (d Decision) progress(o Operator) (Decision, error) {
	rendered := false
	if o.Rendered != nil {
		var err error
		if rendered, err = Rendered(o.Rendered, o.Observed, o.Overrides, d.Note.Arguments); err != nil {
			return Decision{}, err
		}
	}
	d.State, d.Message = Progress(rendered, o.Status)
	return d, nil
}

// Explain says where the operator stands, for a person.
func (d Decision) Explain() string {
	parts := []string{d.Message}
	if d.Held != "" {
		parts = append([]string{"our overrides are out, as " + d.Held}, parts...)
	}
	return strings.Join(append(parts, d.Kept...), "; ")
}
