package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// VirtualMAC is the virtual router MAC address of a VRID (RFC 9568 section 7.3).
func VirtualMAC(vrid uint8, ipv6 bool) MAC {
	m := MAC{0x00, 0x00, 0x5e, 0x00, 0x01, vrid}
	if ipv6 {
		m[4] = 0x02
	}
	return m
}

// Virtual tells whether m is the virtual router MAC address of some VRID, of
// either family. Such an address is on every host of its virtual router: what
// comes from it need not come from this one.
func (m MAC) Virtual() bool {
	return m[5] != 0 && (m == VirtualMAC(m[5], false) || m == VirtualMAC(m[5], true))
}

// Sizes and offsets in the frames of SendFrom.
const (
	ipv4Header = 20
	ipv6Header = 40
	frameHead  = 14 + ipv6Header // Ethernet, and the longer one of the IP headers
)

// framer is what sendmmsg needs to see of messages that leave as frames, with
// their IP and Ethernet headers made here.
type framer struct {
	fd    int // a packet socket that receives nothing
	hdrs  []mmsghdr
	iovs  []unix.Iovec // two for each message: heads and payload
	heads [][frameHead]byte
	id    uint16 // of the last IPv4 packet
}

// EnableVirtualMAC makes SendFrom possible. It is called once, before the Conn is
// handed to its loop, and fails where the interface is no Ethernet.
func (c *Conn) EnableVirtualMAC() error {
	if c.virtual != nil {
		return nil
	}
	fd, err := c.openFramer()
	if err != nil {
		return fmt.Errorf("open %s for VRRP from a virtual MAC over %s: %w", c.name, family(c.ipv6), err)
	}
	c.virtual = newFramer(fd, c.ipv6)
	return nil
}

func (c *Conn) openFramer() (int, error) {
	if c.frames == nil {
		return -1, errors.New("the interface is no Ethernet")
	}
	fd, err := newSocket(unix.AF_PACKET, 0)
	if err != nil {
		return -1, err
	}
	// Protocol 0: bound to an interface it sends there, and receives nothing.
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: c.index}); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("bind to the interface: %w", err)
	}
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	setPriority(fd)
	return fd, nil
}

// newFramer fills in what is the same for all messages.
func newFramer(fd int, ipv6 bool) *framer {
	f := &framer{
		fd:    fd,
		hdrs:  make([]mmsghdr, batch),
		iovs:  make([]unix.Iovec, 2*batch),
		heads: make([][frameHead]byte, batch),
	}
	for i := range f.hdrs {
		ethernet, ip := f.heads[i][:14], f.heads[i][14:]
		size := ipv4Header
		if ipv6 {
			size = ipv6Header
			copy(ethernet, []byte{0x33, 0x33, 0, 0, 0, 0x12}) // RFC 2464 section 7
			binary.BigEndian.PutUint16(ethernet[12:], unix.ETH_P_IPV6)
			binary.BigEndian.PutUint32(ip, 6<<28|trafficClass<<20)
			ip[6], ip[7] = protocol, 255
			dst := group6.As16()
			copy(ip[24:], dst[:])
		} else {
			copy(ethernet, []byte{0x01, 0x00, 0x5e, 0, 0, 0x12}) // RFC 1112 section 6.4
			binary.BigEndian.PutUint16(ethernet[12:], unix.ETH_P_IP)
			// Not to be fragmented, as the kernel sends what fits into the MTU.
			copy(ip, []byte{0: 0x45, 1: trafficClass, 6: 0x40, 8: 255, 9: protocol})
			dst := group4.As4()
			copy(ip[16:], dst[:])
		}
		iov := f.iovs[2*i : 2*i+2]
		iov[0].Base = &f.heads[i][0]
		iov[0].SetLen(14 + size)
		f.hdrs[i].hdr.Iov = &iov[0]
		f.hdrs[i].hdr.SetIovlen(2)
	}
	return f
}

// fill makes the i-th frame that of m.
func (f *framer) fill(i int, m *message) {
	f.iovs[2*i+1].Base = &m.payload[0]
	f.iovs[2*i+1].SetLen(len(m.payload))
	copy(f.heads[i][6:12], m.mac[:])
	ip := f.heads[i][14:]
	if m.src.Is6() {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(m.payload)))
		src := m.src.As16()
		copy(ip[8:], src[:])
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Header+len(m.payload)))
	f.id++
	binary.BigEndian.PutUint16(ip[4:], f.id)
	src := m.src.As4()
	copy(ip[12:], src[:])
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], headerChecksum(ip[:ipv4Header]))
}

// headerChecksum is that of an IPv4 header (RFC 791 section 3.1), of even length.
func headerChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// SendFrom is Send to the group in frames whose Ethernet source is mac, a virtual
// router MAC address (RFC 9568 section 7.2), whichever address the interface has
// itself. They wait in the same queue and leave in the same order. Without
// EnableVirtualMAC, to another destination than the group, or from an address of
// another family, a message counts as failed.
//
// Such a frame does not go through the kernel's IP: no firewall rule for outgoing
// packets sees it, nobody asks whether src is on the interface, and one longer
// than the MTU is refused, not sent in fragments.
func (c *Conn) SendFrom(mac MAC, src, dst netip.Addr, payload []byte, urgent bool) {
	if c.virtual == nil || dst != Group(c.ipv6) {
		c.stats.SendFailed++
		return
	}
	c.enqueue(message{src: src, dst: dst, urgent: urgent, framed: true, mac: mac}, payload)
}
