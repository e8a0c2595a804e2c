package file

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// backup is the name of a file that was rotated away.
type backup struct {
	name   string
	zipped bool
	// scheme and rank order the backups, the oldest first. Schemes are not mixed in practice.
	scheme int
	rank   int64
}

const (
	zipSuffix = ".gz"
	// rotated is how kube-apiserver's log names backups.
	rotated = "2006-01-02T15-04-05.000"
	// dated is the number of digits from which on logrotate's suffix is a date and not a count.
	dated = 6
)

// backups are the names that are the log's backups, the oldest first. A compressed one does not count while the one that it is made
// of is still there: it may not be complete.
func backups(base string, names []string) []backup {
	var list []backup
	for _, name := range names {
		plain := strings.TrimSuffix(name, zipSuffix)
		b := backup{name: name, zipped: plain != name}
		if b.zipped && slices.Contains(names, plain) {
			continue
		}
		var ok bool
		if b.scheme, b.rank, ok = rank(base, plain); ok {
			list = append(list, b)
		}
	}
	slices.SortStableFunc(list, func(a, b backup) int {
		return cmp.Or(cmp.Compare(a.scheme, b.scheme), cmp.Compare(a.rank, b.rank), cmp.Compare(a.name, b.name))
	})
	return list
}

func rank(base, name string) (scheme int, rank int64, ok bool) {
	extension := path.Ext(base)
	if text, found := strings.CutPrefix(name, strings.TrimSuffix(base, extension)+"-"); found {
		if text, found := strings.CutSuffix(text, extension); found {
			if at, err := time.Parse(rotated, text); err == nil {
				return 2, at.UnixMilli(), true
			}
		}
	}
	text, found := strings.CutPrefix(name, base)
	if !found || len(text) < 2 || text[0] != '.' && text[0] != '-' {
		return 0, 0, false
	}
	text = text[1:]
	number, err := strconv.ParseInt(strings.ReplaceAll(text, "-", ""), 10, 64)
	switch {
	case err != nil || number < 0:
		return 0, 0, false
	case len(text) >= dated:
		return 1, number, true
	default:
		return 0, -number, true
	}
}
