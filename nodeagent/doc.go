// Package nodeagent is the agent of one control-plane node: it reads the node's plan, carries it out when it holds the
// permit, and says in the node's status what came of it.
//
// It is one loop, and the loop is level-based: each round observes the host, [decide] compares what is with what the plan
// wants, and the step that it names is taken. Nothing is remembered between two rounds but what the journal on the host
// says, so an agent that was away for an hour or a year goes on from what it finds.
//
//	plan ──► observation ──► decide (pure) ──► step ──► transaction ──► status
//
// The agent needs no API server between the swap of a manifest and its commit or rollback. Statuses that could not be
// written meanwhile are written when the API is back. With nothing to do it writes nothing.
package nodeagent
