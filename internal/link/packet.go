package link

import "net/netip"

// Packet is one message of IP protocol 112 as it came in. Payload points into
// memory that the next call of the method it came from overwrites.
type Packet struct {
	Src, Dst netip.Addr // never with a zone
	TTL      uint8      // TTL or hop limit
	Payload  []byte     // the VRRP message: no IP header, no padding of the link
}

// Announcement is somebody's claim to an address: a gratuitous ARP (RFC 5227
// section 2.3) or an unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
type Announcement struct {
	Address netip.Addr // the address that is claimed
	MAC     MAC        // who answers for it from now on
}

// MAC is an Ethernet address as a value that compares with ==.
type MAC [6]byte

// VRIDs is a set of virtual router identifiers. The zero value is empty.
type VRIDs [4]uint64

// With returns the set with vrid in it.
func (v VRIDs) With(vrid uint8) VRIDs {
	v[vrid/64] |= 1 << (vrid % 64)
	return v
}

// Known is the virtual routers whose adverts Receive takes, by the version that
// each speaks: V2 and V3 with multicast and TTL 255, UnicastV2 and UnicastV3 to an
// address of this host and with any TTL.
type Known struct {
	V2, V3, UnicastV2, UnicastV3 VRIDs
}

// The groups of RFC 9568 sections 5.1.1.2 and 5.1.2.2.
var (
	group4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0x12})
)

// Group returns the multicast address that adverts of the family go to.
func Group(ipv6 bool) netip.Addr {
	if ipv6 {
		return group6
	}
	return group4
}
