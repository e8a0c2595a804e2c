package apiserver

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// checkSemantics compares what two manifests mean: beside the intent's flags, volumes and annotations nothing may differ.
func checkSemantics(t *testing.T, in, out []byte, intent Intent) {
	t.Helper()
	var before, after map[string]any
	if yaml.Unmarshal(in, &before) != nil || yaml.Unmarshal(out, &after) != nil {
		return
	}
	a, b := takeOut(before), takeOut(after)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Fatalf("something else means something else (-before +after):\n%s", diff)
	}
	for i := range a.lists {
		if len(a.lists) != len(b.lists) || !within(a.lists[i], b.lists[i], len(intent.Volumes)) {
			t.Fatalf("volumes or mounts %v became %v", a.lists, b.lists)
		}
	}
	for key, value := range a.annotations {
		if _, ours := intent.Annotations[key]; !ours && !reflect.DeepEqual(b.annotations[key], value) {
			t.Fatalf("annotation %s: %v became %v", key, value, b.annotations[key])
		}
	}
	for key := range b.annotations {
		if _, had := a.annotations[key]; !had && intent.Annotations[key] == "" {
			t.Fatalf("annotation %s came", key)
		}
	}
}

// taken is what an edit may add to.
type taken struct {
	annotations map[string]any
	lists       [][]any
}

// takeOut removes from a pod what an edit may change. The flags are compared by those who know them.
func takeOut(pod map[string]any) taken {
	var out taken
	mapping := func(v any) map[string]any { m, _ := v.(map[string]any); return m }
	list := func(m map[string]any, key string) {
		l, _ := m[key].([]any)
		out.lists = append(out.lists, l)
		delete(m, key)
	}
	metadata, spec := mapping(pod["metadata"]), mapping(pod["spec"])
	out.annotations = mapping(metadata["annotations"])
	delete(metadata, "annotations")
	if len(metadata) == 0 {
		delete(pod, "metadata")
	}
	list(spec, "volumes")
	containers, _ := spec["containers"].([]any)
	for _, c := range containers {
		list(mapping(c), "volumeMounts")
		delete(mapping(c), "command")
		delete(mapping(c), "args")
	}
	return out
}

// within reports whether all of a list is in another, in the same order, with at most so many more.
func within(part, whole []any, more int) bool {
	i := 0
	for _, item := range whole {
		if i < len(part) && reflect.DeepEqual(part[i], item) {
			i++
		}
	}
	return i == len(part) && len(whole)-len(part) <= more
}
