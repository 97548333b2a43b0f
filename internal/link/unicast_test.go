package link

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sysctl writes a setting of the namespace's network.
func (n *namespace) sysctl(t testing.TB, name, value string) {
	t.Helper()
	n.do(t, func() { must(t, os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)) })
}

// addRoute adds a route by a gateway.
func (n *namespace) addRoute(t testing.TB, to, via string) {
	t.Helper()
	_, dst, err := net.ParseCIDR(to)
	must(t, err)
	must(t, n.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

// addUnreachable adds a route that refuses.
func (n *namespace) addUnreachable(t testing.TB, to string) {
	t.Helper()
	_, dst, err := net.ParseCIDR(to)
	must(t, err)
	must(t, n.RouteAdd(&netlink.Route{Dst: dst, Type: unix.RTN_UNREACHABLE}))
}

// routed is a lan whose host b forwards between it and a host c on another link.
// The hosts of the lan are 1 and 2 of 10.0.0.0/24 and 2001:db8::/64, b and c are
// 2 and 3 of 10.0.1.0/24 and 2001:db8:0:1::/64.
type routed struct {
	*lan
	c *namespace
}

func newRouted(t testing.TB) *routed {
	t.Helper()
	r := &routed{newLAN(t), newNamespace(t)}
	addPair(t, r.b, "eth1", r.c, "eth0")
	r.b.sysctl(t, "ipv4/ip_forward", "1")
	r.b.sysctl(t, "ipv6/conf/all/forwarding", "1")
	r.a.addAddress(t, "eth0", "2001:db8::1/64")
	r.b.addAddress(t, "eth0", "2001:db8::2/64")
	r.b.addAddress(t, "eth1", "10.0.1.2/24")
	r.b.addAddress(t, "eth1", "2001:db8:0:1::2/64")
	r.c.addAddress(t, "eth0", "10.0.1.3/24")
	r.c.addAddress(t, "eth0", "2001:db8:0:1::3/64")
	r.a.addRoute(t, "10.0.1.0/24", "10.0.0.2")
	r.a.addRoute(t, "2001:db8:0:1::/64", "2001:db8::2")
	r.c.addRoute(t, "10.0.0.0/24", "10.0.1.2")
	r.c.addRoute(t, "2001:db8::/64", "2001:db8:0:1::2")
	eventually(t, "the other link", func() bool {
		return r.b.state(t, "eth1").Up && r.c.state(t, "eth0").Up
	})
	return r
}

// To a neighbour, link-local or not, and to a host behind a router; there and
// back.
func TestSend_Unicast(t *testing.T) {
	r := newRouted(t)
	tests := []struct {
		name string
		peer func() (*namespace, string)
		ipv6 bool
		ttl  uint8
	}{
		{"neighbour", func() (*namespace, string) { return r.b, "10.0.0.2" }, false, 255},
		{"behind a router", func() (*namespace, string) { return r.c, "10.0.1.3" }, false, 254},
		{"IPv6 neighbour", func() (*namespace, string) { return r.b, "2001:db8::2" }, true, 255},
		{"IPv6 behind a router", func() (*namespace, string) { return r.c, "2001:db8:0:1::3" }, true, 254},
		{"IPv6 link-local", func() (*namespace, string) {
			return r.b, sourceOf(t, r.b.state(t, "eth0"), true).String()
		}, true, 255},
		{"IPv6 link-local with a zone", func() (*namespace, string) {
			return r.b, sourceOf(t, r.b.state(t, "eth0"), true).String() + "%eth0"
		}, true, 255},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, peer := tt.peer()
			a, ia := r.a.open(t, "eth0", tt.ipv6)
			b, _ := n.open(t, "eth0", tt.ipv6)
			known := Known{V3: VRIDs{}.With(51), UnicastV3: VRIDs{}.With(51)}
			must(t, a.SetKnown(known))
			must(t, b.SetKnown(known))
			dst := netip.MustParseAddr(peer)
			src, ok := ia.SourceTo(dst, nil)
			if !ok {
				t.Fatalf("no source address: %+v", ia)
			}
			tap := r.b.sniff(t, tt.ipv6)
			a.Send(src, dst, advert(51, 1), false)
			must(t, a.Flush())
			ip := nextAdvert(t, tap, tt.ipv6)[14:]
			class, ttl := ip[1], ip[8]
			if tt.ipv6 {
				class, ttl = ip[0]<<4|ip[1]>>4, ip[7]
			}
			if class != trafficClass || ttl != 255 {
				t.Errorf("on the wire: traffic class %#x, TTL %d", class, ttl)
			}
			received, _ := collect(t, b, 1)
			want := []heard{{src.String(), dst.WithZone("").String(), tt.ttl, string(advert(51, 1))}}
			if diff := cmp.Diff(want, received); diff != "" {
				t.Errorf("received (-want +got):\n%s", diff)
			}
			b.Send(dst, src, advert(51, 2), false)
			must(t, b.Flush())
			received, _ = collect(t, a, 1)
			want = []heard{{dst.WithZone("").String(), src.String(), tt.ttl, string(advert(51, 2))}}
			if diff := cmp.Diff(want, received); diff != "" {
				t.Errorf("received back (-want +got):\n%s", diff)
			}
		})
	}
}

// Peers that cannot be reached, in every way there is, neither cost the others a
// message nor disturb what is received.
func TestSend_Unreachable(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		r := newRouted(t)
		// Without a route IPv4 takes it that the peer is a neighbour.
		good, refused, reason := "10.0.0.2", "10.0.0.255", "permission denied (is that a broadcast address?)"
		dead := map[string]string{
			"nobody listens for VRRP": "10.0.1.3",
			"no such neighbour":       "10.0.0.77",
			"the router has no route": "198.51.100.1",
		}
		beyond := "198.51.100.0/24"
		icmp := map[[2]byte]bool{{3, 1}: false, {3, 2}: false} // host and protocol unreachable
		sysctl, gateway := "ipv4/neigh/eth0/", "10.0.0.2"
		if ipv6 {
			good, refused = "2001:db8::2", "2001:db8:ffff::1"
			reason = "network is unreachable (is the interface up, and the source address on it, and does a route lead there by it?)"
			dead = map[string]string{
				"nobody listens for VRRP": "2001:db8:0:1::3",
				"no such neighbour":       "2001:db8::77",
				"the router has no route": "2001:db8:fffe::1",
			}
			beyond = "2001:db8:fffe::/64"
			icmp = map[[2]byte]bool{{1, 0}: false, {4, 1}: false} // no route, unknown next header
			sysctl, gateway = "ipv6/neigh/eth0/", "2001:db8::2"
		}
		r.a.addRoute(t, beyond, gateway)
		r.b.addUnreachable(t, beyond)
		r.a.sysctl(t, sysctl+"retrans_time_ms", "10") // soon there is no neighbour
		a, ia := r.a.open(t, "eth0", ipv6)
		b, _ := r.b.open(t, "eth0", ipv6)
		known := Known{V3: VRIDs{}.With(51).With(52), UnicastV3: VRIDs{}.With(51).With(52)}
		must(t, a.SetKnown(known))
		must(t, b.SetKnown(known))
		src := func(to string) netip.Addr {
			s, ok := ia.SourceTo(netip.MustParseAddr(to), nil)
			if !ok {
				t.Fatalf("no source address towards %s", to)
			}
			return s
		}
		errorsSeen := r.a.sniff(t, ipv6)

		// Once the neighbour is resolved, unicast does not wait for that.
		a.Send(src(good), netip.MustParseAddr(good), advert(51), false)
		must(t, a.Flush())
		if first, _ := collect(t, b, 1); len(first) != 1 {
			t.Fatalf("%d received", len(first))
		}

		var want []heard
		turns := 0
		turn := func() {
			for _, peer := range dead {
				// With less than 8 bytes the kernel has no socket for an answer.
				a.Send(src(peer), netip.MustParseAddr(peer), advert(51, 1, 2, 3, 4, 5, 6, 7, 8), false)
				a.Send(src(good), netip.MustParseAddr(good), advert(51, byte(turns)), false)
				want = append(want, heard{src(good).String(), good, 255, string(advert(51, byte(turns)))})
			}
			a.Send(src(refused), netip.MustParseAddr(refused), advert(51), false)
			a.Send(sourceOf(t, ia, ipv6), Group(ipv6), advert(52, byte(turns)), false)
			want = append(want, heard{sourceOf(t, ia, ipv6).String(), Group(ipv6).String(), 255, string(advert(52, byte(turns)))})
			turns++
			err := a.Flush()
			var failure *SendError
			if !errors.As(err, &failure) || failure.Destination.String() != refused || failure.Refused != 1 {
				t.Fatalf("error %v, want one about %s", err, refused)
			}
			wantText := "send from " + failure.Source.String() + " to " + refused + " on eth0: " + reason
			if err.Error() != wantText {
				t.Fatalf("error %q\nwant  %q", err, wantText)
			}
		}
		// Until each kind of answer has come, and the own kernel has given up the
		// missing neighbour.
		var received []heard
		answered := func() bool {
			for _, seen := range icmp {
				if !seen {
					return false
				}
			}
			return true
		}
		eventually(t, "the answers", func() bool {
			turn()
			received = append(received, keep(b.Receive(batch))...)
			for {
				frame := make([]byte, 2000)
				n, err := unix.Read(errorsSeen, frame)
				if err != nil {
					break
				}
				if kind, ok := icmpError(frame[14:n], ipv6); ok {
					icmp[kind] = true
				}
			}
			return answered() && r.a.neighbour(t, dead["no such neighbour"]) == unix.NUD_FAILED
		})
		for range 20 {
			turn()
			received = append(received, keep(b.Receive(batch))...)
		}
		more, _ := collect(t, b, len(want)-len(received))
		if diff := cmp.Diff(want, append(received, more...)); diff != "" {
			t.Errorf("after %d turns (-want +got):\n%s", turns, diff)
		}
		if pending, err := unix.GetsockoptInt(a.receive.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || pending != 0 {
			t.Errorf("pending error %d, %v", pending, err)
		}
		b.Send(netip.MustParseAddr(good), src(good), advert(51), false)
		must(t, b.Flush())
		if received, _ := collect(t, a, 1); len(received) != 1 || received[0].Src != good {
			t.Errorf("received %v", received)
		}
		if s := a.Stats(); s.SendFailed != uint64(turns) || s.SendDeferred != 0 || s.ReceiveErrors != 0 || a.Pending() != 0 {
			t.Errorf("%+v, %d pending", s, a.Pending())
		}
	})
}

// icmpError is the type and code of an ICMP packet that reports an error.
func icmpError(ip []byte, ipv6 bool) ([2]byte, bool) {
	if ipv6 {
		return [2]byte(ip[40:]), ip[6] == unix.IPPROTO_ICMPV6 && ip[40] < 128
	}
	return [2]byte(ip[20:]), ip[9] == unix.IPPROTO_ICMP && ip[20] == 3
}

// neighbour is the state of a neighbour of eth0.
func (n *namespace) neighbour(t testing.TB, address string) int {
	t.Helper()
	all, err := n.NeighList(n.link(t, "eth0").Attrs().Index, 0)
	must(t, err)
	for _, neigh := range all {
		if neigh.IP.String() == address {
			return neigh.State
		}
	}
	return unix.NUD_NONE
}

// What waits for neighbours that do not answer does not take the room of what
// goes to those that do.
func TestConn_UnicastDeadNeighbours(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		a, ia := l.a.open(t, "eth0", ipv6)
		b, ib := l.b.open(t, "eth0", ipv6)
		must(t, b.SetKnown(Known{UnicastV3: VRIDs{}.With(51)}))
		src, alive := sourceOf(t, ia, ipv6), sourceOf(t, ib, ipv6)
		const dead, messages = 20, 512 // the kernel keeps some 270 for each of them
		for n := range dead {
			dst := netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + n)})
			if ipv6 {
				dst = netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: byte(100 + n)})
			}
			for range messages / queueSize {
				for range queueSize {
					a.Send(src, dst, advert(51, 1), false)
				}
				must(t, a.Flush())
			}
		}
		a.Send(src, alive, advert(51, 2), false)
		must(t, a.Flush())
		if s := a.Stats(); s.SendDeferred != 0 || s.SendDropped != 0 || a.Pending() != 0 {
			t.Fatalf("%+v, %d pending", s, a.Pending())
		}
		if received, _ := collect(t, b, 1); len(received) != 1 || received[0].Payload != string(advert(51, 2)) {
			t.Errorf("received %v", received)
		}
	})
}
