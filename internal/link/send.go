package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// queueSize is how many messages may wait: a last advert of each of 255 routers
// fits. What goes to several peers may be more, and is sent in parts.
const queueSize = 256

// usual is how much memory a place in the queue starts with. A place that has
// held a longer message keeps the memory that it took.
const usual = 64

// trafficClass is precedence 6, internetwork control (RFC 791 section 3.1).
const trafficClass = 0xc0

// message waits for Flush.
type message struct {
	src, dst netip.Addr
	payload  []byte
	urgent   bool
	framed   bool // leaves as a frame, from mac
	mac      MAC
}

// sender is the queue, and what sendmmsg needs to see of it.
type sender struct {
	queue []message // queueSize places
	n     int       // messages waiting, oldest first

	hdrs     []mmsghdr
	iovs     []unix.Iovec
	names4   []unix.RawSockaddrInet4
	names6   []unix.RawSockaddrInet6
	control4 []pktinfo4
	control6 []pktinfo6
}

// The control messages that choose a packet's source address.
type (
	pktinfo4 struct {
		hdr  unix.Cmsghdr
		info unix.Inet4Pktinfo
	}
	pktinfo6 struct {
		hdr  unix.Cmsghdr
		info unix.Inet6Pktinfo
	}
)

// setupSend makes the receive socket send as well, with the TTL, the traffic
// class and the interface that adverts need.
func (c *Conn) setupSend(fd int) error {
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	options := []option{
		{unix.IPPROTO_IP, unix.IP_TTL, 255, "IP_TTL"},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255, "IP_MULTICAST_TTL"},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0, "IP_MULTICAST_LOOP"},
		{unix.IPPROTO_IP, unix.IP_TOS, trafficClass, "IP_TOS"},
	}
	if c.ipv6 {
		options = []option{
			{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255, "IPV6_UNICAST_HOPS"},
			{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255, "IPV6_MULTICAST_HOPS"},
			{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0, "IPV6_MULTICAST_LOOP"},
			{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, c.index, "IPV6_MULTICAST_IF"},
			{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, trafficClass, "IPV6_TCLASS"},
		}
	}
	if err := setOptions(fd, options); err != nil {
		return err
	}
	if !c.ipv6 {
		err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(c.index)})
		if err != nil {
			return fmt.Errorf("set IP_MULTICAST_IF: %w", err)
		}
	}
	// IP_RECVERR stays off: so what ICMP reports of one peer is no error of the
	// socket, which would come up at the next call, whatever that is about.
	setPriority(fd) // after IP_TOS, which sets it too
	c.out.prepare(c.ipv6, c.index)
	return nil
}

// setPriority asks for the queueing discipline's band for control traffic. It
// takes a capability, and is not worth failing for.
func setPriority(fd int) {
	const control = 7 // TC_PRIO_CONTROL
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, control)
}

// prepare fills in what is the same for all messages.
func (s *sender) prepare(ipv6 bool, index int) {
	s.queue = make([]message, queueSize)
	arena := make([]byte, queueSize*usual)
	for i := range s.queue {
		s.queue[i].payload = arena[i*usual : i*usual : (i+1)*usual]
	}
	s.hdrs = make([]mmsghdr, batch)
	s.iovs = make([]unix.Iovec, batch)
	if ipv6 {
		s.names6 = make([]unix.RawSockaddrInet6, batch)
		s.control6 = make([]pktinfo6, batch)
	} else {
		s.names4 = make([]unix.RawSockaddrInet4, batch)
		s.control4 = make([]pktinfo4, batch)
	}
	for i := range s.hdrs {
		h := &s.hdrs[i].hdr
		h.Iov = &s.iovs[i]
		h.SetIovlen(1)
		if ipv6 {
			s.names6[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Scope_id: uint32(index)}
			h.Name = (*byte)(unsafe.Pointer(&s.names6[i]))
			h.Namelen = unix.SizeofSockaddrInet6
			p := &s.control6[i]
			p.info.Ifindex = uint32(index)
			p.hdr = unix.Cmsghdr{Level: unix.IPPROTO_IPV6, Type: unix.IPV6_PKTINFO}
			p.hdr.SetLen(unix.CmsgLen(unix.SizeofInet6Pktinfo))
			h.Control = (*byte)(unsafe.Pointer(p))
			h.SetControllen(unix.CmsgSpace(unix.SizeofInet6Pktinfo))
			continue
		}
		s.names4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET}
		h.Name = (*byte)(unsafe.Pointer(&s.names4[i]))
		h.Namelen = unix.SizeofSockaddrInet4
		p := &s.control4[i]
		p.info.Ifindex = int32(index)
		p.hdr = unix.Cmsghdr{Level: unix.IPPROTO_IP, Type: unix.IP_PKTINFO}
		p.hdr.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
		h.Control = (*byte)(unsafe.Pointer(p))
		h.SetControllen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	}
}

// fill makes the i-th header that of m.
func (s *sender) fill(i int, m *message) {
	s.iovs[i].Base = &m.payload[0]
	s.iovs[i].SetLen(len(m.payload))
	if s.names6 != nil {
		s.names6[i].Addr = m.dst.As16()
		s.control6[i].info.Addr = m.src.As16()
		return
	}
	s.names4[i].Addr = m.dst.As4()
	s.control4[i].info.Spec_dst = m.src.As4()
}

// Send queues a copy of payload, a VRRP message, to go from src to dst at the
// next Flush: to the group, or to a peer. It leaves on the Conn's interface,
// wherever other routes to dst lead. Nobody says whether it arrives: without a
// route IPv4 takes dst for a neighbour. A peer that is not there costs the others
// nothing.
//
// When 256 messages wait, they are sent at once. Where the kernel has no room for
// them, the oldest that is not urgent is dropped, and the new one where all are: an
// urgent message (priority 0) is never given up for another one. Addresses of another family than the Conn's and an
// empty payload are a mistake of the caller; such a message counts as failed.
func (c *Conn) Send(src, dst netip.Addr, payload []byte, urgent bool) {
	c.enqueue(message{src: src, dst: dst, urgent: urgent}, payload)
}

// enqueue queues m with a copy of payload.
func (c *Conn) enqueue(m message, payload []byte) {
	src, dst := m.src, m.dst
	if src.Is4() == c.ipv6 || dst.Is4() == c.ipv6 || !src.IsValid() || !dst.IsValid() || len(payload) == 0 {
		c.stats.SendFailed++
		return
	}
	s := &c.out
	if s.n == len(s.queue) {
		c.flush()
	}
	if s.n == len(s.queue) {
		c.stats.SendDropped++
		if !s.dropOldest() {
			return
		}
	}
	m.payload = append(s.queue[s.n].payload[:0], payload...)
	s.queue[s.n] = m
	s.n++
}

// dropOldest makes room by giving up the oldest message that is not urgent.
func (s *sender) dropOldest() bool {
	for i := range s.n {
		if s.queue[i].urgent {
			continue
		}
		for ; i < s.n-1; i++ { // by swapping, so that each place keeps some memory
			s.queue[i], s.queue[i+1] = s.queue[i+1], s.queue[i]
		}
		s.n--
		return true
	}
	return false
}

// forget takes the first sent messages out of the queue.
func (s *sender) forget(sent int) {
	s.n -= sent
	for i := range s.n {
		s.queue[i], s.queue[sent+i] = s.queue[sent+i], s.queue[i]
	}
}

// mostRefusals is of how many pairs of source and destination a Flush tells that
// the kernel refused their messages.
const mostRefusals = 16

// SendError is what Flush returns when the kernel refused messages from one source
// to one destination. It tells of the first one.
type SendError struct {
	Interface   string
	Source      netip.Addr
	Destination netip.Addr
	Refused     int   // messages lost since the last Flush
	Err         error // a unix.Errno
}

func (e *SendError) Error() string {
	text := "send from " + e.Source.String() + " to " + e.Destination.String() + " on " + e.Interface + ": " + e.Err.Error()
	switch e.Err {
	case unix.EINVAL, unix.ENETUNREACH, unix.EHOSTUNREACH: // which one depends on family and kernel
		text += " (is the interface up, and the source address on it"
		if !e.Destination.IsMulticast() {
			text += ", and does a route lead there by it"
		}
		text += "?)"
	case unix.EACCES:
		text += " (is that a broadcast address?)"
	case unix.ENETDOWN:
		text += " (is the interface up?)"
	case unix.EMSGSIZE:
		text += " (longer than the MTU: only what does not come from a virtual MAC goes in fragments)"
	case unix.EPERM:
		text += " (does a firewall rule forbid it?)"
	}
	if e.Refused > 1 {
		text += " (" + strconv.Itoa(e.Refused) + " messages lost)"
	}
	return text
}

func (e *SendError) Unwrap() error { return e.Err }

// Flush sends what is queued, in the order it was queued, 32 messages with each
// system call. Messages that the kernel has no room for stay queued (Pending);
// those that it refuses are dropped and reported in a *SendError, which does not
// keep the others from being sent. It tells also of those that a full queue sent
// before. Where several sources or destinations are concerned, the errors are
// joined (errors.Join), at most 16.
func (c *Conn) Flush() error {
	c.flush()
	failures := c.refusals
	c.refusals = nil
	if len(failures) == 1 {
		return failures[0]
	}
	return errors.Join(failures...)
}

// refuse notes that the kernel refused m.
func (c *Conn) refuse(m *message, errno unix.Errno) {
	c.stats.SendFailed++
	for _, err := range c.refusals {
		if e, ok := err.(*SendError); ok && e.Source == m.src && e.Destination == m.dst {
			e.Refused++
			return
		}
	}
	if len(c.refusals) < mostRefusals {
		c.refusals = append(c.refusals, &SendError{Interface: c.name, Source: m.src, Destination: m.dst, Refused: 1, Err: errno})
	}
}

// flush is Flush that leaves the error for the next one to tell.
func (c *Conn) flush() {
	s := &c.out
	done := 0
sending:
	for done < s.n {
		sent, errno := c.sendBatch(s.queue[done:s.n])
		switch errno {
		case 0:
			c.stats.Sent += uint64(sent)
			done += sent
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
			c.stats.SendDeferred++
			break sending
		default: // the error is that of the first message
			c.refuse(&s.queue[done], errno)
			done++
		}
	}
	s.forget(done)
}

// sendBatch sends the first of the messages: as many as leave by the same socket,
// at most a batch.
func (c *Conn) sendBatch(messages []message) (sent int, errno unix.Errno) {
	framed := messages[0].framed
	n := 0
	for n < min(len(messages), batch) && messages[n].framed == framed {
		if framed {
			c.virtual.fill(n, &messages[n])
		} else {
			c.out.fill(n, &messages[n])
		}
		n++
	}
	if framed {
		return sendmmsg(c.virtual.fd, c.virtual.hdrs[:n])
	}
	return sendmmsg(c.receive.fd, c.out.hdrs[:n])
}

// Pending is the number of messages that wait for a Flush. When Flush leaves
// some, the kernel's buffer was full: nothing will say when there is room, so
// call Flush again after a millisecond or so.
func (c *Conn) Pending() int {
	return c.out.n
}
