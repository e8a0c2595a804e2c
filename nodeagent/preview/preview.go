package preview

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"time"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/apiserver"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/configfile"
	"k8s-audit-enabler.io/nodeagent/strategy/container"
	"k8s-audit-enabler.io/nodeagent/strategy/fileonly"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// nothing is the name of a file that is not there, as in diff(1).
const nothing = "/dev/null"

// show is how a file's difference is shown.
type show func(from, to string, before, after []byte) wire.FileDiff

// Of shows a change in full. before are the files that its own take the place of, by their names without a directory; it may be nil.
func Of(c *txn.Change, before map[string]txn.File) *wire.Preview {
	return of(c, before, func(from, to string, before, after []byte) wire.FileDiff {
		return wire.FileDiff{Diff: apiserver.UnifiedDiff(from, to, before, after, func(line string, _ bool) string { return line })}
	})
}

func of(c *txn.Change, before map[string]txn.File, show show) *wire.Preview {
	p := &wire.Preview{Revision: c.Revision, Flags: slices.Clone(c.Flags), Kept: c.Effects.Kept}
	add := func(from, to string, before, after []byte) {
		file := show(from, to, before, after)
		if file.Diff == "" && file.Cut == 0 {
			return
		}
		if file.Path = to; to == nothing {
			file.Path = from
		}
		p.Files = append(p.Files, file)
	}
	if c.Unit == container.Unit {
		was, will := container.Shown(c)
		add("container/"+container.Name, "container/"+container.Name, was, will)
	} else {
		add(named(c.Manifest, c.Base), named(c.Manifest, c.New), c.Base, c.New)
	}
	for _, f := range c.Files {
		old, there := before[path.Base(f.Path)]
		if !there {
			old.Path = nothing
		}
		add(old.Path, f.Path, old.Data, f.Data)
	}
	p.Restart, p.Unavailable = restart(c)
	return p
}

func named(file string, data []byte) string {
	if data == nil {
		return nothing
	}
	return file
}

// restart says what a change costs.
func restart(c *txn.Change) (what, unavailable string) {
	if string(c.New) == string(c.Base) {
		return "Nothing is restarted.", "None."
	}
	if c.Unit == fileonly.Unit {
		return "Nothing is restarted on this node's account; the operator restarts each apiserver once all masters have the file.", "None by the file."
	}
	bounded := fmt.Sprintf("a change that is not ready after %s is taken back", cmp.Or(c.ReadyTimeout, strategy.ReadyTimeout(&wire.Plan{})))
	if c.Unit == container.Unit {
		return "The container " + container.Name + " is stopped and created anew once; " + bounded + ".",
			"This node's API, until the new container's apiserver is ready. Behind a load balancer the other control planes serve."
	}
	if c.Unit != "" {
		what = c.Unit + " is restarted once, and with it this node's apiserver; "
		if p, ok := configfile.ByUnit(c.Unit); ok && p.Pods {
			what = "The master's pod is restarted once; "
		}
		return what + bounded + ".", "This node's API, until the apiserver that is restarted is ready. Behind a load balancer the other control planes serve."
	}
	what = "The kubelet restarts this node's kube-apiserver once; " + bounded + "."
	alone := "about 15 s of this node's API"
	if c.Drain == 0 {
		alone = "about 40 s of this node's API, most of which is the old apiserver's grace period"
	}
	if c.Drain > 5*time.Second {
		alone = fmt.Sprintf("about 10 s of this node's API, and up to %s more for clients who watch", c.Drain)
	}
	const others = " Behind a load balancer the other control planes serve."
	if c.Rehearse == txn.ModeNever || c.Rehearse == "" || c.Handover == txn.ModeNever || c.Handover == "" {
		return what, upper(alone) + "." + others
	}
	return what, "None where the host can rehearse and hand over; otherwise " + alone + "." + others
}

func upper(text string) string { return string(text[0]-'a'+'A') + text[1:] }
