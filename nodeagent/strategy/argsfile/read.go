package argsfile

import (
	"errors"
	"io/fs"
	"strconv"

	"sigs.k8s.io/yaml"

	"k8s-audit-enabler.io/internal/reason"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
)

// maxFile is the largest file that is read.
const maxFile = 1 << 20

// Settings is what the service reads at its next start.
type Settings struct {
	// Data is the file's content.
	Data []byte

	// ours is where our lines are in it.
	ours block
	// args are what others give the apiserver, in their order, and later those of them that are read after ours.
	args, later apiserver.Args
	// confined: the program may read its own directories only.
	confined bool
}

// Read gathers what the service would read.
func Read(host hostfs.Reader) (Settings, *strategy.Refusal) {
	data, err := host.ReadFile(Path, maxFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Settings{}, strategy.Refuse(reason.ManifestNotFound, "there is no %s, from which MicroK8s takes the apiserver's flags", Path)
	case err != nil:
		return Settings{}, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", Path, err)
	}
	s := Settings{Data: data, confined: confined(host)}
	if s.ours, err = find(data); err != nil {
		return Settings{}, strategy.Refuse(reason.ManifestNotUnderstood, "%s: %v", Path, err)
	}
	after := strategy.Words(data[s.ours.end:], variable)
	s.later = apiserver.ParseArgs(after)
	s.args = apiserver.ParseArgs(append(strategy.Words(data[:s.ours.begin], variable), after...))
	return s, nil
}

// confined reports whether the snap that is installed is one of the strictly confined ones.
func confined(host hostfs.Reader) bool {
	data, err := host.ReadFile(snapRoot+"/meta/snap.yaml", maxFile)
	if err != nil {
		return false
	}
	var snap struct {
		Confinement string `json:"confinement"`
	}
	return yaml.Unmarshal(data, &snap) == nil && snap.Confinement == "strict"
}

// variable is the value of one that the program replaces. Another one stays what it is: nobody here knows it.
func variable(name string) string {
	switch name {
	case "SNAP_DATA":
		return snapData
	case "SNAP_COMMON":
		return snapCommon
	case "SNAP":
		return snapRoot
	}
	return "${" + name + "}"
}

// securePort is that of MicroK8s.
const securePort = 16443

// Listen is where the apiserver is reached: the address that it is bound to, and the port.
func (s Settings) Listen() (bind, port string) {
	if _, set := s.args.Lookup("secure-port"); !set {
		return s.args.BindAddress(), strconv.Itoa(securePort)
	}
	return s.args.BindAddress(), strconv.Itoa(s.args.SecurePort())
}
