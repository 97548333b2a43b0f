package link

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// advert is something that begins like an advertisement.
func advert(vrid byte, rest ...byte) []byte {
	return append([]byte{versionType, vrid, 100, 1}, rest...)
}

func TestConn_RoundTrip(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, ib := l.b.open(t, "eth0", ipv6)
		must(t, a.SetVRIDs(VRIDs{}.With(51)))
		must(t, b.SetVRIDs(VRIDs{}.With(51)))
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
		must(t, c.SetVRIDs(VRIDs{}.With(51).With(52)))
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
			{"unicast", packet(sourceOf(t, i, ipv6).String(), 255, advert(51)...), false},
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

func TestConn_SetVRIDs(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	send := func() { l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0) }
	steps := []struct {
		known VRIDs
		want  bool
	}{
		{VRIDs{}, false}, {VRIDs{}.With(51), true}, {VRIDs{}.With(50), false}, {VRIDs{}.With(50).With(51), true},
	}
	for n, step := range steps {
		must(t, c.SetVRIDs(step.known))
		send()
		received, surveyed := collect(t, c, 1)
		if (len(received) == 1) != step.want || len(received)+len(surveyed) != 1 {
			t.Errorf("step %d: received %v, surveyed %v", n, received, surveyed)
		}
	}
}

// While the set changes all the time, nothing known is lost.
func TestConn_SetVRIDs_LosesNothing(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetVRIDs(VRIDs{}.With(51)))
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
			must(t, c.SetVRIDs(VRIDs{}.With(51).With(uint8(swaps))))
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
			must(t, c.SetVRIDs(VRIDs{}.With(51)))
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
		must(t, b.SetVRIDs(VRIDs{}.With(51)))
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
		must(t, b.SetVRIDs(VRIDs{}.With(1).With(2).With(3).With(4)))
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
		must(t, a.SetVRIDs(VRIDs{}.With(51)))
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

// Opened while it is down, it works once it is up.
func TestOpen_InterfaceDown(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
		a := l.a.openState(t, l.a.state(t, "eth0"), ipv6)
		must(t, a.SetVRIDs(VRIDs{}.With(51)))
		must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
		eventually(t, "the link", func() bool { return l.a.state(t, "eth0").Up && l.b.state(t, "eth0").Up })
		p := packet4("224.0.0.18", 255, 0, advert(51)...)
		if ipv6 {
			p = header6("ff02::12", 255, advert(51)...)
		}
		l.sendPacket(t, p, 0)
		if received, _ := collect(t, a, 1); len(received) != 1 {
			t.Errorf("received %v", received)
		}
	})
}

func TestOpen_Errors(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() {
		_, err := Open(Interface{Index: 4711, Name: "eth9"}, false, quiet())
		if err == nil || !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "open eth9 for VRRP over IPv4: receive socket: join 224.0.0.18: ") {
			t.Errorf("missing interface: %v", err)
		}
	})
}

func TestOpen_MissingCapability(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() { // on a thread of its own: capabilities are the thread's
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all, less [2]unix.CapUserData
		must(t, unix.Capget(&header, &all[0]))
		less = all
		less[0].Effective &^= 1 << unix.CAP_NET_RAW
		must(t, unix.Capset(&header, &less[0]))
		_, err := Open(Interface{Index: 1, Name: "lo"}, true, quiet())
		if back := unix.Capset(&header, &all[0]); back != nil {
			panic("cannot take the capability back: " + back.Error())
		}
		want := "open lo for VRRP over IPv6: receive socket: open a raw socket: the capability CAP_NET_RAW is missing: operation not permitted"
		if err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	})
}

// A raw socket takes packets of every interface until it is bound. None of them
// may come out of a Conn.
func TestOpen_TakesNothingElse(t *testing.T) {
	l := newLAN(t)
	addPair(t, l.a, "eth1", l.b, "eth1")
	l.a.addAddress(t, "eth1", "10.0.1.1/24")
	other, i := l.a.open(t, "eth1", false)
	var done atomic.Bool
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for !done.Load() {
			l.sendPacket(t, packet4("10.0.0.1", 255, 0, advert(51)...), 0)
			l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
		}
	}()
	defer func() { done.Store(true); <-flooded }()
	// The flood is on eth0, where nobody listens but this one:
	witness, _ := l.a.open(t, "eth0", false)
	must(t, witness.SetVRIDs(VRIDs{}.With(51)))
	other.Close()
	for range 200 {
		c := l.a.openState(t, i, false)
		if got := slices.Concat(keep(c.Receive(batch)), keep(c.Survey(0, batch))); len(got) != 0 {
			t.Fatalf("eth1 yields %v", got)
		}
		must(t, c.Close())
	}
	if len(witness.Receive(batch)) == 0 {
		t.Error("there was no flood")
	}
}

// Nothing is left open by an Open that failed.
func TestOpen_ClosesOnFailure(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() {
		count := func() int {
			entries, err := os.ReadDir("/proc/self/fd")
			must(t, err)
			return len(entries)
		}
		before := count()
		for range 20 {
			if _, err := Open(Interface{Index: 4711, Name: "eth9"}, true, quiet()); err == nil {
				t.Fatal("no error")
			}
		}
		if after := count(); after > before+5 {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

// 255 virtual routers on one link: a burst of adverts arrives whole and in order.
func TestConn_Burst(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		all := VRIDs{}
		for vrid := range 255 {
			all = all.With(uint8(vrid + 1))
			a.Send(sourceOf(t, ia, ipv6), Group(ipv6), advert(uint8(vrid+1)), false)
		}
		must(t, b.SetVRIDs(all))
		must(t, a.Flush())
		received, _ := collect(t, b, 255)
		for n, p := range received {
			if p.Payload != string(advert(uint8(n+1))) {
				t.Fatalf("place %d: %q", n, p.Payload)
			}
		}
		if len(received) != 255 {
			t.Errorf("%d received", len(received))
		}
	})
}

// One socket may join a group on 20 interfaces only; a Conn has its own.
func TestConn_ThirtyInterfaces(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		a, b := newNamespace(t), newNamespace(t)
		const interfaces = 30
		var conns []*Conn
		for n := range interfaces {
			name := fmt.Sprintf("eth%d", n)
			addPair(t, a, name, b, name)
			a.addAddress(t, name, fmt.Sprintf("10.0.%d.1/24", n))
			b.addAddress(t, name, fmt.Sprintf("10.0.%d.2/24", n))
		}
		for n := range interfaces {
			name := fmt.Sprintf("eth%d", n)
			c, _ := a.open(t, name, ipv6)
			must(t, c.SetVRIDs(VRIDs{}.With(uint8(n+1))))
			conns = append(conns, c)
		}
		for n := range interfaces {
			s, i := b.open(t, fmt.Sprintf("eth%d", n), ipv6)
			s.Send(sourceOf(t, i, ipv6), Group(ipv6), advert(uint8(n+1)), false)
			must(t, s.Flush())
		}
		for n, c := range conns {
			received, surveyed := collect(t, c, 1)
			if len(received) != 1 || len(surveyed) != 0 || received[0].Payload != string(advert(uint8(n+1))) {
				t.Errorf("eth%d: received %v, surveyed %v", n, received, surveyed)
			}
		}
	})
}

func TestConn_Announcements(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		c, i := l.a.open(t, "eth0", ipv6)
		own := [6]byte(i.MAC)
		claim := func(src [6]byte, n int) []byte {
			if ipv6 {
				return naFrame(src, 0x20, 255, fmt.Sprintf("fe80::%x", n), 2, 1, src[0], src[1], src[2], src[3], src[4], src[5])
			}
			return arpFrame(broadcast, src, 1, fmt.Sprintf("10.0.0.%d", n), fmt.Sprintf("10.0.0.%d", n))
		}
		other := naFrame(macB, 0x60, 255, "fe80::66") // solicited
		if !ipv6 {
			other = arpFrame(broadcast, macB, 1, "10.0.0.2", "10.0.0.1")
		}
		l.sendFrame(t, other)
		l.sendFrame(t, claim(own, 5))
		onBehalf := claim(own, 5) // its sender's Ethernet address is another one
		copy(onBehalf[6:12], macB[:])
		l.sendFrame(t, onBehalf)
		onBehalf = claim(macB, 5)
		copy(onBehalf[6:12], own[:])
		l.sendFrame(t, onBehalf)
		l.a.do(t, func() { // what this host sends itself
			tap := openTap(t, i.Index)
			defer unix.Close(tap)
			_, err := unix.Write(tap, claim(macB, 5))
			must(t, err)
		})
		l.sendFrame(t, claim(macB, 6))
		l.sendFrame(t, claim(macA, 7))
		var got []Announcement
		eventually(t, "announcements", func() bool {
			got = append(got, c.Announcements(batch)...)
			return len(got) >= 2
		})
		want := []Announcement{{netip.MustParseAddr("10.0.0.6"), macB}, {netip.MustParseAddr("10.0.0.7"), macA}}
		if ipv6 {
			want = []Announcement{{netip.MustParseAddr("fe80::6"), macB}, {netip.MustParseAddr("fe80::7"), macA}}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if s := c.Stats(); s.Announcements != 2 || s.AnnouncementsOwn != 3 {
			t.Errorf("%+v", s)
		}

		// Turned off, nothing comes, and nothing waits for the time after.
		l.sendFrame(t, claim(macB, 8))
		eventually(t, "a waiting announcement", func() bool {
			_, _, err := unix.Recvfrom(c.frames.fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return err == nil
		})
		must(t, c.SetAnnouncements(false))
		l.sendFrame(t, claim(macB, 8))
		must(t, c.SetAnnouncements(true))
		l.sendFrame(t, claim(macB, 9))
		eventually(t, "the announcement", func() bool { got = append(got, c.Announcements(batch)...); return len(got) >= 3 })
		if last := got[len(got)-1]; len(got) != 3 || last.Address != netip.MustParseAddr(map[bool]string{false: "10.0.0.9", true: "fe80::9"}[ipv6]) {
			t.Errorf("%v", got)
		}

		// A successor's whole list, at once, read in bounded turns.
		for n := range 250 {
			l.sendFrame(t, claim(macB, n+1))
		}
		total := 0
		eventually(t, "250 announcements", func() bool {
			n := len(c.Announcements(10))
			if n > 10 {
				t.Fatalf("%d in one turn", n)
			}
			total += n
			return total >= 250
		})
	})
}

func TestConn_KernelDrops(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetVRIDs(VRIDs{}.With(51)))
	must(t, unix.SetsockoptInt(c.receive.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10))
	const packets = 1000
	for range packets {
		l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	}
	received := uint64(0)
	eventually(t, "every packet to be accounted for", func() bool {
		received += uint64(len(c.Receive(batch)))
		return received+c.Stats().ReceiveOverflow == packets
	})
	if received == packets || received == 0 {
		t.Errorf("%d of %d received: the test overflowed nothing, or all", received, packets)
	}
}

// The large buffer holds what a stopped process would miss.
func TestConn_LargeBuffer(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	must(t, c.SetVRIDs(VRIDs{}.With(51)))
	const packets = 5000
	for range packets {
		l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	}
	received := 0
	eventually(t, "all adverts", func() bool { received += len(c.Receive(batch)); return received == packets })
	if s := c.Stats(); s.ReceiveOverflow != 0 {
		t.Errorf("%+v", s)
	}
}

func TestConn_Truncated(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, i := l.a.open(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetVRIDs(VRIDs{}.With(51)))
		src := sourceOf(t, i, ipv6)
		a.Send(src, Group(ipv6), advert(51, make([]byte, longestAdvert)...), false)
		a.Send(src, Group(ipv6), advert(51, 1), false)
		must(t, a.Flush())
		received, _ := collect(t, b, 1)
		if len(received) != 1 || received[0].Payload != string(advert(51, 1)) || b.Stats().ReceiveTruncated != 1 {
			t.Errorf("received %d, %+v", len(received), b.Stats())
		}
	})
}

func TestConn_SurveyRate(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	p, err := NewPoller()
	must(t, err)
	defer p.Close()
	must(t, c.Watch(p, 8))

	const seconds = 10
	flood := func() { // 1000 packets a second, ten times what is read
		for range 10 {
			l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
		}
	}
	read, turns, wakes := 0, 0, 0
	for now := time.Duration(0); now < seconds*time.Second; now += 10 * time.Millisecond {
		flood()
		turns++
		until, paused := c.SurveyPaused()
		ready, err := p.Wait(1, nil) // does not sleep
		must(t, err)
		if paused && slices.Contains(ready, 8+ReadySurvey) {
			t.Fatalf("at %s: reported although paused until %s", now, until)
		}
		if slices.Contains(ready, 8+ReadySurvey) || paused && now >= until {
			wakes++
			for {
				n := len(c.Survey(now, surveyBatch))
				read += n
				if n == 0 {
					break
				}
			}
		}
	}
	if limit := surveyBurst + seconds*surveyRate; read > limit || read < limit*8/10 {
		t.Errorf("%d read in %d s, want at most %d and not much less", read, seconds, limit)
	}
	if wakes > 10*seconds {
		t.Errorf("woken %d times in %d s", wakes, seconds)
	}
	s := c.Stats()
	if s.SurveyPauses == 0 || s.Surveyed != uint64(read) || s.SurveyOverflow == 0 {
		t.Errorf("%+v", s)
	}
	if waiting := uint64(turns*10) - s.Surveyed - s.SurveyOverflow; waiting > 200 {
		t.Errorf("%d packets neither read nor counted as dropped: the survey's buffer is not small", waiting)
	}
	if len(c.Receive(batch)) != 0 {
		t.Error("refused packets were received")
	}

	// Quiet again: it comes back by itself.
	for now := (seconds + 1) * time.Second; ; now += time.Second {
		if len(c.Survey(now, surveyBatch)) == 0 {
			break
		}
	}
	flood()
	eventually(t, "the survey to be reported", func() bool {
		ready, err := p.Wait(1, nil)
		must(t, err)
		return slices.Contains(ready, 8+ReadySurvey)
	})
}
