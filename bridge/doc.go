// Package bridge carries audit events from where they are to the sink, as the coordinator's plan says.
//
// The plan is a file, as a ConfigMap that is mounted. It is read again and again: while it names no source for this bridge, the
// bridge idles, and when it changes, the sources are stopped, their positions are saved, and they start anew.
package bridge
