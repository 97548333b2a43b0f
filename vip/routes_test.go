package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// ip runs ip(8) in the namespace.
func (l *lab) ip(args string) string {
	l.t.Helper()
	var out []byte
	l.within(func() {
		var err error
		if out, err = exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			l.t.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	})
	return strings.TrimSpace(string(out))
}

// ours is what ip(8) shows of this program's routes and rules.
func (l *lab) ours() string {
	l.t.Helper()
	var out []string
	for _, family := range []string{"-4", "-6"} {
		for line := range strings.Lines(l.ip("-d "+family+" route show table all proto 112") + "\n" + l.ip("-d "+family+" rule show")) {
			// Of rules it shows all, and of routes that it picks by protocol none.
			if strings.Contains(line, "scope") || strings.Contains(line, "proto 112") {
				out = append(out, family+" "+strings.Join(strings.Fields(line), " "))
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// verb puts "add", "del" and so on where ip(8) wants it.
func verb(v, name string) string {
	for _, kind := range []string{"route ", "rule "} {
		name = strings.Replace(name, kind, kind+v+" ", 1)
	}
	return name
}

func route(to, via string) Route {
	r := Route{To: netip.MustParsePrefix(to), Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST, Repair: true}
	if via != "" {
		r.Via = netip.MustParseAddr(via)
	}
	return r
}

func with(r Route, change func(*Route)) Route {
	change(&r)
	return r
}

// expectObject returns the next event, which has to be of that kind and about
// that route or rule.
func (l *lab) expectObject(k EventKind, object string) Event {
	l.t.Helper()
	e := l.expect(k)
	if e.Object != object || e.Address.IsValid() {
		l.t.Errorf("event %+v, want one about %q", e, object)
	}
	return e
}

// gateway is a router with a default route.
func gateway() Router {
	return Router{
		Name: "gw", Interface: "left", Lifetime: time.Minute,
		Addresses: addresses("10.0.0.100/24", "2001:db8::100/64"),
		Routes:    []Route{route("0.0.0.0/0", "10.0.0.1"), route("::/0", "2001:db8::1")},
		Rules: []Rule{
			{From: netip.MustParsePrefix("10.0.0.0/8"), Table: 100, Priority: 500, Repair: true},
			{IPv6: true, Table: 100, Priority: 500, Repair: true},
		},
	}
}

const gatewayObjects = `-4 500: from 10.0.0.0/8 lookup 100 proto 112
-4 unicast default via 10.0.0.1 dev left table main scope global
-6 500: from all lookup 100 proto 112
-6 unicast default via 2001:db8::1 dev left table main scope global metric 1024 pref medium`

// TestWorker_RoutesAndRulesAreThoseOfIP compares each kind with what ip(8) makes
// of its own text.
func TestWorker_RoutesAndRulesAreThoseOfIP(t *testing.T) {
	p := netip.MustParsePrefix
	r := Router{Name: "gw", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")}
	reject := func(to string, kind uint8) Route { return with(route(to, ""), func(r *Route) { r.Type = kind }) }
	r.Routes = []Route{
		route("0.0.0.0/0", "10.0.0.1"),
		with(route("0.0.0.0/0", "10.0.0.1"), func(r *Route) { r.Metric = 50 }),
		with(route("10.1.0.0/16", "10.0.0.1"), func(r *Route) {
			r.Interface, r.Source, r.Metric, r.Table, r.MTU = "left", netip.MustParseAddr("10.0.0.100"), 7, 100000, 1400
		}),
		with(route("10.2.0.0/16", ""), func(r *Route) { r.Interface, r.Scope = "left", unix.RT_SCOPE_LINK }),
		with(route("10.2.1.0/24", ""), func(r *Route) { r.Interface = "left" }),
		with(route("10.3.0.0/16", "192.0.2.1"), func(r *Route) { r.Interface, r.OnLink = "left", true }),
		with(route("10.4.0.1/32", "10.0.0.1"), func(r *Route) { r.Table = 200 }),
		reject("10.5.0.0/16", unix.RTN_UNREACHABLE),
		reject("10.6.0.0/16", unix.RTN_BLACKHOLE),
		reject("10.7.0.0/16", unix.RTN_PROHIBIT),
		reject("10.8.0.0/16", unix.RTN_THROW),
		route("::/0", "2001:db8::1"),
		with(route("::/0", "fe80::1"), func(r *Route) { r.Interface, r.Metric, r.OnLink = "left", 50, true }),
		with(route("2001:db8:1::/48", "2001:db8::1"), func(r *Route) {
			r.Interface, r.Source, r.Metric, r.Table, r.MTU = "left", netip.MustParseAddr("2001:db8::100"), 7, 100000, 1400
		}),
		with(route("2001:db8:2::/48", ""), func(r *Route) { r.Interface = "left" }),
		reject("2001:db8:5::/48", unix.RTN_UNREACHABLE),
		reject("2001:db8:6::/48", unix.RTN_BLACKHOLE),
		reject("2001:db8:7::/48", unix.RTN_PROHIBIT),
		reject("2001:db8:8::/48", unix.RTN_THROW),
	}
	r.Rules = []Rule{
		{Table: 100000, Priority: 100},
		{From: p("10.0.0.0/8"), To: p("10.1.0.0/16"), Table: 200, Priority: 101, FwMark: 1, FwMask: 0xff, Input: "left", Output: "right"},
		{From: p("0.0.0.0/0"), Table: 200, Priority: 102, FwMark: 7},
		{Table: 200, Priority: 103, FwMask: 0xf0},
		{IPv6: true, Table: 100000, Priority: 100},
		{IPv6: true, From: p("2001:db8::/32"), To: p("2001:db8:1::/48"), Table: 200, Priority: 101, FwMark: 1, FwMask: 0xff, Input: "left", Output: "right"},
	}
	l := newLab(t)
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	n := len(r.Routes) + len(r.Rules)
	l.until("all are in place", func() bool { return strings.Count(l.ours(), "\n")+1 == n })
	got := l.ours()
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
	h.Release()
	l.expect(Off)
	if left := l.ours(); left != "" {
		t.Errorf("left after the release:\n%s", left)
	}
	l.end()

	other := newLab(t)
	for _, a := range r.Addresses {
		other.ip("address add " + a.Prefix.String() + " dev left" + map[bool]string{true: " nodad"}[a.Prefix.Addr().Is6()])
	}
	for _, o := range r.Routes {
		other.ip(verb("add", o.String()) + " proto 112")
	}
	for _, o := range r.Rules {
		other.ip(verb("add", o.String()) + " protocol 112")
	}
	if diff := cmp.Diff(other.ours(), got); diff != "" {
		t.Errorf("ip(8) and the worker differ (-ip +worker):\n%s", diff)
	}
}

// TestWorker_RoutesFollowTheAddresses looks at the order in which the kernel
// tells of the changes.
func TestWorker_RoutesFollowTheAddresses(t *testing.T) {
	l := newLab(t)
	h := l.start(gateway())[0]
	var fd int
	l.within(func() {
		var err error
		fd, err = openNetlink(1<<20, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
		l.check(err)
	})
	defer unix.Close(fd)
	told := func(add, del map[uint16]string) (out []string) {
		b := make([]byte, 64<<10)
		for {
			msgs, err := receive(fd, b)
			if errors.Is(err, unix.EAGAIN) {
				return slices.Compact(out)
			}
			l.check(err)
			for _, m := range msgs {
				text := add[m.Header.Type] + del[m.Header.Type]
				if o, ok := parseObject(m); text != "address" && (!ok || o.proto != Protocol) {
					continue
				}
				out = append(out, text)
			}
		}
	}
	h.Hold(1)
	l.expect(On)
	l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
	want := []string{"address", "route", "rule"}
	added := map[uint16]string{unix.RTM_NEWADDR: "address", unix.RTM_NEWROUTE: "route", unix.RTM_NEWRULE: "rule"}
	if diff := cmp.Diff(want, told(added, nil)); diff != "" {
		t.Errorf("order of putting in place (-want +got):\n%s", diff)
	}

	// What leaves address by address keeps its routes until the last.
	h.Release(netip.MustParseAddr("10.0.0.100"))
	l.until("one is released", func() bool { return !l.has("10.0.0.100") })
	if n := strings.Count(l.ours(), "\n") + 1; n != 3 { // the kernel drops an IPv4 route with its network
		t.Errorf("while the address is lent:\n%s", l.ours())
	}
	told(nil, nil)
	h.Release()
	l.expect(Off)
	slices.Reverse(want)
	removed := map[uint16]string{unix.RTM_DELADDR: "address", unix.RTM_DELROUTE: "route", unix.RTM_DELRULE: "rule"}
	if diff := cmp.Diff(want, told(nil, removed)); diff != "" {
		t.Errorf("order of removing (-want +got):\n%s", diff)
	}
	if left := l.ours(); left != "" {
		t.Errorf("left after the release:\n%s", left)
	}
}

func TestWorker_RepairsRoutesAndRules(t *testing.T) {
	r := gateway()
	for _, name := range []string{r.Routes[0].String(), r.Routes[1].String(), r.Rules[0].String(), r.Rules[1].String()} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.start(r)[0].Hold(1)
			l.expect(On)
			l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
			l.ip(verb("del", name))
			if e := l.expectObject(Repaired, name); e.After <= 0 || e.After > 100*time.Millisecond {
				t.Errorf("repaired after %s", e.After)
			}
			if got := l.ours(); got != gatewayObjects {
				t.Errorf("after the repair:\n%s", got)
			}
			if len(l.events) > 0 {
				t.Errorf("event %+v", l.event())
			}
		})
	}
}

func TestWorker_LeavesRemovedRoutesWithoutRepair(t *testing.T) {
	r := gateway()
	r.Addresses, r.Routes[0].Repair, r.Rules[0].Repair = r.Addresses[:1], false, false
	r.Routes, r.Rules = r.Routes[:1], r.Rules[:1]
	l := newLab(t)
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	l.until("both are in place", func() bool { return strings.Count(l.ours(), "\n") == 1 })
	for _, name := range []string{r.Routes[0].String(), r.Rules[0].String()} {
		l.ip(verb("del", name))
		l.expectObject(Removed, name)
	}
	// With its link it comes back: nobody has removed it.
	h.Hold(2)
	l.expect(On)
	l.until("both are back", func() bool { return strings.Count(l.ours(), "\n") == 1 })
	l.check(l.kernel.LinkSetDown(l.link("left")))
	l.check(l.kernel.LinkSetUp(l.link("left")))
	l.until("both are back with the link", func() bool { return strings.Count(l.ours(), "\n") == 1 })
}

func TestWorker_ContestedRoute(t *testing.T) {
	for _, k := range []int{0, 1} {
		r := gateway()
		name := r.Routes[k].String()
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.start(r)[0].Hold(1)
			l.expect(On)
			removed := 0
			l.within(func() {
				for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); {
					if exec.Command("ip", strings.Fields(verb("del", name))...).Run() == nil {
						removed++
					}
				}
			})
			// Five at once, then after 50, 100, 200, 400, 800 ms.
			if removed < 7 || removed > 12 {
				t.Errorf("removed %d times in 1.5 s, want about 10", removed)
			}
			kinds := make(map[EventKind]int)
			for len(l.events) > 0 {
				kinds[l.event().Kind]++
			}
			if kinds[Contested] != 1 || kinds[Repaired] > fightFree {
				t.Errorf("events %v, want one contested and at most %d repaired", kinds, fightFree)
			}
			l.until("it is back", func() bool { return l.ours() == gatewayObjects })
		})
	}
}

func TestWorker_RoutesOfALinkDownAndUp(t *testing.T) {
	l := newLab(t)
	l.start(gateway())[0].Hold(1)
	l.expect(On)
	for i := range 3 {
		l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
		l.check(l.kernel.LinkSetDown(l.link("left")))
		if i > 0 {
			l.until("the routes are seen to be gone", func() bool { return strings.Count(l.ours(), "default") == 0 })
		}
		l.check(l.kernel.LinkSetUp(l.link("left")))
	}
	l.until("all are back", func() bool { return l.ours() == gatewayObjects })
	for len(l.events) > 0 {
		if e := l.event(); e.Kind == Repaired || e.Kind == Contested || e.Kind == Removed {
			t.Errorf("event %+v, though nobody removed anything", e)
		}
	}
}

func TestWorker_RoutesOfAnInterfaceMadeAnew(t *testing.T) {
	r := gateway()
	for i := range r.Routes {
		r.Routes[i].Interface = "left"
	}
	l := newLab(t)
	l.start(r)[0].Hold(1)
	l.expect(On)
	l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
	l.check(l.kernel.LinkDel(l.link("left")))
	for e := l.event(); e.Kind != Off; e = l.event() {
	}
	l.veth()
	for e := l.event(); e.Kind != On; e = l.event() {
	}
	l.until("all are back", func() bool { return l.ours() == gatewayObjects })
}

// TestWorker_RouteWithItsSource has the kernel drop a route without a word,
// together with the address that is its source.
func TestWorker_RouteWithItsSource(t *testing.T) {
	r := gateway()
	r.Addresses[0].Prefix = netip.MustParsePrefix("10.9.9.9/32")
	r.Routes[0].Source = r.Addresses[0].Prefix.Addr()
	r.Routes[1].Source = r.Addresses[1].Prefix.Addr()
	l := newLab(t)
	l.add("10.0.0.2/24")
	l.start(r)[0].Hold(1)
	l.expect(On)
	l.until("all are in place", func() bool { return strings.Count(l.ours(), " src ") == 2 })
	for _, a := range r.Addresses {
		l.del(a.Prefix.String())
		if e := l.expect(Repaired); e.Address != a.Prefix.Addr() {
			t.Errorf("event %+v", e)
		}
		l.until("all are back", func() bool { return strings.Count(l.ours(), " src ") == 2 })
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
}

func TestWorker_RouteLeftovers(t *testing.T) {
	r := gateway()
	r.Routes = append(r.Routes, with(route("10.7.0.0/16", ""), func(r *Route) { r.Type, r.Table = unix.RTN_UNREACHABLE, 100 }))
	l := newLab(t)
	l.ip("address add 10.0.0.2/24 dev left")
	l.ip("address add 2001:db8::2/64 dev left nodad")
	for _, keep := range []string{"route add 10.8.0.0/16 via 10.0.0.1", "route add 10.8.1.0/24 via 10.0.0.1 table 4 proto 112", "rule add from 10.0.0.0/8 lookup 100 priority 500", "rule add from 10.0.0.0/8 lookup 4 priority 500 protocol 112"} {
		l.ip(keep)
	}
	before := l.ours()
	for _, leave := range []string{
		"route add default via 10.0.0.9 proto 112", "-6 route add default via 2001:db8::9 proto 112", // other gateways
		"route add unreachable 10.7.0.0/16 table 100 proto 112", "-6 rule add from all lookup 100 priority 500 protocol 112",
		"route add 10.6.0.0/16 via 10.0.0.9 proto 112", "rule add from 10.6.0.0/16 lookup 100 priority 501 protocol 112", // of no router any more
		"rule add from 10.0.0.0/8 lookup 100 priority 500 protocol 112",
	} {
		l.ip(leave)
	}
	l.start(r)
	if diff := cmp.Diff(before, l.ours()); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if got := l.ip("rule show priority 500"); strings.Count(got, "\n") != 1 {
		t.Errorf("somebody else's rule was removed:\n%s", got)
	}
}

// TestWorker_AdoptsRoutes has a Hold come before the worker has looked.
func TestWorker_AdoptsRoutes(t *testing.T) {
	r := gateway()
	l := newLab(t)
	l.ip("address add 10.0.0.100/24 dev left")
	l.ip("address add 2001:db8::100/64 dev left nodad valid_lft 60 preferred_lft 0")
	l.ip("route add default via 10.0.0.1 proto 112")
	l.ip("-6 route add default via 2001:db8::9 proto 112") // of the configuration before
	l.ip("rule add from 10.0.0.0/8 lookup 100 priority 500 protocol 112")
	var fd int
	l.within(func() {
		var err error
		fd, err = openNetlink(1<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE)
		l.check(err)
	})
	defer unix.Close(fd)
	w := l.newWorker()
	w.Add(r).Hold(1)
	l.run()
	l.expect(On)
	l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
	l.end()
	if l.ours() != gatewayObjects {
		t.Error("the end of Run removed something")
	}
	b := make([]byte, 64<<10)
	var changes []string
	for {
		msgs, err := receive(fd, b)
		if err != nil {
			break
		}
		for _, m := range msgs {
			if o, ok := parseObject(m); ok && o.proto == Protocol {
				changes = append(changes, fmt.Sprint(m.Header.Type, " ", request{object: &o}.describe()))
			}
		}
	}
	want := []string{
		fmt.Sprint(unix.RTM_DELROUTE, " -6 route default via 2001:db8::9 metric 1024"),
		fmt.Sprint(unix.RTM_NEWROUTE, " -6 route default via 2001:db8::1 metric 1024"),
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changed (-want +got):\n%s", diff)
	}
}

func TestWorker_ForeignRouteStays(t *testing.T) {
	for _, c := range []struct{ address, foreign, del, ours string }{
		{"10.0.0.100/24", "route add default via 10.0.0.7", "route del default via 10.0.0.7", "10.0.0.1"},
		{"10.0.0.100/24", "route add default via 10.0.0.1 proto static", "route del default via 10.0.0.1", "10.0.0.1"},
		{"2001:db8::100/64", "-6 route add default via 2001:db8::7", "-6 route del default via 2001:db8::7", "2001:db8::1"},
	} {
		t.Run(c.foreign, func(t *testing.T) {
			l := newLab(t)
			r := gateway()
			r.Addresses, r.Rules = addresses(c.address), nil
			r.Routes = []Route{route(netip.PrefixFrom(netip.MustParseAddr(c.ours), 0).Masked().String(), c.ours)}
			l.ip("address add 10.0.0.2/24 dev left")
			l.ip("address add 2001:db8::2/64 dev left nodad")
			l.ip(c.foreign)
			h := l.start(r)[0]
			h.Hold(1)
			var kinds []EventKind
			var failed error
			for range 2 {
				e := l.event()
				kinds = append(kinds, e.Kind)
				if e.Kind == Failed && e.Object == r.Routes[0].String() {
					failed = e.Err
				}
			}
			if !slices.Contains(kinds, On) || failed == nil {
				t.Fatalf("events %v, want on and failed", kinds)
			}
			proto := "boot"
			if strings.Contains(c.foreign, "static") {
				proto = "static"
			}
			if want := "add " + r.Routes[0].String() + ": exists, made by protocol " + proto + ": give it another metric"; failed.Error() != want {
				t.Errorf("error %q\nwant  %q", failed, want)
			}
			if got := l.ours(); got != "" {
				t.Errorf("in place:\n%s", got)
			}
			l.ip(c.del)
			start := time.Now()
			l.expectObject(Recovered, r.Routes[0].String())
			if took := time.Since(start); took > 100*time.Millisecond {
				t.Errorf("put in place %s after the other had gone", took)
			}
			// Replaced by somebody: it is then theirs.
			l.ip(strings.Replace(c.foreign, " add ", " replace ", 1))
			l.expectObject(Failed, r.Routes[0].String())
			h.Release()
			l.expect(Off)
			if got := l.ip(strings.Replace(c.foreign, " add ", " show ", 1)); got == "" {
				t.Error("somebody else's route is gone")
			}
		})
	}
}

func TestWorker_ForeignRuleServes(t *testing.T) {
	r := gateway()
	r.Routes, r.Rules = nil, r.Rules[:1]
	l := newLab(t)
	l.ip(verb("add", r.Rules[0].String()))
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	h.Hold(2)
	l.expect(On)
	if got := l.ours(); got != "" {
		t.Errorf("in place beside the other's:\n%s", got)
	}
	l.ip(verb("del", r.Rules[0].String()))
	l.expectObject(Repaired, r.Rules[0].String())
	l.ip(verb("add", r.Rules[0].String()))
	h.Release()
	l.expect(Off)
	if got := l.ip("rule show priority 500"); !strings.Contains(got, "10.0.0.0/8") || l.ours() != "" {
		t.Errorf("after the release: %q", got)
	}
}

func TestWorker_RouteWaitsForItsGateway(t *testing.T) {
	l := newLab(t)
	r := gateway()
	r.Addresses = addresses("10.0.0.100/32")
	r.Routes, r.Rules = []Route{route("0.0.0.0/0", "10.7.0.1"), with(route("10.1.0.0/16", "10.8.0.1"), func(r *Route) { r.Interface = "later" })}, nil
	h := l.start(r)[0]
	h.Hold(1)
	want := map[string]error{
		r.Routes[0].String(): unix.ENETUNREACH,
		r.Routes[1].String(): ErrNoInterface,
	}
	for range 3 {
		e := l.event()
		switch err, ok := want[e.Object]; {
		case ok && e.Kind == Failed && errors.Is(e.Err, err):
			delete(want, e.Object)
		case e.Kind != On:
			t.Errorf("event %+v", e)
		}
	}
	l.ip("link add later type veth peer name more")
	l.ip("address add 10.8.0.2/24 dev later")
	l.ip("link set more up")
	l.ip("link set later up")
	l.expectObject(Recovered, r.Routes[1].String())
	l.ip("address add 10.7.0.2/24 dev later")
	l.expectObject(Recovered, r.Routes[0].String())
	h.Release()
	l.expect(Off)
	if got := l.ours(); got != "" {
		t.Errorf("after the release:\n%s", got)
	}
}

// TestWorker_RouteNotificationsLost has a receive buffer that holds few.
func TestWorker_RouteNotificationsLost(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	l.check(unix.SetsockoptInt(w.routes, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)) // the least there is
	w.Add(gateway()).Hold(1)
	l.run()
	l.expect(On)
	l.until("all are in place", func() bool { return l.ours() == gatewayObjects })
	l.within(func() {
		fd, err := openNetlink(1 << 20)
		l.check(err)
		defer unix.Close(fd)
		var flood []byte
		for i := range 500 {
			o := with(route("0.0.0.0/0", ""), func(r *Route) { r.Type, r.Table = unix.RTN_UNREACHABLE, uint32(1000+i) }).object()
			flood = append(flood, serialize(o, set)...)
		}
		flood = append(flood, serialize(gateway().Routes[0].object(), remove)...)
		l.check(unix.Sendto(fd, flood, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	})
	l.until("it is back", func() bool { return strings.Contains(l.ours(), "default via 10.0.0.1 dev left table main") })
}

func serialize(o object, k requestKind) []byte {
	m := o.message(k)
	m.Flags |= unix.NLM_F_REQUEST
	return m.Serialize()
}

// TestWorker_SleepsThroughTheRoutesOfOthers has the kernel hold back what does
// not concern the worker.
func TestWorker_SleepsThroughTheRoutesOfOthers(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	r := gateway()
	r.Routes = append(r.Routes, route("10.1.0.0/16", "10.0.0.1"))
	w.Add(r)
	w.take()
	for _, c := range []struct {
		command string
		heard   bool
	}{
		{"route add blackhole 10.2.0.0/24", false},
		{"route del blackhole 10.2.0.0/24", false},
		{"-6 route add blackhole 2001:db8::/32", false},
		{"-6 route add blackhole 2001::/16", false},
		{"route add blackhole 10.2.0.0/16", true},
		{"route add blackhole default", true},
		{"-6 route add blackhole default", true},
		{"rule add from 10.9.0.0/24 lookup 9", true},
		{"-6 rule add from 2001:db8::/48 lookup 9", true},
	} {
		l.ip(c.command)
		_, err := receive(w.routes, w.buf)
		if heard := err == nil; heard != c.heard {
			t.Errorf("%s: heard %t (%v)", c.command, heard, err)
		}
	}
}

// TestWorker_RoutesOfALinkWithoutIPv6 has nothing tell of the link's end but its
// own message: the kernel drops IPv4 routes in silence.
func TestWorker_RoutesOfALinkWithoutIPv6(t *testing.T) {
	l := newLab(t)
	l.sysctl("ipv6/conf/left/disable_ipv6", "1")
	r := gateway()
	r.Addresses, r.Routes, r.Rules = r.Addresses[:1], r.Routes[:1], nil
	l.start(r)[0].Hold(1)
	l.expect(On)
	for range 3 {
		l.until("it is in place", func() bool { return l.ours() != "" })
		l.check(l.kernel.LinkSetDown(l.link("left")))
		l.until("it is seen to be gone", func() bool { return l.ours() == "" })
		l.check(l.kernel.LinkSetUp(l.link("left")))
	}
	l.until("it is back", func() bool { return l.ours() != "" })
}

// TestWorker_RouteSharedWithOthers has another program add a hop to an IPv6
// route, which the kernel makes one route of two.
func TestWorker_RouteSharedWithOthers(t *testing.T) {
	r := gateway()
	r.Routes, r.Rules = r.Routes[1:], nil
	l := newLab(t)
	l.ip("address add 2001:db8::2/64 dev left nodad")
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	l.until("it is in place", func() bool { return l.ours() != "" })
	l.ip("-6 route append default via 2001:db8::7")
	l.ip("-6 route append default via 2001:db8::8")
	l.sync(h)
	h.Release()
	l.expect(Off)
	got := l.ip("-6 route show default")
	if strings.Contains(got, "2001:db8::1 ") || !strings.Contains(got, "2001:db8::7") || !strings.Contains(got, "2001:db8::8") {
		t.Errorf("after the release:\n%s", got)
	}
}

// sync waits until the worker has taken a turn, in which nothing else happened.
func (l *lab) sync(h *Handle) {
	l.t.Helper()
	h.Hold(4711)
	l.expect(On)
}

func TestWorker_ReadsItsRoutesAlone(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	l.ip("route add blackhole 10.2.0.0/16")
	l.ip("route add blackhole 10.3.0.0/16 proto 112")
	for protocol, want := range map[uint8]int{Protocol: 1, unix.RTPROT_BOOT: 1, unix.RTPROT_BIRD: 0} {
		got := 0
		body := object{}.header()
		body.Protocol = protocol
		_, err := w.requests.dump(unix.RTM_GETROUTE, body, func(syscall.NetlinkMessage) { got++ })
		if err != nil || got != want {
			t.Errorf("%d routes of protocol %d (%v), want %d", got, protocol, err, want)
		}
	}
}

// TestWorker_EasesTheReading has the worker read routes the more seldom, the
// longer it takes.
func TestWorker_EasesTheReading(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	w.Add(gateway())
	w.take()
	before := now()
	l.check(w.readRoutes())
	k, after := &w.table.routing, now()
	if pause, took := k.readAt-after, after-before; pause <= 0 || pause > easing*took {
		t.Errorf("reads again in %s after a reading of %s", pause, took)
	}
	k.stale, k.readAt = true, after+time.Hour
	w.listenRoutes()
	if !k.stale {
		t.Error("it was read before its time")
	}
	w.table.routers[0].dirty, w.table.routers[0].due = false, never
	if due := w.table.deadline(); due != k.readAt {
		t.Errorf("wakes in %s, want an hour", due-after)
	}
	k.readAt = after
	w.listenRoutes()
	if k.stale {
		t.Error("it was not read when it was time")
	}
}

// TestWorker_SearchesOnceForARival has the answer kept: the search may be long.
func TestWorker_SearchesOnceForARival(t *testing.T) {
	l := newLab(t)
	w := l.newWorker()
	defer w.Close()
	l.ip("address add 10.0.0.2/24 dev left")
	w.Add(gateway())
	w.take()
	f := w.table.routers[0].followers[0]
	for range 2 {
		l.ip("route replace blackhole default proto static")
		first := w.rival(f.addition())
		l.ip("route del blackhole default")
		if again := w.rival(f.addition()); !strings.Contains(first.Error(), "protocol static") || again.Error() != first.Error() {
			t.Errorf("%v, then %v", first, again)
		}
		f.rival = nil
	}
}
