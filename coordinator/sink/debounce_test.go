package sink

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// moment is one observation: after how long, what was found, and what the plans shall hold then.
type moment struct {
	after   time.Duration
	found   string // empty: the Service is gone
	edit    bool   // the user changed the configuration before it
	want    string
	because string
}

func TestDebouncer(t *testing.T) {
	t.Parallel()
	const window = 30 * time.Second
	tests := map[string]struct {
		restored string
		moments  []moment
	}{
		"the first address is believed at once": {"", []moment{
			{0, "", false, "", reason.SinkNotFound},
			{time.Second, "http://a/", false, "http://a/", ""},
		}},
		"a new address is believed when it has stayed": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{29 * time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{time.Second, "http://b/", false, "http://b/", ""},
		}},
		"two changes in a row become one": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{20 * time.Second, "http://c/", false, "http://a/", reason.SinkChanging},
			{20 * time.Second, "http://c/", false, "http://a/", reason.SinkChanging},
			{10 * time.Second, "http://c/", false, "http://c/", ""},
		}},
		"a vanished Service keeps the last address": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Hour, "", false, "http://a/", reason.SinkVanished},
			{time.Hour, "", false, "http://a/", reason.SinkVanished},
			{time.Second, "http://a/", false, "http://a/", ""},
		}},
		"a flapping address is never believed": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{20 * time.Second, "", false, "http://a/", reason.SinkVanished},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{20 * time.Second, "", false, "http://a/", reason.SinkVanished},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
		}},
		"the old address coming back ends the matter": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{20 * time.Second, "http://a/", false, "http://a/", ""},
			{20 * time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
		}},
		"after a restart the plans' address is the last one": {"http://a/", []moment{
			{0, "", false, "http://a/", reason.SinkVanished},
			{time.Second, "http://b/", false, "http://a/", reason.SinkChanging},
			{window, "http://b/", false, "http://b/", ""},
		}},
		"an edit of the configuration is believed at once": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "http://b/", true, "http://b/", ""},
		}},
		"an edit that leads nowhere keeps the last address until it leads somewhere": {"", []moment{
			{0, "http://a/", false, "http://a/", ""},
			{time.Second, "", true, "http://a/", reason.SinkVanished},
			{time.Second, "http://b/", false, "http://b/", ""},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d Debouncer
			d.Planned(tt.restored)
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			wanted := asking(intstr.FromInt32(7765))
			for i, m := range tt.moments {
				now = now.Add(m.after)
				if m.edit {
					wanted = wire.Sink{URL: "http://edited/"}
				}
				found := Resolution{URL: m.found}
				if m.found == "" {
					found.Reason = reason.SinkNotFound
				}
				got := d.Observe(now, window, wanted, found)
				if got.URL != m.want || got.Reason != m.because {
					t.Fatalf("moment %d: %+v, want %q because of %q", i, got, m.want, m.because)
				}
				if (got.Reason == reason.SinkChanging) != (got.RetryAfter > 0) {
					t.Errorf("moment %d: asked to come back after %s with reason %q", i, got.RetryAfter, got.Reason)
				}
			}
		})
	}
}

func TestAnAddressThatNoPlanHoldsIsNotKept(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	wanted, gone := asking(intstr.FromInt32(7765)), Resolution{Reason: reason.SinkNotFound}
	var d Debouncer
	d.Planned("")
	if got := d.Observe(now, time.Minute, wanted, Resolution{URL: "http://a/"}); got.URL != "http://a/" {
		t.Fatalf("the first address: %+v", got)
	}
	d.Planned("") // the plans could not be made, of a bad policy for example
	if got := d.Observe(now, time.Minute, wanted, gone); got.URL != "" || got.Reason != reason.SinkNotFound {
		t.Errorf("after it is gone: %+v, want no address because of %s", got, reason.SinkNotFound)
	}
	d.Planned("http://a/")
	if got := d.Observe(now, time.Minute, wanted, gone); got.URL != "http://a/" || got.Reason != reason.SinkVanished {
		t.Errorf("where plans hold it: %+v, want it kept because of %s", got, reason.SinkVanished)
	}
}
