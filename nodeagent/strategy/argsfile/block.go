package argsfile

import (
	"bytes"
	"errors"
	"regexp"
	"slices"

	"k8s-audit-enabler.io/internal/wire"
)

// Our lines begin and end with comments, which name the revision and say how they are taken out by hand.
const (
	firstWords = "# Written by k8s-audit-enabler, revision "
	saysEnd    = "; up to the end of its lines, it is removed when the audit log is disabled again"
	saysBreak  = ", with the line break before it"
	lastLine   = "# End of the lines of k8s-audit-enabler.\n"
)

var (
	beginning = regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(firstWords) + `(r[0-9a-f]{12}(?:-[0-9a-f]{8})?)` +
		regexp.QuoteMeta(saysEnd) + `(` + regexp.QuoteMeta(saysBreak) + `)?\.\n`)
	ending = regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(lastLine))
)

// block is where our lines are in a file: of length zero and at its end where there are none.
type block struct {
	begin, end int
	revision   string
	// brk: the line before had no end, so that the line break is ours too.
	brk bool
}

// find looks for our lines. Somebody may have edited them; what begins and does not end, or more than once, is nothing to cut in.
func find(data []byte) (block, error) {
	begins, ends := beginning.FindAllSubmatchIndex(data, -1), ending.FindAllIndex(data, -1)
	switch {
	case len(begins) == 0 && len(ends) == 0:
		return block{begin: len(data), end: len(data)}, nil
	case len(begins) != 1 || len(ends) != 1 || ends[0][0] < begins[0][1]:
		return block{}, errors.New("the lines of k8s-audit-enabler have lost a comment at their beginning or end, or are there twice; take them out by hand")
	}
	at := begins[0]
	b := block{begin: at[0], end: ends[0][1], revision: string(data[at[2]:at[3]]), brk: at[4] >= 0}
	if b.brk && b.begin > 0 {
		b.begin--
	}
	return b, nil
}

// with is the file with our lines in it.
func (s Settings) with(revision string, flags []wire.Flag) []byte {
	before, after := s.Data[:s.ours.begin], s.Data[s.ours.end:]
	var text []byte
	unended := len(before) > 0 && before[len(before)-1] != '\n'
	if unended {
		text = append(text, '\n')
	}
	text = append(text, firstWords+revision+saysEnd...)
	if unended {
		text = append(text, saysBreak...)
	}
	text = append(text, ".\n"...)
	for _, f := range flags {
		text = append(text, "--"+f.Name+"="+f.Value+"\n"...)
	}
	return slices.Concat(before, text, []byte(lastLine), after)
}

// without is the file without our lines.
func (s Settings) without() []byte {
	before, after := s.Data[:s.ours.begin], s.Data[s.ours.end:]
	if s.ours.brk && len(after) > 0 {
		return slices.Concat(before, []byte("\n"), after) // others have gone on behind ours
	}
	return slices.Concat(before, after)
}

// RevisionOf is what our lines in a file say, empty where there are none.
func RevisionOf(data []byte) string {
	b, err := find(bytes.Clone(data))
	if err != nil {
		return ""
	}
	return b.revision
}
