package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Prober asks an address at a steady pace, from a host, and remembers which question was answered.
type Prober struct {
	o      ProbeOptions
	wire   question
	socket *os.File
	stop   chan struct{}
	sent   chan struct{} // closed when the sender has ended
	once   sync.Once

	mu     sync.Mutex
	probes []probe
	worst  time.Duration
	err    error
}

// ProbeOptions say what is asked.
type ProbeOptions struct {
	// To is the address. With a port, a question is a TCP connection request, answered when the service accepts
	// and not when it refuses, and taken back at once: the service sees no connection. With port 0 it is an ICMP echo.
	To      netip.AddrPort
	Every   time.Duration // between two questions; 0 is a millisecond
	Timeout time.Duration // a question without an answer after it is lost; 0 is a second
}

// probe is one question.
type probe struct {
	at     time.Time
	answer answer
}

type answer int8

const (
	awaited answer = iota
	answered
	refused // lost, and known at once
)

// question makes and reads the packets of one kind of question.
type question interface {
	// open returns a raw socket connected to the address.
	open() (int, error)
	// ask returns the packet that asks question n.
	ask(n uint32) []byte
	// read tells which question a received packet answers; awaited: none.
	read(packet []byte) (uint32, answer)
}

// Probe starts to ask. It ends with Stop, or with the laboratory.
func (h *Host) Probe(o ProbeOptions) (*Prober, error) {
	if o.Every <= 0 {
		o.Every = time.Millisecond
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	p := &Prober{o: o, stop: make(chan struct{}), sent: make(chan struct{})}
	if o.To.Port() == 0 {
		p.wire = &echo{to: o.To.Addr(), id: uint16(os.Getpid())}
	} else {
		p.wire = &syn{to: o.To}
	}
	err := h.Do(func() error {
		fd, err := p.wire.open()
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) // the default serves, less well
		// An answer counts from its arrival, however late this process comes to read it.
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1), unix.SetNonblock(fd, true))
		if err != nil {
			unix.Close(fd)
			return err
		}
		p.socket = os.NewFile(uintptr(fd), "prober")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: ask %v: %w", h.Name, o.To, err)
	}
	h.lab.onClose(func() { p.end(0) })
	go p.receive()
	onOwnThread(func() {
		defer close(p.sent)
		p.send()
	})
	return p, nil
}

// send asks, each question at its own time: what is late is asked at once, nothing is left out.
func (p *Prober) send() {
	conn, err := p.socket.SyscallConn()
	if err != nil {
		return
	}
	// On a busy machine the questions would come in bursts. Without the privilege they do.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	var next unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &next); err != nil {
		p.fail(err)
		return
	}
	due := next.Nano()
	for n := uint32(0); ; n++ {
		select {
		case <-p.stop:
			return
		default:
		}
		if err := sleepUntil(due); err != nil {
			p.fail(err)
			return
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			p.fail(err)
			return
		}
		p.mu.Lock()
		p.worst = max(p.worst, time.Duration(now.Nano()-due))
		p.probes = append(p.probes, probe{at: time.Now()})
		p.mu.Unlock()
		packet := p.wire.ask(n)
		// Errors are what a client meets while the address is nowhere; the question is lost then.
		_ = conn.Control(func(fd uintptr) { _, _ = unix.Write(int(fd), packet) })
		due += int64(p.o.Every)
	}
}

// sleepUntil sleeps to a time of CLOCK_MONOTONIC, in nanoseconds. Go's own timers are a millisecond late.
func sleepUntil(due int64) error {
	t := unix.NsecToTimespec(due)
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &t, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// receive takes answers until the socket is closed.
func (p *Prober) receive() {
	conn, err := p.socket.SyscallConn()
	if err != nil {
		return
	}
	for err == nil {
		err = conn.Read(func(fd uintptr) bool {
			p.drain(int(fd))
			return false // wait for more
		})
	}
}

// drain takes what is in the socket.
func (p *Prober) drain(fd int) {
	buf, oob := make([]byte, 2048), make([]byte, 256)
	for {
		f, err := receive(fd, buf, oob)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EBADF) {
			return
		}
		if err != nil { // such as "no route to host", of an earlier question
			continue
		}
		number, a := p.wire.read(f.Data)
		if a == awaited {
			continue
		}
		p.mu.Lock()
		if int(number) < len(p.probes) {
			// Round: the kernel's stamp is of the wall clock alone.
			if q := &p.probes[number]; q.answer == awaited && f.At.Sub(q.at.Round(0)) < p.o.Timeout {
				q.answer = a
			}
		}
		p.mu.Unlock()
	}
}

func (p *Prober) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = fmt.Errorf("ask %v: %w", p.o.To, err)
}

// Stop ends the asking, waits for the last answers, and reports on all questions.
func (p *Prober) Stop() (Report, error) {
	p.end(p.o.Timeout)
	p.mu.Lock()
	err := p.err
	p.mu.Unlock()
	return p.Between(time.Time{}, time.Now()), err
}

// end stops both threads; the receiver goes on for as long as an answer may still come, at most `grace`.
func (p *Prober) end(grace time.Duration) {
	p.once.Do(func() {
		close(p.stop)
		<-p.sent
		for until := time.Now().Add(grace); time.Now().Before(until) && p.awaits(); {
			time.Sleep(time.Millisecond)
		}
		if conn, err := p.socket.SyscallConn(); err == nil {
			_ = conn.Control(func(fd uintptr) { p.drain(int(fd)) })
		}
		p.socket.Close()
	})
}

// awaits reports whether the youngest questions are unanswered.
func (p *Prober) awaits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.probes) - 1; i >= 0 && time.Since(p.probes[i].at) < p.o.Timeout; i-- {
		if p.probes[i].answer == awaited {
			return true
		}
	}
	return false
}

// Report is what a Prober's client met.
type Report struct {
	Sent, Lost int
	Pending    int           // of Sent, neither answered nor lost yet
	Gap        time.Duration // the longest time from an answered question to the next answered one, where some between were lost
	Windows    []Window
	Late       time.Duration // the worst lateness of a question in the prober's whole life: a measure of the machine
}

// Window is a time in which all questions were lost.
type Window struct {
	From, To time.Time // the first lost question; the first answered one after it, or the last lost one at the end
	Lost     int
}

// Between reports on the questions asked from one time to another. Those within the timeout of now may be pending,
// and then count neither as lost nor as answered.
func (p *Prober) Between(from, to time.Time) Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Report{Late: p.worst}
	now := time.Now()
	var lastAnswer time.Time
	var open *Window
	for _, q := range p.probes {
		if q.at.Before(from) {
			if q.answer == answered {
				lastAnswer = q.at
			}
			continue
		}
		if q.at.After(to) {
			break
		}
		r.Sent++
		switch {
		case q.answer == answered:
			if open != nil {
				open.To = q.at
				r.Windows = append(r.Windows, *open)
				if !lastAnswer.IsZero() {
					r.Gap = max(r.Gap, q.at.Sub(lastAnswer))
				}
				open = nil
			}
			lastAnswer = q.at
		case q.answer == awaited && now.Sub(q.at) < p.o.Timeout:
			r.Pending++
		default:
			r.Lost++
			if open == nil {
				open = &Window{From: q.at}
			}
			open.To = q.at
			open.Lost++
		}
	}
	if open != nil {
		r.Windows = append(r.Windows, *open)
	}
	return r
}

// Answers reports whether the youngest question whose fate is known was answered.
func (p *Prober) Answers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.probes) - 1; i >= 0; i-- {
		if q := p.probes[i]; q.answer != awaited || time.Since(q.at) >= p.o.Timeout {
			return q.answer == answered
		}
	}
	return false
}

// checksum is the Internet checksum of the given parts, each but the last of even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for ; len(b) > 1; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// rawSocket opens a raw socket that exchanges packets with one address only, and returns its own address.
func rawSocket(to netip.Addr, protocol int) (int, netip.Addr, error) {
	family := unix.AF_INET6
	var remote unix.Sockaddr = &unix.SockaddrInet6{Addr: to.As16()}
	if to.Is4() {
		family, remote = unix.AF_INET, &unix.SockaddrInet4{Addr: to.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, netip.Addr{}, fmt.Errorf("open a raw socket: %w", err)
	}
	if err := unix.Connect(fd, remote); err != nil {
		unix.Close(fd)
		return -1, netip.Addr{}, fmt.Errorf("connect a raw socket: %w", err)
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return -1, netip.Addr{}, fmt.Errorf("read the own address: %w", err)
	}
	switch a := local.(type) {
	case *unix.SockaddrInet4:
		return fd, netip.AddrFrom4(a.Addr), nil
	case *unix.SockaddrInet6:
		return fd, netip.AddrFrom16(a.Addr), nil
	}
	unix.Close(fd)
	return -1, netip.Addr{}, errors.New("read the own address: unknown family")
}
