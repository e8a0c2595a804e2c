// Package images tests how the images are built and pushed: hack/images.sh with the real Dockerfile and buildah, against a
// real registry on this machine.
package images

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	repository = "../.."
	version    = "0.0.0-test"
	platforms  = "linux/amd64 linux/arm64"
)

// checkout is a directory with what images.sh reads, and programs that are only text.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"Dockerfile", ".dockerignore", "hack/images.sh"} {
		text, err := os.ReadFile(filepath.Join(repository, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, file), string(text))
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, program := range []string{"coordinator", "nodeagent", "bridge", "kubectl-audit_enabler"} {
			write(t, filepath.Join(dir, "dist", "linux_"+arch, program), program+" for "+arch)
		}
	}
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// script runs images.sh in a directory, without a proxy.
func script(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append([]string{"hack/images.sh"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "http_proxy=", "https_proxy=", "HTTP_PROXY=", "HTTPS_PROXY=")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func needBuildah(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("buildah"); err != nil {
		t.Skip("buildah is missing; make deps installs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("buildah's chroot isolation needs root")
	}
}

func TestBuildAndPush(t *testing.T) {
	t.Parallel()
	needBuildah(t)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	dir, host := checkout(t), strings.TrimPrefix(server.URL, "http://")
	if out, err := script(t, dir, "build", version, platforms); err != nil || !strings.Contains(out, "MiB compressed") {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, file := range []string{"coordinator-amd64", "coordinator-arm64", "nodeagent-amd64", "nodeagent-arm64", "bridge-amd64", "bridge-arm64"} {
		if _, err := os.Stat(filepath.Join(dir, "dist/images/k8s-audit-enabler-"+file+".tar")); err != nil {
			t.Error(err)
		}
	}
	out, err := script(t, dir, "push", version, platforms, host+"/security/")
	if err != nil {
		t.Fatalf("push: %v\n%s", err, out)
	}
	if want := "--set image.registry=" + host + "/security\n"; !strings.Contains(out, want) {
		t.Errorf("push does not end with the next command, %q:\n%s", want, out)
	}
	for image, want := range map[string]struct{ program, user string }{
		"k8s-audit-enabler-coordinator": {"coordinator", "65532:65532"},
		"k8s-audit-enabler-nodeagent":   {"nodeagent", ""},
		"k8s-audit-enabler-bridge":      {"bridge", "65532:65532"},
	} {
		ref, err := name.ParseReference(host + "/security/" + image + ":" + version)
		if err != nil {
			t.Fatal(err)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			pulled, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: arch}), remote.WithTransport(&http.Transport{}))
			if err != nil {
				t.Fatalf("pull %s for %s: %v", image, arch, err)
			}
			checkImage(t, pulled, arch, want.program, want.user)
		}
	}
}

// checkImage holds that an image is one program from nothing, of its architecture, with its user and its labels.
func checkImage(t *testing.T, image v1.Image, arch, program, user string) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if file.Architecture != arch || file.Config.User != user || file.Config.Labels["org.opencontainers.image.version"] != version ||
		file.Config.Labels["org.opencontainers.image.title"] != "k8s-audit-enabler-"+program {
		t.Errorf("%s for %s: architecture %s, user %q, labels %v", program, arch, file.Architecture, file.Config.User, file.Config.Labels)
	}
	if diff := cmp.Diff([]string{"/" + program}, file.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{program: program + " for " + arch}, contents(t, image)); diff != "" {
		t.Error(diff)
	}
}

func TestPush_SaysWhatToType(t *testing.T) {
	t.Parallel()
	t.Run("without a registry", func(t *testing.T) {
		t.Parallel()
		out, err := exec.CommandContext(t.Context(), "make", "-C", repository, "push", "REGISTRY=").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), "make images push REGISTRY=") {
			t.Errorf("err = %v\n%s", err, out)
		}
	})
	t.Run("without images", func(t *testing.T) {
		t.Parallel()
		needBuildah(t)
		out, err := script(t, checkout(t), "push", version, platforms, "127.0.0.1:1")
		if err == nil || !strings.Contains(out, "is missing. Type: make images push REGISTRY=127.0.0.1:1") {
			t.Errorf("err = %v\n%s", err, out)
		}
	})
}
