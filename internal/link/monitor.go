package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// How often a Monitor may read everything anew, and how it goes on when it could
// not.
const (
	shortestPause = 2 * time.Millisecond
	longestPause  = 100 * time.Millisecond
	retryPause    = 200 * time.Millisecond

	// dumpTimeout bounds one answer of the kernel.
	dumpTimeout = 5 * time.Second

	// eventBuffer holds some thousands of messages; more is no harm, only a reason
	// to read everything anew.
	eventBuffer = 1 << 20
)

// Monitor follows the interfaces and addresses of one network namespace. The
// kernel's messages tell it that something has changed; what is true now it reads
// anew each time, so that a lost message can mislead it about nothing.
type Monitor struct {
	log      *slog.Logger
	events   *os.File
	requests map[int]*nl.SocketHandle
	buf      []byte

	table    atomic.Pointer[Table]
	overruns atomic.Uint64
	gone     map[int]bool // interfaces deleted since the last dump
	born     uint64       // the newest Generation
}

// NewMonitor opens a Monitor in the network namespace of the calling thread and
// reads the first Table. It needs no privilege.
func NewMonitor(log *slog.Logger) (*Monitor, error) {
	m := &Monitor{log: log, buf: make([]byte, 64<<10), gone: make(map[int]bool)}
	if err := m.open(); err != nil {
		m.Close()
		return nil, fmt.Errorf("follow interfaces: %w", err)
	}
	return m, nil
}

func (m *Monitor) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	m.events = os.NewFile(uintptr(fd), "netlink")
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, eventBuffer)
	const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return fmt.Errorf("subscribe to interfaces and addresses: %w", err)
	}
	requests, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	m.requests = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: requests}}
	timeout := unix.NsecToTimeval(int64(dumpTimeout))
	if err := errors.Join(requests.SetSendTimeout(&timeout), requests.SetReceiveTimeout(&timeout)); err != nil {
		return fmt.Errorf("set timeouts of the netlink socket: %w", err)
	}
	for n := 1; ; n++ {
		t, err := m.dump()
		if usable(err, n) {
			m.publish(t)
			return nil
		}
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			return err
		}
	}
}

// usable tells whether the n-th dump in a row is good enough. Where something
// changes all the time, a doubtful one is better than none: whatever disturbed it
// has also left a message, so that it is repeated.
func usable(err error, n int) bool {
	const attempts = 10
	return err == nil || n >= attempts && errors.Is(err, nl.ErrDumpInterrupted)
}

func (m *Monitor) publish(t *Table) {
	m.table.Store(t)
	clear(m.gone)
}

// Table is the newest Table. It never waits.
func (m *Monitor) Table() *Table {
	return m.table.Load()
}

// Overruns counts how often the kernel had more to say than there was room for.
// Nothing was missed by it but a change that was undone at once.
func (m *Monitor) Overruns() uint64 {
	return m.overruns.Load()
}

// Close closes a Monitor that is not, or no longer, run.
func (m *Monitor) Close() {
	if m.events != nil {
		m.events.Close()
	}
	for _, s := range m.requests {
		s.Close()
	}
}

// Run follows the kernel until ctx ends, and then closes the Monitor and returns
// nil. It calls changed, from its own goroutine, with each new Table that differs
// from the one before; many changes in quick succession make one Table. An error
// means that the kernel's messages can no longer be read.
func (m *Monitor) Run(ctx context.Context, changed func(*Table)) error {
	defer m.Close()
	stop := context.AfterFunc(ctx, func() { m.events.Close() }) // ends a wait
	defer stop()
	err := m.follow(ctx, changed)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (m *Monitor) follow(ctx context.Context, changed func(*Table)) error {
	var (
		last   time.Time     // end of the last dump
		pause  time.Duration // how long to leave the kernel alone after it
		failed int           // dumps in a row
		said   bool          // that they fail
	)
	for {
		if err := m.wait(failed > 0); err != nil {
			return err
		}
		sleep(ctx, pause-time.Since(last))
		if err := m.discard(); err != nil {
			return err
		}
		started := time.Now()
		t, err := m.dump()
		last = time.Now()
		// At most a fifth of a processor, however much goes on.
		pause = min(max(4*last.Sub(started), shortestPause), longestPause)
		if !usable(err, failed+1) {
			if !said && !errors.Is(err, nl.ErrDumpInterrupted) {
				m.log.Warn("cannot read the state of interfaces; trying again", "err", err)
				said = true
			}
			failed++
			continue
		}
		failed, said = 0, false
		if t.equal(m.Table()) {
			clear(m.gone)
			continue
		}
		m.publish(t)
		changed(t)
	}
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// wait returns once a message is there, at the latest after a while when a dump
// is to be repeated.
func (m *Monitor) wait(again bool) error {
	var until time.Time
	if again {
		until = time.Now().Add(retryPause)
	}
	if err := m.events.SetReadDeadline(until); err != nil {
		return fmt.Errorf("wait for changes of interfaces: %w", err)
	}
	conn, err := m.events.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for changes of interfaces: %w", err)
	}
	err = conn.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), m.buf[:1], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		// Whatever else is wrong, discard will see it: unless that was it.
		if errors.Is(err, unix.ENOBUFS) {
			m.overruns.Add(1)
		}
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("wait for changes of interfaces: %w", err)
	}
	return nil
}

// discard reads all messages that wait. Of what they say only deletions matter:
// an interface that came back at once with the same index would look as if it had
// never been away.
func (m *Monitor) discard() error {
	conn, err := m.events.SyscallConn()
	if err != nil {
		return fmt.Errorf("read changes of interfaces: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			n, from, err := unix.Recvfrom(int(fd), m.buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENOBUFS):
				m.overruns.Add(1)
			case err != nil:
				failed = err
				return
			default:
				// Only the kernel's own word counts.
				if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Pid == 0 {
					m.deletions(m.buf[:n])
				}
			}
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("read changes of interfaces: %w", err)
	}
	return nil
}

// deletions notes the interfaces that the messages in b say are gone. Messages of
// a bridge's ports, which also leave by RTM_DELLINK, are of another family.
func (m *Monitor) deletions(b []byte) {
	for len(b) >= syscall.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < syscall.SizeofNlMsghdr || size > len(b) {
			return
		}
		body := b[syscall.SizeofNlMsghdr:size]
		if binary.NativeEndian.Uint16(b[4:]) == unix.RTM_DELLINK && len(body) >= unix.SizeofIfInfomsg && body[0] == unix.AF_UNSPEC {
			m.gone[int(int32(binary.NativeEndian.Uint32(body[4:])))] = true
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}
