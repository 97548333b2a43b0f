package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// advert is something that begins like an advertisement.
func advert(vrid byte, rest ...byte) []byte {
	return append([]byte{version3, vrid, 100, 1}, rest...)
}

func TestConn_RoundTrip(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, ib := l.b.open(t, "eth0", ipv6)
		must(t, a.SetKnown(Known{V3: VRIDs{}.With(51)}))
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
		srcA, srcB := sourceOf(t, ia, ipv6), sourceOf(t, ib, ipv6)

		long := advert(51, bytes.Repeat([]byte{7}, 8+255*16-4)...) // in fragments
		middle := advert(51, bytes.Repeat([]byte{8}, head-4+1)...)
		for _, payload := range [][]byte{advert(51, 1), middle, long} {
			a.Send(srcA, Group(ipv6), payload, false)
			a.Send(srcA, srcB, payload, false) // unicast: not for the receive filter
		}
		must(t, a.Flush())
		received, surveyed := collect(t, b, 6)
		var want, wantSurveyed []heard
		for _, payload := range [][]byte{advert(51, 1), middle, long} {
			want = append(want, heard{srcA.String(), Group(ipv6).String(), 255, string(payload)})
			wantSurveyed = append(wantSurveyed, heard{srcA.String(), srcB.String(), 255, string(payload)})
		}
		if diff := cmp.Diff(want, received); diff != "" {
			t.Errorf("received (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(wantSurveyed, surveyed); diff != "" {
			t.Errorf("surveyed (-want +got):\n%s", diff)
		}
		if own := a.Receive(batch); len(own) != 0 {
			t.Errorf("the sender heard itself: %v", own)
		}
		if got := b.Stats(); got.Received != 3 || got.Surveyed != 3 || a.Stats().Sent != 6 {
			t.Errorf("counters: %+v, %+v", a.Stats(), got)
		}
	})
}

// What goes on the wire: TTL, traffic class, addresses, no option.
func TestConn_Wire(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		src := sourceOf(t, ia, ipv6)
		proto := uint16(unix.ETH_P_IP)
		if ipv6 {
			proto = unix.ETH_P_IPV6
		}
		var tap int
		l.b.do(t, func() {
			var err error
			tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(proto<<8|proto>>8))
			must(t, err)
		})
		defer unix.Close(tap)
		a.Send(src, Group(ipv6), advert(51, 1, 2), false)
		must(t, a.Flush())
		var frame []byte
		eventually(t, "the frame", func() bool {
			b := make([]byte, 2000)
			n, err := unix.Read(tap, b)
			frame = b[:max(n, 0)]
			return err == nil && bytes.HasSuffix(frame, advert(51, 1, 2))
		})
		ip := frame[14:]
		if ipv6 {
			if class := ip[0]<<4 | ip[1]>>4; class != 0xc0 || ip[6] != 112 || ip[7] != 255 {
				t.Errorf("header % x: want class c0, next header 112, hop limit 255", ip[:40])
			}
			if !bytes.Equal(frame[:6], []byte{0x33, 0x33, 0, 0, 0, 0x12}) {
				t.Errorf("sent to % x", frame[:6])
			}
			return
		}
		if ip[0] != 0x45 || ip[1] != 0xc0 || ip[8] != 255 || ip[9] != 112 {
			t.Errorf("header % x: want no options, TOS c0, TTL 255, protocol 112", ip[:20])
		}
		if !bytes.Equal(frame[:6], []byte{1, 0, 0x5e, 0, 0, 0x12}) {
			t.Errorf("sent to % x", frame[:6])
		}
	})
}

func TestConn_Filter(t *testing.T) {
	group := map[bool]string{false: "224.0.0.18", true: "ff02::12"}
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		c, i := l.a.open(t, "eth0", ipv6)
		must(t, c.SetKnown(Known{
			V3: VRIDs{}.With(51).With(52), V2: VRIDs{}.With(61),
			UnicastV3: VRIDs{}.With(71), UnicastV2: VRIDs{}.With(81),
		}))
		own := sourceOf(t, i, ipv6).String()
		packet := func(dst string, ttl byte, payload ...byte) []byte {
			if ipv6 {
				return header6(dst, ttl, payload...)
			}
			return packet4(dst, ttl, 0, payload...)
		}
		tests := []struct {
			name   string
			packet []byte
			want   bool // from Receive
		}{
			{"known", packet(group[ipv6], 255, advert(51)...), true},
			{"other known", packet(group[ipv6], 255, advert(52)...), true},
			{"unknown VRID", packet(group[ipv6], 255, advert(53)...), false},
			{"TTL", packet(group[ipv6], 254, advert(51)...), false},
			{"version", packet(group[ipv6], 255, 0x21, 51, 100, 1), false},
			{"type", packet(group[ipv6], 255, 0x32, 51, 100, 1), false},
			{"one byte", packet(group[ipv6], 255, 0x31), false},
			{"unicast", packet(own, 255, advert(51)...), false},
			{"unicast, known", packet(own, 255, advert(71)...), true},
			{"unicast, from afar", packet(own, 5, advert(71)...), true},
			{"multicast, known in unicast", packet(group[ipv6], 255, advert(71)...), false},
			{"version 2, known", packet(group[ipv6], 255, version2, 61, 100, 1), !ipv6},
			{"version 2, unknown", packet(group[ipv6], 255, version2, 51, 100, 1), false},
			{"version 2, unicast, known", packet(own, 64, version2, 81, 100, 1), !ipv6},
			{"version 2, unicast, unknown", packet(own, 64, version2, 71, 100, 1), false},
		}
		if !ipv6 {
			tests = append(tests, []struct {
				name   string
				packet []byte
				want   bool
			}{
				{"router alert", packet4(group[false], 255, 1, advert(51)...), true},
				{"longest header", packet4(group[false], 255, 10, advert(51)...), true},
				{"longest header, unknown", packet4(group[false], 255, 10, advert(50)...), false},
				{"longest header, unicast", packet4(own, 64, 10, advert(71)...), true},
			}...)
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				for _, padding := range []int{0, 30} {
					l.sendPacket(t, tt.packet, padding)
					received, surveyed := collect(t, c, 1)
					got := slices.Concat(received, surveyed)
					if len(got) != 1 || (len(received) == 1) != tt.want {
						t.Fatalf("padding %d: received %v, surveyed %v; want it received: %v", padding, received, surveyed, tt.want)
					}
					header, ttl, dst := 40, tt.packet[7], netip.AddrFrom16([16]byte(append(tt.packet[24:40:40], make([]byte, 16)...)[:16]))
					src := "fe80::10"
					if !ipv6 {
						header, ttl, dst = int(tt.packet[0]&15)*4, tt.packet[8], netip.AddrFrom4([4]byte(tt.packet[16:20]))
						src = "192.0.2.10"
					}
					want := heard{src, dst.String(), ttl, string(tt.packet[header:])}
					if diff := cmp.Diff(want, got[0]); diff != "" {
						t.Errorf("padding %d (-want +got):\n%s", padding, diff)
					}
				}
			})
		}
	})
}

func TestConn_SetKnown(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	send := func() { l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0) }
	steps := []struct {
		known Known
		want  bool
	}{
		{Known{}, false},
		{Known{V3: VRIDs{}.With(51)}, true},
		{Known{V3: VRIDs{}.With(50)}, false},
		{Known{V3: VRIDs{}.With(50).With(51)}, true},
		{Known{V2: VRIDs{}.With(51), UnicastV3: VRIDs{}.With(51)}, false},
		{Known{V3: VRIDs{}.With(51), V2: VRIDs{}.With(51)}, true},
	}
	for n, step := range steps {
		must(t, c.SetKnown(step.known))
		send()
		received, surveyed := collect(t, c, 1)
		if (len(received) == 1) != step.want || len(received)+len(surveyed) != 1 {
			t.Errorf("step %d: received %v, surveyed %v", n, received, surveyed)
		}
	}
}

// While the set changes all the time, nothing known is lost.
func TestConn_SetKnown_LosesNothing(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	const packets = 5000
	done := make(chan struct{})
	go func() {
		defer close(done)
		p := packet4("224.0.0.18", 255, 0, advert(51)...)
		for range packets {
			l.sendPacket(t, p, 0)
		}
	}()
	received, swaps := 0, 0
	eventually(t, "all adverts", func() bool {
		for range 20 {
			must(t, c.SetKnown(Known{V3: VRIDs{}.With(51).With(uint8(swaps))}))
			swaps++
			received += len(c.Receive(batch))
		}
		return received >= packets
	})
	<-done
	if refused := c.Survey(0, surveyBatch); len(refused) != 0 {
		t.Errorf("%d known adverts were refused", len(refused))
	}
	if swaps < 20 || c.Stats().ReceiveOverflow != 0 {
		t.Errorf("%d changes, %+v", swaps, c.Stats())
	}
}

// A packet that arrives on another interface is not ours, also when the other
// interface is in the group.
func TestConn_OtherInterface(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		addPair(t, l.a, "eth1", l.b, "eth1")
		l.a.addAddress(t, "eth1", "10.0.1.1/24")
		c0, _ := l.a.open(t, "eth0", ipv6)
		c1, _ := l.a.open(t, "eth1", ipv6)
		for _, c := range []*Conn{c0, c1} {
			must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
		}
		p := packet4("224.0.0.18", 255, 0, advert(51)...)
		if ipv6 {
			p = header6("ff02::12", 255, advert(51)...)
		}
		l.sendPacket(t, p, 0)
		if received, _ := collect(t, c0, 1); len(received) != 1 {
			t.Errorf("eth0 received %v", received)
		}
		if got := c1.Receive(batch); len(got) != 0 {
			t.Errorf("eth1 received %v", got)
		}
		if got := c1.Survey(0, batch); len(got) != 0 {
			t.Errorf("eth1 surveyed %v", got)
		}
	})
}

// Groups that other programs joined are none of the sockets' business.
func TestConn_OtherGroup(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	for _, group := range []string{"224.0.0.1", "224.0.0.18"} { // every host is in the first one
		l.sendPacket(t, packet4(group, 255, 0, advert(51)...), 0)
	}
	_, surveyed := collect(t, c, 1)
	if len(surveyed) != 1 || surveyed[0].Dst != "224.0.0.18" {
		t.Errorf("surveyed %v", surveyed)
	}
}

func TestConn_SourcePerMessage(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		sources := []string{"10.0.0.1", "10.0.0.7", "10.9.0.1"}
		more := []string{"10.0.0.7/24", "10.9.0.1/16"}
		if ipv6 {
			sources = []string{"fe80::7", "fe80::8", "2001:db8::1"}
			more = []string{"fe80::7/64", "fe80::8/64", "2001:db8::1/64"}
		}
		for _, a := range more {
			l.a.addAddress(t, "eth0", a)
		}
		a, _ := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
		for _, s := range sources {
			a.Send(netip.MustParseAddr(s), Group(ipv6), advert(51), false)
		}
		must(t, a.Flush())
		received, _ := collect(t, b, len(sources))
		var got []string
		for _, p := range received {
			got = append(got, p.Src)
		}
		if diff := cmp.Diff(sources, got); diff != "" {
			t.Errorf("sources (-want +got):\n%s", diff)
		}
	})
}

func TestConn_SourceGone(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		gone, prefix := "10.0.0.7", "10.0.0.7/24"
		if ipv6 {
			gone, prefix = "fe80::7", "fe80::7/64"
		}
		l.a.addAddress(t, "eth0", prefix)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(1).With(2).With(3).With(4)}))
		l.a.delAddress(t, "eth0", prefix)

		good := "10.0.0.1"
		if ipv6 {
			for _, i := range ia.Addresses {
				if i.Prefix.Addr().String() != gone && i.Prefix.Addr().IsLinkLocalUnicast() {
					good = i.Prefix.Addr().String()
				}
			}
		}
		for vrid, src := range map[byte]string{1: good, 2: gone, 3: good, 4: gone} {
			a.Send(netip.MustParseAddr(src), Group(ipv6), advert(vrid), false)
		}
		err := a.Flush()
		var failure *SendError
		if !errors.As(err, &failure) || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENETUNREACH) {
			t.Fatalf("error %v, want a SendError", err)
		}
		if failure.Interface != "eth0" || failure.Source.String() != gone || failure.Refused != 2 {
			t.Errorf("%+v", failure)
		}
		want := fmt.Sprintf("send from %s to %s on eth0: %s (is the interface up, and the source address on it?) (2 messages lost)", gone, Group(ipv6), failure.Err)
		if err.Error() != want {
			t.Errorf("error %q\nwant  %q", err, want)
		}
		if received, _ := collect(t, b, 2); len(received) != 2 {
			t.Errorf("the others did not get through: %v", received)
		}
		if s := a.Stats(); s.SendFailed != 2 || s.Sent != 2 || a.Pending() != 0 {
			t.Errorf("%+v, %d pending", s, a.Pending())
		}
	})
}

func TestConn_InterfaceDown(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		must(t, a.SetKnown(Known{V3: VRIDs{}.With(51)}))
		src := sourceOf(t, ia, ipv6)
		must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
		a.Send(src, Group(ipv6), advert(51), true)
		var failure *SendError
		if err := a.Flush(); !errors.As(err, &failure) || failure.Interface != "eth0" || failure.Source != src {
			t.Errorf("error %v", err)
		}
		a.Announcements(batch) // takes the socket's error
		if got := a.Announcements(batch); len(got) != 0 || a.Stats().ReceiveErrors == 0 {
			t.Errorf("%v, %+v", got, a.Stats())
		}

		// The same sockets go on when it comes up again.
		must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
		eventually(t, "the link", func() bool {
			i := l.a.state(t, "eth0")
			_, ok := i.Source(ipv6, nil)
			return i.Up && ok && l.b.state(t, "eth0").Up
		})
		p, frame := packet4("224.0.0.18", 255, 0, advert(51)...), arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.9")
		if ipv6 {
			p, frame = header6("ff02::12", 255, advert(51)...), naFrame(macB, 0x20, 255, "fe80::9")
		}
		l.sendPacket(t, p, 0)
		if received, _ := collect(t, a, 1); len(received) != 1 {
			t.Errorf("received %v", received)
		}
		l.sendFrame(t, frame)
		eventually(t, "the announcement", func() bool { return len(a.Announcements(batch)) == 1 })
		a.Send(src, Group(ipv6), advert(51), true)
		must(t, a.Flush())
	})
}

// Each socket is reported under its own tag, and after Unwatch none is.
func TestConn_Watch(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	p := newPoller(t)
	const tag = 3 * ReadyTags
	must(t, c.Watch(p, tag))
	all := []uint64{tag + ReadyReceive, tag + ReadySurvey, tag + ReadyAnnouncements}
	send := []func(){
		func() { l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0) },
		func() { l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(52)...), 0) },
		func() { l.sendFrame(t, arpFrame(broadcast, macB, 1, "10.0.0.9", "10.0.0.9")) },
	}
	for n := range all {
		send[n]()
		var ready []uint64
		for deadline := p.Now() + patience; len(ready) <= n && p.Now() < deadline; {
			ready = wait(t, p, deadline)
		}
		slices.Sort(ready)
		if diff := cmp.Diff(all[:n+1], ready); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
	if len(c.Receive(batch)) != 1 || len(c.Survey(0, batch)) != 1 || len(c.Announcements(batch)) != 1 {
		t.Error("what was reported could not be read")
	}
	if ready := wait(t, p, 1); len(ready) != 0 {
		t.Errorf("reported although all is read: %v", ready)
	}
	for _, f := range send {
		f()
	}
	c.Unwatch()
	if ready := wait(t, p, p.Now()+10*time.Millisecond); len(ready) != 0 {
		t.Errorf("reported after Unwatch: %v", ready)
	}
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}
