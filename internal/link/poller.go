package link

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Never is a deadline that does not come.
const Never = time.Duration(math.MaxInt64)

// Tags at and above reservedTags are the Poller's own.
const (
	reservedTags = math.MaxUint64 - 1
	timerTag     = math.MaxUint64
	wakeTag      = math.MaxUint64 - 1
)

// Poller is what a protocol loop sleeps in: until a socket is ready, a deadline
// has come, or somebody wakes it. Only Wake and Now may be called by others than
// the loop.
type Poller struct {
	epoll, timer, event int

	tags   map[int]uint64
	armed  time.Duration // what the timer is set to; Never when it is not
	setup  unix.ItimerSpec
	woken  atomic.Bool
	events [64]unix.EpollEvent
}

// NewPoller opens a Poller with nothing in it.
func NewPoller() (*Poller, error) {
	p := &Poller{epoll: -1, timer: -1, event: -1, tags: make(map[int]uint64), armed: Never}
	if err := p.open(); err != nil {
		p.Close()
		return nil, fmt.Errorf("open a poller: %w", err)
	}
	return p, nil
}

func (p *Poller) open() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if p.event, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	// Edge-triggered: each expiry and each write is reported once, and neither
	// needs to be read.
	if err = p.control(unix.EPOLL_CTL_ADD, p.timer, unix.EPOLLIN|unix.EPOLLET, timerTag); err != nil {
		return fmt.Errorf("timer: %w", err)
	}
	if err = p.control(unix.EPOLL_CTL_ADD, p.event, unix.EPOLLIN|unix.EPOLLET, wakeTag); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	return nil
}

func (p *Poller) control(op, fd int, events uint32, tag uint64) error {
	// An event carries 64 bits for us, which the unix package calls Fd and Pad.
	ev := unix.EpollEvent{Events: events, Fd: int32(uint32(tag)), Pad: int32(uint32(tag >> 32))}
	return unix.EpollCtl(p.epoll, op, fd, &ev)
}

// Add makes Wait report tag whenever fd can be read. The two highest tags are
// reserved. The caller keeps fd and must Remove it before closing it.
func (p *Poller) Add(fd int, tag uint64) error {
	if tag >= reservedTags {
		return fmt.Errorf("poll descriptor %d: tag %#x is reserved", fd, tag)
	}
	if err := p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN, tag); err != nil {
		return fmt.Errorf("poll descriptor %d: %w", fd, err)
	}
	p.tags[fd] = tag
	return nil
}

// Remove ends what Add began. A descriptor that is not there is no error.
func (p *Poller) Remove(fd int) {
	if _, ok := p.tags[fd]; !ok {
		return
	}
	delete(p.tags, fd)
	_ = p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) // fails only for one that is gone already
}

// Enable makes Wait report fd again, after Disable.
func (p *Poller) Enable(fd int) error {
	return p.toggle(unix.EPOLL_CTL_ADD, fd, unix.EEXIST)
}

// Disable makes Wait silent about fd, whatever happens to it, until Enable.
func (p *Poller) Disable(fd int) error {
	// Not by an empty set of events: an error of the descriptor would still be
	// reported, each time, to somebody who has decided not to look.
	return p.toggle(unix.EPOLL_CTL_DEL, fd, unix.ENOENT)
}

// toggle takes already for the kernel's word that fd is so already.
func (p *Poller) toggle(op, fd int, already unix.Errno) error {
	tag, ok := p.tags[fd]
	if !ok {
		return fmt.Errorf("poll descriptor %d: it was never added", fd)
	}
	if err := p.control(op, fd, unix.EPOLLIN, tag); err != nil && err != already {
		return fmt.Errorf("poll descriptor %d: %w", fd, err)
	}
	return nil
}

// Wake makes Wait return, the one that sleeps now or the next one. It may be
// called from any goroutine, never blocks, and costs a system call only when
// nobody else has woken the loop since it last returned. What was queued before
// Wake can be seen after Wait.
func (p *Poller) Wake() {
	if p.woken.Swap(true) {
		return
	}
	one := uint64(1)
	// Fails only when the counter is full, and then the loop is awake.
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.event), uintptr(unsafe.Pointer(&one)), 8)
}

// Wait sleeps until something is ready, the deadline (a reading of Now, or Never)
// has come, or Wake was called. It appends the tags of what is ready to ready[:0];
// with none the reason was another. Some 60 tags come at once; the others come
// next time.
func (p *Poller) Wait(deadline time.Duration, ready []uint64) ([]uint64, error) {
	ready = ready[:0]
	if err := p.arm(deadline); err != nil {
		return ready, err
	}
	n, err := unix.EpollWait(p.epoll, p.events[:], -1)
	for err == unix.EINTR { // the Go runtime interrupts threads by signal
		n, err = unix.EpollWait(p.epoll, p.events[:], -1)
	}
	if err != nil {
		return ready, fmt.Errorf("wait for sockets: %w", err)
	}
	for i := range p.events[:n] {
		ev := &p.events[i]
		switch tag := uint64(uint32(ev.Pad))<<32 | uint64(uint32(ev.Fd)); tag {
		case timerTag:
			p.armed = Never
		case wakeTag:
			p.woken.Store(false)
		default:
			ready = append(ready, tag)
		}
	}
	return ready, nil
}

// arm sets the timer, unless it is set so already.
func (p *Poller) arm(deadline time.Duration) error {
	if deadline == p.armed {
		return nil
	}
	p.setup.Value = unix.Timespec{} // disarms
	if deadline != Never {
		p.setup.Value = unix.NsecToTimespec(int64(max(deadline, 1)))
	}
	if err := unix.TimerfdSettime(p.timer, unix.TFD_TIMER_ABSTIME, &p.setup, nil); err != nil {
		return fmt.Errorf("set the timer to %s: %w", deadline, err)
	}
	p.armed = deadline
	return nil
}

// Now reads CLOCK_BOOTTIME: the time since the machine started, suspension
// included. Go reaches this clock only through a system call (0.2 µs; without
// telling the scheduler, which would make it 0.26).
func (p *Poller) Now() time.Duration {
	var ts unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// Close closes the Poller, not what was added to it. Wake must not be called any
// more.
func (p *Poller) Close() error {
	var errs []error
	for _, fd := range []*int{&p.epoll, &p.timer, &p.event} {
		if *fd >= 0 {
			errs = append(errs, unix.Close(*fd))
			*fd = -1
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close a poller: %w", err)
	}
	return nil
}
