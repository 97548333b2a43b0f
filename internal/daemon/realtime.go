package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// Ordinary scheduling serves a timer up to 92 ms late beside 64 busy loops; a
// real-time policy for all threads 1.4 ms. One real-time thread alone is
// worse than none (232 ms): it waits for the garbage collector, which waits
// for ordinary threads.

// realtimePriority is the lowest: above everything ordinary, below what an
// administrator has put above it.
const realtimePriority = 1

// minProcs keeps a processor of the Go scheduler free for the protocol loop
// while others compute.
const minProcs = 4

// becomeRealtime gives the whole process a real-time policy, unless the service
// manager has done so. The policy of a thread is inherited by the threads it
// makes, so it is set and the program executed again; then it does not
// return. An error says why it stays with the ordinary policy, which is worth
// a line in the log and no reason to stop.
func becomeRealtime() error {
	if isRealtime() {
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: realtimePriority}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set real-time scheduling: %w (needs CAP_SYS_NICE, or LimitRTPRIO=1; or CPUSchedulingPolicy=rr in the unit)", err)
		}
		return fmt.Errorf("set real-time scheduling: %w", err)
	}
	path, err := os.Executable() // not /proc/self/exe: the process would be named exe
	if err == nil {
		err = unix.Exec(path, os.Args, os.Environ())
	}
	return fmt.Errorf("execute again with real-time scheduling: %w", err)
}

// isRealtime tells whether this thread has a real-time policy.
func isRealtime() bool {
	attr, err := unix.SchedGetAttr(0, 0)
	return err == nil && (attr.Policy == unix.SCHED_RR || attr.Policy == unix.SCHED_FIFO)
}

// lockMemory keeps what has been touched in memory, so that a host that swaps
// does not delay an advertisement. Without the right to lock as much as may
// come it does nothing: a limit that is reached later would be an allocation
// that fails.
func lockMemory(log *slog.Logger) {
	if !hasCapability(unix.CAP_IPC_LOCK) {
		var limit unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil || limit.Cur != unix.RLIM_INFINITY {
			log.Info("memory is not locked: a host that swaps may delay advertisements", "needs", "CAP_IPC_LOCK, or LimitMEMLOCK=infinity in the unit")
			return
		}
	}
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		log.Info("memory is not locked: a host that swaps may delay advertisements", "err", err)
	}
}

// spareThreads is how many threads there are from the start beside those that
// can compute at a time: each command that runs takes one, each call of the
// kernel that blocks another.
const spareThreads = 32

// tuneRuntime keeps the Go runtime out of the protocol loop's way.
func tuneRuntime() {
	procs := max(minProcs, runtime.GOMAXPROCS(0))
	runtime.GOMAXPROCS(procs)
	reserveThreads(procs + spareThreads)
	// A crash must leave the same traces whatever the environment says.
	debug.SetTraceback("all")
}

// reserveThreads makes the Go runtime start so many threads, which it keeps. A
// program that needs another one while the process table is full is ended by its
// runtime; and then the host would lose its addresses as well.
func reserveThreads(n int) {
	var have sync.WaitGroup
	have.Add(n)
	all := make(chan struct{})
	for range n {
		go func() {
			runtime.LockOSThread() // nobody else's while this waits
			defer runtime.UnlockOSThread()
			have.Done()
			<-all
		}()
	}
	have.Wait()
	close(all)
}

// missingCapabilities names the capabilities that baton cannot work without
// and does not have.
func missingCapabilities() error {
	var errs []error
	for _, c := range []struct {
		number int
		name   string
		what   string
	}{
		{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN", "to put virtual addresses on interfaces"},
		{unix.CAP_NET_RAW, "CAP_NET_RAW", "to send and receive VRRP, ARP and neighbour discovery"},
	} {
		if !hasCapability(c.number) {
			errs = append(errs, fmt.Errorf("%s is missing; it is needed %s", c.name, c.what))
		}
	}
	return errors.Join(errs...)
}

// hasCapability tells whether a capability is effective in this process.
func hasCapability(number int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return false
	}
	return data[number/32].Effective>>(number%32)&1 == 1
}
