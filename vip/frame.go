package vip

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"
)

// allNodes is ff02::1, where an unsolicited Neighbor Advertisement goes
// (RFC 4861 section 7.2.6).
var allNodes = netip.IPv6LinkLocalAllNodes()

// allNodesMAC is the Ethernet address of ff02::1 (RFC 2464 section 7).
var allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}

// frame returns the Ethernet frame that announces addr at mac: a gratuitous
// ARP for IPv4, an unsolicited Neighbor Advertisement for IPv6, the latter with
// the Router flag when this host forwards on that interface.
func frame(addr netip.Addr, mac net.HardwareAddr, router bool) ([]byte, error) {
	f := ethernet.Frame{Source: mac}
	var err error
	if addr.Is4() {
		f.Destination, f.EtherType = ethernet.Broadcast, ethernet.EtherTypeARP
		f.Payload, err = gratuitousARP(addr, mac)
	} else {
		f.Destination, f.EtherType = allNodesMAC, ethernet.EtherTypeIPv6
		f.Payload, err = unsolicitedNA(addr, mac, router)
	}
	if err != nil {
		return nil, fmt.Errorf("encode announcement of %s at %s: %w", addr, mac, err)
	}
	b, err := f.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode announcement of %s at %s: %w", addr, mac, err)
	}
	return b, nil
}

// gratuitousARP is a request whose sender and target are both the address
// (RFC 9568 section 6.4.1 as corrected by erratum 7947). The target hardware address, which nobody
// reads, is the broadcast address, as keepalived has it.
func gratuitousARP(addr netip.Addr, mac net.HardwareAddr) ([]byte, error) {
	p, err := arp.NewPacket(arp.OperationRequest, mac, addr, ethernet.Broadcast, addr)
	if err != nil {
		return nil, err
	}
	return p.MarshalBinary()
}

// unsolicitedNA is an IPv6 packet with a Neighbor Advertisement as RFC 9568
// section 6.4.1 wants it: Solicited clear, Override set, target link-layer
// address present.
func unsolicitedNA(addr netip.Addr, mac net.HardwareAddr, router bool) ([]byte, error) {
	icmp, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Router:        router,
		Override:      true,
		TargetAddress: addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac}},
	}, addr, allNodes)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 40, 40+len(icmp))
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(icmp)))
	b[6] = unix.IPPROTO_ICMPV6
	b[7] = 255 // or every receiver drops it (RFC 4861 section 7.1.2)
	src, dst := addr.As16(), allNodes.As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return append(b, icmp...), nil
}
