package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// headSize is how much of a file's beginning tells it from others. An apiserver's audit ID stands in the first 150 bytes.
const headSize = 1024

// maxDone bounds the finished files that a position remembers, so that it fits into a checkpoint.
const maxDone = 2000

// Position is how far a log was read. It is a value: nothing in it changes once it is made.
type Position struct {
	// HeadSize and Head tell the file that was being read: a hash of so many of its first bytes. Zero: none was begun.
	HeadSize int    `json:"headSize,omitempty"`
	Head     string `json:"head,omitempty"`
	// Offset is where the first line begins that the sink does not have, in bytes before compression.
	Offset int64 `json:"offset,omitempty"`
	// Done are the files beside the log that need not be read again.
	Done []string `json:"done,omitempty"`
}

// sighting is a file as it was seen in the log's directory, with at least one byte in it.
type sighting struct {
	name   string
	active bool
	zipped bool
	id     identity
	size   int64
	head   []byte
}

// identity tells a file from every other that exists at the same time.
type identity struct{ device, inode uint64 }

// fingerprint is the hash of a head.
func fingerprint(head []byte) string {
	sum := sha256.Sum256(head[:min(len(head), headSize)])
	return hex.EncodeToString(sum[:8])
}

// at is the position in a file that begins with head.
func (p Position) at(head []byte, offset int64) Position {
	if len(head) == 0 || offset == 0 {
		return Position{Done: p.Done}
	}
	head = head[:min(len(head), headSize)]
	return Position{HeadSize: len(head), Head: fingerprint(head), Offset: offset, Done: p.Done}
}

// finished is the position after a whole file.
func (p Position) finished(head []byte) Position {
	done := append(slices.Clone(p.Done), fingerprint(head))
	return Position{Done: done[max(0, len(done)-maxDone):]}
}

// slack is how many finished files are remembered beside those that are there: one that is renamed or compressed is not seen for a moment.
const slack = 16

// among forgets finished files that are not there any more, the older half of them, once there are many.
func (p Position) among(seen []sighting) Position {
	if len(p.Done) <= 2*len(seen)+slack {
		return p
	}
	there := map[string]bool{}
	for _, s := range seen {
		there[fingerprint(s.head)] = true
	}
	half := len(p.Done) / 2
	older := slices.DeleteFunc(slices.Clone(p.Done[:half]), func(f string) bool { return !there[f] })
	p.Done = append(older, p.Done[half:]...)
	return p
}

func (p Position) isDone(s sighting) bool { return slices.Contains(p.Done, fingerprint(s.head)) }

// within reports whether the position is in that file.
func (p Position) within(s sighting) bool {
	return p.HeadSize > 0 && len(s.head) >= p.HeadSize && fingerprint(s.head[:p.HeadSize]) == p.Head && (s.zipped || s.size >= p.Offset)
}

// choice is what to read next.
type choice struct {
	file   sighting
	offset int64
}

// choose finds where to go on among the files seen, the oldest first. It reports false where there is nothing to read yet, and a gap
// where the file that the position is in is not there any more.
func (p Position) choose(seen []sighting) (next choice, found, gap bool) {
	if p.HeadSize > 0 {
		for _, s := range slices.Backward(seen) {
			if p.within(s) {
				return choice{s, p.Offset}, true, false
			}
		}
		gap = true
	}
	for _, s := range seen {
		if !p.isDone(s) {
			return choice{s, 0}, true, gap
		}
	}
	return choice{}, false, gap
}

// Beginning says what of a log is read that was never read before.
type Beginning string

// Beginnings.
const (
	// FromOldest reads everything that is there.
	FromOldest Beginning = "oldest"
	// FromActive leaves out what was rotated away before the bridge first came.
	FromActive Beginning = "active"
	// FromEnd leaves out everything that is there.
	FromEnd Beginning = "end"
)

// first is the position where nothing was ever read.
func (b Beginning) first(seen []sighting) Position {
	var p Position
	for _, s := range seen {
		switch {
		case b == FromOldest, b == FromActive && s.active:
		case s.active:
			p = p.at(s.head, s.size)
		default:
			p.Done = append(p.Done, fingerprint(s.head))
		}
	}
	return p
}

// successor is the file that follows the one being read, in the order of the sightings, and whether that one is still there: only then
// is it certain that no file between the two was deleted.
func successor(p Position, current identity, head []byte, seen []sighting) (next sighting, found, certain bool) {
	for _, s := range seen {
		same := s.id == current || bytes.HasPrefix(s.head, head) && len(head) > 0
		switch {
		case same:
			certain = true
		case !found && !p.isDone(s):
			next, found = s, true
		}
	}
	return next, found, certain
}
