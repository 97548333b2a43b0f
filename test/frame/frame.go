// Package frame reads what a test wants to know out of captured frames: VRRP advertisements, ARP, and neighbour
// discovery. It is written from the RFCs alone and must not use package vrrp, whose mistakes it is there to find.
package frame

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"baton/internal/lab"
)

// Packet is a decoded frame: exactly one of the pointers is set, or Malformed says why none is.
type Packet struct {
	At       time.Time // the kernel's stamp
	Host     string    // where it was captured
	Sent     bool      // by that host
	From, To net.HardwareAddr

	Advert       *Advert
	ARP          *ARP
	Neighbour    *Neighbour
	Malformed    string
	Source, Dest netip.Addr // of the IP packet
	TTL          uint8      // or hop limit
}

// Advert is a VRRP advertisement, version 2 or 3.
type Advert struct {
	Version   uint8
	VRID      uint8
	Priority  uint8
	Interval  time.Duration
	Reserved  uint8 // the four bits before the interval, version 3
	Addresses []netip.Addr
	Checksum  Checksum
	AuthType  uint8  // version 2 (RFC 2338, section 5.3.6)
	Signed    bool   // a trailer of draft-cassen-vrrp-auth-hmac follows
	Password  string // the eight bytes at the end of version 2, without the zeros after it
}

// Checksum says which form of the checksum an advertisement carries.
type Checksum int

// Version 3 has two forms over IPv4: RFC 9568 says message, keepalived and FRR send pseudo. IPv6 has pseudo alone.
const (
	Wrong   Checksum = iota
	Message          // over the VRRP message
	Pseudo           // over the message and a pseudo header
)

func (c Checksum) String() string {
	switch c {
	case Message:
		return "message"
	case Pseudo:
		return "pseudo header"
	}
	return "wrong"
}

// ARP is an ARP packet (RFC 826).
type ARP struct {
	Op                   uint16 // 1 request, 2 reply
	SenderMAC, TargetMAC net.HardwareAddr
	SenderIP, TargetIP   netip.Addr
}

// Neighbour is a neighbour solicitation or advertisement (RFC 4861, sections 4.3 and 4.4).
type Neighbour struct {
	Type                        uint8 // 135 solicitation, 136 advertisement
	Router, Solicited, Override bool
	Target                      netip.Addr
	LinkAddress                 net.HardwareAddr // of the link-layer address option; nil without one
	ChecksumGood                bool
}

// Announces returns the address that a packet announces as the sender's: a gratuitous ARP or an unsolicited
// neighbour advertisement. The zero address: none.
func (p Packet) Announces() netip.Addr {
	switch {
	case p.ARP != nil && p.ARP.SenderIP == p.ARP.TargetIP:
		return p.ARP.SenderIP
	case p.Neighbour != nil && p.Neighbour.Type == 136 && !p.Neighbour.Solicited:
		return p.Neighbour.Target
	}
	return netip.Addr{}
}

func (p Packet) String() string {
	direction := "received by"
	if p.Sent {
		direction = "sent by"
	}
	what := "malformed: " + p.Malformed
	switch {
	case p.Advert != nil:
		a := p.Advert
		what = fmt.Sprintf("advert v%d vrid %d priority %d every %v for %v, %v checksum, from %v to %v ttl %d",
			a.Version, a.VRID, a.Priority, a.Interval, a.Addresses, a.Checksum, p.Source, p.Dest, p.TTL)
	case p.ARP != nil:
		what = fmt.Sprintf("arp %d %v is at %v, target %v", p.ARP.Op, p.ARP.SenderIP, p.ARP.SenderMAC, p.ARP.TargetIP)
	case p.Neighbour != nil:
		what = fmt.Sprintf("neighbour %d %v is at %v", p.Neighbour.Type, p.Neighbour.Target, p.Neighbour.LinkAddress)
	}
	return fmt.Sprintf("%s %s %s: %s", p.At.Format("05.000000"), direction, p.Host, what)
}

const (
	protoVRRP   = 112
	protoICMPv6 = 58
)

// Decode reads a captured frame.
func Decode(f lab.Frame) Packet {
	p := Packet{At: f.At, Host: f.Host, Sent: f.Sent}
	if err := p.decode(f.Data); err != nil {
		p.Malformed = err.Error()
	}
	return p
}

func (p *Packet) decode(b []byte) error {
	if len(b) < 14 {
		return fmt.Errorf("%d bytes are no frame", len(b))
	}
	p.To, p.From = b[0:6], b[6:12]
	kind, b := binary.BigEndian.Uint16(b[12:]), b[14:]
	switch kind {
	case 0x0806:
		return p.arp(b)
	case 0x0800:
		return p.ipv4(b)
	case 0x86dd:
		return p.ipv6(b)
	}
	return fmt.Errorf("unknown type %#04x", kind)
}

func (p *Packet) arp(b []byte) error {
	if len(b) < 28 {
		return fmt.Errorf("arp: %d bytes", len(b))
	}
	if h := binary.BigEndian.Uint64(b[0:8]) >> 16; h != 0x0001_0800_0604 {
		return fmt.Errorf("arp: not for IPv4 on Ethernet: %#x", h)
	}
	p.ARP = &ARP{
		Op:        binary.BigEndian.Uint16(b[6:]),
		SenderMAC: b[8:14], SenderIP: netip.AddrFrom4([4]byte(b[14:18])),
		TargetMAC: b[18:24], TargetIP: netip.AddrFrom4([4]byte(b[24:28])),
	}
	return nil
}

func (p *Packet) ipv4(b []byte) error {
	if len(b) < 20 || b[0]>>4 != 4 {
		return fmt.Errorf("ipv4: no header in %d bytes", len(b))
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < 20 || total < header || total > len(b) {
		return fmt.Errorf("ipv4: header %d, total %d of %d bytes", header, total, len(b))
	}
	if sum(b[:header]) != 0xffff {
		return fmt.Errorf("ipv4: wrong header checksum")
	}
	p.TTL = b[8]
	p.Source, p.Dest = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if b[9] != protoVRRP {
		return fmt.Errorf("ipv4: protocol %d", b[9])
	}
	return p.vrrp(b[header:total])
}

func (p *Packet) ipv6(b []byte) error {
	if len(b) < 40 || b[0]>>4 != 6 {
		return fmt.Errorf("ipv6: no header in %d bytes", len(b))
	}
	size := int(binary.BigEndian.Uint16(b[4:]))
	if 40+size > len(b) {
		return fmt.Errorf("ipv6: length %d of %d bytes", size, len(b)-40)
	}
	p.TTL = b[7]
	p.Source, p.Dest = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	switch b[6] {
	case protoVRRP:
		return p.vrrp(b[40 : 40+size])
	case protoICMPv6:
		return p.neighbour(b[40 : 40+size])
	}
	return fmt.Errorf("ipv6: next header %d", b[6])
}

// trailer is the length of a signature.
const trailer = 28

func (p *Packet) vrrp(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("vrrp: %d bytes", len(b))
	}
	if kind := b[0] & 0xf; kind != 1 {
		return fmt.Errorf("vrrp: type %d", kind)
	}
	a := &Advert{Version: b[0] >> 4, VRID: b[1], Priority: b[2]}
	size, tail := 4, 0
	if p.Source.Is6() {
		size = 16
	}
	switch a.Version {
	case 2:
		a.AuthType, a.Interval, tail = b[4], time.Duration(b[5])*time.Second, 8
	case 3:
		a.Reserved = b[4] >> 4
		a.Interval = time.Duration(binary.BigEndian.Uint16(b[4:])&0xfff) * 10 * time.Millisecond
	default:
		return fmt.Errorf("vrrp: version %d", a.Version)
	}
	count := int(b[3])
	whole := b
	if a.Signed = len(b) == 8+count*size+tail+trailer; a.Signed {
		b = b[:len(b)-trailer]
	}
	if len(b) != 8+count*size+tail {
		return fmt.Errorf("vrrp: %d bytes for %d addresses", len(b), count)
	}
	for i := range count {
		addr, _ := netip.AddrFromSlice(b[8+i*size:][:size])
		a.Addresses = append(a.Addresses, addr)
	}
	a.Password = strings.TrimRight(string(b[len(b)-tail:]), "\x00")
	if p.Source.Is6() {
		b = whole // the kernel's checksum is over all of it
	}
	if sum(b) == 0xffff {
		a.Checksum = Message
	} else if sum(p.pseudo(protoVRRP, len(b)), b) == 0xffff {
		a.Checksum = Pseudo
	}
	p.Advert = a
	return nil
}

func (p *Packet) neighbour(b []byte) error {
	if len(b) < 24 {
		return fmt.Errorf("neighbour discovery: %d bytes", len(b))
	}
	n := &Neighbour{
		Type: b[0], Router: b[4]&0x80 != 0, Solicited: b[4]&0x40 != 0, Override: b[4]&0x20 != 0,
		Target:       netip.AddrFrom16([16]byte(b[8:24])),
		ChecksumGood: sum(p.pseudo(protoICMPv6, len(b)), b) == 0xffff,
	}
	for o := b[24:]; len(o) >= 8; {
		size := int(o[1]) * 8
		if size == 0 || size > len(o) {
			return fmt.Errorf("neighbour discovery: option of %d bytes in %d", size, len(o))
		}
		if o[0] == 1 || o[0] == 2 { // source, target link-layer address
			n.LinkAddress = o[2:8]
		}
		o = o[size:]
	}
	p.Neighbour = n
	return nil
}

// pseudo is the pseudo header of either family; for a sum their different layouts make no difference.
func (p *Packet) pseudo(proto byte, size int) []byte {
	b := append(p.Source.AsSlice(), p.Dest.AsSlice()...)
	return append(b, 0, proto, byte(size>>8), byte(size))
}

// sum is the ones' complement sum of RFC 1071, 0xffff over data that carries its checksum.
func sum(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint32(b[i]) << 8
			if i+1 < len(b) {
				word |= uint32(b[i+1])
			}
			s += word
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
