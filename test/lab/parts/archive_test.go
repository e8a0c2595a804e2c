package parts

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readTar returns the entries' contents by name, and their names in order.
func readTar(t *testing.T, data []byte) (contents map[string][]byte, names []string) {
	t.Helper()
	contents = make(map[string][]byte)
	reader := tar.NewReader(bytes.NewReader(data))
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return contents, names
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		contents[h.Name] = content
		names = append(names, h.Name)
	}
}

func testImages(t *testing.T) []Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "p")
	err := os.WriteFile(program, []byte("program"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return []Image{
		{Tag: "registry.k8s.io/a:v1", Programs: map[string]string{"/usr/local/bin/a": program}},
		{Tag: "registry.k8s.io/b:v2", Programs: map[string]string{"/b": program, "/c": program}, Entrypoint: []string{"/b"}},
	}
}

func TestArchiveHoldsWhatTheManifestNames(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	err := WriteArchive(&archive, testImages(t)...)
	if err != nil {
		t.Fatal(err)
	}
	contents, _ := readTar(t, archive.Bytes())
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	err = json.Unmarshal(contents["manifest.json"], &manifest)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		tag   string
		layer []string
	}{
		{"registry.k8s.io/a:v1", []string{"etc/", "tmp/", "usr/", "usr/local/", "usr/local/bin/", "usr/local/bin/a"}},
		{"registry.k8s.io/b:v2", []string{"etc/", "tmp/", "b", "c"}},
	}
	if len(manifest) != len(want) {
		t.Fatalf("%d images in manifest, want %d", len(manifest), len(want))
	}
	for i, image := range manifest {
		if diff := cmp.Diff([]string{want[i].tag}, image.RepoTags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		var config struct {
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		err := json.Unmarshal(contents[image.Config], &config)
		if err != nil {
			t.Fatal(err)
		}
		layer := contents[image.Layers[0]]
		sum := sha256.Sum256(layer)
		if diff := cmp.Diff([]string{"sha256:" + hex.EncodeToString(sum[:])}, config.RootFS.DiffIDs); diff != "" {
			t.Errorf("digest of %s (-want +got):\n%s", image.RepoTags, diff)
		}
		_, names := readTar(t, layer)
		if diff := cmp.Diff(want[i].layer, names); diff != "" {
			t.Errorf("layer of %s (-want +got):\n%s", image.RepoTags, diff)
		}
	}
}

func TestSameProgramsGiveTheSameArchive(t *testing.T) {
	t.Parallel()
	images := testImages(t)
	var first, second bytes.Buffer
	err := errors.Join(WriteArchive(&first, images...), WriteArchive(&second, images...))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two archives of the same images differ")
	}
}

func TestMissingProgramIsAnError(t *testing.T) {
	t.Parallel()
	err := WriteArchive(io.Discard, Image{Tag: "x", Programs: map[string]string{"/x": filepath.Join(t.TempDir(), "none")}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want one about a file that does not exist", err)
	}
}
