package apiserver

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// mount is a volume mount of the apiserver container with the volume that it names.
type mount struct {
	node   *yaml.Node
	volume *yaml.Node
}

// sequence are the items of a list that may be missing or null.
func sequence(parent *yaml.Node, key string) []*yaml.Node {
	_, list := value(parent, key)
	if list = deref(list); list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	return list.Content
}

// hostPath is a volume's hostPath.path and type, or empty.
func hostPath(volume *yaml.Node) (path, kind string) {
	_, hp := value(volume, "hostPath")
	if hp = deref(hp); hp == nil || hp.Kind != yaml.MappingNode {
		return "", ""
	}
	return scalarText(hp, "path"), scalarText(hp, "type")
}

// findMount returns the mount at a volume's path, nil where there is none, or an error where what is mounted there does
// not fit: two mounts of one path are not valid.
func (m *Manifest) findMount(v Volume) (*mount, error) {
	for _, node := range sequence(m.container, "volumeMounts") {
		node := deref(node)
		if node.Kind != yaml.MappingNode || scalarText(node, "mountPath") != v.MountPath {
			continue
		}
		volume := m.volume(scalarText(node, "name"))
		if volume == nil {
			return nil, errorAtNode(node, NotEditable, "%q is a mount without a volume", v.MountPath)
		}
		path, _ := hostPath(volume)
		switch readOnly := scalarText(node, "readOnly") == "true"; {
		case path != v.HostPath:
			return nil, errorAtNode(node, NotEditable, "%q is a mount of another volume already", v.MountPath)
		case readOnly && !v.ReadOnly:
			return nil, errorAtNode(node, NotEditable, "%q is mounted read-only already", v.MountPath)
		case scalarText(node, "subPath") != "" || scalarText(node, "subPathExpr") != "":
			return nil, errorAtNode(node, NotEditable, "%q is a mount of a part of a volume already", v.MountPath)
		}
		return &mount{node: node, volume: volume}, nil
	}
	return nil, nil //nolint:nilnil // nothing is mounted there
}

// volume is the pod's volume of that name, or nil.
func (m *Manifest) volume(name string) *yaml.Node {
	for _, node := range sequence(m.spec, "volumes") {
		if node := deref(node); node.Kind == yaml.MappingNode && scalarText(node, "name") == name {
			return node
		}
	}
	return nil
}

// volumeOf is a volume of this directory that can be mounted once more, or "".
func (m *Manifest) volumeOf(v Volume) string {
	for _, node := range sequence(m.spec, "volumes") {
		if node := deref(node); node.Kind == yaml.MappingNode {
			if path, kind := hostPath(node); path == v.HostPath && kind == string(v.Type) {
				return scalarText(node, "name")
			}
		}
	}
	return ""
}

// volumes adds the missing mounts and volumes.
func (e *editor) volumes(intent Intent) error {
	var volumes, mounts []any
	taken := map[string]bool{}
	for _, v := range intent.Volumes {
		found, err := e.m.findMount(v)
		if err != nil {
			return err
		}
		if found != nil {
			continue
		}
		change := VolumeChange{Name: e.m.volumeOf(v), HostPath: v.HostPath, MountPath: v.MountPath, MountAdded: true}
		if change.Name == "" {
			change.Name, change.VolumeAdded = e.m.freeName(v.Name, taken), true
			taken[change.Name] = true
			volumes = append(volumes, volumeFields(change.Name, v))
		}
		mounts = append(mounts, mountFields(change.Name, v))
		e.change.Volumes = append(e.change.Volumes, change)
	}
	if err := e.extend(e.m.container, "volumeMounts", mounts, e.m.path("volumeMounts")); err != nil {
		return err
	}
	return e.extend(e.m.spec, "volumes", volumes, []any{"spec", "volumes"})
}

func volumeFields(name string, v Volume) []field {
	hp := []field{{"path", v.HostPath}}
	if v.Type != "" {
		hp = append(hp, field{"type", string(v.Type)})
	}
	return []field{{"hostPath", hp}, {"name", name}}
}

func mountFields(name string, v Volume) []field {
	fields := []field{{"mountPath", v.MountPath}, {"name", name}}
	if v.ReadOnly {
		fields = append(fields, field{"readOnly", true})
	}
	return fields
}

// extend appends items to a mapping's list, which is made where it is missing.
func (e *editor) extend(parent *yaml.Node, key string, items []any, path []any) error {
	if len(items) == 0 {
		return nil
	}
	_, list := value(parent, key)
	switch {
	case list == nil:
		e.change.AddedBlocks = append(e.change.AddedBlocks, key)
		s, err := e.m.src.appendEntries(parent, []field{{key, items}}, e.dash)
		return e.add(s, err, path, set(items))
	case isNull(list):
		return e.fill(key, list, items, path)
	}
	s, err := e.m.src.appendItems(list, items, e.dash)
	return e.add(s, err, path, appended(items))
}

// freeName is a name that no volume of the pod has, and no mount refers to.
func (m *Manifest) freeName(wish string, taken map[string]bool) string {
	name := wish
	for n := 2; taken[name] || m.volume(name) != nil || m.mounted(name); n++ {
		name = fmt.Sprintf("%s-%d", wish, n)
	}
	return name
}
