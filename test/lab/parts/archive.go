package parts

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Image is a container image of one layer.
type Image struct {
	// Tag is the full name, such as registry.k8s.io/pause:3.10.1.
	Tag string
	// Programs maps absolute paths in the image to files, which become executable.
	Programs map[string]string
	// Entrypoint is the command of a container that names none; may be empty.
	Entrypoint []string
}

// WriteArchive writes the images in the docker-archive format, as `docker load` and `ctr images import` take it. The same
// programs give the same bytes.
func WriteArchive(w io.Writer, images ...Image) error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	archive := tar.NewWriter(w)
	var manifest []entry
	for _, image := range images {
		hash := sha256.New()
		size := &counter{}
		err := image.writeLayer(io.MultiWriter(hash, size))
		if err != nil {
			return err
		}
		digest := hex.EncodeToString(hash.Sum(nil))
		layer := digest + "/layer.tar"
		err = archive.WriteHeader(header(layer, size.n, 0o644))
		if err != nil {
			return fmt.Errorf("write layer of %s: %w", image.Tag, err)
		}
		err = image.writeLayer(archive)
		if err != nil {
			return err
		}
		config, err := image.config(digest)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(config)
		name := hex.EncodeToString(sum[:]) + ".json"
		err = writeFile(archive, name, config)
		if err != nil {
			return err
		}
		manifest = append(manifest, entry{Config: name, RepoTags: []string{image.Tag}, Layers: []string{layer}})
	}
	data, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	err = writeFile(archive, "manifest.json", data)
	if err != nil {
		return err
	}
	err = archive.Close()
	if err != nil {
		return fmt.Errorf("end archive: %w", err)
	}
	return nil
}

// config is the image's configuration in the OCI format.
func (i Image) config(layerDigest string) ([]byte, error) {
	type process struct {
		Env        []string
		Entrypoint []string `json:",omitempty"`
	}
	type rootfs struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	data, err := json.Marshal(struct {
		Architecture string  `json:"architecture"`
		OS           string  `json:"os"`
		Config       process `json:"config"`
		RootFS       rootfs  `json:"rootfs"`
	}{
		runtime.GOARCH, "linux",
		process{[]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, i.Entrypoint},
		rootfs{"layers", []string{"sha256:" + layerDigest}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode configuration of %s: %w", i.Tag, err)
	}
	return data, nil
}

// writeLayer writes the layer's tar: the folders above the programs, then the programs, each in the order of their names.
func (i Image) writeLayer(w io.Writer) error {
	layer := tar.NewWriter(w)
	for _, dir := range i.dirs() {
		h := header(dir+"/", 0, 0o755)
		h.Typeflag = tar.TypeDir
		if dir == "tmp" {
			h.Mode = 0o1777
		}
		err := layer.WriteHeader(h)
		if err != nil {
			return fmt.Errorf("write layer of %s: %w", i.Tag, err)
		}
	}
	for _, name := range i.names() {
		err := copyProgram(layer, strings.TrimPrefix(name, "/"), i.Programs[name])
		if err != nil {
			return fmt.Errorf("write layer of %s: %w", i.Tag, err)
		}
	}
	err := layer.Close()
	if err != nil {
		return fmt.Errorf("end layer of %s: %w", i.Tag, err)
	}
	return nil
}

func (i Image) names() []string {
	var names []string
	for name := range i.Programs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// dirs lists etc, tmp and every folder above a program, parents first.
func (i Image) dirs() []string {
	dirs := []string{"etc", "tmp"}
	for name := range i.Programs {
		for dir := path.Dir(strings.TrimPrefix(name, "/")); dir != "."; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func copyProgram(layer *tar.Writer, name, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return fmt.Errorf("open program: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return fmt.Errorf("look at program: %w", err)
	}
	err = layer.WriteHeader(header(name, info.Size(), 0o755))
	if err != nil {
		return fmt.Errorf("write header of %s: %w", name, err)
	}
	_, err = io.Copy(layer, in)
	if err != nil {
		return fmt.Errorf("copy %s: %w", name, err)
	}
	return nil
}

func header(name string, size, mode int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: mode, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
}

func writeFile(archive *tar.Writer, name string, data []byte) error {
	err := archive.WriteHeader(header(name, int64(len(data)), 0o644))
	if err != nil {
		return fmt.Errorf("write header of %s: %w", name, err)
	}
	_, err = io.Copy(archive, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// counter is a writer that counts.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
