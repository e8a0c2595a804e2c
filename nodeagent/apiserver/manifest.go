package apiserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"k8s-audit-enabler.io/internal/wire"
)

// binaryName is what the apiserver's binary is called wherever it runs as a static pod.
const binaryName = "kube-apiserver"

// Manifest is a static-pod manifest whose kube-apiserver container was found and understood. It is immutable.
type Manifest struct {
	src       *source
	root      *yaml.Node
	metadata  *yaml.Node
	spec      *yaml.Node
	container *yaml.Node
	index     int // of the container
	command   *command
	args      Args
}

// ParseManifest finds the one kube-apiserver container of a static-pod manifest, YAML or JSON, and how it is started.
// Its errors are of type [*NotUnderstoodError].
func ParseManifest(data []byte) (*Manifest, error) {
	src, err := newSource(data)
	if err != nil {
		return nil, err
	}
	root, err := parseDocument(src)
	if err != nil {
		return nil, err
	}
	m := &Manifest{src: src, root: root}
	if m.metadata, err = mappingAt(root, "metadata"); err != nil {
		return nil, err
	}
	if m.spec, err = mappingAt(root, "spec"); err != nil {
		return nil, err
	}
	if err := m.findContainer(); err != nil {
		return nil, err
	}
	m.args = ParseArgs(m.command.texts())
	return m, nil
}

// parseDocument reads the one document of a file.
func parseDocument(src *source) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(src.positions()))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, &NotUnderstoodError{Reason: NotParsed, Line: 1, Column: 1, Detail: "the file is empty"}
	} else if err != nil {
		return nil, syntaxError(err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, errorAtNode(&second, NotParsed, "a second document; a static-pod manifest is one")
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(err)
	}
	var ignored any
	if err := doc.Decode(&ignored); err != nil { // duplicate keys, unknown anchors, values that are not what their tag says
		return nil, syntaxError(err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errorAtNode(&doc, NotAPod, "the document is not a mapping")
	}
	return doc.Content[0], nil
}

var yamlErrorLine = regexp.MustCompile(`^(?:yaml: )?(?:unmarshal errors:\n\s*)?line (\d+): `)

// parserMessage are messages of the YAML library's parser, which counts lines from 0 where its scanner counts from 1.
var parserMessage = regexp.MustCompile(`^did not find expected (node content|key|'-' indicator|',' or|<)`)

// syntaxError takes the line out of the YAML parser's message.
func syntaxError(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	out := &NotUnderstoodError{Reason: NotParsed, Detail: text}
	if match := yamlErrorLine.FindStringSubmatch(text); match != nil {
		out.Line, _ = strconv.Atoi(match[1])
		out.Detail = text[len(match[0]):]
		if parserMessage.MatchString(out.Detail) {
			out.Line++
		}
	}
	return out
}

// value returns the key and the value node of a mapping's entry, or nil.
func value(mapping *yaml.Node, key string) (k, v *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Kind == yaml.ScalarNode && mapping.Content[i].Value == key {
			return mapping.Content[i], mapping.Content[i+1]
		}
	}
	return nil, nil
}

// deref follows an alias.
func deref(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func mappingAt(parent *yaml.Node, key string) (*yaml.Node, error) {
	k, v := value(parent, key)
	switch {
	case k == nil:
		return nil, errorAtNode(parent, NotAPod, "no %s", key)
	case v.Kind != yaml.MappingNode:
		return nil, errorAtNode(v, NotAPod, "%s is not a mapping", key)
	}
	return v, nil
}

// findContainer looks for the container that runs kube-apiserver.
func (m *Manifest) findContainer() error {
	_, containers := value(m.spec, "containers")
	if containers == nil || containers.Kind != yaml.SequenceNode {
		return errorAtNode(m.spec, NotAPod, "spec has no list of containers")
	}
	var unknown error
	for i, c := range containers.Content {
		if c.Kind != yaml.MappingNode {
			return errorAtNode(c, NotAPod, "container %d is not a mapping", i)
		}
		cmd, err := findCommand(c, i)
		switch {
		case err != nil && unknown == nil:
			unknown = err
		case err != nil || cmd == nil:
		case m.container != nil:
			return errorAtNode(c, TwoContainers, "the first one is at line %d", m.container.Line)
		default:
			m.container, m.index, m.command = c, i, cmd
		}
	}
	var tooMany *NotUnderstoodError
	switch {
	case errors.As(unknown, &tooMany) && tooMany.Reason == TwoContainers:
		return unknown
	case m.container != nil:
		return nil
	case unknown != nil:
		return unknown
	}
	return errorAtNode(containers, NoContainer, "none of %d containers", len(containers.Content))
}

// scalarText is a scalar field of a mapping, aliases followed, or "".
func scalarText(mapping *yaml.Node, key string) string {
	_, v := value(mapping, key)
	if v = deref(v); v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		return ""
	}
	return v.Value
}

// looksLikeApiserver reports a container that should be the apiserver, by its name or image.
func looksLikeApiserver(c *yaml.Node) bool {
	repository, _, _ := strings.Cut(path.Base(scalarText(c, "image")), ":")
	return scalarText(c, "name") == binaryName || repository == binaryName
}

// Args are the apiserver's flags.
func (m *Manifest) Args() Args { return append(Args(nil), m.args...) }

// Form is how the apiserver is started.
func (m *Manifest) Form() Form { return m.command.form }

// PodName is metadata.name.
func (m *Manifest) PodName() string { return scalarText(m.metadata, "name") }

// Namespace is metadata.namespace.
func (m *Manifest) Namespace() string { return scalarText(m.metadata, "namespace") }

// ContainerName is the apiserver container's name.
func (m *Manifest) ContainerName() string { return scalarText(m.container, "name") }

// Image is the apiserver container's image.
func (m *Manifest) Image() string { return scalarText(m.container, "image") }

var versionTag = regexp.MustCompile(`^v?(\d+\.\d+\.\d+)(?:[-_+.].*)?$`)

// Version is the apiserver's version as the image's tag says it, in the form v1.34.4; false where it does not.
func (m *Manifest) Version() (string, bool) {
	image, _, _ := strings.Cut(m.Image(), "@")
	_, tag, ok := strings.Cut(path.Base(image), ":")
	match := versionTag.FindStringSubmatch(tag)
	if !ok || match == nil {
		return "", false
	}
	return "v" + match[1], true
}

// Annotation is one of the pod's annotations.
func (m *Manifest) Annotation(key string) (string, bool) {
	_, annotations := value(m.metadata, "annotations")
	if annotations = deref(annotations); annotations == nil || annotations.Kind != yaml.MappingNode {
		return "", false
	}
	k, _ := value(annotations, key)
	return scalarText(annotations, key), k != nil
}

// Revision is the revision that was applied to this manifest, or empty.
func (m *Manifest) Revision() string {
	revision, _ := m.Annotation(wire.AnnotationRevision)
	return revision
}

// path is a container field's place in the decoded document.
func (m *Manifest) path(keys ...any) []any {
	return append([]any{"spec", "containers", m.index}, keys...)
}

// String is for logs.
func (m *Manifest) String() string {
	return fmt.Sprintf("%s/%s, container %s, %d flags", m.Namespace(), m.PodName(), m.ContainerName(), len(m.args))
}
