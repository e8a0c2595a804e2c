package hostfs

import "golang.org/x/sys/unix"

// What only Linux has, where the agent runs. Elsewhere this package is linked by those who compute changes from [Files].
const (
	openPath     = unix.O_PATH
	mountNoExec  = unix.ST_NOEXEC
	mountNoWrite = unix.ST_RDONLY
)
