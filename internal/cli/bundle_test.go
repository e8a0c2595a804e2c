package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// unpack reads an archive of `bundle`.
func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for all := tar.NewReader(zip); ; {
		header, err := all.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(all)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(text)
	}
}

func TestNoPlantedSecretIsInTheArchive(t *testing.T) {
	t.Parallel()
	const secret = "Pl4nted-s3cret"
	plant := func(text string) string {
		return strings.NewReplacer("SECRET", secret, "CODED", base64.StdEncoding.EncodeToString([]byte(secret))).Replace(text)
	}
	c := newCluster()
	defer c.Close()
	text, err := os.ReadFile(filepath.Join("testdata", "bundle", "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.add([]byte(plant(string(text)))); err != nil {
		t.Fatal(err)
	}
	c.logs["audit/agent-1"] = plant("Authorization: Bearer SECRET\n" +
		`{"msg":"x","url":"https://bob:SECRET@192.0.2.1/","token":"SECRET"}` + "\nusers: [{user: {client-key-data: CODED}}]\n" +
		"-----BEGIN PRIVATE KEY-----\nCODED\n-----END PRIVATE KEY-----\nthe last line\n")
	var out bytes.Buffer
	b := newBundle(&out, now)
	b.gather(t.Context(), typedcorev1.NewForConfigOrDie(&rest.Config{Host: c.URL}), "audit")
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, out.Bytes())
	for name, text := range files {
		for _, planted := range []string{plant("SECRET"), plant("CODED")} {
			if strings.Contains(text, planted) {
				t.Errorf("%s holds %s:\n%s", name, planted, text)
			}
		}
	}
	for name, holds := range map[string]string{
		"documents/audit-enabler-config.yaml": "192.0.2.9:7765/k8s_audit",
		"documents/audit-status-cp1.yaml":     "CrashLooping",
		"events.yaml":                         "NodeFailed",
		"pods/agent-1.yaml":                   "--host-root=/host",
		"logs/agent-1.log":                    "the last line",
		"logs/agent-1.previous.log":           "the last line",
		"apiservers/kube-apiserver-cp1.yaml":  "--audit-webhook-config-file=/etc/kubernetes/siem.yaml",
		"nodes/cp1.yaml":                      "osImage: Debian",
		"version.txt":                         "",
		"missing.txt":                         "logs/coordinator-1.log",
	} {
		if text, there := files["k8s-audit-enabler/"+name]; !there || !strings.Contains(text, holds) {
			t.Errorf("%s lacks %q:\n%s", name, holds, text)
		}
	}
	if len(files) != 11 {
		t.Errorf("%d files", len(files))
	}
}
