package coordinator

import (
	"errors"
	"fmt"
	"regexp"

	"k8s-audit-enabler.io/internal/wire"
)

const (
	// maxStatus bounds the text of a node status, in bytes. Twenty log lines and a dozen conditions are far from it.
	maxStatus = 256 << 10
	// maxWord bounds what a status says in one word: a phase, a revision.
	maxWord = 64
)

// word is what a reason looks like. It becomes an Event's reason and a key that tools compare.
var word = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,63}$`)

// readStatus decodes what an agent claims. All agents share one account, so any of them can write any status: what is not
// formed as an agent forms it counts as not reported, and no text is taken over at a length that could fill the cluster's status.
func readStatus(data map[string]string) (*wire.NodeStatus, error) {
	if n := len(data[wire.DocumentKey]); n > maxStatus {
		return nil, fmt.Errorf("the status has %d bytes; at most %d are read", n, maxStatus)
	}
	var s wire.NodeStatus
	if err := wire.Decode(data, wire.KindNodeStatus, &s); err != nil {
		return nil, err //nolint:wrapcheck // callers ask for ErrNoDocument
	}
	if s.Reason != "" && !word.MatchString(s.Reason) {
		return nil, errors.New("the status has a reason that is none")
	}
	if len(s.Phase) > maxWord || len(s.PlanRevision) > maxWord || len(s.AppliedRevision) > maxWord {
		return nil, fmt.Errorf("the status has a phase or a revision of more than %d bytes", maxWord)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if !word.MatchString(c.Type) || c.Reason != "" && !word.MatchString(c.Reason) || len(c.Status) > maxWord {
			return nil, fmt.Errorf("condition %d of the status is none", i)
		}
	}
	s.Message = shortened(s.Message)
	return &s, nil
}
