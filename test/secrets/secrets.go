// Package secrets makes Secrets, and looks whether their contents have come to a receiver of audit events.
package secrets

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"k8s-audit-enabler.io/test/receiver"
)

// Make makes Secrets of a name, with a number behind it, until the event of one is at the receiver: an apiserver that follows an AuditSink
// sends 400 events at a time, or what it has after half a minute.
func Make(ctx context.Context, client kubernetes.Interface, r *receiver.Receiver, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	about := receiver.And(receiver.Verb("create"), receiver.Object("secrets", metav1.NamespaceDefault, ""), func(e receiver.Event) bool {
		return strings.HasPrefix(e.ObjectRef.Name, name+"-")
	})
	arrived := make(chan error, 1)
	go func() {
		_, err := r.WaitFor(ctx, about)
		arrived <- err
	}()
	for i := 0; ; i++ {
		_, err := client.CoreV1().Secrets(metav1.NamespaceDefault).Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i)}, Data: map[string][]byte{"token": content(name)},
		}, metav1.CreateOptions{})
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("make a Secret: %w", err)
		}
		select {
		case err := <-arrived:
			return err
		default:
		}
	}
}

func content(name string) []byte { return []byte("content-of-" + name) }

// Came reports whether the content of such a Secret has come, in whatever form.
func Came(r *receiver.Receiver, name string) bool {
	return r.Contains(content(name)) || r.Contains([]byte(base64.StdEncoding.EncodeToString(content(name))))
}
