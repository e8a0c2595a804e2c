package parts

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Set is everything that hosts of one Kubernetes version are made from.
type Set struct {
	// Version is the Kubernetes version, such as "v1.34.4".
	Version string
	// Kubernetes is the folder with kubelet, kubeadm, kubectl and kube-proxy.
	Kubernetes string
	// Images is a docker archive with every image that kubeadm's control plane needs.
	Images string
	// PauseTag is the full name of the pause image.
	PauseTag string
	// Balancer is the balancer's program.
	Balancer string
}

// Set builds what is missing of the given Kubernetes version. Of another version than the default only the apiserver is of
// that version: it is what an upgrade changes here, and each further program costs minutes. The others are the default's,
// under that version's image names.
func (c *Cache) Set(ctx context.Context, version string) (Set, error) {
	kubernetes, err := Kubernetes(DefaultKubernetes)
	if err != nil {
		return Set{}, err
	}
	dirs := make(map[string]string)
	for _, r := range []Recipe{kubernetes, Etcd(), Pause(), Balancer()} {
		dirs[r.Name], err = c.Build(ctx, r)
		if err != nil {
			return Set{}, err
		}
	}
	dirs["kube-apiserver"] = dirs["kubernetes"]
	if version != DefaultKubernetes {
		apiserver, err := Kubernetes(version)
		if err != nil {
			return Set{}, err
		}
		dirs["kube-apiserver"], err = c.Build(ctx, apiserver)
		if err != nil {
			return Set{}, err
		}
	}
	set := Set{Version: version, Kubernetes: dirs["kubernetes"], Balancer: filepath.Join(dirs["lb"], "lb")}
	images, err := c.images(ctx, version, dirs)
	if err != nil {
		return Set{}, err
	}
	set.Images = filepath.Join(images, "images.tar")
	tag, err := os.ReadFile(filepath.Join(images, "pause"))
	if err != nil {
		return Set{}, fmt.Errorf("read name of pause image: %w", err)
	}
	set.PauseTag = string(tag)
	return set, nil
}

// images returns the folder with the archive of the control plane's images, and the name of the pause image beside it.
func (c *Cache) images(ctx context.Context, version string, dirs map[string]string) (string, error) {
	hash := sha256.New()
	folders := []string{"kubernetes", "etcd", "pause"}
	if dirs["kube-apiserver"] != dirs["kubernetes"] {
		folders = append(folders, "kube-apiserver")
	}
	for _, name := range folders {
		fmt.Fprintln(hash, filepath.Base(dirs[name]))
	}
	folder := fmt.Sprintf("images-%s-%s", version, hex.EncodeToString(hash.Sum(nil))[:12])
	return c.fill(ctx, folder, func(ctx context.Context, dir string) error {
		tags, err := imageTags(ctx, filepath.Join(dirs["kubernetes"], "kubeadm"), version)
		if err != nil {
			return err
		}
		images, err := controlPlane(tags, dirs)
		if err != nil {
			return err
		}
		err = writeArchiveFile(filepath.Join(dir, "images.tar"), images)
		if err != nil {
			return err
		}
		err = os.WriteFile(filepath.Join(dir, "pause"), []byte(tags["pause"]), 0o644)
		if err != nil {
			return fmt.Errorf("write name of pause image: %w", err)
		}
		return nil
	})
}

// controlPlane is the images of a control plane under the given tags. kube-proxy runs as a unit of the host, and names are
// resolved by the host's own file: neither kube-proxy nor CoreDNS is among them.
func controlPlane(tags, dirs map[string]string) ([]Image, error) {
	var images []Image
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "pause"} {
		tag, ok := tags[name]
		if !ok {
			return nil, fmt.Errorf("name image of %s: kubeadm lists none", name)
		}
		image := Image{Tag: tag}
		switch name {
		case "pause":
			image.Programs = map[string]string{"/pause": filepath.Join(dirs["pause"], "pause")}
			image.Entrypoint = []string{"/pause"}
		case "etcd":
			image.Programs = map[string]string{"/usr/local/bin/etcd": filepath.Join(dirs["etcd"], programName(Etcd()))}
		case "kube-apiserver":
			image.Programs = map[string]string{"/usr/local/bin/" + name: filepath.Join(dirs[name], name)}
		default:
			image.Programs = map[string]string{"/usr/local/bin/" + name: filepath.Join(dirs["kubernetes"], name)}
		}
		images = append(images, image)
	}
	return images, nil
}

// programName is what go build calls the program of a recipe whose only package is its module's root: the last element of
// the module path.
func programName(r Recipe) string { return filepath.Base(r.Dir) }

// imageTags asks kubeadm which images it expects, and returns the full names by their last element without the tag.
func imageTags(ctx context.Context, kubeadm, version string) (map[string]string, error) {
	out, err := exec.CommandContext(ctx, kubeadm, "config", "images", "list", "--kubernetes-version", version).Output()
	if err != nil {
		return nil, fmt.Errorf("ask kubeadm for its images: %w", err)
	}
	tags := make(map[string]string)
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		name, _, ok := strings.Cut(path.Base(lines.Text()), ":")
		if ok {
			tags[name] = lines.Text()
		}
	}
	return tags, nil
}

func writeArchiveFile(name string, images []Image) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return WriteArchive(f, images...)
}
