// Package bridge runs the bridge's program beside a cluster whose kubelets run no pods for it.
package bridge

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"k8s-audit-enabler.io/internal/wire"
)

// Build builds a program of the repository, which is named by its directory below cmd.
func Build(ctx context.Context, repository, name, file string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, "./cmd/"+name)
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// Mount keeps a file as the bridge's plan is, as a kubelet does, until the context ends.
func Mount(ctx context.Context, client kubernetes.Interface, namespace, file string) error {
	var before []byte
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		object, err := client.CoreV1().ConfigMaps(namespace).Get(ctx, wire.BridgePlanName, metav1.GetOptions{})
		if err != nil {
			continue
		}
		text := []byte(object.Data[wire.DocumentKey])
		if bytes.Equal(text, before) {
			continue
		}
		if err := os.WriteFile(file+".new", text, 0o600); err != nil {
			return fmt.Errorf("write the bridge's plan: %w", err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			return fmt.Errorf("write the bridge's plan: %w", err)
		}
		before = text
	}
	return nil
}
