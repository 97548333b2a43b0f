package health

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// deaths holds pidfds of processes and tells when one of them ends.
type deaths struct {
	table *ProcessTable

	mu    sync.Mutex
	epoll int         // -1 while nobody watches: then no pidfd is opened
	fds   map[int]int // pidfds by pid
}

// watch calls changed when a process ends of which there is a pidfd, until ctx
// ends. Where it cannot, it returns at once.
func (d *deaths) watch(ctx context.Context, changed func()) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	_ = unix.SetNonblock(fd, true) // for the runtime to wait for it as for a socket
	epoll := os.NewFile(uintptr(fd), "epoll")
	defer epoll.Close()
	conn, err := epoll.SyscallConn()
	if err != nil {
		return
	}
	d.start(fd)
	defer d.stop()
	defer context.AfterFunc(ctx, func() { _ = epoll.SetReadDeadline(time.Unix(1, 0)) })()
	var events [16]unix.EpollEvent
	_ = conn.Read(func(fd uintptr) bool { // its error is that it was told to end
		for ctx.Err() == nil {
			n, err := unix.EpollWait(int(fd), events[:], 0)
			switch {
			case err == unix.EINTR:
			case n > 0:
				changed()
			default:
				return err != nil
			}
		}
		return true
	})
}

func (d *deaths) start(epoll int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoll = epoll
}

// stop closes all pidfds.
func (d *deaths) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid := range d.fds {
		d.drop(pid)
	}
	d.epoll = -1
}

// open opens the pidfd of a process, if it has none yet and there may be one
// more. It matters not whether it can be had.
func (d *deaths) open(pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.fds[pid]; ok || d.epoll < 0 {
		return
	}
	if d.table.pidfds.Add(1) > d.table.most {
		d.table.pidfds.Add(-1)
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		d.table.pidfds.Add(-1)
		return
	}
	d.fds[pid] = fd
	// Once is enough: the run that follows closes it.
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	if err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		d.drop(pid)
	}
}

// lives tells whether a process has not ended; a zombie has.
func (d *deaths) lives(pid int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fd, ok := d.fds[pid]; ok {
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			if err != unix.EINTR {
				return err == nil && n == 0
			}
		}
	}
	return !d.table.ended(pid)
}

// keep closes the pidfds of all processes but these.
func (d *deaths) keep(pids []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for pid := range d.fds {
		if !slices.Contains(pids, pid) {
			d.drop(pid)
		}
	}
}

func (d *deaths) drop(pid int) {
	_ = unix.Close(d.fds[pid])
	delete(d.fds, pid)
	d.table.pidfds.Add(-1)
}
