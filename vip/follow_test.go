package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// change does what the kernel does with a request for a route or a rule.
func (s *sim) change(q request) {
	s.note("%s %s", q.kind, q.describe())
	err := s.reject[q.describe()]
	switch {
	case err != nil:
	case q.kind == set:
		s.objects = append(s.objects, *q.object)
	default:
		s.drop(func(o object) bool { return o.key == q.object.key && o.proto == Protocol })
	}
	s.table.done(q, err, s.now)
}

func (s *sim) drop(f func(object) bool) { s.objects = slices.DeleteFunc(s.objects, f) }

// take removes an object as another program would.
func (s *sim) take(f *follower) {
	s.drop(func(o object) bool { return o.key == f.key })
	s.tell(f.object, unix.RTM_DELROUTE, unix.RTM_DELRULE, 0)
}

// tell has the kernel notify of a change that another program has made.
func (s *sim) tell(o object, route, rule uint16, flags uint16) {
	b := o.message(set).Serialize()
	m := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: route, Flags: flags, Pid: 4711}, Data: b[unix.SizeofNlMsghdr:]}
	if o.rule {
		m.Header.Type = rule
	}
	m.Data[5] = o.proto
	s.table.routing.hear(m)
}

func edge() Router {
	r := web("10.0.0.1/24", "2001:db8::1/64")
	r.Routes = []Route{route("0.0.0.0/0", "10.0.0.9"), route("10.1.0.0/16", "10.0.0.9")}
	r.Rules = []Rule{{Table: 100, Priority: 7, Repair: true}}
	return r
}

const (
	edgeDefault = "route default via 10.0.0.9"
	edgeOther   = "route 10.1.0.0/16 via 10.0.0.9"
	edgeRule    = "rule from all lookup 100 priority 7"
)

// held is a router whose objects are all in place.
func held(t *testing.T, r Router) (*sim, *Handle) {
	s, h := newSim(t, r)
	s.reject = make(map[string]error)
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	return s, h[0]
}

func TestFollow_AfterTheAddressesAndBefore(t *testing.T) {
	s, h := newSim(t, edge())
	s.silent = true
	h[0].Hold(1)
	s.turn()
	s.turn()
	s.want("add 10.0.0.1/24", "add 2001:db8::1/64", "announce 10.0.0.1")
	s.silent = false // only now the IPv6 address serves as a source
	s.settle()
	s.now += settlePause
	s.settle()
	s.want("announce 2001:db8::1", "web: on", "add "+edgeDefault, "add "+edgeOther, "add "+edgeRule)
	h[0].Release(netip.MustParseAddr("10.0.0.1"))
	s.settle()
	s.want("remove 10.0.0.1/24")
	h[0].Release()
	s.settle()
	s.want("remove "+edgeRule, "remove "+edgeOther, "remove "+edgeDefault, "remove 2001:db8::1/64", "web: off")
}

// The kernel tells that it is going to remove a route, and still shows it.
func TestFollow_ToldBeforeItIsGone(t *testing.T) {
	for _, repair := range []bool{true, false} {
		r := edge()
		r.Routes[0].Repair = repair
		s, _ := held(t, r)
		f := s.table.routers[0].followers[0]
		s.tell(f.object, unix.RTM_DELROUTE, unix.RTM_DELRULE, 0)
		s.turn()
		s.drop(func(o object) bool { return o.key == f.key })
		s.settle()
		if repair {
			s.want("add "+edgeDefault, "web: repaired "+edgeDefault)
		} else {
			s.want("web: removed " + edgeDefault)
		}
	}
}

// TestFollow_NothingNewWhileLent has an object that was not in place when the
// router began to leave.
func TestFollow_NothingNewWhileLent(t *testing.T) {
	s, h := held(t, edge())
	s.reject["route default via 10.0.0.9"] = unix.ENETUNREACH
	s.take(s.table.routers[0].followers[0])
	s.run(ms)
	s.want("add "+edgeDefault, "web: failed "+edgeDefault)
	h.Release(netip.MustParseAddr("10.0.0.1"))
	clear(s.reject)
	s.run(10 * time.Second)
	s.want("remove 10.0.0.1/24")
	h.Hold(1)
	s.settle()
	s.want("add 10.0.0.1/24", "announce 10.0.0.1",
		"add "+edgeDefault, "web: recovered "+edgeDefault, "web: repaired "+edgeDefault+" after 10.001s")
}

func TestFollow_WithoutAddresses(t *testing.T) {
	r := edge()
	r.Addresses = nil
	s, h := newSim(t, r)
	s.settle()
	s.want("web: off")
	h[0].Hold(1)
	s.settle()
	s.want("add "+edgeDefault, "add "+edgeOther, "add "+edgeRule, "web: on")
	h[0].Hold(2)
	s.settle()
	s.want("web: on")
	h[0].Release()
	s.settle()
	s.want("remove "+edgeRule, "remove "+edgeOther, "remove "+edgeDefault, "web: off")
}

// TestFollow_FailureHoldsNothingBack has a route that cannot be put in place,
// nor later be removed.
func TestFollow_FailureHoldsNothingBack(t *testing.T) {
	s, h := newSim(t, edge())
	s.reject = map[string]error{edgeDefault: unix.ENETUNREACH}
	h[0].Hold(1)
	s.run(700 * ms) // at 0, 100, 300, 700
	s.want("add 10.0.0.1/24", "add 2001:db8::1/64", "announce 10.0.0.1", "announce 2001:db8::1", "web: on",
		"add "+edgeDefault, "web: failed "+edgeDefault, "add "+edgeOther, "add "+edgeRule,
		"add "+edgeDefault, "add "+edgeDefault, "add "+edgeDefault)
	s.link.up = false
	s.table.setLink(s.link)
	s.settle()
	s.link.up = true // a link that comes back may be what was missing
	s.table.setLink(s.link)
	clear(s.reject)
	s.settle()
	s.want("add "+edgeDefault, "web: recovered "+edgeDefault, "announce 10.0.0.1", "announce 2001:db8::1")

	s.reject[edgeDefault] = unix.EPERM
	h[0].Release()
	s.settle()
	s.want("remove "+edgeRule, "remove "+edgeOther, "remove "+edgeDefault, "web: failed "+edgeDefault,
		"remove 2001:db8::1/64", "remove 10.0.0.1/24", "web: off")
	s.reject[edgeDefault] = unix.ESRCH // somebody else did it
	s.run(time.Second)
	s.want("remove " + edgeDefault)
}

// TestFollow_MoreThanABatch has the addresses wait for all that goes first.
func TestFollow_MoreThanABatch(t *testing.T) {
	r := web("10.0.0.1/24")
	for i := range 3 * batch {
		r.Routes = append(r.Routes, route(fmt.Sprintf("10.1.%d.0/24", i), "10.0.0.9"))
	}
	s, h := held(t, r)
	if len(s.objects) != 3*batch {
		t.Fatalf("%d routes are in place, want %d", len(s.objects), 3*batch)
	}
	h.Release()
	s.settle()
	if n := len(s.journal); n != 3*batch+2 || s.journal[n-2] != "remove 10.0.0.1/24" || s.journal[0] != "remove route 10.1.95.0/24 via 10.0.0.9" {
		t.Errorf("%d lines, first %q, last %q", n, s.journal[0], s.journal[n-2:])
	}
}

func TestFollow_Repairs(t *testing.T) {
	s, _ := held(t, edge())
	for i, name := range []string{edgeDefault, edgeOther, edgeRule} {
		s.take(s.table.routers[0].followers[i])
		s.settle()
		s.want("add "+name, "web: repaired "+name)
	}
	// Somebody else's route in the place of ours stays.
	theirs := s.table.routers[0].followers[0].object
	theirs.proto = unix.RTPROT_BOOT
	s.drop(func(o object) bool { return o.key == theirs.key })
	s.tell(theirs, unix.RTM_NEWROUTE, 0, unix.NLM_F_REPLACE)
	s.reject[edgeDefault] = errors.New("exists")
	s.settle()
	s.want("add "+edgeDefault, "web: failed "+edgeDefault)
	clear(s.reject)
	s.tell(theirs, unix.RTM_DELROUTE, 0, 0) // at once, whatever the back-off
	s.settle()
	s.want("add "+edgeDefault, "web: recovered "+edgeDefault, "web: repaired "+edgeDefault)
}

func TestFollow_RemovedForGood(t *testing.T) {
	r := edge()
	r.Routes[0].Repair, r.Rules[0].Repair = false, false
	s, h := held(t, r)
	s.take(s.table.routers[0].followers[0])
	s.take(s.table.routers[0].followers[2])
	s.run(time.Minute)
	s.want("web: removed "+edgeDefault, "web: removed "+edgeRule)
	h.Hold(2)
	s.settle()
	s.want("add "+edgeDefault, "add "+edgeRule, "announce 10.0.0.1", "announce 2001:db8::1", "web: on")
}

func TestFollow_Contested(t *testing.T) {
	s, _ := held(t, edge())
	f := s.table.routers[0].followers[0]
	for end := s.now + 10*time.Second; s.now < end; s.now += ms {
		if f.there() {
			s.take(f)
		}
		s.settle()
	}
	got := make(map[string]int)
	for _, line := range s.journal {
		got[line]++
	}
	adds := got["add "+edgeDefault]
	delete(got, "add "+edgeDefault)
	if diff := cmp.Diff(map[string]int{"web: contested " + edgeDefault: 1, "web: repaired " + edgeDefault: fightFree}, got); diff != "" {
		t.Errorf("said (-want +got):\n%s", diff)
	}
	if adds < 12 || adds > 22 {
		t.Errorf("put back %d times in 10 s, want 5 at once and then about one a second", adds)
	}
}

// TestFollow_TheKernelsDoing has routes vanish with an interface: nobody has
// removed them, yet they are not put back without bounds.
func TestFollow_TheKernelsDoing(t *testing.T) {
	s, _ := held(t, edge())
	f := s.table.routers[0].followers[0]
	for end := s.now + 10*time.Second; s.now < end; s.now += ms {
		s.drop(func(o object) bool { return o.key == f.key })
		s.table.routing.touched()
		s.settle()
	}
	adds := 0
	for _, line := range s.journal {
		if line != "add "+edgeDefault {
			t.Errorf("journal: %s", line)
		}
		adds++
	}
	if adds < 12 || adds > 22 {
		t.Errorf("put back %d times in 10 s, want 5 at once and then about one a second", adds)
	}
}

// TestFollow_TwoRoutersOfOneKey has two routers that want the same rule and
// routes that differ in their gateway alone.
func TestFollow_TwoRoutersOfOneKey(t *testing.T) {
	one := edge()
	two := Router{Name: "two", Interface: "eth0", Routes: []Route{route("0.0.0.0/0", "10.0.0.8")}, Rules: one.Rules}
	s, h := newSim(t, one, two)
	h[0].Hold(1)
	s.settle()
	s.reject = map[string]error{"route default via 10.0.0.8": errors.New("exists")}
	s.journal = nil
	h[1].Hold(1)
	s.settle()
	s.want("add route default via 10.0.0.8", "two: failed route default via 10.0.0.8", "two: on")
	h[1].Release()
	s.settle()
	s.want("two: off")
	h[0].Release()
	s.settle()
	if got := len(s.objects); got != 0 {
		t.Errorf("%d objects are left", got)
	}
}

func TestFollow_LeftoversAreRemovedOnce(t *testing.T) {
	left := func(r Route, proto uint8) object {
		o := r.object()
		o.proto = proto
		return o
	}
	s, _ := newSim(t, edge())
	s.objects = []object{
		left(route("0.0.0.0/0", "10.0.0.7"), Protocol),
		left(route("10.7.0.0/16", "10.0.0.7"), Protocol),
		left(route("10.8.0.0/16", "10.0.0.7"), unix.RTPROT_BOOT),
		left(with(route("10.9.0.0/16", "10.0.0.7"), func(r *Route) { r.Table = 9 }), Protocol), // of a table that we have nothing to do with
		left(with(route("10.6.0.0/16", "10.0.0.7"), func(r *Route) { r.Table = 100 }), Protocol),
		Rule{Table: 100, Priority: 8}.object(),
		Rule{Table: 9, Priority: 8}.object(),
		edge().Rules[0].object(),
	}
	s.table.routing.stale = true
	s.settle()
	s.want("remove "+edgeRule, "remove "+edgeDefault,
		"remove route 10.7.0.0/16 via 10.0.0.7", "remove route 10.6.0.0/16 via 10.0.0.7 table 100", "remove rule from all lookup 100 priority 8", "web: off")
	s.objects = append(s.objects, left(route("10.7.0.0/16", "10.0.0.7"), Protocol))
	s.table.routing.touched()
	s.settle()
	s.want()
}

func TestRouting_HearsNothingOfOthers(t *testing.T) {
	s, _ := held(t, edge())
	k := &s.table.routing
	k.port = 99
	bgp := func(to string) object {
		o := route(to, "10.0.0.9").object()
		o.proto = unix.RTPROT_BGP
		return o
	}
	for _, o := range []object{bgp("192.0.2.0/24"), bgp("192.0.0.0/16"), bgp("2001:db8::/16")} {
		s.tell(o, unix.RTM_NEWROUTE, 0, 0)
	}
	b := k.followers[edge().Rules[0].object().key][0].message(set).Serialize()
	k.hear(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_DELRULE, Pid: k.port}, Data: b[unix.SizeofNlMsghdr:]}) // our own doing
	for n := range 60 {                                                                                                          // torn messages
		k.hear(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWROUTE}, Data: make([]byte, n)})
	}
	if k.stale {
		t.Error("the routes are to be read again")
	}
	s.tell(bgp("10.1.0.0/16"), unix.RTM_NEWROUTE, 0, 0)
	if !k.stale {
		t.Error("a change of a route of our key is not heard")
	}
}

func TestParseObject_RefusesWhatNoRuleHas(t *testing.T) {
	rule := Rule{From: netip.MustParsePrefix("10.0.0.0/8"), Table: 100, Priority: 7}.object()
	message := func(extra ...byte) syscall.NetlinkMessage {
		b := append(rule.message(set).Serialize()[unix.SizeofNlMsghdr:], extra...)
		return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWRULE}, Data: b}
	}
	attribute := func(kind uint16, value uint32) []byte {
		b := make([]byte, 8)
		b[0] = 8
		copy(b[2:], []byte{byte(kind), byte(kind >> 8)})
		for i := range 4 {
			b[4+i] = byte(value >> (8 * i))
		}
		return b
	}
	if o, ok := parseObject(message()); !ok || o.key != rule.key || o.proto != Protocol {
		t.Fatalf("%+v, %t", o, ok)
	}
	if _, ok := parseObject(message(attribute(unix.FRA_SUPPRESS_PREFIXLEN, ^uint32(0))...)); !ok {
		t.Error("no suppressed length: refused")
	}
	for _, extra := range [][]byte{attribute(unix.FRA_SUPPRESS_PREFIXLEN, 0), attribute(unix.FRA_UID_RANGE, 1), attribute(unix.FRA_IP_PROTO, 6), attribute(200, 1)} {
		if _, ok := parseObject(message(extra...)); ok {
			t.Errorf("a rule with % x is taken for ours", extra)
		}
	}
	for name, change := range map[string]func([]byte){
		"action":  func(b []byte) { b[7] = unix.FR_ACT_BLACKHOLE },
		"invert":  func(b []byte) { b[8] = unix.FIB_RULE_INVERT },
		"service": func(b []byte) { b[3] = 4 },
		"family":  func(b []byte) { b[0] = unix.AF_BRIDGE },
	} {
		m := message()
		change(m.Data)
		if _, ok := parseObject(m); ok {
			t.Errorf("a rule of another %s is taken for ours", name)
		}
	}
	for n := range len(message().Data) / 4 {
		m := message()
		m.Data = m.Data[:4*n]
		parseObject(m) // must not panic
	}
}

func TestRoute_String(t *testing.T) {
	for _, c := range []struct {
		object fmt.Stringer
		want   string
	}{
		{route("0.0.0.0/0", "192.0.2.14"), "route default via 192.0.2.14"},
		{with(route("::/0", ""), func(r *Route) { r.Type = unix.RTN_UNREACHABLE }), "-6 route unreachable default"},
		{with(route("10.0.0.0/8", ""), func(r *Route) { r.Interface, r.Scope, r.Table = "eth0", unix.RT_SCOPE_LINK, 1000 }), "route 10.0.0.0/8 dev eth0 table 1000"},
		{with(route("10.0.0.0/8", ""), func(r *Route) { r.Interface, r.MTU = "eth0", 1400 }), "route 10.0.0.0/8 dev eth0 scope global mtu 1400"},
		{with(route("10.0.0.0/8", "192.0.2.1"), func(r *Route) {
			r.Metric, r.Source, r.OnLink = 5, netip.MustParseAddr("192.0.2.9"), true
		}), "route 10.0.0.0/8 via 192.0.2.1 src 192.0.2.9 metric 5 onlink"},
		{Rule{Table: 100, Priority: 7}, "rule from all lookup 100 priority 7"},
		{Rule{IPv6: true, To: netip.MustParsePrefix("2001:db8::/32"), Table: 100, Priority: 7, FwMark: 16, Input: "eth0", Output: "eth1"}, "-6 rule from all to 2001:db8::/32 fwmark 0x10 iif eth0 oif eth1 lookup 100 priority 7"},
		{Rule{From: netip.MustParsePrefix("10.0.0.0/8"), Table: 100, Priority: 7, FwMark: 16, FwMask: 240}, "rule from 10.0.0.0/8 fwmark 0x10/0xf0 lookup 100 priority 7"},
	} {
		if got := c.object.String(); got != c.want {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
	if !strings.HasPrefix(request{object: &object{key: Rule{Table: 1}.object().key}}.describe(), "rule ") {
		t.Error("a rule without a router is not called one")
	}
}

func TestFollower_Fits(t *testing.T) {
	via := netip.MustParseAddr
	wished := with(route("10.0.0.0/8", "192.0.2.1"), func(r *Route) { r.Interface, r.MTU, r.Source = "eth0", 1400, via("192.0.2.9") })
	f := &follower{object: wished.object(), iface: &iface{link: link{index: 2}}}
	for name, c := range map[string]struct {
		change func(*object)
		want   bool
	}{
		"the same":       {func(o *object) {}, true},
		"on link":        {func(o *object) { o.onLink = true }, true},
		"one of two":     {func(o *object) { o.hops = []hop{{via("192.0.2.2"), 2}, {via("192.0.2.1"), 2}} }, true},
		"none of two":    {func(o *object) { o.hops = []hop{{via("192.0.2.2"), 2}, {via("192.0.2.1"), 3}} }, false},
		"another type":   {func(o *object) { o.kind = unix.RTN_BLACKHOLE }, false},
		"another scope":  {func(o *object) { o.scope = unix.RT_SCOPE_LINK }, false},
		"another source": {func(o *object) { o.source = netip.Addr{} }, false},
		"another MTU":    {func(o *object) { o.mtu = 0 }, false},
		"another way":    {func(o *object) { o.hops = []hop{{via("192.0.2.2"), 2}} }, false},
		"another link":   {func(o *object) { o.hops = []hop{{via("192.0.2.1"), 3}} }, false},
	} {
		o := wished.object()
		o.hops = []hop{{via("192.0.2.1"), 2}}
		c.change(&o)
		if got := f.fits(o); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	f.iface.link.index = 0
	if o := wished.object(); f.fits(o) {
		t.Error("a route fits whose interface is not there")
	}
}

// TestFollow_WithoutAnAddressThatOthersTook has an address that is to stay away.
func TestFollow_WithoutAnAddressThatOthersTook(t *testing.T) {
	r := edge()
	r.Addresses[0].Repair = false
	s, _ := held(t, r)
	s.lose("10.0.0.1/24")
	s.settle()
	s.want("web: removed 10.0.0.1")
	s.take(s.table.routers[0].followers[0])
	s.settle()
	s.want("add "+edgeDefault, "web: repaired "+edgeDefault)
}

func TestFollow_WithoutAddressesAtOnce(t *testing.T) {
	s, h := newSim(t, Router{Name: "web", Interface: "eth0", Rules: edge().Rules})
	h[0].Hold(1)
	s.settle()
	s.want("add "+edgeRule, "web: on")
}

// TestFollow_InterfaceRenamed has a route lead to an interface that gets another
// name.
func TestFollow_InterfaceRenamed(t *testing.T) {
	r := edge()
	r.Routes = []Route{with(route("10.1.0.0/16", ""), func(r *Route) { r.Interface = "eth1" })}
	s, h := newSim(t, r)
	two := link{index: 3, name: "eth1", up: true, running: true}
	h[0].Hold(1)
	s.settle()
	s.table.setLink(two)
	s.settle()
	s.journal = nil
	name := r.Routes[0].String()
	two.name = "eth2"
	s.table.setLink(two)
	s.settle()
	s.want("remove "+name, "web: failed "+name)
	two.name, two.up = "eth1", false
	s.table.setLink(two)
	s.run(time.Second)
	s.want("web: failed " + name) // another reason
	two.up = true
	s.table.setLink(two)
	s.settle()
	s.want("add "+name, "web: recovered "+name)
}
