//go:build !linux

package hostfs

const (
	openPath     = 0
	mountNoExec  = 0
	mountNoWrite = 0
)
