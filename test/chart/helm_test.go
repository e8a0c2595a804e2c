// Package chart tests the Helm chart through helm itself: what it renders for old and new clusters, what it refuses, that its
// configuration is one the coordinator reads, and that its permissions are exactly those that are needed. It also tests how
// images are built and pushed.
package chart

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/test/helm"
)

const (
	repository = "../.."
	chartDir   = repository + "/charts/k8s-audit-enabler"
	release    = "audit"
	namespace  = "audit-ns"
	registry   = "image.registry=registry.internal/security"
)

// runHelm returns helm's output; the error holds what it said.
func runHelm(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	path, err := helm.Find()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), append([]string{"KUBECONFIG=/nonexistent"}, env...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("helm %s: %w: %s", args[0], err, stderr.String())
	}
	return stdout.String(), nil
}

// template renders the chart; settings are key=value as for --set, other arguments begin with a dash.
func template(t *testing.T, settings ...string) (string, error) {
	t.Helper()
	args := []string{"template", release, chartDir, "--namespace", namespace}
	for _, s := range settings {
		if strings.HasPrefix(s, "-") {
			args = append(args, s)
			continue
		}
		args = append(args, "--set", s)
	}
	return runHelm(t, nil, args...)
}

// render is template where a failure is the test's.
func render(t *testing.T, settings ...string) string {
	t.Helper()
	out, err := template(t, append([]string{registry}, settings...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// objects decodes a rendered chart as an API server would, and refuses fields that no type of Kubernetes or of the Prometheus operator has.
func objects(t *testing.T, text string) []runtime.Object {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoringv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(known, serializer.EnableStrict).UniversalDeserializer()
	var list []runtime.Object
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		if strings.TrimSpace(document) == "" {
			continue
		}
		object, _, err := decoder.Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		list = append(list, object)
	}
	return list
}

// only returns the objects of one type.
func only[T runtime.Object](list []runtime.Object) []T {
	var found []T
	for _, object := range list {
		if typed, ok := object.(T); ok {
			found = append(found, typed)
		}
	}
	return found
}

// config decodes the rendered configuration as the coordinator does.
func config(t *testing.T, text string) wire.Config {
	t.Helper()
	for _, object := range only[*corev1.ConfigMap](objects(t, text)) {
		if object.Name != wire.ConfigName {
			continue
		}
		var c wire.Config
		if err := wire.Decode(object.Data, wire.KindConfig, &c); err != nil {
			t.Fatalf("%v\n%s", err, object.Data[wire.DocumentKey])
		}
		return c
	}
	t.Fatalf("no ConfigMap %s", wire.ConfigName)
	return wire.Config{}
}
