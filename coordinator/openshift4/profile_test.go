package openshift4

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAProfileIsSetAndGivenBack(t *testing.T) {
	t.Parallel()
	const us = "audit/mine"
	note := func(before, ours string) *ProfileNote { return &ProfileNote{Owner: us, Before: before, Ours: ours} }
	for name, c := range map[string]struct {
		wanted string
		is     Profile
		change bool
		want   Profile
		says   string
	}{
		"none was set":                      {"WriteRequestBodies", Profile{}, true, Profile{"WriteRequestBodies", note("", "WriteRequestBodies")}, "was not set before"},
		"another was set":                   {"WriteRequestBodies", Profile{Now: "Default"}, true, Profile{"WriteRequestBodies", note("Default", "WriteRequestBodies")}, "was Default before"},
		"it was there already":              {"WriteRequestBodies", Profile{Now: "WriteRequestBodies"}, false, Profile{Now: "WriteRequestBodies"}, "was WriteRequestBodies before"},
		"a second look":                     {"WriteRequestBodies", Profile{"WriteRequestBodies", note("", "WriteRequestBodies")}, false, Profile{"WriteRequestBodies", note("", "WriteRequestBodies")}, "is WriteRequestBodies"},
		"another one is wanted":             {"AllRequestBodies", Profile{"WriteRequestBodies", note("Default", "WriteRequestBodies")}, true, Profile{"AllRequestBodies", note("Default", "AllRequestBodies")}, "was Default before"},
		"somebody has set another":          {"WriteRequestBodies", Profile{"None", note("", "WriteRequestBodies")}, false, Profile{"None", note("", "WriteRequestBodies")}, "somebody has set the audit profile to None"},
		"given back":                        {AsBefore, Profile{"WriteRequestBodies", note("Default", "WriteRequestBodies")}, true, Profile{Now: "Default"}, ""},
		"given back where none was":         {"", Profile{"WriteRequestBodies", note("", "WriteRequestBodies")}, true, Profile{}, ""},
		"what somebody has set is not":      {AsBefore, Profile{"None", note("Default", "WriteRequestBodies")}, true, Profile{Now: "None"}, ""},
		"nothing is ours":                   {AsBefore, Profile{Now: "None"}, false, Profile{Now: "None"}, ""},
		"another release's is not given":    {AsBefore, Profile{"X", &ProfileNote{Owner: "other/one", Ours: "X"}}, false, Profile{"X", &ProfileNote{Owner: "other/one", Ours: "X"}}, ""},
		"what we would set is set by hands": {"Default", Profile{"None", note("", "WriteRequestBodies")}, false, Profile{"None", note("", "WriteRequestBodies")}, "somebody"},
	} {
		got, err := DecideProfile(c.wanted, us, c.is)
		if err != nil || got.Change != c.change || !strings.Contains(got.Message, c.says) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if diff := cmp.Diff(c.want, got.Profile); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := DecideProfile("Default", us, Profile{Note: &ProfileNote{Owner: "other/one"}}); err == nil || !strings.Contains(err.Error(), "other/one") {
		t.Errorf("another release's: %v", err)
	}
}
