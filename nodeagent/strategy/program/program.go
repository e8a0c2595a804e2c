// Package program is the table of all programs that start an apiserver from a file on its host, in whichever way: one to which a file of
// ours is added, one whose configuration is edited, one whose flags stand one a line. It gives them one set of questions, so that whoever
// asks, the agent on a host or a preview of a copied file, need not know which it is.
package program

import (
	"slices"

	"k8s-audit-enabler.io/internal/wire"
	"k8s-audit-enabler.io/nodeagent/hostfs"
	"k8s-audit-enabler.io/nodeagent/strategy"
	"k8s-audit-enabler.io/nodeagent/strategy/argsfile"
	"k8s-audit-enabler.io/nodeagent/strategy/configfile"
	"k8s-audit-enabler.io/nodeagent/strategy/dropin"
	"k8s-audit-enabler.io/nodeagent/txn"
)

// Program starts an apiserver from files on its host.
type Program struct {
	// Name is the distribution's, and Strategy the one of its plans.
	Name     string
	Strategy wire.Strategy
	// Unit is what is restarted after a change, and Elsewhere says what to do where no systemd runs it.
	Unit, Elsewhere string
	// Pods: nothing but its pod runs, so that there is no service to be asked.
	Pods bool
	// Config is the file that it reads where its command line names no other.
	Config string
	// Read gathers what it would read at its next start; command is how its service is started.
	Read func(host hostfs.Reader, command dropin.Command) (Settings, *strategy.Refusal)
	// RevisionOf is the revision that a file of it says it is of, empty for none of ours.
	RevisionOf func(data []byte) string
}

// Settings are what a program would read at its next start.
type Settings interface {
	// File is the one that holds what is ours, without data where it is not there.
	File() (path string, data []byte)
	// Listen is where the apiserver is reached: the address that it is bound to, and the port.
	Listen() (bind, port string)
	// Propose returns the change that a plan asks for.
	Propose(in Input) (*txn.Change, *strategy.Refusal)
	// ProposeRevert returns nil where nothing of ours is there.
	ProposeRevert(in Input) (*txn.Change, *strategy.Refusal)
	// Overridden says what of others makes our file of no effect; nil for nothing.
	Overridden() *strategy.Refusal
}

// Input is what a change is made from, beside what was read.
type Input = configfile.Input

// All are those that are known.
func All() []Program {
	var all []Program
	for _, p := range dropin.Products() {
		all = append(all, Program{
			Name: p.Name, Strategy: wire.StrategyDropIn, Unit: p.Unit, Elsewhere: p.Elsewhere(), Config: p.Config(), RevisionOf: dropin.RevisionOf,
			Read: func(host hostfs.Reader, command dropin.Command) (Settings, *strategy.Refusal) {
				s, refused := dropin.Read(host, p, command)
				return added{s}, refused
			},
		})
	}
	for _, p := range configfile.Products() {
		all = append(all, Program{
			Name: p.Name, Strategy: wire.StrategyConfigFile, Unit: p.Unit, Elsewhere: p.Elsewhere, Pods: p.Pods, Config: p.Config(), RevisionOf: configfile.RevisionOf,
			Read: func(host hostfs.Reader, command dropin.Command) (Settings, *strategy.Refusal) {
				s, refused := configfile.Read(host, p, command.Args)
				return edited{s}, refused
			},
		})
	}
	return append(all, Program{
		Name: argsfile.Name, Strategy: wire.StrategyArgsFile, Unit: argsfile.Unit, Elsewhere: argsfile.Elsewhere, Config: argsfile.Path, RevisionOf: argsfile.RevisionOf,
		Read: func(host hostfs.Reader, _ dropin.Command) (Settings, *strategy.Refusal) {
			s, refused := argsfile.Read(host)
			return flags{s}, refused
		},
	})
}

func by(is func(Program) bool) (Program, bool) {
	all := All()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return Program{}, false
}

// ByUnit finds the one that a unit restarts.
func ByUnit(unit string) (Program, bool) {
	return by(func(p Program) bool { return p.Unit == unit })
}

// ByName finds the one of a distribution.
func ByName(name string) (Program, bool) {
	return by(func(p Program) bool { return p.Name == name })
}

// added is a file of ours among those that a program reads.
type added struct{ dropin.Settings }

func (f added) File() (path string, data []byte) { return f.Path, f.Data }

func (f added) Propose(in Input) (*txn.Change, *strategy.Refusal) {
	return f.Settings.Propose(in.Plan, in.Credentials, in.Version)
}

func (f added) ProposeRevert(in Input) (*txn.Change, *strategy.Refusal) {
	return f.Settings.ProposeRevert(in.Plan, in.Live), nil
}

// edited is the one configuration file of a program, in which we set values.
type edited struct{ configfile.Settings }

func (f edited) File() (path string, data []byte) { return f.Path, f.Data }

func (edited) Overridden() *strategy.Refusal { return nil }

// flags is a program's file of flags, in which some lines are ours.
type flags struct{ argsfile.Settings }

func (f flags) File() (path string, data []byte) { return argsfile.Path, f.Data }

func (f flags) Propose(in Input) (*txn.Change, *strategy.Refusal) {
	return f.Settings.Propose(in.Plan, in.Credentials, in.Version)
}

func (f flags) ProposeRevert(in Input) (*txn.Change, *strategy.Refusal) {
	return f.Settings.ProposeRevert(in.Plan, in.Live), nil
}

func (flags) Overridden() *strategy.Refusal { return nil }
