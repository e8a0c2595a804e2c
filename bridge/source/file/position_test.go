package file

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBackupsAreOrderedAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		base  string
		names []string
		want  []string
	}{
		"as kube-apiserver names them, one of them compressed": {
			"audit.log",
			[]string{"audit-2026-11-23T10-00-00.000.log", "audit-2025-11-23T10-00-00.000.log.gz", "audit.log", "audit-termination.log", "other-2026-11-23T10-00-00.000.log"},
			[]string{"audit-2025-11-23T10-00-00.000.log.gz", "audit-2026-11-23T10-00-00.000.log"},
		},
		"as logrotate counts them":      {"audit.log", []string{"audit.log", "audit.log.1", "audit.log.10.gz", "audit.log.2.gz"}, []string{"audit.log.10.gz", "audit.log.2.gz", "audit.log.1"}},
		"as logrotate dates them":       {"audit.log", []string{"audit.log-20261124", "audit.log-20261123.gz"}, []string{"audit.log-20261123.gz", "audit.log-20261124"}},
		"one that is being compressed":  {"audit.log", []string{"audit.log.1", "audit.log.1.gz"}, []string{"audit.log.1"}},
		"a log without an extension":    {"audit", []string{"audit-2026-11-23T10-00-00.000", "audit.1", "audit"}, []string{"audit.1", "audit-2026-11-23T10-00-00.000"}},
		"what is no backup of this log": {"audit.log", []string{"audit.log.bak", "audit.log.lock", "audit.logs.1", "audit.log."}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, b := range backups(test.base, test.names) {
				got = append(got, b.name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func seenFile(name, head string, size int64) sighting {
	return sighting{name: name, head: []byte(head), size: size, active: name == "active"}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	active, newer, older := seenFile("active", "CCCC", 40), seenFile("newer", "BBBB", 40), seenFile("older", "AAAA", 40)
	all := []sighting{older, newer, active}
	zipped := sighting{name: "newer.gz", zipped: true, head: []byte("BBBB"), size: 3}
	none := Position{}
	tests := map[string]struct {
		position Position
		seen     []sighting
		file     string
		offset   int64
		gap      bool
	}{
		"where it was, in the log":                   {none.at([]byte("CCCC"), 20), all, "active", 20, false},
		"where it was, after it was renamed":         {none.at([]byte("BBBB"), 20), all, "newer", 20, false},
		"where it was, after it was compressed":      {none.at([]byte("BBBB"), 20), []sighting{older, zipped, active}, "newer.gz", 20, false},
		"the head had fewer bytes then":              {none.at([]byte("CC"), 2), all, "active", 2, false},
		"the file is gone, and all others are read":  {none.at([]byte("XXXX"), 20), all, "older", 0, true},
		"but those that were finished are not":       {none.finished([]byte("AAAA")).at([]byte("XXXX"), 20), all, "newer", 0, true},
		"the file was cut short":                     {none.at([]byte("CCCC"), 41), []sighting{active}, "active", 0, true},
		"behind a finished file":                     {none.finished([]byte("AAAA")), all, "newer", 0, false},
		"clocks went back, and names are out of row": {none.finished([]byte("BBBB")), all, "older", 0, false},
		"there is nothing that was not read before":  {none.finished([]byte("CCCC")), []sighting{active}, "", 0, false},
		"there is no file, and there never was one":  {none, nil, "", 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, found, gap := test.position.choose(test.seen)
			if c.file.name != test.file || c.offset != test.offset || gap != test.gap || found != (test.file != "") {
				t.Errorf("chose %q from %d on, gap %t; want %q from %d on, gap %t", c.file.name, c.offset, gap, test.file, test.offset, test.gap)
			}
		})
	}
}

func TestFinishedFilesAreForgottenOnlyOnceThereAreManyMoreThanAreThere(t *testing.T) {
	t.Parallel()
	var p Position
	for i := range 200 {
		p = p.finished([]byte{byte(i)})
		p = p.among([]sighting{seenFile("first", "\x00", 1)})
	}
	if n := len(p.Done); n > 2+slack+1 {
		t.Errorf("%d are remembered", n)
	}
	if !p.isDone(seenFile("first", "\x00", 1)) || !p.isDone(seenFile("last", "\xc7", 1)) {
		t.Error("one that is there, or the last one, is forgotten")
	}
}
