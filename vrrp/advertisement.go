package vrrp

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Protocol is the IP protocol number, or Next Header value, of VRRP
// (RFC 9568 section 7.2).
const Protocol = 112

// Sizes of an advertisement (RFC 9568 section 5.2), in bytes.
const (
	headerLen  = 8
	checksumAt = 6
	// MaxAdvertisementLen is the length of the largest advertisement: 255
	// IPv6 addresses and a signature.
	MaxAdvertisementLen = headerLen + 255*16 + trailerLen
)

const (
	version3          = 3
	typeAdvertisement = 1
)

// centisecond is the unit in which an advertisement carries its interval.
const centisecond = 10 * time.Millisecond

// Limits of the advertisement interval (RFC 9568 section 6.1, erratum 8301):
// 12 bits of centiseconds, and not zero.
const (
	MinInterval = centisecond
	MaxInterval = 4095 * centisecond
)

// Family is the address family of a virtual router. The same VRID in both
// families is two independent routers (RFC 9568 section 5.2.3).
type Family uint8

// The families. The zero value is neither.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "no family"
}

func (f Family) addrLen() int {
	if f == IPv6 {
		return 16
	}
	return 4
}

// Group returns the multicast destination of advertisements: 224.0.0.18 or
// ff02::12 (RFC 9568 section 7.2).
func (f Family) Group() netip.Addr {
	if f == IPv6 {
		return netip.AddrFrom16([16]byte{0xff, 0x02, 15: 0x12})
	}
	return netip.AddrFrom4([4]byte{224, 0, 0, 18})
}

// Checksum is the form of an IPv4 advertisement's checksum. RFC 9568 section
// 5.2.8 covers the VRRP message alone; keepalived, FRR and everybody who read
// RFC 5798 the other way put a pseudo-header before it. IPv6 always has one.
type Checksum uint8

// The forms. The zero value is the one that untouched keepalived and FRR
// peers accept.
const (
	PseudoHeader Checksum = iota
	MessageOnly
)

// String returns the word that the configuration uses.
func (c Checksum) String() string {
	if c == MessageOnly {
		return "rfc9568"
	}
	return "pseudo-header"
}

// Advertisement is one advertisement of version 3 (RFC 9568 section 5.1) or of
// version 2 (RFC 3768 section 5.1).
type Advertisement struct {
	Version  uint8 // 2 or 3; AppendTo takes 0 for 3
	VRID     uint8 // 1 to 255
	Priority uint8 // 0: the sender is leaving; 255: the address owner
	// Interval is the sender's: 10 ms to 40.95 s in steps of 10 ms; in version
	// 2 whole seconds, 1 s to 255 s.
	Interval time.Duration
	// Addresses are the virtual addresses in the sender's order, all of one
	// family.
	Addresses []netip.Addr
	// Checksum is the form the advertisement was sent in; for IPv6 it is
	// always PseudoHeader, for version 2 always MessageOnly.
	Checksum Checksum
	// AuthType and Auth are for version 2 alone (RFC 2338 section 5.3.6): the
	// kind of authentication and its data, which for type 1 is the password.
	AuthType uint8
	Auth     [8]byte
	// Signed tells of a received message that a signature follows it. Parse
	// does not verify it, and AppendTo writes none.
	Signed bool
}

// AppendTo appends the advertisement in wire form to b, with the checksum for
// a packet from src to dst, both of the family of the addresses. The
// reserved nibble is zero (section 5.2.6). It does not allocate when b has
// room. The caller answers for the ranges: an interval that is no multiple of
// 10 ms, or in version 2 of a second, would be cut.
func (a *Advertisement) AppendTo(b []byte, src, dst netip.Addr) []byte {
	start := len(b)
	if a.Version == version2 {
		b = append(b, version2<<4|typeAdvertisement, a.VRID, a.Priority, byte(len(a.Addresses)))
		b = append(b, a.AuthType, byte(a.Interval/time.Second))
	} else {
		b = append(b, version3<<4|typeAdvertisement, a.VRID, a.Priority, byte(len(a.Addresses)))
		b = binary.BigEndian.AppendUint16(b, uint16(a.Interval/centisecond)&0x0fff)
	}
	b = append(b, 0, 0)
	for _, addr := range a.Addresses {
		if addr.Is4() {
			v4 := addr.As4()
			b = append(b, v4[:]...)
		} else {
			v6 := addr.As16()
			b = append(b, v6[:]...)
		}
	}
	if a.Version == version2 {
		b = append(b, a.Auth[:]...)
	}
	a.putChecksum(b[start:], src, dst)
	return b
}

// putChecksum writes the checksum over message. In IPv6 a signature is part
// of that, since the kernel of a keepalived peer sums the whole payload; in
// IPv4 it is not.
func (a *Advertisement) putChecksum(message []byte, src, dst netip.Addr) {
	binary.BigEndian.PutUint16(message[checksumAt:], 0)
	sum := sum16(0, message)
	if src.Is6() || a.Version != version2 && a.Checksum == PseudoHeader {
		sum = pseudoHeader(sum, src, dst, len(message))
	}
	binary.BigEndian.PutUint16(message[checksumAt:], ^fold(sum))
}

// Parse reads a VRRP message of version 2 or 3 that came from src to dst, both
// of one family, into a, whose Addresses slice it reuses. It returns Accepted,
// or the first reason to refuse the message in the order of RFC 9568 section
// 7.1; then a is undefined, except that RefusedVRID comes last, with all of a
// filled in. Whether the VRID, the version, the authentication and the number
// of addresses are ours to accept, and the hop limit, are not its matter.
func (a *Advertisement) Parse(message []byte, src, dst netip.Addr) Refusal {
	if len(message) < headerLen {
		return RefusedLength
	}
	a.Version = message[0] >> 4
	if a.Version != version3 && (a.Version != version2 || src.Is6()) {
		return RefusedVersion // version 2 is for IPv4 (RFC 3768 section 1)
	}
	if message[0]&0x0f != typeAdvertisement {
		return RefusedType
	}
	size := IPv4.addrLen()
	if src.Is6() {
		size = IPv6.addrLen()
	}
	list := headerLen + int(message[3])*size // where the address list ends
	length := list
	if a.Version == version2 {
		length += authenticationLen
	}
	a.Signed = len(message) == length+trailerLen
	if len(message) != length && !a.Signed {
		return RefusedLength
	}
	covered := message[:length]
	if src.Is6() {
		covered = message
	}
	if !a.parseChecksum(covered, src, dst) {
		return RefusedChecksum
	}
	a.AuthType, a.Auth = 0, [8]byte{}
	if a.Version == version2 {
		a.Interval = time.Duration(message[5]) * time.Second
		a.AuthType, a.Auth = message[4], [8]byte(message[list:])
	} else {
		// The reserved nibble is ignored (section 5.2.6).
		a.Interval = time.Duration(binary.BigEndian.Uint16(message[4:])&0x0fff) * centisecond
		if a.Interval == 0 {
			return RefusedInterval // erratum 8301
		}
	}
	a.VRID, a.Priority = message[1], message[2]
	a.Addresses = a.Addresses[:0]
	for p := message[headerLen:list]; len(p) > 0; p = p[size:] {
		if size == 4 {
			a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte(p)))
		} else {
			a.Addresses = append(a.Addresses, netip.AddrFrom16([16]byte(p)))
		}
	}
	if a.VRID == 0 {
		return RefusedVRID
	}
	return Accepted
}

// parseChecksum tells whether the checksum is right, and notes its form.
func (a *Advertisement) parseChecksum(covered []byte, src, dst netip.Addr) bool {
	sum := sum16(0, covered)
	switch {
	case a.Version != version2 && fold(pseudoHeader(sum, src, dst, len(covered))) == 0xffff:
		a.Checksum = PseudoHeader
	case src.Is4() && fold(sum) == 0xffff:
		a.Checksum = MessageOnly
	default:
		return false
	}
	return true
}

// sum16 adds b to an unfolded one's complement sum (RFC 1071).
func sum16(sum uint64, b []byte) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		sum += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

// pseudoHeader adds the pseudo-header of the packet: RFC 8200 section 8.1 for
// IPv6, that of RFC 793 for IPv4. Both are the two addresses, the length and
// the protocol number; in a one's complement sum their widths do not matter.
func pseudoHeader(sum uint64, src, dst netip.Addr, length int) uint64 {
	if src.Is4() {
		s, d := src.As4(), dst.As4()
		sum = sum16(sum16(sum, s[:]), d[:])
	} else {
		s, d := src.As16(), dst.As16()
		sum = sum16(sum16(sum, s[:]), d[:])
	}
	return sum + uint64(length) + Protocol
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
