package link

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMAC_Virtual(t *testing.T) {
	tests := []struct {
		mac  MAC
		want bool
	}{
		{MAC{0, 0, 0x5e, 0, 1, 1}, true},
		{MAC{0, 0, 0x5e, 0, 1, 255}, true},
		{MAC{0, 0, 0x5e, 0, 2, 51}, true},
		{MAC{0, 0, 0x5e, 0, 1, 0}, false}, // no VRID
		{MAC{0, 0, 0x5e, 0, 3, 51}, false},
		{MAC{0, 0, 0x5e, 1, 1, 51}, false},
		{MAC{1, 0, 0x5e, 0, 1, 51}, false},
		{macA, false},
		{MAC{}, false},
	}
	for _, tt := range tests {
		if got := tt.mac.Virtual(); got != tt.want {
			t.Errorf("%x: %v", tt.mac, got)
		}
	}
	want := []MAC{{0, 0, 0x5e, 0, 1, 51}, {0, 0, 0x5e, 0, 2, 51}}
	if diff := cmp.Diff(want, []MAC{VirtualMAC(51, false), VirtualMAC(51, true)}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// openVirtual is open for a Conn that sends from virtual MACs too.
func (n *namespace) openVirtual(t testing.TB, name string, ipv6 bool) (*Conn, Interface) {
	t.Helper()
	c, i := n.open(t, name, ipv6)
	n.do(t, func() { must(t, c.EnableVirtualMAC()) })
	return c, i
}

// sniff opens a socket that sees every incoming frame of a family, in the
// namespace.
func (n *namespace) sniff(t testing.TB, ipv6 bool) int {
	t.Helper()
	proto := uint16(unix.ETH_P_IP)
	if ipv6 {
		proto = unix.ETH_P_IPV6
	}
	tap := -1
	n.do(t, func() {
		var err error
		tap, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(proto<<8|proto>>8))
		must(t, err)
	})
	t.Cleanup(func() { unix.Close(tap) })
	return tap
}

// nextAdvert is the next VRRP frame that a sniffer sees.
func nextAdvert(t testing.TB, tap int, ipv6 bool) []byte {
	t.Helper()
	at := 14 + 9
	if ipv6 {
		at = 14 + 6
	}
	var frame []byte
	eventually(t, "a VRRP frame", func() bool {
		b := make([]byte, 2000)
		n, err := unix.Read(tap, b)
		frame = b[:max(n, 0)]
		return err == nil && n > at && frame[at] == protocol
	})
	return frame
}

// A frame from a virtual MAC differs from what the kernel itself would have sent
// in nothing that matters but the Ethernet source.
func TestSendFrom_Wire(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.openVirtual(t, "eth0", ipv6)
		src := sourceOf(t, ia, ipv6)
		tap := l.b.sniff(t, ipv6)
		ids := map[[2]byte]bool{}
		for _, rest := range []string{"1", "12", "a longer one, such as a list of addresses makes it; longer than the usual"} {
			payload := advert(51, []byte(rest)...)
			a.Send(src, Group(ipv6), payload, false)
			a.SendFrom(VirtualMAC(51, ipv6), src, Group(ipv6), payload, false)
			must(t, a.Flush())
			want, got := nextAdvert(t, tap, ipv6), nextAdvert(t, tap, ipv6)
			mac := VirtualMAC(51, ipv6)
			copy(want[6:12], mac[:])
			if ipv6 { // the kernel's flow label is a number of its own making
				want[15], want[16], want[17] = want[15]&0xf0, 0, 0
			} else { // and so is the identification, which is in the checksum
				if sum := checksum(got[14:34]); sum != 0 {
					t.Errorf("wrong header checksum: % x", got[14:34])
				}
				if id := [2]byte(got[18:20]); ids[id] {
					t.Errorf("identification % x twice", id)
				} else {
					ids[id] = true
				}
				copy(want[18:20], got[18:20])
				copy(want[24:26], got[24:26])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-kernel's +ours):\n%s", diff)
			}
		}
	})
}

// Both ways of sending share one queue: what was queued first arrives first, each
// from the MAC address that was asked for.
func TestSendFrom_Order(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.openVirtual(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		src := sourceOf(t, ia, ipv6)
		tap := l.b.sniff(t, ipv6)
		all := VRIDs{}
		macs := make([]MAC, 255)
		for vrid := range 255 {
			all = all.With(uint8(vrid + 1))
			payload := advert(uint8(vrid + 1))
			macs[vrid] = MAC(ia.MAC)
			if vrid%3 == 0 || vrid > 100 && vrid < 200 {
				macs[vrid] = VirtualMAC(uint8(vrid+1), ipv6)
				a.SendFrom(macs[vrid], src, Group(ipv6), payload, vrid%5 == 0)
			} else {
				a.Send(src, Group(ipv6), payload, vrid%5 == 0)
			}
		}
		must(t, b.SetKnown(Known{V3: all}))
		must(t, a.Flush())
		received, _ := collect(t, b, 255)
		for n, p := range received {
			want := heard{src.String(), Group(ipv6).String(), 255, string(advert(uint8(n + 1)))}
			if p != want {
				t.Fatalf("place %d: %+v, want %+v", n, p, want)
			}
			if from := MAC(nextAdvert(t, tap, ipv6)[6:12]); from != macs[n] {
				t.Fatalf("place %d: from %x, want %x", n, from, macs[n])
			}
		}
		if s := a.Stats(); s.Sent != 255 || s.SendFailed != 0 || a.Pending() != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSendFrom_Refused(t *testing.T) {
	l := newLAN(t)
	a, ia := l.a.open(t, "eth0", false)
	src, mac := sourceOf(t, ia, false), VirtualMAC(51, false)
	a.SendFrom(mac, src, Group(false), advert(51), false) // not enabled
	l.a.do(t, func() {
		must(t, a.EnableVirtualMAC())
		first := a.virtual.fd
		must(t, a.EnableVirtualMAC())
		if a.virtual.fd != first {
			t.Error("opened twice")
		}
	})
	a.SendFrom(mac, src, netip.MustParseAddr("10.0.0.2"), advert(51), false)
	a.SendFrom(mac, src, netip.MustParseAddr("224.0.0.1"), advert(51), false)
	a.SendFrom(mac, src, Group(true), advert(51), false)
	a.SendFrom(mac, netip.MustParseAddr("fe80::1"), Group(false), advert(51), false)
	a.SendFrom(mac, netip.Addr{}, Group(false), advert(51), false)
	a.SendFrom(mac, src, Group(false), nil, false)
	if s := a.Stats(); s.SendFailed != 7 || a.Pending() != 0 {
		t.Errorf("%+v, %d pending", s, a.Pending())
	}
}

func TestEnableVirtualMAC_NoEthernet(t *testing.T) {
	l := newLAN(t)
	i := l.a.state(t, "eth0")
	i.MAC = nil
	c := l.a.openState(t, i, false)
	want := "open eth0 for VRRP from a virtual MAC over IPv4: the interface is no Ethernet"
	l.a.do(t, func() {
		if err := c.EnableVirtualMAC(); err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	})
}

func TestClose_VirtualMAC(t *testing.T) {
	l := newLAN(t)
	i := l.a.state(t, "eth0")
	l.a.do(t, func() {
		count := func() int {
			entries, err := os.ReadDir("/proc/self/fd")
			must(t, err)
			return len(entries)
		}
		before := count()
		for range 20 {
			c, err := Open(i, false, quiet())
			must(t, err)
			must(t, c.EnableVirtualMAC())
			must(t, errors.Join(c.Close(), c.Close()))
		}
		if after := count(); after > before+5 {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}

// Longer than the MTU: refused and said, and the others go out.
func TestSendFrom_TooLong(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.openVirtual(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
		src, mac := sourceOf(t, ia, ipv6), VirtualMAC(51, ipv6)
		header := ipv4Header
		if ipv6 {
			header = ipv6Header
		}
		longest := advert(51, make([]byte, 1500-header-4)...)
		a.SendFrom(mac, src, Group(ipv6), longest, false)
		a.SendFrom(mac, src, Group(ipv6), append(longest, 0), false)
		a.SendFrom(mac, src, Group(ipv6), make([]byte, 70000), false)
		a.SendFrom(mac, src, Group(ipv6), advert(51), false)
		err := a.Flush()
		want := "send from " + src.String() + " to " + Group(ipv6).String() + " on eth0: message too long" +
			" (longer than the MTU: only what does not come from a virtual MAC goes in fragments) (2 messages lost)"
		var failure *SendError
		if !errors.As(err, &failure) || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
		received, _ := collect(t, b, 2)
		if len(received) != 2 || received[0].Payload != string(longest) || received[1].Payload != string(advert(51)) {
			t.Errorf("received %v", received)
		}
		if s := a.Stats(); s.Sent != 2 || s.SendFailed != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// As on the other path: lost and said while the interface is down, sent by the
// same socket once it is up.
func TestSendFrom_InterfaceDown(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.openVirtual(t, "eth0", ipv6)
		b, _ := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
		src, mac := sourceOf(t, ia, ipv6), VirtualMAC(51, ipv6)
		must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
		a.SendFrom(mac, src, Group(ipv6), advert(51), true)
		a.SendFrom(mac, src, Group(ipv6), advert(51), true)
		want := "send from " + src.String() + " to " + Group(ipv6).String() + " on eth0: network is down (is the interface up?) (2 messages lost)"
		if err := a.Flush(); err == nil || err.Error() != want || a.Pending() != 0 {
			t.Errorf("error %v\nwant  %s", err, want)
		}
		must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
		eventually(t, "the link", func() bool { return l.a.ready(t) && l.b.ready(t) })
		a.SendFrom(mac, src, Group(ipv6), advert(51), true)
		must(t, a.Flush())
		if received, _ := collect(t, b, 1); len(received) != 1 {
			t.Errorf("received %v", received)
		}
	})
}

// What the packet socket has no room for waits, and what was queued after it
// waits behind it.
func TestSendFrom_NoRoom(t *testing.T) {
	l := newLAN(t)
	a, ia := l.a.openVirtual(t, "eth0", false)
	b, _ := l.b.open(t, "eth0", false)
	must(t, b.SetKnown(Known{V3: VRIDs{}.With(2)}))
	// A veth pair takes everything at once. A pair of local sockets does not.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	must(t, unix.Close(a.virtual.fd))
	a.virtual.fd = pair[0]
	defer unix.Close(pair[1])

	src := sourceOf(t, ia, false)
	const frames = 500
	var got []byte
	read := func() {
		for {
			frame := make([]byte, 200)
			n, err := unix.Read(pair[1], frame)
			if err != nil {
				return
			}
			got = append(got, frame[n-1])
		}
	}
	var want []byte
	sent := 0
	for a.Stats().SendDeferred == 0 && sent < frames {
		for range 8 {
			a.SendFrom(VirtualMAC(1, false), src, Group(false), advert(1, byte(sent)), false)
			want = append(want, byte(sent))
			sent++
		}
		must(t, a.Flush())
	}
	waiting := a.Pending()
	if s := a.Stats(); s.SendDeferred != 1 || waiting == 0 || s.Sent != uint64(sent-waiting) {
		t.Fatalf("%+v, %d of %d pending", s, waiting, sent)
	}
	a.Send(src, Group(false), advert(2), true)
	must(t, a.Flush())
	if s := a.Stats(); s.SendDeferred != 2 || a.Pending() != waiting+1 || len(b.Receive(batch)) != 0 {
		t.Fatalf("%+v, %d pending: the last one overtook", s, a.Pending())
	}
	for range 100 {
		read()
		must(t, a.Flush())
	}
	read()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	if received, _ := collect(t, b, 1); len(received) != 1 || a.Pending() != 0 {
		t.Errorf("received %v, %d pending", received, a.Pending())
	}
}

// addMacvlan puts a macvlan with the virtual MAC of VRID 51 on eth0.
func (n *namespace) addMacvlan(t testing.TB, mode netlink.MacvlanMode, ipv6, up bool) {
	t.Helper()
	mac := VirtualMAC(51, ipv6)
	must(t, n.LinkAdd(&netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{
			Name: "vrrp51", ParentIndex: n.link(t, "eth0").Attrs().Index, HardwareAddr: net.HardwareAddr(mac[:]),
		},
		Mode: mode,
	}))
	if up {
		must(t, n.LinkSetUp(n.link(t, "vrrp51")))
	}
}

// Both hosts have the virtual MAC on a macvlan, as two nodes of one virtual router
// do. In bridge mode, and also while the macvlan is down, the parent hears the
// peer that speaks from that very MAC, and nobody hears himself. In private mode
// an own macvlan that is up takes the peer's frames away from the parent.
func TestSendFrom_Macvlan(t *testing.T) {
	tests := []struct {
		name  string
		mode  netlink.MacvlanMode
		up    bool
		hears bool
	}{
		{"bridge, up", netlink.MACVLAN_MODE_BRIDGE, true, true},
		{"bridge, down", netlink.MACVLAN_MODE_BRIDGE, false, true},
		{"private, up", netlink.MACVLAN_MODE_PRIVATE, true, false},
		{"private, down", netlink.MACVLAN_MODE_PRIVATE, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			families(t, func(t *testing.T, ipv6 bool) {
				l := newLAN(t)
				l.a.addMacvlan(t, tt.mode, ipv6, tt.up)
				l.b.addMacvlan(t, netlink.MACVLAN_MODE_BRIDGE, ipv6, true)
				a, ia := l.a.openVirtual(t, "eth0", ipv6)
				b, ib := l.b.openVirtual(t, "eth0", ipv6)
				must(t, a.SetKnown(Known{V3: VRIDs{}.With(51).With(52)}))
				must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
				mac := VirtualMAC(51, ipv6)

				// The last one is from another MAC, and so is heard in any mode: after
				// it nothing is on its way any more.
				srcA, srcB := sourceOf(t, ia, ipv6), sourceOf(t, ib, ipv6)
				b.SendFrom(mac, srcB, Group(ipv6), advert(51), false)
				b.Send(srcB, Group(ipv6), advert(52), false)
				must(t, b.Flush())
				a.SendFrom(mac, srcA, Group(ipv6), advert(51), false)
				must(t, a.Flush())

				var want []heard
				if tt.hears {
					want = append(want, heard{srcB.String(), Group(ipv6).String(), 255, string(advert(51))})
				}
				want = append(want, heard{srcB.String(), Group(ipv6).String(), 255, string(advert(52))})
				received, surveyed := collect(t, a, len(want))
				if diff := cmp.Diff(want, received); diff != "" || len(surveyed) != 0 {
					t.Errorf("a surveyed %v, received (-want +got):\n%s", surveyed, diff)
				}
				want = []heard{{srcA.String(), Group(ipv6).String(), 255, string(advert(51))}}
				received, surveyed = collect(t, b, 1)
				if diff := cmp.Diff(want, received); diff != "" || len(surveyed) != 0 {
					t.Errorf("b surveyed %v, received (-want +got):\n%s", surveyed, diff)
				}
				for _, c := range []*Conn{a, b} {
					if own := slices.Concat(keep(c.Receive(batch)), keep(c.Survey(0, surveyBatch))); len(own) != 0 {
						t.Errorf("heard more than the peer: %v", own)
					}
				}
			})
		})
	}
}

// The peer's claim comes from the virtual MAC that our own macvlan has too. It is
// an announcement; what our macvlan sends is none.
func TestConn_Announcements_Macvlan(t *testing.T) {
	for _, up := range []bool{true, false} {
		t.Run(map[bool]string{true: "up", false: "down"}[up], func(t *testing.T) {
			families(t, func(t *testing.T, ipv6 bool) {
				l := newLAN(t)
				l.a.addMacvlan(t, netlink.MACVLAN_MODE_BRIDGE, ipv6, up)
				l.b.addMacvlan(t, netlink.MACVLAN_MODE_BRIDGE, ipv6, true)
				c, _ := l.a.open(t, "eth0", ipv6)
				mac := VirtualMAC(51, ipv6)
				claim := func(mac MAC, n string) []byte {
					if ipv6 {
						return naFrame(mac, 0x20, 255, "fe80::"+n, append([]byte{2, 1}, mac[:]...)...)
					}
					return arpFrame(broadcast, mac, 1, "10.0.0."+n, "10.0.0."+n)
				}
				send := func(n *namespace, frame []byte) {
					n.do(t, func() {
						tap := openTap(t, n.link(t, "vrrp51").Attrs().Index)
						defer unix.Close(tap)
						_, err := unix.Write(tap, frame)
						must(t, err)
					})
				}
				if up {
					send(l.a, claim(mac, "5"))
				}
				send(l.b, claim(mac, "6"))
				l.sendFrame(t, claim(macB, "7"))
				var got []Announcement
				eventually(t, "announcements", func() bool {
					got = append(got, c.Announcements(batch)...)
					return len(got) >= 2
				})
				want := []Announcement{{netip.MustParseAddr("10.0.0.6"), mac}, {netip.MustParseAddr("10.0.0.7"), macB}}
				if ipv6 {
					want = []Announcement{{netip.MustParseAddr("fe80::6"), mac}, {netip.MustParseAddr("fe80::7"), macB}}
				}
				if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if s := c.Stats(); s.AnnouncementsOwn != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

// A macvlan is an interface like others to the Monitor: its MAC, its own state and
// that of its parent.
func TestMonitor_Macvlan(t *testing.T) {
	l := newLAN(t)
	w := watch(t, l.a.monitor(t))
	l.a.addMacvlan(t, netlink.MACVLAN_MODE_BRIDGE, false, false)
	mac := VirtualMAC(51, false)
	w.until(t, "a macvlan that is down", on("vrrp51", func(i Interface) bool {
		return !i.Up && !i.AdminUp && MAC(i.MAC) == mac && !i.Loopback
	}))
	must(t, l.a.LinkSetUp(l.a.link(t, "vrrp51")))
	l.a.addAddress(t, "vrrp51", "10.0.0.9/32")
	w.until(t, "a macvlan that is up", on("vrrp51", func(i Interface) bool {
		return i.Up && i.AdminUp && i.Carrier && hasAddress("10.0.0.9/32")(i)
	}))
	must(t, l.b.LinkSetDown(l.b.link(t, "eth0"))) // takes the parent's carrier
	w.until(t, "a macvlan without carrier", on("vrrp51", func(i Interface) bool { return !i.Up && i.AdminUp && !i.Carrier }))
	must(t, l.b.LinkSetUp(l.b.link(t, "eth0")))
	w.until(t, "a macvlan with carrier", on("vrrp51", func(i Interface) bool { return i.Up }))
	must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
	w.until(t, "a macvlan whose parent is down", on("vrrp51", func(i Interface) bool { return !i.Up }))
	must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
	w.until(t, "a macvlan whose parent is up", on("vrrp51", func(i Interface) bool { return i.Up }))
	must(t, l.a.LinkDel(l.a.link(t, "vrrp51")))
	table := w.until(t, "no macvlan", func(table *Table) bool { _, ok := table.ByName("vrrp51"); return !ok })
	if i, ok := table.ByName("eth0"); !ok || !i.Up {
		t.Errorf("parent: %+v", i)
	}
}
