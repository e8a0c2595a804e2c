package stage

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Process is one run of a program, told apart from all others by its id and the clock tick it started at.
type Process struct {
	PID   int
	Start string
}

// Starts counts the runs of a program per host, seen from outside the hosts. A run that lasts as long as the interval
// between two looks is not missed.
type Starts struct {
	comm   string
	netns  map[string]string
	mu     sync.Mutex
	seen   map[string]map[Process]time.Time
	cancel context.CancelFunc
	done   chan struct{}
}

// lookEvery is short against the 0.3 s in which an apiserver with a bad flag exits.
const lookEvery = 100 * time.Millisecond

// WatchStarts looks at the machine's processes until Stop. comm is the program's name as the kernel has it (15 characters
// at most); hosts maps each host's name to the process id of its init, whose network namespace its host-network programs
// share.
func WatchStarts(comm string, hosts map[string]int) (*Starts, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Starts{comm: comm, netns: map[string]string{}, seen: map[string]map[Process]time.Time{}, cancel: cancel, done: make(chan struct{})}
	for name, pid := range hosts {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			cancel()
			return nil, fmt.Errorf("find network namespace of host %q: %w", name, err)
		}
		s.netns[ns] = name
		s.seen[name] = map[Process]time.Time{}
	}
	s.look()
	go func() {
		defer close(s.done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lookEvery):
				s.look()
			}
		}
	}()
	return s, nil
}

// Stop ends the watching.
func (s *Starts) Stop() {
	s.cancel()
	<-s.done
}

// Count is how many runs of the program were seen on a host since t, the one running then not among them.
func (s *Starts) Count(host string, since time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, at := range s.seen[host] {
		if at.After(since) {
			n++
		}
	}
	return n
}

// Counts is [Starts.Count] of every host.
func (s *Starts) Counts(since time.Time) map[string]int {
	out := map[string]int{}
	for _, host := range s.netns {
		out[host] = s.Count(host, since)
	}
	return out
}

func (s *Starts) look() {
	now := time.Now()
	for _, pid := range pidsOf(s.comm) {
		ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			continue
		}
		host, ok := s.netns[ns]
		if !ok {
			continue
		}
		start, err := startTick(pid)
		if err != nil {
			continue
		}
		s.mu.Lock()
		p := Process{PID: pid, Start: start}
		if _, known := s.seen[host][p]; !known {
			s.seen[host][p] = now
		}
		s.mu.Unlock()
	}
}

// PIDOn is the process id, on this machine, of a program on a host; init is the host's first process.
func PIDOn(comm string, init int) (int, error) {
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", init))
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", comm, err)
	}
	for _, pid := range pidsOf(comm) {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns == want {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("find %s: no such process in that network namespace", comm)
}

// ofRehearsal is in the command line of an apiserver that runs beside the real one for a moment: it is not counted.
const ofRehearsal = "--endpoint-reconciler-type=none"

// pidsOf lists the processes of a name.
func pidsOf(comm string) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/comm")
	var pids []int
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(text)) != comm {
			continue
		}
		line, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		// A process that is just ending has no command line any more, so that a rehearsal would not be known.
		if err != nil || len(line) == 0 || bytes.Contains(line, []byte(ofRehearsal)) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// startTick reads a process's start time, in clock ticks since boot: the 22nd field of proc's stat, counted after the
// program's name because that may hold spaces.
func startTick(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("read start time of process %d: stat has %d fields", pid, len(fields))
	}
	return fields[19], nil
}

// ResidentBytes is a process's resident memory.
func ResidentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read resident memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read resident memory: process %d has none", pid)
}

// Alive reports whether the program runs on a host now.
func (s *Starts) Alive(host string) bool {
	for _, pid := range pidsOf(s.comm) {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && s.netns[ns] == host {
			return true
		}
	}
	return false
}

// PIDOf is the process id of a program that runs once on this machine, in whatever namespaces.
func PIDOf(comm string) (int, error) {
	pids := pidsOf(comm)
	if len(pids) != 1 {
		return 0, fmt.Errorf("find %s: %d processes of that name", comm, len(pids))
	}
	return pids[0], nil
}
