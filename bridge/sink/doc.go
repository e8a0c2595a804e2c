// Package sink posts EventLists to the receiver of audit events, and says what became of a request, never what to do about it.
//
// It promises that a request was answered with 2xx when, and only when, Post returns nil; that redirects are not followed, because
// that would turn a POST into a GET; and that certificates, keys and tokens are read again when their files change, so that a
// rotated Secret needs no restart. Nothing of an event, of an answer's body or of a credential is in its errors.
package sink
