package file

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a"}`

func TestALineThatIsNoEventIsSaidAndWhatIsBehindItIsFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		line          string
		id            string
		found, broken bool
	}{
		"an event":                             {sample + "\n", "a", true, false},
		"nothing":                              {"\n", "", false, false},
		"zeros that a power cut left":          {"\x00\x00\x00\n", "", false, false},
		"zeros, and an event behind them":      {"\x00\x00" + sample + "\n", "a", true, false},
		"half an event, and a whole one":       {sample[:50] + strings.Replace(sample, `"a"`, `"b"`, 1) + "\n", "b", true, true},
		"an event inside of a broken one":      {`{"kind":"Event","x":{"kind":"Event","apiVersion":"audit.k8s.io/v1","auditID":"c"}` + "\n", "", false, true},
		"half an event":                        {sample[:50] + "\n", "", false, true},
		"what another program wrote":           {"I1123 10:00:00 hello\n", "", false, true},
		"what another program wrote before it": {"I1123 10:00:00 hello " + sample + "\n", "a", true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, found, broken := parse([]byte(test.line))
			if found != test.found && test.id != "" || broken != test.broken {
				t.Fatalf("found %t, broken %t", found, broken)
			}
			if test.id != "" && e.AuditID() != test.id {
				t.Errorf("auditID %q, want %q", e.AuditID(), test.id)
			}
		})
	}
}

// cut reads data in pieces of the sizes given, again and again.
func cut(data []byte, limit int, sizes []byte) (got []string, total int64, l *lines) {
	l = &lines{limit: limit}
	for at, i := 0, 0; at < len(data); i++ {
		n := 1
		if len(sizes) > 0 {
			n = int(sizes[i%len(sizes)]) + 1
		}
		n = copy(l.room()[:n], data[at:])
		at += n
		_ = l.read(n, func(line []byte, size int64) error {
			got = append(got, string(line))
			total += size
			return nil
		})
	}
	return got, total, l
}

func TestALineThatIsTooLongCostsNoMemoryAndNotTheNextOne(t *testing.T) {
	t.Parallel()
	got, total, l := cut([]byte("a\n"+strings.Repeat("x", 1000)+"\nb\n"), 10, []byte{6})
	if diff := cmp.Diff([]string{"a\n", "", "b\n"}, got); diff != "" {
		t.Error(diff)
	}
	if total != 1005 || l.pending() != 0 {
		t.Errorf("%d bytes are accounted for, %d pending", total, l.pending())
	}
}

// FuzzLines holds that lines are found whatever pieces they are read in, and that each byte is accounted for.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc"), []byte{0, 2})
	f.Add([]byte(strings.Repeat("y", 300)+"\nz\n"), []byte{255})
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		const limit = 64
		var want []string
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		for line := range bytes.Lines(whole) {
			if len(line) > limit {
				line = nil
			}
			want = append(want, string(line))
		}
		got, total, l := cut(data, limit, sizes)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if total != int64(len(whole)) || l.pending() != int64(len(data)-len(whole)) || len(l.rest) > limit {
			t.Errorf("%d of %d bytes are accounted for, %d pending", total, len(data), l.pending())
		}
	})
}

// FuzzParse holds that what is found is an event that can be sent.
func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(sample[:40] + sample + "\n"))
	f.Add([]byte("\x00\x00" + sample))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, found, _ := parse(data)
		if found && (e.AuditID() == "" || !bytes.Contains(data, e.Raw())) {
			t.Errorf("found %q in %q", e.Raw(), data)
		}
	})
}
