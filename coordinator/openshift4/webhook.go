package openshift4

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s-audit-enabler.io/internal/auditflag"
	"k8s-audit-enabler.io/internal/wire"
)

// Webhook are the arguments with which an apiserver posts its events itself, as a kubeconfig on its host says.
func Webhook(file string, flags []wire.Flag) []Argument {
	single := func(name, value string) Argument { return Argument{Name: name, Values: []string{value}, Single: true} }
	out := []Argument{single(auditflag.WebhookConfigFile, file), single(auditflag.WebhookMode, "batch")}
	for _, f := range flags {
		if f.Name != auditflag.WebhookMode {
			out = append(out, single(f.Name, f.Value))
		}
	}
	return out
}

// Master is one on which the webhook's file is to lie.
type Master struct {
	Name string
	// File is the one that its agent says is there as the plan wants it; empty for none.
	File string
}

// Handed says with which arguments apiservers shall be told of the webhook's file, and, in a phrase, what is missing of that still.
//
// An apiserver that is told of a file that is not there does not start. So the operator is told of one only when it lies on every master,
// on those that only the operator knows of too; until then it goes on with what it was told before: the earlier file, which lies where it
// did. A master that joins later changes nothing in that: the overrides are for all masters at once, and taking them out would
// restart every other apiserver. Its own waits for its agent.
func Handed(masters []Master, flags []wire.Flag, o Operator) (arguments []Argument, waitsFor string) {
	all, lacking := census(masters, o.Status)
	switch {
	case all == 0:
		waitsFor = "no master is known"
	case len(lacking) > 0:
		waitsFor = fmt.Sprintf("the webhook's file is on %d of %d masters, and missing on %s", all-len(lacking), all, strings.Join(lacking, ", "))
	case slices.ContainsFunc(masters, func(m Master) bool { return m.File != masters[0].File }):
		waitsFor = "the masters do not have the same file yet"
	default:
		return Webhook(masters[0].File, flags), ""
	}
	if o.Note.File() == "" || o.Note.TakenOut {
		return nil, waitsFor
	}
	return o.Note.arguments(), waitsFor
}

// census counts the masters, and names those without a file.
func census(masters []Master, s Status) (all int, lacking []string) {
	for _, m := range masters {
		if _, ours := wire.WebhookFileRevision(m.File); !ours {
			lacking = append(lacking, m.Name)
		}
	}
	all = len(masters)
	for _, n := range s.NodeStatuses {
		if !slices.ContainsFunc(masters, func(m Master) bool { return m.Name == n.NodeName }) {
			all, lacking = all+1, append(lacking, n.NodeName)
		}
	}
	return all, lacking
}

// File is the webhook's file of which the operator was told; empty for none.
func (n *Note) File() string {
	if n == nil || len(n.Arguments[auditflag.WebhookConfigFile].Ours) != 1 {
		return ""
	}
	return n.Arguments[auditflag.WebhookConfigFile].Ours[0]
}

// arguments are those of the webhook that were put in, to be put in again as they were.
func (n *Note) arguments() (out []Argument) {
	for _, name := range slices.Sorted(maps.Keys(n.Arguments)) {
		out = append(out, Argument{Name: name, Values: n.Arguments[name].Ours, Single: true})
	}
	return out
}

// Names is a file of ours that the overrides or the newest revision tell apiservers of; empty for none.
func (o Operator) Names() string {
	for _, c := range []Config{o.Overrides, o.Rendered} {
		values, err := list(c, auditflag.WebhookConfigFile)
		if err != nil || len(values) != 1 {
			continue
		}
		if _, ours := wire.WebhookFileRevision(values[0]); ours {
			return values[0]
		}
	}
	return ""
}
