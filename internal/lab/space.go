package lab

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace together with a mount namespace that has a /run of its own. A thread that belongs to
// it for good holds it and starts its processes: with a parent death signal a process dies when the thread that
// forked it ends, and an ordinary thread of the Go runtime may end at any time.
type space struct {
	name  string
	id    string // as readlink of /proc/PID/ns/net shows it
	root  string // the root of its mount namespace, as seen by this process
	net   *os.File
	nl    *netlink.Handle
	calls chan func()
	ended chan struct{}
}

// newSpace makes a namespace with nothing in it.
func newSpace(name string) (*space, error) {
	s := &space{name: name, calls: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error, 1)
	onOwnThread(func() {
		defer close(s.ended)
		err := s.enter()
		ready <- err
		if err != nil {
			return
		}
		for f := range s.calls {
			f()
		}
	})
	if err := <-ready; err != nil {
		return nil, err
	}
	return s, nil
}

// enter moves the calling thread into new namespaces. It cannot be undone.
func (s *space) enter() error {
	// CLONE_FS first: a thread that shares its root and directory with others may not change its mounts.
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	// Two daemons of one kind want the same names under /run.
	if err := unix.Mount("lab", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a private /run: %w", err)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return fmt.Errorf("open the new network namespace: %w", err)
	}
	id, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		f.Close()
		return fmt.Errorf("name the new network namespace: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		f.Close()
		return fmt.Errorf("open netlink in the new namespace: %w", err)
	}
	s.net, s.id, s.nl = f, id, h
	s.root = fmt.Sprintf("/proc/self/task/%d/root", unix.Gettid())
	return nil
}

// close lets the namespace go. Processes still in it are killed by the end of the thread that started them.
func (s *space) close() {
	close(s.calls)
	<-s.ended
	s.nl.Close()
	s.net.Close()
}

// hold runs f on the thread that holds the namespace; f must be short. Mounts of the namespace are f's own.
func (s *space) hold(f func() error) error {
	done := make(chan error, 1)
	s.calls <- func() { done <- f() }
	return <-done
}

// do runs f on a fresh thread in the network namespace and ends that thread afterwards. Sockets that f opens
// belong to the namespace, goroutines that it starts do not.
func (s *space) do(f func() error) error {
	done := make(chan error, 1)
	onOwnThread(func() {
		if err := netns.Set(netns.NsHandle(s.net.Fd())); err != nil {
			done <- fmt.Errorf("enter the namespace of %s: %w", s.name, err)
			return
		}
		done <- f()
	})
	return <-done
}

// onOwnThread runs f on a thread that serves nothing else and ends with f. It is never the process's first
// thread, which Go cannot end: a namespace entered there would never be left.
func onOwnThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f() // the lock is not released: the runtime ends the thread
			return
		}
		other := make(chan struct{})
		onOwnThread(func() {
			close(other)
			f()
		})
		<-other
		runtime.UnlockOSThread()
	}()
}

// sysctl writes a setting of the namespace, such as "net.ipv6.conf.all.accept_dad" with slashes for dots.
func (s *space) sysctl(key, value string) error {
	return s.do(func() error {
		if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s to %s: %w", key, value, err)
		}
		return nil
	})
}
