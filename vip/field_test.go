package vip

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// cable joins two hosts by an interface each, both up, and returns when both
// have a carrier.
func cable(a *lab, nameA string, b *lab, nameB string) {
	a.t.Helper()
	a.check(a.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(b.ns.Fd())}))
	a.check(a.kernel.LinkSetUp(a.link(nameA)))
	b.check(b.kernel.LinkSetUp(b.link(nameB)))
	for _, e := range []struct {
		l    *lab
		name string
	}{{a, nameA}, {b, nameB}} {
		e.l.until("carrier", func() bool { return e.l.link(e.name).Attrs().RawFlags&unix.IFF_RUNNING != 0 })
	}
}

// put puts addresses on an interface.
func (l *lab) put(name string, prefixes ...string) {
	l.t.Helper()
	for _, p := range prefixes {
		a, err := netlink.ParseAddr(p)
		l.check(err)
		l.check(l.kernel.AddrAdd(l.link(name), a))
	}
}

// neighbour returns the MAC address by which the host knows a neighbour.
func (l *lab) neighbour(name, addr string) string {
	l.t.Helper()
	list, err := l.kernel.NeighList(l.link(name).Attrs().Index, unix.AF_UNSPEC)
	l.check(err)
	for _, n := range list {
		if n.IP.String() == addr {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

// pings reports whether an address answers one of a few echo requests from the
// host, whose kernel first asks for it anew.
func (l *lab) pings(addr string, tries int) bool {
	l.t.Helper()
	ip := netip.MustParseAddr(addr)
	list, err := l.kernel.NeighList(0, unix.AF_UNSPEC)
	l.check(err)
	for _, n := range list {
		if n.IP.String() == addr {
			_ = l.kernel.NeighDel(&n)
		}
	}
	answered := false
	l.within(func() {
		network, payload := "ip4:icmp", []byte{8, 0, 0, 0, 0, 1, 0, 1}
		if ip.Is6() {
			network, payload = "ip6:ipv6-icmp", []byte{128, 0, 0, 0, 0, 1, 0, 1}
		} else {
			payload[2], payload[3] = 0xf7, 0xfd
		}
		c, err := net.Dial(network, addr)
		l.check(err)
		defer c.Close()
		b := make([]byte, 1500)
		for range tries {
			_, _ = c.Write(payload)
			l.check(c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)))
			for {
				n, err := c.Read(b)
				if err != nil {
					break
				}
				p := b[:n]
				if ip.Is4() && n > 20 && p[0]>>4 == 4 {
					p = p[20:]
				}
				if p[0] == 0 || p[0] == 129 { // echo reply
					answered = true
					return
				}
			}
		}
	})
	return answered
}

// macsAnswering sends an ARP request or a neighbour solicitation for an address
// from an interface, and returns from which MAC addresses it was answered, and
// for which.
func (l *lab) macsAnswering(name, from, addr string, wait time.Duration) []string {
	l.t.Helper()
	own := l.link(name).Attrs()
	var out []string
	l.within(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		l.check(err)
		defer unix.Close(fd)
		l.check(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: own.Index}))
		l.check(unix.Sendto(fd, question(netip.MustParseAddr(from), netip.MustParseAddr(addr), own.HardwareAddr), 0, &unix.SockaddrLinklayer{Ifindex: own.Index}))
		b := make([]byte, 2048)
		for end := time.Now().Add(wait); time.Now().Before(end); {
			n, sa, err := unix.Recvfrom(fd, b, 0)
			if err != nil {
				_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10)
				continue
			}
			if sa.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING || announcedBy(b[:n]) != netip.MustParseAddr(addr) {
				continue
			}
			told := b[22:28] // ARP: sender hardware address
			if b[12] == 0x86 {
				told = b[80:86] // the target link-layer address option
			}
			out = append(out, fmt.Sprintf("%s says %s", net.HardwareAddr(b[6:12]), net.HardwareAddr(told)))
		}
	})
	return out
}

// question is a broadcast ARP request, or a multicast neighbour solicitation.
func question(from, addr netip.Addr, mac net.HardwareAddr) []byte {
	if addr.Is4() {
		b := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac...)
		b = append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		b = append(append(b, mac...), from.AsSlice()...)
		return append(append(b, 0, 0, 0, 0, 0, 0), addr.AsSlice()...)
	}
	a, f := addr.As16(), from.As16()
	group := netip.MustParseAddr("ff02::1:ff00:0").As16()
	copy(group[13:], a[13:])
	icmp := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, a[:]...)
	icmp = append(append(icmp, 1, 1), mac...)
	sum := uint32(len(icmp)) + unix.IPPROTO_ICMPV6
	for _, p := range [][]byte{f[:], group[:], icmp} {
		for i := 0; i < len(p); i += 2 {
			sum += uint32(p[i])<<8 | uint32(p[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	icmp[2], icmp[3] = byte(^sum>>8), byte(^sum)
	b := append([]byte{0x33, 0x33}, group[12:]...)
	b = append(append(b, mac...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255)
	return append(append(append(b, f[:]...), group[:]...), icmp...)
}

// TestMacvlan_AnswersFromItOnly has a client ask for virtual and real addresses.
func TestMacvlan_AnswersFromItOnly(t *testing.T) {
	for _, filter := range []string{"0", "1"} {
		t.Run("rp_filter "+filter, func(t *testing.T) {
			l, client := newHost(t), newHost(t)
			l.sysctl("ipv4/conf/all/rp_filter", filter)
			cable(l, "left", client, "wire")
			l.put("left", "10.0.0.1/24", "2001:db8::1/64")
			client.put("wire", "10.0.0.9/24", "2001:db8::9/64")
			h := l.start(virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64"))[0]
			h.Hold(1)
			l.expect(On)
			physical, mac := l.mac().String(), net.HardwareAddr(virtual[:]).String()
			for _, c := range []struct{ addr, from, mac string }{
				{"10.0.0.100", "10.0.0.9", mac},
				{"2001:db8::100", "2001:db8::9", mac},
				{"10.0.0.1", "10.0.0.9", physical},
				{"2001:db8::1", "2001:db8::9", physical},
			} {
				want := []string{c.mac + " says " + c.mac}
				if diff := cmp.Diff(want, client.macsAnswering("wire", c.from, c.addr, 300*time.Millisecond)); diff != "" {
					t.Errorf("%s is answered (-want +got):\n%s", c.addr, diff)
				}
				if !client.pings(c.addr, 3) {
					t.Errorf("%s does not answer a ping", c.addr)
				}
				if got := client.neighbour("wire", c.addr); got != c.mac {
					t.Errorf("the client knows %s at %s, want %s", c.addr, got, c.mac)
				}
			}
			// The host's own questions carry its own address and MAC, never the one with the other's.
			if !l.pings("10.0.0.9", 3) || !l.pings("2001:db8::9", 3) {
				t.Error("the client does not answer the host")
			}
			if got := client.neighbour("wire", "10.0.0.1"); got != physical {
				t.Errorf("the client knows the host at %s, want %s", got, physical)
			}
			// A flap of the interface below puts its routes behind those of the macvlan.
			l.check(l.kernel.LinkSetDown(l.link("left")))
			l.check(l.kernel.LinkSetUp(l.link("left")))
			l.until("carrier", func() bool { return l.link("vrrp.web").Attrs().RawFlags&unix.IFF_RUNNING != 0 })
			for _, a := range []string{"10.0.0.1", "10.0.0.100", "2001:db8::100"} {
				if !client.pings(a, 10) {
					t.Errorf("%s does not answer a ping after a flap", a)
				}
			}
		})
	}
}

// TestMacvlan_FiltersChange has the reverse path filter be switched on later.
func TestMacvlan_FiltersChange(t *testing.T) {
	l := newLab(t)
	l.start(virtualRouter("web", 51, "10.0.0.100/24"))
	for _, c := range [][2]string{{"1", "2"}, {"0", "0"}} {
		l.sysctl("ipv4/conf/all/rp_filter", c[0])
		l.until("rp_filter follows", func() bool { return l.sysctlValue("ipv4/conf/vrrp.web/rp_filter") == c[1] })
	}
}

// TestMacvlan_Gateway has a router forward from a third host to a client that it
// has to ask for first, with no address in the client's network but the virtual one.
func TestMacvlan_Gateway(t *testing.T) {
	for _, c := range []struct{ vip, client, far, other string }{
		{"10.0.0.100/24", "10.0.0.9/24", "10.7.0.1/24", "10.7.0.9/24"},
		{"2001:db8::100/64", "2001:db8::9/64", "2001:db8:7::1/64", "2001:db8:7::9/64"},
	} {
		for _, refuse := range []bool{false, true} {
			t.Run(fmt.Sprint(c.vip, " refuse ", refuse), func(t *testing.T) {
				l, client, other := newHost(t), newHost(t), newHost(t)
				l.sysctl("ipv4/conf/all/forwarding", "1")
				l.sysctl("ipv6/conf/all/forwarding", "1")
				cable(l, "left", client, "wire")
				cable(l, "far", other, "wire")
				l.put("far", c.far)
				client.put("wire", c.client)
				other.put("wire", c.other)
				gateway, back := strings.Split(c.vip, "/")[0], strings.Split(c.far, "/")[0]
				r := virtualRouter("web", 51, c.vip)
				r.Refuse = refuse
				h := l.start(r)[0]
				h.Hold(1)
				l.expect(On)
				for _, g := range []struct {
					l       *lab
					to, via string
				}{{client, c.other, gateway}, {other, c.client, back}} {
					_, to, err := net.ParseCIDR(g.to)
					l.check(err)
					l.check(g.l.kernel.RouteAdd(&netlink.Route{Dst: to, Gw: net.ParseIP(g.via), LinkIndex: g.l.link("wire").Attrs().Index}))
				}
				if !other.pings(strings.Split(c.client, "/")[0], 10) {
					t.Error("the client cannot be reached through the gateway")
				}
				if !client.pings(strings.Split(c.other, "/")[0], 10) {
					t.Error("the client does not reach others through the gateway")
				}
				if got, want := client.neighbour("wire", gateway), net.HardwareAddr(virtual[:]).String(); got != want {
					t.Errorf("the client knows its gateway at %s, want %s", got, want)
				}
			})
		}
	}
}
