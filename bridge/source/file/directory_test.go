package file

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s-audit-enabler.io/internal/logging"
	"k8s-audit-enabler.io/nodeagent/hostfs"
)

// TestAFileThatIsCompressedMeanwhileIsSeen looks while a backup is compressed and brought back, again and again. At every moment it is
// there under one of its names.
func TestAFileThatIsCompressedMeanwhileIsSeen(t *testing.T) {
	t.Parallel()
	root, beside := t.TempDir(), filepath.Join(t.TempDir(), "new")
	at := func(name string) string { return filepath.Join(root, name) }
	must := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	const plain, zipped = "audit-2026-11-23T00-00-00.000.log", "audit-2026-11-23T00-00-00.000.log.gz"
	text := []byte(strings.Repeat("backup\n", 300))
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(text)
	must(err)
	must(w.Close())
	must(os.WriteFile(at("audit.log"), []byte("active\n"), 0o600))
	must(os.WriteFile(at(plain), text, 0o600))
	place := func(name string, data []byte) {
		must(os.WriteFile(beside, data, 0o600))
		must(os.Rename(beside, at(name)))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			place(zipped, b.Bytes())
			must(os.Remove(at(plain)))
			time.Sleep(100 * time.Microsecond)
			place(plain, text)
			must(os.Remove(at(zipped)))
			time.Sleep(100 * time.Microsecond)
		}
	}()
	d := directory{host: hostfs.New(root), name: "/audit.log", log: logging.Discard()}
	missed := 0
	for range 2000 {
		seen, err := d.look()
		must(err)
		if len(seen) < 2 || !bytes.HasPrefix(text, seen[0].head) || !seen[len(seen)-1].active {
			missed++
		}
	}
	close(stop)
	<-stopped
	if missed > 0 {
		t.Errorf("missed %d times", missed)
	}
}
