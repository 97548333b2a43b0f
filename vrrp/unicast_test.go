package vrrp_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

// twoHops is a router whose peer is one router away at most.
func twoHops(c *vrrp.Config) { peers(upper)(c); ttl(253, 254)(c) }

func anySource(c *vrrp.Config) { c.AnySource = true }

// A router with peers speaks to each of them, one without to the group; each
// packet has the checksum of its own destination.
func TestUnicast_Destinations(t *testing.T) {
	tests := []struct {
		name   string
		router option
		want   []netip.Addr
	}{
		{"multicast", func(*vrrp.Config) {}, []netip.Addr{vrrp.IPv4.Group()}},
		{"multicast, IPv6", ipv6, []netip.Addr{vrrp.IPv6.Group()}},
		{"two peers", peers(upper, addr("198.51.100.7")), []netip.Addr{upper, addr("198.51.100.7")}},
		{"IPv6 peer", func(c *vrrp.Config) { ipv6(c); peers(addr("2001:db8::11"))(c) }, []netip.Addr{addr("2001:db8::11")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t, tt.router)
			if d := cmp.Diff(tt.want, n.set.Destinations(n.id), compareAddrs); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			for _, dst := range tt.want {
				var a vrrp.Advertisement
				if got := a.Parse(n.set.AppendAdvertisement(nil, n.id, 100, dst, 0), n.src, dst); got != vrrp.Accepted {
					t.Errorf("to %s: %s", dst, got)
				}
				if other := dst.Next(); dst.Is6() || a.Checksum == vrrp.PseudoHeader {
					if got := a.Parse(n.set.AppendAdvertisement(nil, n.id, 100, dst, 0), n.src, other); got != vrrp.RefusedChecksum {
						t.Errorf("to %s, read as to %s: %s", dst, other, got)
					}
				}
			}
		})
	}
}

// Who is believed, and from how far.
func TestUnicast_Receive(t *testing.T) {
	tests := []struct {
		name   string
		router option
		src    netip.Addr
		ttl    uint8
		want   vrrp.Refusal
	}{
		{"a peer", peers(upper), upper, 255, vrrp.Accepted},
		{"a peer far away", peers(upper), upper, 1, vrrp.Accepted},
		{"a stranger", peers(upper), lower, 255, vrrp.RefusedPeer},
		{"a stranger, where any is believed", func(c *vrrp.Config) { peers(upper)(c); anySource(c) }, lower, 64, vrrp.Accepted},
		{"a stranger out of range", func(c *vrrp.Config) { twoHops(c); anySource(c) }, lower, 252, vrrp.RefusedTTL},
		{"below the range", twoHops, upper, 252, vrrp.RefusedTTL},
		{"the range's first", twoHops, upper, 253, vrrp.Accepted},
		{"the range's last", twoHops, upper, 254, vrrp.Accepted},
		{"above the range", twoHops, upper, 255, vrrp.RefusedTTL},
		{"no lower bound", func(c *vrrp.Config) { peers(upper)(c); ttl(0, 64)(c) }, upper, 0, vrrp.Accepted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newBackup(t, tt.router)
			p := n.packet(tt.src, 150)
			p.TTL = tt.ttl
			if _, got := n.set.Receive(n.now, 0, p); got != tt.want {
				t.Errorf("refusal is %s, want %s", got, tt.want)
			}
		})
	}
}

// A router with peers and one without share a link; each hears its own.
func TestUnicast_BesideMulticast(t *testing.T) {
	n := newBackup(t)
	other := config(peers(upper), func(c *vrrp.Config) { c.VRID = 52 })
	if _, err := n.set.Add(other); err != nil {
		t.Fatal(err)
	}
	for vrid, want := range map[uint8][2]vrrp.Refusal{
		51: {vrrp.Accepted, vrrp.RefusedDestination},
		52: {vrrp.RefusedDestination, vrrp.Accepted},
	} {
		a := vrrp.Advertisement{VRID: vrid, Priority: 150, Interval: second, Addresses: []netip.Addr{vip}}
		for i, dst := range []netip.Addr{vrrp.IPv4.Group(), self} {
			p := vrrp.Packet{Src: upper, Dst: dst, TTL: 255, Message: a.AppendTo(nil, upper, dst)}
			if _, got := n.set.Receive(n.now, 0, p); got != want[i] {
				t.Errorf("VRID %d to %s: %s, want %s", vrid, dst, got, want[i])
			}
		}
	}
}

// Unicast nodes elect as others do; the tie is decided by the source.
func TestUnicast_Election(t *testing.T) {
	n := newMaster(t, peers(upper, lower))
	n.hear(lower, 100)
	n.is(vrrp.Master)
	n.hear(upper, 100)
	n.is(vrrp.Backup)
}

// A router just starting is held by a peer that it cannot elect with, and not
// by what is no peer of its own.
func TestUnicast_Unelectable(t *testing.T) {
	n := newBackup(t, peers(upper))
	a := vrrp.Advertisement{Version: 2, VRID: 51, Priority: 150, Interval: second, Addresses: []netip.Addr{vip}}
	to := func(src, dst netip.Addr) vrrp.Packet {
		return vrrp.Packet{Src: src, Dst: dst, TTL: 64, Message: a.AppendTo(nil, src, dst)}
	}
	check(t, n.foreign(to(lower, self)))
	multicast := to(upper, vrrp.IPv4.Group())
	multicast.TTL = 255
	check(t, n.foreign(multicast))
	a.Version, a.VRID = 3, 52
	check(t, n.foreign(to(lower, self)))
	check(t, n.foreign(otherVRID(52, vip)))
	a.Version, a.VRID = 2, 51
	check(t, n.foreign(to(upper, self)), "change BACKUP to INIT: unelectable, rival 192.0.2.11 (150) (it advertises 192.0.2.100 in version 2)")

	n = newBackup(t)
	check(t, n.foreign(to(upper, self)))
	n.is(vrrp.Backup)
}

// A router without addresses counts none, and takes any list.
func TestAddressless(t *testing.T) {
	n := newMaster(t, addresses())
	wire := n.set.AppendAdvertisement(nil, n.id, 100, vrrp.IPv4.Group(), 0)
	if d := cmp.Diff(unhex(t, "31 33 64 00 0064 c7d2"), wire); d != "" {
		t.Errorf("sent (-want +got):\n%s", d)
	}
	n.now += 300 * ms
	check(t, n.hear(lower, 50), "send priority 100", "notice: two masters, rival 192.0.2.9 (50)", "announce")
	n.now += second
	check(t, n.hear(upper, 150, func(a *vrrp.Advertisement) { a.Addresses = []netip.Addr{vip} }),
		"notice: addresses differ, rival 192.0.2.11 (150)",
		"send priority 100", "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	check(t, n.expire(), "release all")
}

// The lists are the set's own once it has them.
func TestUnicast_CopiesLists(t *testing.T) {
	n := newBackup(t, peers(upper), func(c *vrrp.Config) { c.Nodes = []netip.Addr{self, upper} })
	p := n.packet(upper, 150)
	n.cfg.Peers[0], n.cfg.Nodes[1] = lower, lower
	actions, refusal := n.set.Receive(n.now, 0, p)
	if refusal != vrrp.Accepted {
		t.Errorf("refusal is %s", refusal)
	}
	check(t, texts(actions))
	if d := cmp.Diff([]netip.Addr{upper}, n.set.Destinations(n.id), compareAddrs); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestUnicast_Config(t *testing.T) {
	tests := []struct {
		name   string
		router option
		want   string
	}{
		{"one peer", peers(upper), ""},
		{"IPv6", func(c *vrrp.Config) { ipv6(c); peers(addr("fe80::11"))(c) }, ""},
		{"the other family", peers(addr("2001:db8::1")), "peer 2001:db8::1 is not a plain IPv4 host"},
		{"a group", peers(addr("224.0.0.18")), "peer 224.0.0.18 is not a plain IPv4 host"},
		{"nobody", peers(addr("0.0.0.0")), "peer 0.0.0.0 is not a plain IPv4 host"},
		{"with a zone", func(c *vrrp.Config) { ipv6(c); peers(addr("fe80::11%eth0"))(c) }, "peer fe80::11%eth0 is not a plain IPv6 host"},
		{"a range", func(c *vrrp.Config) { peers(upper)(c); ttl(254, 254)(c) }, ""},
		{"no range", func(c *vrrp.Config) { peers(upper)(c); ttl(255, 254)(c) }, "TTL 255 to 254 is no range"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantError(t, config(tt.router), tt.want) })
	}
}
