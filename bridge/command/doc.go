// Package command is what the bridge's program does: run, convert, version.
package command
