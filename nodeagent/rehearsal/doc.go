// Package rehearsal runs a new configuration as a second apiserver beside the first, before anything of that is touched.
//
// It exists because no validation finds everything: a mount that cannot be read, a flag that this build does not know, a
// sink that this node does not reach. All of that shows while the old apiserver serves on. The second one is a static pod
// of its own, derived from the new manifest (apiserver.Rehearse); it listens on a spare port, is in no Service's endpoints,
// asks for no resources, and writes an audit log of its own.
//
// What the package promises: the running apiserver is never touched; whatever a rehearsal ends in, it is taken away again,
// by [Stage.Remove], which also works after a crash and where nothing is there.
package rehearsal
