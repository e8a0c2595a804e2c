package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress prints what happens with the time since the start, one line each, so that it reads the same on a terminal and
// in a log.
type progress struct {
	out   io.Writer
	start time.Time
	mu    sync.Mutex
}

func newProgress(out io.Writer) *progress { return &progress{out: out, start: time.Now()} }

func (p *progress) printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format, args...)
}

// titlef begins a chapter.
func (p *progress) titlef(format string, args ...any) {
	p.printf("\n%s\n", fmt.Sprintf(format, args...))
}

// stepf is something that has happened.
func (p *progress) stepf(format string, args ...any) {
	p.printf("%7.1f s  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// line is text as it is.
func (p *progress) line(text string) { p.printf("           %s\n", text) }

func (p *progress) failed(err error) { p.printf("\nThis did not work: %v\n", err) }

func plural(n int, what string) string {
	if n == 1 {
		return "one " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
