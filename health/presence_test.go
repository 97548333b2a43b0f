package health

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loose makes an interface whose other end, on this host, is up.
func loose(t *testing.T, name string) netlink.Link {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-end"}))
	up(t, name+"-end")
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func TestInterface(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	expect := func(name string, ok bool, text, hint string) {
		t.Helper()
		var got Answer
		want := Answer{OK: ok, Text: text, Hint: hint}
		eventually(t, text, func() bool { // the kernel tells of a carrier a little later
			got = probeIn(t, NewInterfaceProbe(name), time.Second)
			return got == want
		})
	}
	expect("lo", true, "lo is up and running", "")
	expect("eth9", false, "no interface eth9", "is the name right, and its driver loaded?")
	d := loose(t, "eth1")
	expect("eth1", false, "eth1 is down: nobody has set it up", "ip link set eth1 up")
	must(t, netlink.LinkSetUp(d))
	expect("eth1", true, "eth1 is up and running", "")

	p := newPeer(t, "eth0")
	expect("eth0", true, "eth0 is up and running", "")
	far, err := p.LinkByName("eth0")
	must(t, err)
	must(t, p.LinkSetDown(far))
	const other = "the cable, the switch, or the other end is down"
	expect("eth0", false, "eth0 is set up, but has no carrier", other)
	must(t, p.LinkSetUp(far))
	expect("eth0", true, "eth0 is up and running", "")
	near, err := netlink.LinkByName("eth0")
	must(t, err)
	must(t, netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "above", ParentIndex: near.Attrs().Index}, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	up(t, "above")
	expect("above", true, "above is up and running", "")
	must(t, p.LinkSetDown(far))
	expect("above", false, "above is set up, but the interface beneath it is down", "")
	must(t, netlink.LinkAddAltName(d, "storage-network-of-this"))
	expect("storage-network-of-this", true, "storage-network-of-this is up and running", "")
}

func TestAddress(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	for _, name := range []string{"eth0", "eth1"} {
		must(t, netlink.LinkSetUp(loose(t, name)))
	}
	put := func(name, text string, flags int) {
		l, err := netlink.LinkByName(name)
		must(t, err)
		a, err := netlink.ParseAddr(text)
		must(t, err)
		a.Flags = flags
		must(t, netlink.AddrAdd(l, a))
	}
	put("eth0", "10.0.0.1/24", 0)
	put("eth0", "10.0.0.2/32", 0)
	put("eth0", "fd00::1/64", unix.IFA_F_NODAD)
	put("eth1", "fe80::5/64", unix.IFA_F_NODAD)
	l, err := netlink.LinkByName("eth1")
	must(t, err)
	a, err := netlink.ParseAddr("fd00::9/64")
	must(t, err)
	a.Flags, a.ValidLft, a.PreferedLft = unix.IFA_F_NODAD, 1000, 0
	must(t, netlink.AddrAdd(l, a))
	// A detection with many probes runs on for as long as the test does.
	must(t, writeSysctl("net/ipv6/conf/eth1/accept_dad", "1"))
	must(t, writeSysctl("net/ipv6/conf/all/accept_dad", "1"))
	must(t, writeSysctl("net/ipv6/conf/eth1/dad_transmits", "1000"))
	put("eth1", "fd00::8/64", 0)
	tests := map[string]struct {
		presence Presence
		want     Answer
	}{
		"IPv4":         {Presence{Address: addr("10.0.0.1")}, Answer{OK: true, Text: "10.0.0.1 is on eth0"}},
		"IPv4 as IPv6": {Presence{Address: addr("::ffff:10.0.0.1")}, Answer{OK: true, Text: "10.0.0.1 is on eth0"}},
		"a second":     {Presence{Address: addr("10.0.0.2"), Interface: "eth0"}, Answer{OK: true, Text: "10.0.0.2 is on eth0"}},
		"IPv6":         {Presence{Address: addr("fd00::1")}, Answer{OK: true, Text: "fd00::1 is on eth0"}},
		"elsewhere":    {Presence{Address: addr("10.0.0.1"), Interface: "eth1"}, Answer{Text: "no address 10.0.0.1 on eth1: it is on eth0"}},
		"nowhere":      {Presence{Address: addr("10.0.0.3")}, Answer{Text: "no address 10.0.0.3 on this host"}},
		"not on eth1":  {Presence{Address: addr("10.0.0.3"), Interface: "eth1"}, Answer{Text: "no address 10.0.0.3 on eth1"}},
		"no interface": {Presence{Address: addr("10.0.0.1"), Interface: "eth9"}, Answer{Text: "no interface eth9", Hint: "is the name right, and its driver loaded?"}},
		"zone":         {Presence{Address: addr("fe80::5%eth1")}, Answer{OK: true, Text: "fe80::5 is on eth1"}},
		"other zone":   {Presence{Address: addr("fe80::5%eth0")}, Answer{Text: "no address fe80::5 on eth0: it is on eth1"}},
		"deprecated":   {Presence{Address: addr("fd00::9")}, Answer{OK: true, Text: "fd00::9 is on eth1 (deprecated: no source address)"}},
		"tentative":    {Presence{Address: addr("fd00::8")}, Answer{Text: "fd00::8 is on eth1, but tentative: duplicate address detection is running"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := probeIn(t, NewAddressProbe(tt.presence), time.Second); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// An address that another host has is not one to use.
func TestAddress_Duplicate(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := newPeer(t, "eth0")
	p.address(t, "fd00::1/64")
	eventually(t, "eth0 runs", func() bool { return probeIn(t, NewInterfaceProbe("eth0"), time.Second).OK })
	for _, which := range []string{"all", "eth0"} {
		must(t, writeSysctl("net/ipv6/conf/"+which+"/accept_dad", "1"))
	}
	address(t, "eth0", "fd00::1/64")
	want := Answer{
		Text: "fd00::1 is on eth0, but duplicate address detection failed",
		Hint: "another host has it; once that is mended, delete it and add it again",
	}
	eventually(t, want.Text, func() bool {
		return probeIn(t, NewAddressProbe(Presence{Address: addr("fd00::1")}), time.Second) == want
	})
}

func TestRoute(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := newPeer(t, "eth0")
	address(t, "eth0", "10.0.0.1/24")
	address(t, "eth0", "fd00::1/64")
	for _, name := range []string{"eth1", "eth2"} {
		must(t, netlink.LinkSetUp(loose(t, name)))
	}
	address(t, "eth1", "10.1.0.1/24")
	index := func(name string) int {
		l, err := netlink.LinkByName(name)
		must(t, err)
		return l.Attrs().Index
	}
	add := func(to string, r netlink.Route) {
		t.Helper()
		_, dst, err := net.ParseCIDR(to)
		must(t, err)
		r.Dst = dst
		must(t, netlink.RouteAdd(&r))
	}
	add("0.0.0.0/0", netlink.Route{Gw: net.ParseIP("10.0.0.2")})
	add("::/0", netlink.Route{Gw: net.ParseIP("fd00::2")})
	add("192.0.2.0/24", netlink.Route{LinkIndex: index("eth1")})
	add("192.0.2.0/25", netlink.Route{Gw: net.ParseIP("10.1.0.2"), Table: 1000})
	add("198.51.100.0/24", netlink.Route{MultiPath: []*netlink.NexthopInfo{{Gw: net.ParseIP("10.0.0.2")}, {Gw: net.ParseIP("10.1.0.2")}}})
	add("203.0.113.0/24", netlink.Route{Type: unix.RTN_UNREACHABLE})
	add("203.0.113.128/25", netlink.Route{Via: &netlink.Via{AddrFamily: netlink.FAMILY_V6, Addr: net.ParseIP("fd00::2")}, LinkIndex: index("eth0")})
	prefix := netip.MustParsePrefix
	tests := map[string]struct {
		presence Presence
		want     Answer
	}{
		"default":        {Presence{To: prefix("0.0.0.0/0")}, Answer{OK: true, Text: "default route via 10.0.0.2 on eth0"}},
		"default, IPv6":  {Presence{To: prefix("::/0"), Via: addr("fd00::2"), Interface: "eth0", Table: 254}, Answer{OK: true, Text: "default route via fd00::2 on eth0"}},
		"other router":   {Presence{To: prefix("0.0.0.0/0"), Via: addr("10.0.0.3")}, Answer{Text: "no default route via 10.0.0.3: it goes via 10.0.0.2 on eth0"}},
		"other link":     {Presence{To: prefix("0.0.0.0/0"), Interface: "eth1"}, Answer{Text: "no default route on eth1: it goes via 10.0.0.2 on eth0"}},
		"no link":        {Presence{To: prefix("0.0.0.0/0"), Interface: "eth9"}, Answer{Text: "no interface eth9", Hint: "is the name right, and its driver loaded?"}},
		"host bits":      {Presence{To: prefix("192.0.2.7/24")}, Answer{OK: true, Text: "route to 192.0.2.0/24 on eth1"}},
		"own network":    {Presence{To: prefix("10.1.0.0/24"), Interface: "eth1"}, Answer{OK: true, Text: "route to 10.1.0.0/24 on eth1"}},
		"wider":          {Presence{To: prefix("192.0.0.0/16")}, Answer{Text: "no route to 192.0.0.0/16"}},
		"other table":    {Presence{To: prefix("192.0.2.0/25")}, Answer{Text: "no route to 192.0.2.0/25"}},
		"table":          {Presence{To: prefix("192.0.2.0/25"), Table: 1000}, Answer{OK: true, Text: "route to 192.0.2.0/25 via 10.1.0.2 on eth1 in table 1000"}},
		"no table":       {Presence{To: prefix("192.0.2.0/25"), Table: 1001, Via: addr("10.1.0.2")}, Answer{Text: "no route to 192.0.2.0/25 via 10.1.0.2 in table 1001"}},
		"multipath":      {Presence{To: prefix("198.51.100.0/24"), Via: addr("10.1.0.2"), Interface: "eth1"}, Answer{OK: true, Text: "route to 198.51.100.0/24 via 10.1.0.2 on eth1"}},
		"mixed up":       {Presence{To: prefix("198.51.100.0/24"), Via: addr("10.1.0.2"), Interface: "eth0"}, Answer{Text: "no route to 198.51.100.0/24 via 10.1.0.2 on eth0: it goes via 10.0.0.2 on eth0, via 10.1.0.2 on eth1"}},
		"refuses":        {Presence{To: prefix("203.0.113.0/24")}, Answer{Text: "no route to 203.0.113.0/24"}},
		"another family": {Presence{To: prefix("203.0.113.128/25"), Via: addr("fd00::2")}, Answer{OK: true, Text: "route to 203.0.113.128/25 via fd00::2 on eth0"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := probeIn(t, NewRouteProbe(tt.presence), time.Second); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
	far, err := p.LinkByName("eth0")
	must(t, err)
	must(t, p.LinkSetDown(far))
	want := Answer{Text: "default route via 10.0.0.2 on eth0: the link is down"}
	eventually(t, want.Text, func() bool {
		return probeIn(t, NewRouteProbe(Presence{To: prefix("0.0.0.0/0")}), time.Second) == want
	})
}
