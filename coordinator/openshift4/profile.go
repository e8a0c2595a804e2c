package openshift4

import "fmt"

// AsBefore asks for what was there before.
const AsBefore = "AsBefore"

// Profile is spec.audit.profile of apiserver.config.openshift.io/cluster, with the note of what it was, which lies in an annotation of the
// same object. It says what the audit log holds, from OpenShift 4.6 on (openshift/api, config/v1, type Audit).
type Profile struct {
	// Now is empty where none is set, which means Default.
	Now string
	// Note is nil where it is not ours.
	Note *ProfileNote
}

// ProfileNote is what is remembered of a profile that was set.
type ProfileNote struct {
	// Owner is the release that set it, as namespace/release.
	Owner string `json:"owner"`
	// Before may be empty: none was set. Ours is what was set.
	Before string `json:"before,omitempty"`
	Ours   string `json:"ours"`
}

// ProfileDecision is what the profile and its note shall be.
type ProfileDecision struct {
	Change bool
	Profile
	// Message says what holds, and since when; empty where nothing is asked for and nothing is ours.
	Message string
}

// DecideProfile compares what is wanted, empty or [AsBefore] for what was there before, with what is there. What somebody else has set since
// stays, and the message says so. An error names another release.
func DecideProfile(wanted, owner string, p Profile) (ProfileDecision, error) {
	d := ProfileDecision{Profile: p}
	back := wanted == "" || wanted == AsBefore
	switch {
	case p.Note != nil && p.Note.Owner != owner && back:
		return d, nil
	case p.Note != nil && p.Note.Owner != owner:
		return ProfileDecision{}, fmt.Errorf("the audit profile belongs to the release %s; uninstall it first", p.Note.Owner)
	case back && p.Note == nil:
		return d, nil
	case back:
		d.Change, d.Note = true, nil
		if p.Now == p.Note.Ours {
			d.Now = p.Note.Before
		}
		return d, nil
	case p.Note == nil && p.Now == wanted:
		d.Message = "the audit profile was " + wanted + " before"
		return d, nil
	case p.Note == nil:
		d.Note = &ProfileNote{Owner: owner, Before: p.Now, Ours: wanted}
	case p.Now != p.Note.Ours:
		d.Message = fmt.Sprintf("somebody has set the audit profile to %s since, which stays", Named(p.Now))
		return d, nil
	case p.Note.Ours != wanted:
		d.Note = &ProfileNote{Owner: owner, Before: p.Note.Before, Ours: wanted}
	}
	d.Change, d.Now = p.Now != wanted, wanted
	d.Message = fmt.Sprintf("the audit profile is %s, and was %s before", wanted, Named(d.Note.Before))
	return d, nil
}

// Named is a profile for a person.
func Named(profile string) string {
	if profile == "" {
		return "not set"
	}
	return profile
}
