package container

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/docker"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// form is the part of a container that we change. Nil and empty lists are told apart, because the Engine does.
type form struct {
	Entrypoint []string `json:"entrypoint"`
	Cmd        []string `json:"cmd"`
	Binds      []string `json:"binds"`
}

// Wanted is the content of our file.
type Wanted struct {
	Note     string `json:"note"`
	Revision string `json:"revision"`
	// Dir is where the revision's files are.
	Dir string `json:"dir"`
	// From is the ID of the container that is to be replaced. Another one is somebody else's.
	From string `json:"from"`
	form
	// Was is what stood there before anything of ours.
	Was form `json:"was"`
}

const note = "Written by k8s-audit-enabler: the container kube-apiserver is created with this. It is removed when the audit log is disabled again."

// encode is the file's content.
func (w Wanted) encode() ([]byte, error) {
	w.Note = note
	text, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode what the container shall be like: %w", err)
	}
	return append(text, '\n'), nil
}

// decode reads a file; nil for none.
func decode(data []byte) (*Wanted, error) {
	if data == nil {
		return nil, nil //nolint:nilnil // absence is an answer
	}
	var w Wanted
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("read what the container shall be like: %w", err)
	}
	if w.Revision == "" || w.From == "" || len(w.Entrypoint)+len(w.Cmd) == 0 {
		return nil, fmt.Errorf("read what the container shall be like: %s does not say it", File)
	}
	return &w, nil
}

// RevisionOf is the revision that a file is of; empty for one that is not ours.
func RevisionOf(data []byte) string {
	w, err := decode(data)
	if err != nil || w == nil {
		return ""
	}
	return w.Revision
}

// Shown is what a change does to the container, one word or bind a line, as it is shown to people: the file says more, and other things.
func Shown(c *txn.Change) (before, after []byte) {
	was, _ := decode(c.Base)
	will, _ := decode(c.New)
	switch {
	case was != nil && will != nil:
		return was.lines(), will.lines()
	case will != nil:
		return will.Was.lines(), will.lines()
	case was != nil:
		return was.lines(), was.Was.lines()
	}
	return nil, nil
}

func (f form) lines() []byte {
	var text []byte
	for _, word := range slices.Concat(f.Entrypoint, f.Cmd) {
		text = append(text, word+"\n"...)
	}
	for _, bind := range f.Binds {
		text = append(text, "bind "+bind+"\n"...)
	}
	return text
}

// formOf is what a container has now.
func formOf(c *docker.Container) (form, error) {
	var f form
	for key, at := range map[string]*[]string{"Entrypoint": &f.Entrypoint, "Cmd": &f.Cmd} {
		if err := field(c.Config, key, at); err != nil {
			return form{}, err
		}
	}
	return f, field(c.HostConfig, "Binds", &f.Binds)
}

func field(of map[string]json.RawMessage, key string, at *[]string) error {
	raw, there := of[key]
	if !there {
		return nil
	}
	if err := json.Unmarshal(raw, at); err != nil {
		return fmt.Errorf("the container's %s is %s: %w", key, raw, err)
	}
	return nil
}

// original is what a container would have without anything of ours.
func original(c *docker.Container) (form, error) {
	text, ours := c.Labels()[labelOriginal]
	if !ours {
		return formOf(c)
	}
	var f form
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return form{}, fmt.Errorf("label %s of the container: %w", labelOriginal, err)
	}
	return f, nil
}

// isOurs reports whether a container was created by us, with something of ours in it.
func isOurs(c *docker.Container) bool { return c.Labels()[labelFile] != "" }

// RevisionIn is the revision that a container was created with; empty for one that is not ours.
func RevisionIn(c *docker.Container) string { return c.Labels()[labelRevision] }

// args are the apiserver's. A container without its name among the words is started in a way that is not known.
func (f form) args() (apiserver.Args, error) {
	words := slices.Concat(f.Entrypoint, f.Cmd)
	if !slices.ContainsFunc(words, func(w string) bool { return path.Base(w) == Name }) {
		return nil, fmt.Errorf("its entrypoint and command %q do not name %s", words, Name)
	}
	return apiserver.ParseArgs(words), nil
}

// with is the form with flags set: in whichever of the two lists they are, or else at the end.
func (f form) with(flags []apiserver.Flag, binds ...string) form {
	for _, flag := range flags {
		_, inCmd := apiserver.ParseArgs(f.Cmd).Lookup(flag.Name)
		_, inEntrypoint := apiserver.ParseArgs(f.Entrypoint).Lookup(flag.Name)
		if inCmd || !inEntrypoint && len(f.Cmd) > 0 {
			f.Cmd = apiserver.WithFlag(f.Cmd, flag)
		} else {
			f.Entrypoint = apiserver.WithFlag(f.Entrypoint, flag)
		}
	}
	if len(binds) > 0 {
		f.Binds = append(slices.Clone(f.Binds), binds...)
	}
	return f
}

// configured is the configuration of the container that is created from another one: with what a file wants, or for none without
// anything of ours. Everything else is passed on as it is.
func configured(from *docker.Container, file []byte) (config, host map[string]json.RawMessage, err error) {
	was, err := original(from)
	if err != nil {
		return nil, nil, err
	}
	want, err := decode(file)
	if err != nil {
		return nil, nil, err
	}
	labels := from.Labels()
	for _, ours := range []string{labelRevision, labelFile, labelFrom, labelOriginal} {
		delete(labels, ours)
	}
	will := was
	if want != nil {
		will = want.form
		kept, err := json.Marshal(was)
		if err != nil {
			return nil, nil, fmt.Errorf("encode what the container was like: %w", err)
		}
		labels[labelRevision], labels[labelFile], labels[labelFrom], labels[labelOriginal] = want.Revision, txn.Hash(file), from.ID, string(kept)
	}
	config, host = maps.Clone(from.Config), maps.Clone(from.HostConfig)
	for key, value := range map[string]any{"Entrypoint": will.Entrypoint, "Cmd": will.Cmd, "Labels": labels} {
		if config[key], err = json.Marshal(value); err != nil {
			return nil, nil, fmt.Errorf("encode the container's %s: %w", key, err)
		}
	}
	if host["Binds"], err = json.Marshal(will.Binds); err != nil {
		return nil, nil, fmt.Errorf("encode the container's binds: %w", err)
	}
	return config, host, nil
}

// mount is a directory of the host that the container sees.
type mount struct {
	host, container string
	readOnly        bool
}

// mounts are those of the binds, as "host:container[:options]".
func (f form) mounts() []mount {
	var all []mount
	for _, bind := range f.Binds {
		parts := strings.Split(bind, ":")
		if len(parts) < 2 || !path.IsAbs(parts[0]) || !path.IsAbs(parts[1]) {
			continue
		}
		all = append(all, mount{
			host: path.Clean(parts[0]), container: path.Clean(parts[1]),
			readOnly: len(parts) > 2 && slices.Contains(strings.Split(parts[2], ","), "ro"),
		})
	}
	return all
}

// onHost is a path that the container sees, as the host has it; empty where only the container has it.
func (f form) onHost(name string) string {
	best := mount{}
	for _, m := range f.mounts() {
		if (name == m.container || strings.HasPrefix(name, m.container+"/")) && len(m.container) > len(best.container) {
			best = m
		}
	}
	if best.container == "" {
		return ""
	}
	return path.Join(best.host, strings.TrimPrefix(name, best.container))
}
