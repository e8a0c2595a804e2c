package wire

import (
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// APIVersion is the version of every document in this package.
const APIVersion = "k8s-audit-enabler.io/v1alpha1"

// DocumentKey is the ConfigMap key that holds a document, as YAML.
const DocumentKey = "document.yaml"

// Kinds of documents.
const (
	KindConfig        = "Config"
	KindPlan          = "Plan"
	KindNodeStatus    = "NodeStatus"
	KindClusterStatus = "ClusterStatus"
	KindRequest       = "Request"
	KindBridgePlan    = "BridgePlan"
)

// ErrNoDocument says that a ConfigMap has no document yet. It is not a fault: the coordinator creates status ConfigMaps
// empty, before the agent first writes to them.
var ErrNoDocument = errors.New("no document under key " + DocumentKey)

// TypeMeta says what a document is. It is embedded in each of them.
type TypeMeta struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

// Document is any of this package's documents.
type Document interface {
	*Config | *Plan | *NodeStatus | *ClusterStatus | *Request | *BridgePlan
	typeMeta() *TypeMeta
}

func (m *TypeMeta) typeMeta() *TypeMeta { return m }

// Decode reads a document of the given kind from a ConfigMap's data, strictly. It returns [ErrNoDocument] where there is none.
func Decode[D Document](data map[string]string, kind string, into D) error {
	text, ok := data[DocumentKey]
	if !ok || text == "" {
		return ErrNoDocument
	}
	return DecodeText([]byte(text), kind, into)
}

// DecodeText is [Decode] for the document's bare text.
func DecodeText[D Document](text []byte, kind string, into D) error {
	var head TypeMeta
	if err := yaml.Unmarshal(text, &head); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	if head.APIVersion != APIVersion {
		return fmt.Errorf("decode %s: apiVersion %q is not known here, want %q: let Helm upgrade every part of the release to one version", kind, head.APIVersion, APIVersion)
	}
	if head.Kind != kind {
		return fmt.Errorf("decode %s: kind is %q", kind, head.Kind)
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	return nil
}

// Encode renders a document into ConfigMap data. The bytes are the same for the same document.
func Encode[D Document](kind string, doc D) (map[string]string, error) {
	text, err := EncodeText(kind, doc)
	if err != nil {
		return nil, err
	}
	return map[string]string{DocumentKey: string(text)}, nil
}

// EncodeText is [Encode] for the document's bare text.
func EncodeText[D Document](kind string, doc D) ([]byte, error) {
	*doc.typeMeta() = TypeMeta{APIVersion: APIVersion, Kind: kind}
	text, err := yaml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return text, nil
}
