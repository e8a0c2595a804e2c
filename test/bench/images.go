package bench

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"k8s-audit-enabler.io/test/e2e/stage"
)

// Images gives each image's size as a registry would hold it: its layers, compressed.
func Images(s stage.Archives) ([]Figure, error) {
	var figures []Figure
	var names []string
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		size, err := compressedLayers(s[name])
		if err != nil {
			return nil, err
		}
		goal := float64(NoGoal)
		if strings.Contains(name, "nodeagent") {
			goal = 30
		}
		figures = append(figures, Figure{What: "image " + name + ", compressed", Value: float64(size) / mebi, Goal: goal, Unit: "MiB"})
	}
	return figures, nil
}

// compressedLayers is the sum of the compressed sizes of a docker archive's layers, which the archive may hold compressed
// already.
func compressedLayers(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("measure image: %w", err)
	}
	defer f.Close()
	var total int64
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return 0, fmt.Errorf("measure image %s: %w", path, err)
		}
		if h.Typeflag != tar.TypeReg || strings.HasSuffix(h.Name, ".json") {
			continue
		}
		size := &counter{}
		packer := gzip.NewWriter(size)
		if _, err := io.Copy(packer, r); err != nil {
			return 0, fmt.Errorf("measure image %s: %w", path, err)
		}
		if err := packer.Close(); err != nil {
			return 0, fmt.Errorf("measure image %s: %w", path, err)
		}
		total += min(size.n, h.Size)
	}
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
