package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Available is how much memory a new program can have without the kernel taking it from others, in bytes.
func (f *FS) Available() (int64, error) {
	return f.kibibytes("meminfo", "MemAvailable:")
}

// Resident is how much memory a process holds, in bytes.
func (f *FS) Resident(pid int) (int64, error) {
	return f.kibibytes(filepath.Join(strconv.Itoa(pid), "status"), "VmRSS:")
}

// kibibytes reads one line of the form "Key:   123 kB".
func (f *FS) kibibytes(file, key string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(f.root, file))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, key)
		if !ok {
			continue
		}
		number, unit, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || unit != "kB" {
			return 0, fmt.Errorf("read memory: %s says %q", file, strings.TrimSpace(line))
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("read memory: no %s in %s", key, file)
}
