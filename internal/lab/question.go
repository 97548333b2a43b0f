package lab

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// echo asks with ICMP: any host that has the address answers.
type echo struct {
	to netip.Addr
	id uint16
}

// ICMP types (RFC 792, RFC 4443).
const (
	echoRequest4, echoReply4 = 8, 0
	echoRequest6, echoReply6 = 128, 129
)

func (e *echo) open() (int, error) {
	if !e.to.Is6() {
		fd, _, err := rawSocket(e.to, unix.IPPROTO_ICMP)
		return fd, err
	}
	fd, _, err := rawSocket(e.to, unix.IPPROTO_ICMPV6)
	return fd, err
}

// ask carries the whole number in the data: the sequence field of 16 bits turns over in a minute.
func (e *echo) ask(n uint32) []byte {
	b := make([]byte, 12)
	b[0] = echoRequest4
	if e.to.Is6() {
		b[0] = echoRequest6 // the kernel fills in the checksum
	}
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], uint16(n))
	binary.BigEndian.PutUint32(b[8:], n)
	if !e.to.Is6() {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

func (e *echo) read(b []byte) (uint32, answer) {
	reply := byte(echoReply6)
	if !e.to.Is6() {
		reply = echoReply4
		b = afterIPv4(b)
	}
	if len(b) < 12 || b[0] != reply || binary.BigEndian.Uint16(b[4:]) != e.id {
		return 0, awaited
	}
	return binary.BigEndian.Uint32(b[8:]), answered
}

// syn asks with the first packet of a TCP connection. The kernel of this host, which knows of no such connection,
// resets it when the other side accepts, so that nothing is left there.
type syn struct {
	to   netip.AddrPort
	from netip.Addr
}

// Source ports are taken in turn, so that a question meets no remains of an earlier one for 40 s.
const (
	firstPort = 20000
	ports     = 40000
)

// TCP flags (RFC 9293, section 3.1).
const (
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagACK = 1 << 4
)

func (s *syn) open() (int, error) {
	fd, from, err := rawSocket(s.to.Addr(), unix.IPPROTO_TCP)
	s.from = from
	return fd, err
}

func (s *syn) ask(n uint32) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, uint16(firstPort+n%ports))
	binary.BigEndian.PutUint16(b[2:], s.to.Port())
	binary.BigEndian.PutUint32(b[4:], n)
	b[12] = 5 << 4 // header length in words
	b[13] = flagSYN
	binary.BigEndian.PutUint16(b[14:], 1<<14) // window
	pseudo := append(s.from.AsSlice(), s.to.Addr().AsSlice()...)
	binary.BigEndian.PutUint16(b[16:], checksum(pseudo, []byte{0, unix.IPPROTO_TCP, 0, byte(len(b))}, b))
	return b
}

func (s *syn) read(b []byte) (uint32, answer) {
	if !s.to.Addr().Is6() {
		b = afterIPv4(b)
	}
	if len(b) < 20 || binary.BigEndian.Uint16(b) != s.to.Port() || b[13]&flagACK == 0 {
		return 0, awaited
	}
	n := binary.BigEndian.Uint32(b[8:]) - 1
	switch {
	case binary.BigEndian.Uint16(b[2:]) != uint16(firstPort+n%ports):
		return 0, awaited
	case b[13]&flagRST != 0:
		return n, refused
	case b[13]&flagSYN != 0:
		return n, answered
	}
	return 0, awaited
}

// afterIPv4 cuts off the IP header, which a raw IPv4 socket hands out and an IPv6 one does not.
func afterIPv4(b []byte) []byte {
	if len(b) < 20 {
		return nil
	}
	n := int(b[0]&0xf) * 4
	if n < 20 || len(b) < n {
		return nil
	}
	return b[n:]
}
