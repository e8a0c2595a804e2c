package cli

import (
	"fmt"
	"strings"

	"k8s-audit-enabler.io/internal/status"
	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/health"
)

// Answer is what is known of a hop. Unknown is never taken for one of the others.
type Answer string

// Answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Hop is one step of an event's way.
type Hop struct {
	Answer  Answer `json:"answer"`
	Message string `json:"message"`
}

// Proof is what is known of one apiserver's canary. Delivered rests upon the apiserver's own counters, Seen upon the receiver's word: the
// one is never said for the other.
type Proof struct {
	Node    string `json:"node"`
	Address string `json:"address,omitempty"`
	AuditID string `json:"auditID,omitempty"`
	// Sent: this apiserver has taken the request. Logged: the event is in its audit log. Delivered: it has counted batches that the
	// sink took, after the canary. Seen: the canary's event is at the receiver.
	Sent      Hop `json:"sent"`
	Logged    Hop `json:"logged"`
	Delivered Hop `json:"delivered"`
	Seen      Hop `json:"seen"`
	// Causes are what to look at, of the first hop that failed.
	Causes []string `json:"causes,omitempty"`
}

// evidence is what was found out about one apiserver.
type evidence struct {
	status wire.NodeStatus
	// address is where it was asked, and id what the canary carried.
	address, id string
	// sent says why the canary was not taken; nil where it was.
	sent error
	// unaudited says why no event of the canary is expected; empty where one is.
	unaudited string
	logged    Hop
	// counted says why the counters could not be read; nil where they could.
	counted        error
	before, after  health.Counters
	answers, since health.Answers
	sink           string
	seen           Hop
}

// proof judges. It is pure.
func (e *evidence) proof() Proof {
	p := Proof{Node: e.status.Node.Name, Address: e.address, AuditID: e.id, Sent: Hop{Yes, "the request was taken"}, Logged: e.logged, Seen: e.seen}
	if e.sent != nil {
		unasked := Hop{Unknown, "no canary was sent"}
		p.Sent, p.Logged, p.Delivered, p.Seen = Hop{No, e.sent.Error()}, unasked, unasked, unasked
		p.Causes = []string{
			"this machine reaches neither the apiserver's address nor, through port-forward, its pod: run verify from where it does, or allow create on pods/portforward in kube-system",
		}
		return p
	}
	if e.unaudited != "" && p.Logged.Answer == No {
		p.Logged = Hop{Unknown, e.unaudited}
	}
	p.Delivered = e.delivered()
	switch {
	case p.Logged.Answer == No:
		p.Causes = e.whyNotLogged()
	case p.Delivered.Answer == No:
		p.Causes = e.whyNotDelivered()
	case p.Seen.Answer == No:
		p.Causes = []string{
			"the apiserver has counted batches as delivered, so something took them: is " + e.sink + " the receiver that was asked, or a proxy or an older receiver at the same address?",
			"the receiver filters, samples or is still busy: ask again",
		}
	}
	return p
}

// delivered reads the counters. They count batches, which hold no names: what was taken after the canary was sent held it too, unless
// the policy drops it.
func (e *evidence) delivered() Hop {
	if e.counted != nil {
		return Hop{Unknown, e.counted.Error()}
	}
	taken, failed, lost := e.after.Delivered-e.before.Delivered, e.after.Failed-e.before.Failed, e.after.AuditWebhookErrors-e.before.AuditWebhookErrors
	switch {
	case taken < 0 || failed < 0:
		return Hop{Unknown, "the apiserver was restarted meanwhile"}
	case lost > 0:
		return Hop{No, fmt.Sprintf("the apiserver gave %g events up since the canary", lost)}
	case taken > 0 && failed > 0:
		return Hop{Yes, fmt.Sprintf("%s delivered since the canary, and %g attempts failed", batches(taken), failed)}
	case taken > 0:
		return Hop{Yes, batches(taken) + " delivered since the canary"}
	case failed > 0:
		return Hop{No, fmt.Sprintf("%g attempts to post to %s since the canary failed", failed, e.sink)}
	case e.unaudited != "":
		return Hop{Unknown, "nothing was posted since the canary, and " + e.unaudited}
	}
	return Hop{No, "nothing was posted to " + e.sink + " since the canary"}
}

func batches(n float64) string {
	if n == 1 {
		return "1 batch was"
	}
	return fmt.Sprintf("%g batches were", n)
}

func (e *evidence) whyNotLogged() []string {
	if e.status.Phase != wire.PhaseApplied {
		return []string{fmt.Sprintf("this apiserver does not run with our settings: %s (%s), %s", e.status.Phase, e.status.Reason, e.status.Message)}
	}
	return []string{"the policy drops it: an earlier rule of level None matches; docs/policy.md says what the recommended one drops", "the log was rotated more than once meanwhile, or its disk is full"}
}

// whyNotDelivered tells the causes apart by how the sink answered.
func (e *evidence) whyNotDelivered() []string {
	var causes []string
	for code, n := range e.answers {
		if n <= e.since[code] {
			continue
		}
		switch {
		case code == "404" || code == "405":
			causes = append(causes, "the sink answers "+code+": the path of "+e.sink+" is wrong")
		case code == "401" || code == "403":
			causes = append(causes, "the sink answers "+code+": it wants credentials, or other ones (sink.credentialsSecret)")
		case len(code) == 3 && code[0] == '5':
			causes = append(causes, "the sink answers "+code+": it is reached and cannot take the events; look at its own log")
		case len(code) == 3 && code[0] != '2':
			causes = append(causes, "the sink answers "+code)
		case code == "<error>":
			causes = append(causes,
				"no answer. A port where nobody listens, or a receiver that is not ready: kubectl get endpoints of its Service",
				"a NetworkPolicy or firewall: requests come from the control-plane node's own address, not from a pod",
				"a name in the URL that the node cannot resolve: an apiserver knows no cluster DNS",
				"TLS: http where the sink speaks https, or a certificate that the CA of sink.tls.caBundle has not signed for this name")
		}
	}
	if causes == nil && e.status.Phase != wire.PhaseApplied {
		return e.whyNotLogged()
	}
	if causes == nil {
		causes = []string{
			"the policy drops every event: is the canary in the audit log?",
			"the apiserver posts elsewhere: its running flags are not those of the revision that is live",
			"a batch is not due yet: ask for longer with --timeout",
		}
	}
	return causes
}

// outcome is the exit code's: a hop that failed, or one that nobody knows anything of.
func outcome(proofs []Proof) status.Outcome {
	out := status.IsReady
	for _, p := range proofs {
		for _, h := range []Hop{p.Sent, p.Logged, p.Delivered, p.Seen} {
			if h.Answer == No {
				return status.IsStalled
			}
		}
		if p.Delivered.Answer != Yes && p.Seen.Answer != Yes {
			out = status.NotYet
		}
	}
	if len(proofs) == 0 {
		return status.NotYet
	}
	return out
}

// verdict is a proof in a word: the best of what is known, and never more.
func (p Proof) verdict() string {
	switch {
	case p.Sent.Answer == No, p.Logged.Answer == No, p.Delivered.Answer == No, p.Seen.Answer == No:
		return "failed"
	case p.Seen.Answer == Yes:
		return "seen"
	case p.Delivered.Answer == Yes:
		return "delivered"
	}
	return "unknown"
}

// summary counts the verdicts.
func summary(proofs []Proof) string {
	counts := map[string]int{}
	for _, p := range proofs {
		counts[p.verdict()]++
	}
	var words []string
	for _, w := range []string{"seen", "delivered", "unknown", "failed"} {
		if counts[w] > 0 {
			words = append(words, fmt.Sprintf("%s: %d", w, counts[w]))
		}
	}
	return strings.Join(words, ", ")
}
