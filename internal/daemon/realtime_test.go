package daemon

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMissingCapabilities(t *testing.T) {
	needNamespace(t)
	const (
		admin = "CAP_NET_ADMIN is missing; it is needed to put virtual addresses on interfaces"
		raw   = "CAP_NET_RAW is missing; it is needed to send and receive VRRP, ARP and neighbour discovery"
	)
	for _, tt := range []struct {
		name string
		drop []int
		want string
	}{
		{"none", nil, ""},
		{"address", []int{unix.CAP_NET_ADMIN}, admin},
		{"sockets", []int{unix.CAP_NET_RAW}, raw},
		{"both", []int{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN}, admin + "\n" + raw},
		{"others", []int{unix.CAP_SYS_NICE, unix.CAP_IPC_LOCK}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			go func() {
				runtime.LockOSThread() // for ever: the thread ends with the goroutine, and what it lacks
				if err := without(tt.drop); err != nil {
					got <- err.Error()
					return
				}
				if err := missingCapabilities(); err != nil {
					got <- err.Error()
					return
				}
				got <- ""
			}()
			if got := <-got; got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// The threads are there at once, and stay.
func TestReserveThreads(t *testing.T) {
	threads := func() int {
		list, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	want := threads() + 10
	reserveThreads(want)
	if got := threads(); got < want {
		t.Errorf("%d threads, want %d", got, want)
	}
}

// without takes capabilities from the calling thread.
func without(drop []int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for _, c := range drop {
		data[c/32].Effective &^= 1 << (c % 32)
	}
	return unix.Capset(&header, &data[0])
}
