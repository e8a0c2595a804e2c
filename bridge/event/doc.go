// Package event handles an audit event as the bytes it came in.
//
// An event passes through the bridge unchanged: decoding and encoding it would cost most of the bridge's time, and would drop
// whatever this build's types do not know. [Scan] therefore only finds out whether bytes are one JSON object and where its
// members are, and what has to change is spliced. It promises that what it takes is what encoding/json takes, so that one broken
// line can never spoil the batch that it travels in.
package event
