package delivery

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"k8s-audit-enabler.io/bridge/sink"
)

// verdict is what an attempt's end means.
type verdict int

const (
	// taken: the sink has the events.
	taken verdict = iota
	// again: the sink, or the way to it, is not well; the same request may succeed later.
	again
	// blamed: the sink does not like this request, and will not like it later.
	blamed
)

// judge tells the request's fault from the sink's. Statuses that speak of the address, of credentials, of the method or of headers are
// about every request alike: somebody has to put them right, and no event may be lost until then.
func judge(err error) verdict {
	if err == nil {
		return taken
	}
	var refusal *sink.Refusal
	if !errors.As(err, &refusal) || refusal.Status/100 != 4 {
		return again
	}
	switch refusal.Status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable, http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusConflict, http.StatusGone,
		http.StatusLengthRequired, http.StatusPreconditionFailed, http.StatusUnsupportedMediaType, http.StatusExpectationFailed,
		http.StatusMisdirectedRequest, http.StatusLocked, http.StatusTooEarly, http.StatusUpgradeRequired, http.StatusPreconditionRequired,
		http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge:
		return again
	default:
		return blamed
	}
}

// Backoff is the pauses between attempts.
type Backoff struct{ First, Most time.Duration }

// DefaultBackoff begins with a quarter of a second and ends at half a minute.
func DefaultBackoff() Backoff { return Backoff{First: 250 * time.Millisecond, Most: 30 * time.Second} }

// mostRetryAfter bounds what a sink may ask for.
const mostRetryAfter = 5 * time.Minute

// pause is how long to wait after so many failed attempts, the first of which is 0. It is drawn from the upper half of a growing
// interval, so that bridges that failed together do not come back together. What the sink asks for is the least.
func (b Backoff) pause(attempt int, err error, draw func() float64) time.Duration {
	most := b.Most
	if attempt < 20 {
		most = min(most, b.First<<attempt)
	}
	pause := most/2 + time.Duration(draw()*float64(most/2))
	var refusal *sink.Refusal
	if errors.As(err, &refusal) {
		pause = max(pause, min(refusal.RetryAfter, mostRetryAfter))
	}
	return pause
}

func draw() float64 { return rand.Float64() }
