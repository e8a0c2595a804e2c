package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// cluster is an API server of which only the objects of the core group are there that a script has put into it.
type cluster struct {
	*httptest.Server

	mu      sync.Mutex
	objects []*unstructured.Unstructured
	// version is that of the object that was put last.
	version int
	// logs are of pods, by namespace and name. paths are answers of any other path.
	logs, paths map[string]string
	// audited are the Audit-IDs of all requests that had one. As long as sink is empty they are delivered, a batch each; otherwise it is
	// the code that each attempt ends with.
	audited []string
	sink    string
	// forwards counts the port-forwards.
	forwards atomic.Int32
}

// sinkHost is where the apiserver posts its events.
const sinkHost = "10.0.0.1:7765"

func newCluster() *cluster {
	c := &cluster{logs: map[string]string{}, paths: map[string]string{"/version": `{"gitVersion":"v1.34.4","major":"1","minor":"34"}`}}
	c.Server = httptest.NewServer(c)
	return c
}

// add puts the objects of a file of YAML documents into it; one that is there already is replaced.
func (c *cluster) add(text []byte) error {
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		object := &unstructured.Unstructured{}
		if err == nil {
			err = yaml.Unmarshal(document, &object.Object)
		}
		if err != nil {
			return err
		}
		if object.Object != nil {
			c.put(object)
		}
	}
}

func (c *cluster) put(object *unstructured.Unstructured) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.objects = slices.DeleteFunc(c.objects, func(o *unstructured.Unstructured) bool {
		return o.GetKind() == object.GetKind() && o.GetNamespace() == object.GetNamespace() && o.GetName() == object.GetName()
	})
	c.version++
	object.SetResourceVersion(fmt.Sprint(c.version))
	c.objects = append(c.objects, object)
}

// ServeHTTP answers GET, PUT and PATCH of an object, GET of a list, and GET of a pod's log.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if text, ok := c.paths[r.URL.Path]; ok {
		_, _ = io.WriteString(w, text)
		return
	}
	c.mu.Lock()
	if id := r.Header.Get("Audit-Id"); id != "" {
		c.audited = append(c.audited, id)
	}
	audited, code := slices.Clone(c.audited), cmp.Or(c.sink, "200")
	c.mu.Unlock()
	switch {
	case r.URL.Path == "/metrics":
		fmt.Fprintf(w, "rest_client_requests_total{code=%q,host=%q,method=\"POST\"} %d\n", code, sinkHost, len(audited))
		return
	case strings.HasPrefix(r.URL.Path, "/received/"): // at the sink
		_ = json.NewEncoder(w).Encode(audited)
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	words := append(strings.Split(rest, "/"), "", "", "", "")
	namespace := ""
	if words[0] == "namespaces" && words[2] != "" {
		namespace, words = words[1], words[2:]
	}
	kind := map[string]string{"configmaps": "ConfigMap", "pods": "Pod", "events": "Event", "nodes": "Node", "services": "Service", "secrets": "Secret"}[words[0]]
	name, below := words[1], words[2]
	switch {
	case !ok || kind == "":
		c.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case below == "portforward":
		c.forward(w, r)
	case below == "log":
		c.mu.Lock()
		text, there := c.logs[namespace+"/"+name]
		c.mu.Unlock()
		if !there {
			c.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
			return
		}
		_, _ = io.WriteString(w, text)
	case r.Method == http.MethodPut:
		object := &unstructured.Unstructured{}
		if err := json.NewDecoder(r.Body).Decode(&object.Object); err != nil {
			c.refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
			return
		}
		object.SetKind(kind)
		c.put(object)
		_ = json.NewEncoder(w).Encode(object)
	case r.Method == http.MethodPatch:
		c.patch(w, r, kind, namespace, name)
	case r.Method != http.MethodGet:
		c.refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden)
	case name == "":
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind + "List", "apiVersion": "v1", "items": c.list(kind, namespace, name, r.URL.Query().Get("labelSelector"))})
	default:
		if found := c.list(kind, namespace, name, ""); len(found) == 1 {
			_ = json.NewEncoder(w).Encode(found[0])
			return
		}
		c.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	}
}

// patch lays a merge patch over an object. One that names another version than the object has is a conflict.
func (c *cluster) patch(w http.ResponseWriter, r *http.Request, kind, namespace, name string) {
	found := c.list(kind, namespace, name, "")
	patch, err := io.ReadAll(r.Body)
	var before, after []byte
	object, asked := &unstructured.Unstructured{}, &metav1.PartialObjectMetadata{}
	if err == nil && len(found) == 1 {
		before, err = json.Marshal(found[0])
	}
	if err == nil {
		err = json.Unmarshal(patch, asked)
	}
	if err == nil && len(found) == 1 {
		after, err = jsonpatch.MergePatch(before, patch)
	}
	if err == nil && len(found) == 1 {
		err = object.UnmarshalJSON(after)
	}
	switch {
	case err != nil || r.Header.Get("Content-Type") != string(types.MergePatchType):
		c.refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest)
	case len(found) == 0:
		c.refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound)
	case asked.ResourceVersion != (&unstructured.Unstructured{Object: found[0]}).GetResourceVersion():
		c.refuse(w, http.StatusConflict, metav1.StatusReasonConflict)
	default:
		c.put(object)
		_ = json.NewEncoder(w).Encode(object)
	}
}

func (c *cluster) list(kind, namespace, name, selector string) []map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	selects, err := labels.Parse(selector)
	found := []map[string]any{}
	for _, o := range c.objects {
		if err == nil && o.GetKind() == kind && (namespace == "" || o.GetNamespace() == namespace) && (name == "" || o.GetName() == name) && selects.Matches(labels.Set(o.GetLabels())) {
			found = append(found, o.Object)
		}
	}
	return found
}

func (*cluster) refuse(w http.ResponseWriter, code int, why metav1.StatusReason) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: why, Code: int32(code)})
}

// kubeconfig has a context for each cluster, with its address; the first one is current.
func kubeconfig(addresses map[string]string, current string) []byte {
	var clusters, contexts []map[string]any
	for name, address := range addresses {
		clusters = append(clusters, map[string]any{"name": name, "cluster": map[string]any{"server": address}})
		contexts = append(contexts, map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": "me"}})
	}
	text, _ := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": current, "clusters": clusters, "contexts": contexts,
		"users": []any{map[string]any{"name": "me", "user": map[string]any{}}},
	})
	return text
}
