package cri

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseLog(t *testing.T) {
	t.Parallel()
	const at = "2026-11-22T10:00:00.123456789+01:00 "
	long := strings.Repeat("x", 3*maxLogLine)
	tests := map[string]struct {
		text string
		want []string
	}{
		"nothing":                        {"", nil},
		"lines of both streams in order": {at + "stderr F E1122 bad\n" + at + "stdout F out\n", []string{"E1122 bad", "out"}},
		"a line in parts":                {at + "stderr P one \n" + at + "stdout F between\n" + at + "stderr F two\n", []string{"between", "one two"}},
		"a line that never ended":        {at + "stderr P Error: unknown fl", []string{"Error: unknown fl"}},
		"an empty line":                  {at + "stderr F \n" + at + "stderr F\n", []string{"", ""}},
		"tags to come":                   {at + "stderr F:new:er text\n", []string{"text"}},
		"Docker's format":                {`{"log":"I am \"up\"\n","stream":"stderr","time":"2026-11-22T10:00:00Z"}` + "\n" + `{"log":"half ","stream":"stderr"}` + "\n" + `{"log":"whole\n","stream":"stderr"}` + "\n", []string{`I am "up"`, "half whole"}},
		"neither format":                 {"panic: oh\n{\"ts\":1}\n", []string{"panic: oh", `{"ts":1}`}},
		"a very long line":               {at + "stderr F " + long + "\n", []string{long[:maxLogLine]}},
		"bytes that are no text":         {at + "stderr F a\xffb\n", []string{"a?b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, ParseLog([]byte(tt.text))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLogTail(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "0.log")
	var text strings.Builder
	for i := range 20_000 { // about 1 MiB
		fmt.Fprintf(&text, "2026-11-22T10:00:00Z stderr F line %d of the log\n", i)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	read := 0
	open := func(path string) (io.ReadSeekCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		return counting{f, &read}, nil
	}
	got, err := LogTail(open, file, 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"line 19998 of the log", "line 19999 of the log"}, got); diff != "" {
		t.Errorf("tail (-want +got):\n%s", diff)
	}
	if read > maxLogRead {
		t.Errorf("read %d bytes", read)
	}
	all, err := LogTail(open, file, 1_000_000)
	if err != nil || len(all) < 1000 || !strings.HasPrefix(all[0], "line ") {
		t.Errorf("%d lines, the first %q, err %v", len(all), all[:1], err)
	}
	if _, err := LogTail(open, file+"x", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a log that is gone: %v", err)
	}
}

type counting struct {
	*os.File
	read *int
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.File.Read(b)
	*c.read += n
	return n, err
}

func FuzzParseLog(f *testing.F) {
	f.Add([]byte("2026-11-22T10:00:00Z stderr P a\n2026-11-22T10:00:00Z stderr F b\n"))
	f.Add([]byte(`{"log":"a\n","stream":"stdout"}`))
	f.Add([]byte("2026-11-22T10:00:00Z stderr"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, line := range ParseLog(text) {
			if len(line) > maxLogLine || !utf8.ValidString(line) || strings.Contains(line, "\n") && text[0] != '{' && !strings.Contains(string(text), `\n`) {
				t.Errorf("line %q", line)
			}
		}
	})
}
