// Package filter drops events that nobody wants to pay for, before they are delivered.
//
// It promises to lose nothing by mistake. An event is dropped only where a rule says so with certainty: one that a rule cannot judge is
// kept, and an expression that cannot be compiled makes no filter. Events are looked at as bytes for as long as that decides.
package filter
