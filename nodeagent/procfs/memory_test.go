package procfs

import (
	"os"
	"testing"
)

func TestMemoryIsReadInBytes(t *testing.T) {
	t.Parallel()
	f := proc(t, nil)
	write(t, f.root, "meminfo", "MemTotal:       16303712 kB\nMemAvailable:    9412348 kB\n")
	write(t, f.root, "30/status", "Name:\tkube-apiserver\nVmHWM:\t  300000 kB\nVmRSS:\t  262144 kB\n")
	write(t, f.root, "31/status", "Name:\tkube-apiserver\nVmRSS:\tmuch\n")
	if got, err := f.Available(); err != nil || got != 9412348<<10 {
		t.Errorf("available = %d, %v", got, err)
	}
	if got, err := f.Resident(30); err != nil || got != 256<<20 {
		t.Errorf("resident = %d, %v", got, err)
	}
	for _, pid := range []int{31, 32} {
		if got, err := f.Resident(pid); err == nil {
			t.Errorf("resident of process %d = %d without an error", pid, got)
		}
	}
}

func TestMemoryOfThisMachineIsKnown(t *testing.T) {
	t.Parallel()
	available, err := New("").Available()
	if err != nil || available <= 0 {
		t.Errorf("available = %d, %v", available, err)
	}
	resident, err := New("").Resident(os.Getpid())
	if err != nil || resident <= 0 {
		t.Errorf("resident = %d, %v", resident, err)
	}
}
