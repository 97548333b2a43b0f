package doctor

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// packet is one of which the firewall is asked what it would do with it. What is
// not known of it is unknown to the rules, too.
type packet struct {
	what  string // in the words of a finding: "advertisements from 10.0.0.12"
	in    bool   // it comes in, else it goes out
	iface string
	index int // of the interface; 0: unknown
	v6    bool
	arp   bool
	to    addressKind
	state uint32 // of connection tracking

	network, transport bytes
}

// addressKind is what its destination is to this host.
type addressKind uint8

const (
	toMulticast addressKind = iota
	toUs
	toOthers
)

// bytes is what is known of a part of a packet, or of a register.
type bytes struct {
	b     []byte
	known []bool
}

func unknownBytes(n int) bytes { return bytes{make([]byte, n), make([]bool, n)} }

func knownBytes(b ...byte) bytes {
	k := bytes{b, make([]bool, len(b))}
	for i := range k.known {
		k.known[i] = true
	}
	return k
}

func (b bytes) set(at int, values ...byte) {
	for i, v := range values {
		b.b[at+i], b.known[at+i] = v, true
	}
}

// setAddr notes an address, where it is known.
func (b bytes) setAddr(at int, a netip.Addr) {
	if a.IsValid() {
		b.set(at, a.AsSlice()...)
	}
}

// part is n bytes from an offset; what is beyond the end is unknown.
func (b bytes) part(at, n int) bytes {
	p := unknownBytes(n)
	if at >= 0 && at < len(b.b) {
		copy(p.b, b.b[at:])
		copy(p.known, b.known[at:])
	}
	return p
}

const (
	protocolVRRP   = 112
	protocolICMPv6 = 58
)

// ipPacket is one of a protocol; an invalid address is not known.
func ipPacket(v6 bool, protocol byte, from, to netip.Addr) packet {
	p := packet{v6: v6, state: expr.CtStateBitNEW, transport: unknownBytes(32)}
	if v6 {
		p.network = unknownBytes(40)
		p.network.set(0, 0x60)
		p.network.set(6, protocol, 255)
		p.network.setAddr(8, from)
		p.network.setAddr(24, to)
		if !from.IsValid() && to.IsMulticast() && protocol == protocolVRRP { // RFC 9568 section 5.1.2.1: it is link-local
			p.network.set(8, 0xfe, 0x80, 0, 0, 0, 0, 0, 0)
		}
	} else {
		p.network = unknownBytes(20)
		p.network.set(0, 0x45)
		p.network.set(6, 0, 0, 255, protocol)
		p.network.setAddr(12, from)
		p.network.setAddr(16, to)
	}
	return p
}

// discovery is a neighbour solicitation (135) or advertisement (136).
func discovery(kind byte, from, to, target netip.Addr) packet {
	p := ipPacket(true, protocolICMPv6, from, to)
	p.state = expr.CtStateBitUNTRACKED // as the kernel has it for these
	p.transport.set(0, kind, 0)
	p.transport.setAddr(8, target)
	return p
}

// arpPacket is a request (1) or an answer (2).
func arpPacket(operation byte, from, target netip.Addr) packet {
	p := packet{arp: true, network: unknownBytes(28)}
	p.network.set(0, 0, 1, 8, 0, 6, 4, 0, operation)
	p.network.setAddr(14, from)
	p.network.setAddr(24, target)
	return p
}

func (p packet) etherType() []byte {
	switch {
	case p.arp:
		return []byte{0x08, 0x06}
	case p.v6:
		return []byte{0x86, 0xdd}
	}
	return []byte{0x08, 0x00}
}

func (p packet) protocol() byte {
	if p.v6 {
		return p.network.b[6]
	}
	return p.network.b[9]
}

// meta is what a rule reads with `meta`.
func (p packet) meta(key expr.MetaKey, marked bool) bytes {
	name, index := make([]byte, unix.IFNAMSIZ), make([]byte, 4)
	if here := key == expr.MetaKeyIIF || key == expr.MetaKeyIIFNAME; here == p.in {
		copy(name, p.iface)
		binary.NativeEndian.PutUint32(index, uint32(p.index))
	}
	switch key {
	case expr.MetaKeyIIF, expr.MetaKeyOIF:
		if p.index == 0 {
			return unknownBytes(4)
		}
		return knownBytes(index...)
	case expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME:
		return knownBytes(name...)
	case expr.MetaKeyNFPROTO:
		switch {
		case p.arp:
			return knownBytes(unix.NFPROTO_ARP, 0, 0, 0)
		case p.v6:
			return knownBytes(unix.NFPROTO_IPV6, 0, 0, 0)
		}
		return knownBytes(unix.NFPROTO_IPV4, 0, 0, 0)
	case expr.MetaKeyPROTOCOL:
		return knownBytes(append(p.etherType(), 0, 0)...)
	case expr.MetaKeyL4PROTO:
		if !p.arp {
			return knownBytes(p.protocol(), 0, 0, 0)
		}
	case expr.MetaKeyPKTTYPE:
		switch {
		case p.in && p.to == toMulticast:
			return knownBytes(unix.PACKET_MULTICAST, 0, 0, 0)
		case p.in:
			return knownBytes(unix.PACKET_HOST, 0, 0, 0)
		}
	case expr.MetaKeyMARK:
		if !marked {
			return knownBytes(0, 0, 0, 0)
		}
	}
	return unknownBytes(16)
}

// link is the Ethernet header, as far as it is known.
func (p packet) link() bytes {
	b := unknownBytes(14)
	b.set(12, p.etherType()...)
	return b
}

// addressType is what the kernel calls the destination.
func (p packet) addressType() uint32 {
	switch p.to {
	case toMulticast:
		return unix.RTN_MULTICAST
	case toUs:
		return unix.RTN_LOCAL
	}
	return unix.RTN_UNICAST
}
