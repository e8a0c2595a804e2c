package health

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const canary = "5b0f4b39-0c1d-4c35-9d26-6c7b9cde0a11"

func event(id string) string {
	return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":%q,"stage":"ResponseComplete"}`+"\n", id)
}

func openFile(path string) (File, error) { return os.Open(path) }

// auditLog is a log that already holds an event, and a follower of it.
func auditLog(t *testing.T) (path string, l *Log) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "k8s_audit_events.log")
	appendTo(t, path, event("before"))
	l, err := OpenLog(openFile, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return path, l
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func rotate(t *testing.T, path string) {
	t.Helper()
	if err := os.Rename(path, path+"-2026-11-22T10-00-00.000"); err != nil {
		t.Fatal(err)
	}
}

func mustFind(t *testing.T, l *Log, want bool, when string) {
	t.Helper()
	got, err := l.Find(t.Context(), canary)
	if err != nil || got != want {
		t.Fatalf("%s: found = %v, err %v, want %v", when, got, err, want)
	}
}

func TestFindSeesWhatIsAppended(t *testing.T) {
	t.Parallel()
	path, l := auditLog(t)
	mustFind(t, l, false, "nothing new")
	appendTo(t, path, event("other"))
	mustFind(t, l, false, "another event")
	appendTo(t, path, event(canary))
	mustFind(t, l, true, "the canary")
}

func TestFindLooksOnlyAfterTheMark(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	appendTo(t, path, event(canary))
	l, err := OpenLog(openFile, path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustFind(t, l, false, "the canary stood there before")
}

func TestFindSeesAnIDWrittenInTwoPieces(t *testing.T) {
	t.Parallel()
	path, l := auditLog(t)
	text := event(canary)
	cut := strings.Index(text, canary) + 10
	appendTo(t, path, text[:cut])
	mustFind(t, l, false, "half")
	appendTo(t, path, text[cut:])
	mustFind(t, l, true, "the other half")
}

func TestFindSeesAnIDAcrossAChunk(t *testing.T) {
	t.Parallel()
	for shift := range 80 {
		path, l := auditLog(t)
		appendTo(t, path, strings.Repeat("x", scanChunk-shift)+event(canary))
		mustFind(t, l, true, fmt.Sprintf("shifted by %d", shift))
	}
}

func TestFindFollowsARotation(t *testing.T) {
	t.Parallel()
	t.Run("the canary is in the new file", func(t *testing.T) {
		t.Parallel()
		path, l := auditLog(t)
		rotate(t, path)
		mustFind(t, l, false, "between the files")
		appendTo(t, path, event(canary))
		mustFind(t, l, true, "new file")
	})
	t.Run("the canary was last in the old file", func(t *testing.T) {
		t.Parallel()
		path, l := auditLog(t)
		appendTo(t, path, event(canary))
		rotate(t, path)
		appendTo(t, path, event("other"))
		mustFind(t, l, true, "old file")
	})
	t.Run("the rotation comes just after the old file was read", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "log")
		appendTo(t, path, event("before"))
		opened := 0
		l, err := OpenLog(func(name string) (File, error) {
			if opened++; opened == 2 {
				appendTo(t, path, event(canary))
				rotate(t, path)
				appendTo(t, path, event("other"))
			}
			return os.Open(name)
		}, path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		mustFind(t, l, true, "old file")
	})
	t.Run("the new file is longer than the old one was", func(t *testing.T) {
		t.Parallel()
		path, l := auditLog(t)
		rotate(t, path)
		appendTo(t, path, event(canary)+strings.Repeat(event("other"), 100))
		mustFind(t, l, true, "new file")
	})
	t.Run("the file was truncated in place", func(t *testing.T) {
		t.Parallel()
		path, l := auditLog(t)
		appendTo(t, path, strings.Repeat(event("other"), 5))
		mustFind(t, l, false, "before")
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
		appendTo(t, path, event(canary))
		mustFind(t, l, true, "after")
	})
}

func TestFindWaitsForALogThatDoesNotExistYet(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := OpenLog(openFile, path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustFind(t, l, false, "no file")
	appendTo(t, path, event(canary))
	mustFind(t, l, true, "its first event")
}

func TestFindRefusesAnEmptyID(t *testing.T) {
	t.Parallel()
	_, l := auditLog(t)
	if found, err := l.Find(t.Context(), ""); err == nil || found {
		t.Errorf("found = %v, err %v", found, err)
	}
}

func TestWaitFor(t *testing.T) {
	t.Parallel()
	path, l := auditLog(t)
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if found, err := l.WaitFor(short, canary, 5*time.Millisecond); found || err != nil {
		t.Errorf("in vain: found = %v, err %v", found, err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = os.WriteFile(path, []byte(event("before")+event(canary)), 0o600)
	}()
	if found, err := l.WaitFor(t.Context(), canary, 5*time.Millisecond); !found || err != nil {
		t.Errorf("found = %v, err %v", found, err)
	}
}
