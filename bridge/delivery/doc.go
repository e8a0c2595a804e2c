// Package delivery brings batches of audit events to the sink: at least once, and in order.
//
// A batch is settled when the sink has answered 2xx for each of its events, or has refused an event for good, which then is a dead
// letter: kept in a bounded file, counted and said. Until then nothing behind it is sent, and a source that has filled the next
// batch waits: memory is bounded by two batches, whatever the sink does.
//
// What may heal is repeated for ever, with growing pauses. Only an answer that blames the request itself (400, 413, 422 and their
// like) leads to a dead letter, and only when it is the event's fault: the batch is split until one event is left, and the sink has
// to take an empty list meanwhile. A sink that answers 400 to everything, as a TLS port does to plain HTTP, costs no event.
package delivery
