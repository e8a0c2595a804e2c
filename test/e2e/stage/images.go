package stage

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"k8s-audit-enabler.io/test/lab/parts"
)

// BusyboxImage is an image with /bin/busybox, on every host of the stage: for Pods that run and can be entered.
const BusyboxImage = "localhost/lab/busybox:1"

// busybox is where Debian's busybox-static has it.
const busybox = "/bin/busybox"

// Archives are docker archives by the last element of the image's name.
type Archives map[string]string

// images are the product's.
type images struct {
	archives Archives
	// registry and tag are what all of them have in common.
	registry, tag string
}

// findImages looks at the docker archives in a folder. The images' names are read from the archives, so that the chart is
// given what is there.
func findImages(folder string) (images, error) {
	found := images{archives: Archives{}}
	paths, err := filepath.Glob(filepath.Join(folder, imageFile("*")))
	if err != nil {
		return found, err
	}
	for _, path := range paths {
		names, err := archiveTags(path)
		if err != nil {
			return found, err
		}
		for _, name := range names {
			repository, tag, _ := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
			found.archives[repository] = path
			found.registry, found.tag = name[:max(strings.LastIndex(name, "/"), 0)], tag
		}
	}
	if len(found.archives) == 0 {
		return found, fmt.Errorf("find images: no archive in %s; run: make images", folder)
	}
	return found, nil
}

// imageFile is what make images calls an image's archive for this machine's architecture.
func imageFile(image string) string { return image + "-" + runtime.GOARCH + ".tar" }

// archiveTags reads the image names of a docker archive.
func archiveTags(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read image archive: %w", err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read image archive %s: no manifest.json in it", path)
		}
		if err != nil {
			return nil, fmt.Errorf("read image archive %s: %w", path, err)
		}
		if h.Name != "manifest.json" {
			continue
		}
		var entries []struct{ RepoTags []string }
		if err := json.NewDecoder(r).Decode(&entries); err != nil {
			return nil, fmt.Errorf("read image archive %s: %w", path, err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.RepoTags...)
		}
		return names, nil
	}
}

// loadImages imports the product's images and busybox on every host.
func (s *Stage) loadImages(ctx context.Context) error {
	box := filepath.Join(s.Dir, "busybox.tar")
	if err := WriteImage(box, parts.Image{Tag: BusyboxImage, Programs: map[string]string{"/bin/busybox": busybox}}); err != nil {
		return err
	}
	all := []string{box}
	for _, path := range s.images.archives {
		all = append(all, path)
	}
	return s.Lab.ImportImages(ctx, all...)
}

// WriteImage writes an image as a docker archive.
func WriteImage(path string, image parts.Image) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write image: %w", err)
	}
	return errors.Join(parts.WriteArchive(f, image), f.Close())
}

// BuiltImages finds the product's images where make images puts them.
func BuiltImages() (Archives, error) {
	repository, err := Repository()
	if err != nil {
		return nil, err
	}
	found, err := findImages(filepath.Join(repository, "dist", "images"))
	return found.archives, err
}
