package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ConfigMaps is the part of the API that positions are kept with. The ConfigMap is there already: nobody has to be allowed to make others.
type ConfigMaps interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (*corev1.ConfigMap, error)
	Patch(ctx context.Context, name string, kind types.PatchType, data []byte, options metav1.PatchOptions, subresources ...string) (*corev1.ConfigMap, error)
}

// patience bounds a request to the API server.
const patience = 10 * time.Second

// shared is a key of a ConfigMap, which whoever leads writes. A leader that was replaced without noticing may still write an older position
// for a moment: that repeats events, and loses none.
type shared struct {
	client    ConfigMaps
	name, key string
}

func (s shared) String() string { return "ConfigMap " + s.name + ", key " + s.key }

func (s shared) load() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	object, err := s.client.Get(ctx, s.name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("get ConfigMap: %w", err)
	}
	text, found := object.Data[s.key]
	if !found {
		return nil, fs.ErrNotExist
	}
	return []byte(text), nil
}

func (s shared) save(data []byte) error {
	patch, err := json.Marshal(map[string]any{"data": map[string]string{s.key: string(data)}})
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := s.client.Patch(ctx, s.name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("patch ConfigMap: %w", err)
	}
	return nil
}
