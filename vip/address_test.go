package vip

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func option(prefix string, change func(*Address)) Address {
	a := addresses(prefix)[0]
	change(&a)
	return a
}

// optioned are addresses with each option.
func optioned() []Address {
	return []Address{
		option("10.0.0.100/24", func(a *Address) { a.Label = "left:web" }),
		option("10.0.1.100/24", func(a *Address) { a.Scope, a.Broadcast = unix.RT_SCOPE_LINK, netip.MustParseAddr("10.0.1.255") }),
		option("10.0.2.100/32", func(a *Address) { a.Peer = netip.MustParsePrefix("10.0.3.1/30"); a.Scope = unix.RT_SCOPE_HOST }),
		option("10.0.4.100/24", func(a *Address) { a.NoPrefixRoute = true }),
		option("2001:db8::100/64", func(a *Address) { a.Source = true }),
		option("2001:db8:1::100/64", func(a *Address) { a.NoPrefixRoute = true }),
		option("2001:db8:2::100/128", func(a *Address) { a.Peer = netip.MustParsePrefix("2001:db8:3::1/64") }),
	}
}

// shown are the addresses of left as ip(8) shows them, and their routes.
func (l *lab) shown() string {
	seconds := regexp.MustCompile(`[0-9]+sec`)
	var out []string
	for line := range strings.Lines(l.ip("-d -o address show dev left") + "\n" + l.ip("-4 route show dev left") + "\n" + l.ip("-6 route show dev left")) {
		if strings.Contains(line, "fe80::") || strings.TrimSpace(line) == "" {
			continue
		}
		line = seconds.ReplaceAllStringFunc(line, func(s string) string {
			if s == "0sec" {
				return s
			}
			return "some"
		})
		fields := strings.Fields(line)
		if strings.HasSuffix(fields[0], ":") {
			fields = fields[1:] // the interface's index
		}
		out = append(out, strings.Join(fields, " "))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// peered waits until the kernel's work queue has done what belongs to the IPv6
// addresses, which it tells of then.
func (l *lab) peered() {
	l.t.Helper()
	l.until("the IPv6 addresses have their routes", func() bool {
		return strings.Count(l.ip("-6 route show table local"), "local 2001:db8:") == 3 && strings.Contains(l.ip("-6 route show"), "2001:db8:3::1 ")
	})
}

// TestWorker_AddressOptions compares with what ip(8) makes of the same, before
// and after renewals.
func TestWorker_AddressOptions(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: 2 * time.Second, Addresses: optioned()})[0]
	empty := l.shown()
	h.Hold(1)
	l.expect(On)

	other := newLab(t)
	const life = " dev left valid_lft 60 preferred_lft "
	for _, a := range []string{
		"10.0.0.100/24 label left:web" + life + "60",
		"10.0.1.100/24 scope link broadcast 10.0.1.255" + life + "60",
		"10.0.2.100 peer 10.0.3.1/30 scope host" + life + "60",
		"10.0.4.100/24 noprefixroute" + life + "60",
		"2001:db8::100/64 nodad" + life + "60",
		"2001:db8:1::100/64 noprefixroute nodad" + life + "0",
		"2001:db8:2::100 peer 2001:db8:3::1/64 noprefixroute nodad" + life + "0",
	} {
		other.ip("address add " + a)
	}
	other.peered()
	want := other.shown()
	l.peered()
	if diff := cmp.Diff(want, l.shown()); diff != "" {
		t.Errorf("ip(8) and the worker differ (-ip +worker):\n%s", diff)
	}
	for start := time.Now(); time.Since(start) < 3*time.Second; {
		l.ip("route show")
	}
	if diff := cmp.Diff(want, l.shown()); diff != "" {
		t.Errorf("after renewals (-want +got):\n%s", diff)
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
	h.Release()
	l.expect(Off)
	if diff := cmp.Diff(empty, l.shown()); diff != "" {
		t.Errorf("released (-want +got):\n%s", diff)
	}
}

// TestWorker_ReplacesOtherOptions has each address be on in another form than
// configured when it is held.
func TestWorker_ReplacesOtherOptions(t *testing.T) {
	r := Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: optioned()}
	l := newLab(t)
	l.start(r)[0].Hold(1)
	l.expect(On)
	l.peered()
	want := l.shown()
	l.end()

	other := newLab(t)
	h := other.start(r)[0]
	for _, a := range []string{
		"10.0.0.100/24", "10.0.1.100/24", "10.0.2.100/32", "10.0.4.100/24",
		"2001:db8::100/64 nodad", "2001:db8:1::100/64 nodad", "2001:db8:2::100/64 nodad",
	} {
		other.ip("address add " + a + " dev left valid_lft 60 preferred_lft 60")
	}
	other.until("the kernel has told of them", func() bool { return strings.Count(other.ip("-6 route show table local"), "local 2001:db8:") == 3 })
	h.Hold(1)
	other.expect(On)
	other.peered()
	if diff := cmp.Diff(want, other.shown()); diff != "" {
		t.Errorf("replaced (-want +got):\n%s", diff)
	}
}

// TestTable_RepairsOtherOptions has somebody put an address on in another form
// while it is held.
func TestTable_RepairsOtherOptions(t *testing.T) {
	r := web()
	r.Addresses = optioned()
	for i, other := range []func(*entry){
		func(e *entry) { e.label = "eth0" },
		func(e *entry) { e.scope = 0 },
		func(e *entry) { e.peer = netip.Addr{} },
		func(e *entry) { e.noRoute = false },
		nil,
		func(e *entry) { e.noRoute = false },
		func(e *entry) { e.peer = netip.MustParseAddr("2001:db8:3::2") },
	} {
		if other == nil { // Source is not compared
			continue
		}
		s, h := newSim(t, r)
		h[0].Hold(1)
		s.settle()
		s.journal = nil
		f, a := s.table.ifaces["eth0"], s.table.routers[0].addresses[i]
		seen := f.seen[a.Prefix.Addr()]
		if len(seen) != 1 || !a.fits(seen[0]) {
			t.Fatalf("%s is on as %+v", a.Prefix, seen)
		}
		e := a.form()
		other(&e)
		f.removeEntry(a.form())
		f.setEntry(e)
		s.settle()
		ip := a.Prefix.Addr().String()
		for i, line := range s.journal {
			s.journal[i], _, _ = strings.Cut(line, " after ")
		}
		s.want("remove "+a.Prefix.String(), "add "+a.Prefix.String(), "announce "+ip, "web: repaired "+ip)
	}
}

func TestAddress_Fits(t *testing.T) {
	plain := option("10.0.0.1/24", func(*Address) {})
	six := option("2001:db8::1/64", func(*Address) {})
	for _, c := range []struct {
		a    Address
		e    entry
		want bool
	}{
		{plain, entry{label: "eth1:7", broadcast: netip.MustParseAddr("10.0.0.255")}, true}, // as others like it
		{plain, entry{noRoute: true}, false},
		{plain, entry{scope: unix.RT_SCOPE_LINK}, false},
		{plain, entry{peer: netip.MustParseAddr("10.0.0.2")}, false},
		{option("10.0.0.1/24", func(a *Address) { a.Broadcast = netip.MustParseAddr("10.0.0.255") }), entry{}, false},
		{six, entry{noRoute: true, scope: unix.RT_SCOPE_LINK}, true},
		{option("2001:db8::1/64", func(a *Address) { a.NoPrefixRoute = true }), entry{}, false},
	} {
		c.e.prefix = c.a.Prefix
		if got := (&address{Address: c.a}).fits(c.e); got != c.want {
			t.Errorf("%+v for %+v: %t", c.e, c.a, got)
		}
	}
}

// TestTable_PrefixRouteOfItsOwn has addresses of one network with and without a
// route to it: the last with takes the route along.
func TestTable_PrefixRouteOfItsOwn(t *testing.T) {
	r := web("2001:db8::1/64", "2001:db8::2/64")
	r.Addresses[0].NoPrefixRoute = true
	s, h := newSim(t, r)
	h[0].Hold(1)
	s.settle()
	h[0].Release()
	s.table.wishes(s.now)
	got := make(map[string]bool)
	for _, q := range s.table.plan(s.now) {
		got[q.prefix.String()] = !q.noRoute
	}
	if diff := cmp.Diff(map[string]bool{"2001:db8::1/64": false, "2001:db8::2/64": true}, got); diff != "" {
		t.Errorf("removed with their route (-want +got):\n%s", diff)
	}
}

// TestTable_TwoInterfaces has a router with addresses on an interface besides
// its own, which comes, goes and fails by itself.
func TestTable_TwoInterfaces(t *testing.T) {
	r := web("10.0.0.1/24", "10.0.1.1/24")
	r.Addresses[1].Interface = "eth1"
	s, h := newSim(t, r)
	two := link{index: 3, name: "eth1", ethernet: true, up: true, running: true}
	h[0].Hold(1)
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1", "web: failed")
	s.table.setLink(two)
	s.settle()
	s.want("add 10.0.1.1/24", "announce 10.0.1.1", "web: recovered", "web: on")
	for i, name := range []string{"eth0", "eth1"} {
		if ip := s.table.routers[0].addresses[i].Prefix.Addr(); len(s.table.ifaces[name].seen[ip]) != 1 {
			t.Errorf("%s is not on %s", ip, name)
		}
	}
	s.link.running = false
	s.table.setLink(s.link)
	s.link.running = true
	s.table.setLink(s.link)
	s.settle()
	s.want("announce 10.0.0.1")
	s.table.removeLink(2)
	s.settle()
	s.want("web: failed") // the other address is still on
	s.table.removeLink(3)
	s.settle()
	s.want("web: off")
	s.table.setLink(two)
	s.settle()
	s.want("add 10.0.1.1/24", "announce 10.0.1.1")
	h[0].Release()
	s.settle()
	s.want("remove 10.0.1.1/24", "web: off")
}

func TestTable_SaysWhichInterface(t *testing.T) {
	r := web("10.0.0.1/24", "10.0.1.1/24")
	r.Addresses[1].Interface = "eth1"
	s, h := newSim(t, r)
	var said []string
	s.table.routers[0].emit = func(e Event) {
		text := e.Kind.String()
		if e.Err != nil {
			text += " " + e.Err.Error()
		}
		said = append(said, text)
	}
	h[0].Hold(1)
	s.table.removeLink(2)
	s.settle()
	s.table.setLink(s.link)
	s.settle()
	s.table.setLink(link{index: 3, name: "eth1", up: true})
	s.settle()
	want := []string{
		"failed hold addresses on eth0: there is no such interface", "off",
		"failed hold addresses on eth1: there is no such interface", "recovered", "on",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
}

func TestWorker_AddressOnAnotherInterface(t *testing.T) {
	l := newLab(t)
	more := func() {
		l.check(l.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other"}, PeerName: "far"}))
		l.check(l.kernel.LinkSetUp(l.link("far")))
		l.check(l.kernel.LinkSetUp(l.link("other")))
	}
	r := Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: append(addresses("10.0.0.100/24"),
		option("10.0.1.100/24", func(a *Address) { a.Interface, a.Label = "other", "other:web" }),
		option("2001:db8::100/64", func(a *Address) { a.Interface = "other" }),
	)}
	h := l.start(r)[0]
	h.Hold(1)
	if e := l.expect(Failed); !errors.Is(e.Err, ErrNoInterface) || !strings.Contains(e.Err.Error(), "other") {
		t.Errorf("event %+v, want that the other interface is missing", e)
	}
	more()
	l.expectUp()
	l.expect(On)
	if n, m := len(l.on("left")), len(l.on("other")); n != 1 || m != 2 {
		t.Errorf("%d and %d addresses are on, want 1 and 2", n, m)
	}
	for {
		a, ok := l.hear(0)
		if !ok {
			break
		}
		if a.addr.String() != "10.0.0.100" {
			t.Errorf("%s is announced where it is not", a.addr)
		}
	}
	l.ip("address del 10.0.1.100/24 dev other")
	if e := l.expect(Repaired); e.Address.String() != "10.0.1.100" {
		t.Errorf("event %+v", e)
	}
	l.check(l.kernel.LinkDel(l.link("other")))
	for e := l.event(); !errors.Is(e.Err, ErrNoInterface); e = l.event() {
		if e.Kind != Failed {
			t.Errorf("event %+v", e)
		}
	}
	more()
	l.until("the addresses are back", func() bool { return len(l.on("other")) == 2 })
	h.Release()
	for e := l.event(); e.Kind != Off; e = l.event() {
	}
	if n, m := len(l.on("left")), len(l.on("other")); n+m != 0 {
		t.Errorf("%d and %d addresses are on after the release", n, m)
	}
}

// TestWorker_SparesSecondariesElsewhere is TestWorker_SparesSecondaries for an
// address with a label, on another interface than the router's.
func TestWorker_SparesSecondariesElsewhere(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv4/conf/left/promote_secondaries", "0")
	h := l.start(Router{Name: "web", Interface: "right", Lifetime: time.Minute, Addresses: []Address{
		option("10.0.0.100/24", func(a *Address) { a.Interface, a.Label = "left", "left:web" }),
	}})[0]
	h.Hold(1)
	l.expect(On)
	l.until("promote_secondaries is set", func() bool { return l.sysctlValue("ipv4/conf/left/promote_secondaries") == "1" })
	l.add("10.0.0.11/24") // somebody else's
	l.sysctl("ipv4/conf/left/promote_secondaries", "0")
	h.Release()
	l.expect(Off)
	if !l.has("10.0.0.11") || l.has("10.0.0.100") {
		t.Errorf("on: %v, want 10.0.0.11", l.on("left"))
	}
}

// TestWorker_GivesALifetimeToARoute takes over an address that was there for
// ever, whose route is to end with it, and not before.
func TestWorker_GivesALifetimeToARoute(t *testing.T) {
	l := newLab(t)
	l.add("2001:db8::100/64")
	w := l.newWorker()
	w.Add(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("2001:db8::100/64")}).Hold(1)
	l.run()
	l.expect(On)
	if left := l.routes6()[netip.MustParsePrefix("2001:db8::/64")]; left < 50 || left > 60 {
		t.Errorf("the route expires in %d s, want 60", left)
	}
	l.ip("route get 2001:db8::1")
}

// TestIface_FormsOfOneAddress has IPv4 addresses that differ in their peer only.
func TestIface_FormsOfOneAddress(t *testing.T) {
	r := web()
	r.Addresses = []Address{option("10.0.2.100/32", func(a *Address) { a.Peer = netip.MustParsePrefix("10.0.3.1/30") })}
	s, h := newSim(t, r)
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	p := netip.MustParsePrefix("10.0.2.100/30")
	s.table.setAddr(2, entry{prefix: p})
	s.table.removeAddr(2, entry{prefix: p})
	s.settle()
	s.want()
	s.table.removeAddr(2, entry{prefix: p, peer: netip.MustParseAddr("10.0.3.1")})
	s.settle()
	s.want("add 10.0.2.100/30", "announce 10.0.2.100", "web: repaired 10.0.2.100")
}

// TestTable_ReplacesIPv6InTwoSteps has the removal be heard before the addition,
// of which the kernel tells late.
func TestTable_ReplacesIPv6InTwoSteps(t *testing.T) {
	s, h := newSim(t, web("2001:db8::1/64"))
	s.settle()
	s.table.setAddr(2, entry{prefix: netip.MustParsePrefix("2001:db8::1/64"), peer: netip.MustParseAddr("2001:db8::2")})
	h[0].Hold(1)
	s.table.wishes(s.now)
	kinds := func() (out []requestKind) {
		for _, q := range s.table.plan(s.now) {
			out = append(out, q.kind)
			s.table.done(q, nil, s.now)
		}
		return out
	}
	if diff := cmp.Diff([][]requestKind{{remove}, {set}}, [][]requestKind{kinds(), kinds()}); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}
