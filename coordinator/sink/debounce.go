package sink

import (
	"fmt"
	"time"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/internal/wire"
)

// Address is what is to be in the apiservers' plans.
type Address struct {
	// URL is empty where no apiserver has an address yet and none can be had.
	URL string
	// Reason and Message say what is the matter with the sink; empty where all is well.
	Reason  string
	Message string
	// RetryAfter is when to ask again without any change in the world; zero for never.
	RetryAfter time.Duration
}

// Debouncer decides when a new address is believed. Its zero value has seen nothing. It is used by one goroutine.
type Debouncer struct {
	last      string
	candidate string
	since     time.Time
	asked     string
}

// Planned tells which address the existing plans hold, empty where none of them holds one. With it a new coordinator goes on
// where the last one stopped, and an address that no plan ever held is not taken for one that apiservers have.
func (d *Debouncer) Planned(address string) {
	if d.last == "" || address == "" {
		d.last = address
	}
}

// Observe takes what the sink resolves to now. The window is how long a new address must stay the same. What the user asks
// for is compared too: an edit of the configuration is meant, so its address is believed at once.
func (d *Debouncer) Observe(now time.Time, window time.Duration, wanted wire.Sink, found Resolution) Address {
	asked := describe(wanted)
	edited := d.asked != "" && d.asked != asked
	switch {
	case found.URL == "":
		return d.without(found)
	case d.last == "", d.last == found.URL, edited, window <= 0:
		d.asked = asked
		return d.believe(found.URL)
	}
	d.asked = asked
	if d.candidate != found.URL {
		d.candidate, d.since = found.URL, now
	}
	if rest := window - now.Sub(d.since); rest > 0 {
		return Address{
			URL:        d.last,
			Reason:     reason.SinkChanging,
			Message:    fmt.Sprintf("the sink's address changed from %s to %s; it is rolled out once it has stayed the same for %s", d.last, found.URL, window),
			RetryAfter: rest,
		}
	}
	return d.believe(found.URL)
}

func (d *Debouncer) believe(address string) Address {
	d.last, d.candidate, d.since = address, "", time.Time{}
	return Address{URL: address}
}

// without keeps the last address. An address that comes and goes never stays the same long enough.
func (d *Debouncer) without(found Resolution) Address {
	d.candidate, d.since = "", time.Time{}
	if d.last == "" {
		return Address{Reason: found.Reason, Message: found.Message}
	}
	because := found.Reason
	if because == reason.SinkNotFound {
		because = reason.SinkVanished
	}
	return Address{URL: d.last, Reason: because, Message: fmt.Sprintf("%s; apiservers keep %s", found.Message, d.last)}
}

// describe is what the user asks for, without what only the Service decides.
func describe(s wire.Sink) string {
	if s.Service == nil {
		return s.URL
	}
	return fmt.Sprintf("%s/%s:%s %s %s", s.Service.Namespace, s.Service.Name, s.Service.Port.String(), s.Service.Scheme, s.Service.Path)
}
