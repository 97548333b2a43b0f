package vip

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// TestWorker_GratuitousARP checks RFC 9568 section 6.4.1 (385) as corrected.
func TestWorker_GratuitousARP(t *testing.T) {
	l := newLab(t)
	vip := netip.MustParseAddr("10.0.0.100")
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0]
	h.Hold(1)
	a, ok := l.hear(patience)
	if !ok {
		t.Fatal("no announcement")
	}
	var f ethernet.Frame
	l.check(f.UnmarshalBinary(a.raw))
	var p arp.Packet
	l.check(p.UnmarshalBinary(f.Payload))
	f.Payload = nil
	wantFrame := ethernet.Frame{Destination: ethernet.Broadcast, Source: l.mac(), EtherType: ethernet.EtherTypeARP}
	if diff := cmp.Diff(wantFrame, f); diff != "" {
		t.Errorf("frame (-want +got):\n%s", diff)
	}
	want := arp.Packet{
		HardwareType: 1, ProtocolType: 0x0800, HardwareAddrLength: 6, IPLength: 4, Operation: arp.OperationRequest,
		SenderHardwareAddr: l.mac(), SenderIP: vip, TargetHardwareAddr: ethernet.Broadcast, TargetIP: vip,
	}
	if diff := cmp.Diff(want, p, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("packet (-want +got):\n%s", diff)
	}
}

// TestWorker_UnsolicitedNA checks RFC 9568 section 6.4.1 (390) and RFC 4861 section 7.1.2.
func TestWorker_UnsolicitedNA(t *testing.T) {
	l := newLab(t)
	vip := netip.MustParseAddr("2001:db8::100")
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("2001:db8::100/64")})[0]
	for i, forwarding := range []string{"0", "1", "0"} {
		l.sysctl("ipv6/conf/left/forwarding", forwarding)
		l.silence()
		h.Hold(uint64(i + 1))
		a, ok := l.hear(patience)
		if !ok {
			t.Fatal("no announcement")
		}
		var f ethernet.Frame
		l.check(f.UnmarshalBinary(a.raw))
		if f.Destination.String() != "33:33:00:00:00:01" || f.Source.String() != l.mac().String() {
			t.Errorf("frame from %s to %s", f.Source, f.Destination)
		}
		header, err := ipv6.ParseHeader(f.Payload)
		l.check(err)
		if header.HopLimit != 255 || header.Src.String() != vip.String() || header.Dst.String() != "ff02::1" || header.PayloadLen != 32 {
			t.Errorf("header %v", header)
		}
		body := f.Payload[40 : 40+header.PayloadLen]
		if sum := checksum(icmp.IPv6PseudoHeader(header.Src, header.Dst), body); sum != 0xffff {
			t.Errorf("checksum adds up to %#x, want 0xffff", sum)
		}
		m, err := ndp.ParseMessage(body)
		l.check(err)
		want := &ndp.NeighborAdvertisement{
			Router: forwarding == "1", Override: true, TargetAddress: vip,
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: l.mac()}},
		}
		if diff := cmp.Diff(want, m, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("forwarding %s (-want +got):\n%s", forwarding, diff)
		}
		l.expect(On)
	}
}

// checksum adds up a pseudo header, whose length field is still empty, and a message.
func checksum(pseudo, body []byte) uint32 {
	sum := uint32(len(body))
	for _, b := range [][]byte{pseudo, body} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum
}

func TestWorker_AnnouncesByPolicy(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{
		Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64"),
		Announce: Announce{Count: 3, AgainAfter: 400 * time.Millisecond, Every: 300 * time.Millisecond},
	})[0]
	h.Hold(1)
	at := make(map[netip.Addr][]time.Duration)
	var first time.Time
	for range 2 * 8 { // 3, 3, and 2 of the periodic ones
		a, ok := l.hear(patience)
		if !ok {
			t.Fatal("no announcement")
		}
		if first.IsZero() {
			first = a.at
		}
		at[a.addr] = append(at[a.addr], a.at.Sub(first).Round(time.Millisecond))
	}
	h.Release()
	l.expect(On)
	l.expect(Off)
	l.silence()
	if a, ok := l.hear(400 * time.Millisecond); ok {
		t.Errorf("%s is announced after its release", a.addr)
	}
	for a, got := range at {
		// When each may come at the earliest; late is no fault of the policy.
		earliest := []time.Duration{0, 50, 100, 400, 450, 500, 800, 1100}
		if len(got) != len(earliest) {
			t.Errorf("%s was announced at %v, want 8 times", a, got)
			continue
		}
		for i := range got {
			if got[i] < earliest[i]*time.Millisecond-5*time.Millisecond {
				t.Errorf("%s was announced at %v, want not before %v", a, got, earliest)
				break
			}
		}
	}
}
