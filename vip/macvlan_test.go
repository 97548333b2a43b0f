package vip

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// changeLink does to the simulated macvlan what is asked, unless its name is
// one to be refused.
func (s *sim) changeLink(q request) {
	s.note("%s %s", q.kind, q.name)
	err := s.refuseLink
	if err == nil {
		l := s.vlan
		switch q.kind {
		case makeLink:
			l = link{index: s.nextIndex(), name: q.name, ethernet: true, kind: macvlanKind, base: q.base.index, mode: nl.MACVLAN_MODE_BRIDGE, mac: q.macvlan.MAC, six: true}
		case mendLink:
			l.mac, l.mode = q.macvlan.MAC, nl.MACVLAN_MODE_BRIDGE
		case upLink:
			l.up, l.running = true, !s.silent
		case downLink:
			l.up, l.running = false, false
		case dropLink:
			s.loseVlan()
		}
		if q.kind != dropLink && q.kind != tune {
			s.vlan = l
			s.table.setLink(l)
		}
	}
	s.table.done(q, err, s.now)
}

func (s *sim) nextIndex() int {
	s.made++
	return 100 + s.made
}

// loseVlan has the macvlan be gone, with what is on it.
func (s *sim) loseVlan() {
	for p := range s.kernel {
		delete(s.kernel, p)
		s.table.removeAddr(s.vlan.index, entry{prefix: p})
	}
	s.table.removeLink(s.vlan.index)
	s.vlan = link{}
}

func virtualWeb(prefixes ...string) Router {
	r := web(prefixes...)
	r.VirtualMAC = &VirtualMAC{Name: "vrrp.51", MAC: virtual}
	return r
}

func TestMacvlan_Steps(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	s.settle()
	s.want("make the virtual MAC's interface vrrp.51",
		"change settings of vrrp.51", "change settings of vrrp.51", "change settings of eth0", "web: off")
	h[0].Hold(1)
	s.settle()
	s.want("set up the virtual MAC's interface vrrp.51", "add 10.0.0.100/24", "announce 10.0.0.100", "web: on")
	h[0].Release()
	s.settle()
	s.want("set down the virtual MAC's interface vrrp.51", "remove 10.0.0.100/24", "web: off")
	for range 2 {
		for _, q := range s.table.leaving() {
			s.changeLink(q)
		}
	}
	s.want("remove the interface vrrp.51", "change settings of eth0")
}

func TestMacvlan_SomebodyDeletesIt(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	again := []string{
		"make the virtual MAC's interface vrrp.51", "change settings of vrrp.51", "change settings of vrrp.51",
		"set up the virtual MAC's interface vrrp.51", "add 10.0.0.100/24", "announce 10.0.0.100",
	}
	s.loseVlan()
	s.settle()
	s.want(append(again, "web: repaired")...)
	for range fightFree - 1 {
		s.loseVlan()
		s.settle()
	}
	s.journal = nil
	s.loseVlan()
	s.settle()
	s.want("web: contested")
	s.run(fightFirst)
	s.want(again...)
	s.run(fightCalm)
	s.loseVlan()
	s.settle()
	s.want(append(again, "web: repaired")...)
}

// What others remove is not off when the removal is heard late in a turn, after
// plan: the next one has it back.
func TestMacvlan_DeletedAfterPlan(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.loseVlan()
	s.table.report(s.now)
	s.settle()
	s.want("make the virtual MAC's interface vrrp.51", "change settings of vrrp.51", "change settings of vrrp.51",
		"set up the virtual MAC's interface vrrp.51", "add 10.0.0.100/24", "announce 10.0.0.100", "web: repaired")
}

// TestMacvlan_GoesWithItsBase has the deletion be heard before that of the base.
func TestMacvlan_GoesWithItsBase(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.loseVlan()
	s.refuseLink = unix.ENODEV
	s.turn()
	s.want("make the virtual MAC's interface vrrp.51")
	s.table.removeLink(s.link.index)
	s.settle()
	s.want("web: failed", "web: off")
	s.refuseLink = nil
	s.table.setLink(s.link)
	s.run(time.Second)
	if got := s.journal[len(s.journal)-1]; got != "web: on" {
		t.Errorf("journal %q, want on in the end, and nothing repaired", s.journal)
	}
}

// Whoever holds anew has to learn that it cannot be made, too.
func TestMacvlan_CannotBeMadeIsToldToEachHoldAndTriedAgain(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	s.refuseLink = unix.EBUSY
	s.settle()
	s.want("make the virtual MAC's interface vrrp.51", "web: failed", "web: off")
	h[0].Hold(1)
	s.run(retryFirst)
	s.want("web: failed", "make the virtual MAC's interface vrrp.51")
	h[0].Release()
	s.settle()
	s.want("web: off")
	h[0].Hold(2)
	s.refuseLink = nil
	s.run(time.Second)
	s.want("web: failed", "make the virtual MAC's interface vrrp.51", "change settings of vrrp.51", "change settings of vrrp.51", "change settings of eth0",
		"set up the virtual MAC's interface vrrp.51", "add 10.0.0.100/24", "announce 10.0.0.100", "web: recovered", "web: on")
}

// TestMacvlan_ElsewhereIsNotTriedWithoutEnd has the kernel put it on another interface.
func TestMacvlan_ElsewhereIsNotTriedWithoutEnd(t *testing.T) {
	s, _ := newSim(t, virtualWeb("10.0.0.100/24"))
	s.turn()
	s.vlan.base = 77
	s.table.setLink(s.vlan)
	s.settle()
	for _, line := range s.journal {
		if line == "web: failed" {
			return
		}
	}
	t.Errorf("journal %q, want failed", s.journal)
}

func TestMacvlan_WaitsForItsBaseToBeUp(t *testing.T) {
	s, h := newSim(t, virtualWeb("10.0.0.100/24"))
	s.settle()
	s.journal = nil
	s.link.up, s.link.running = false, false
	s.table.setLink(s.link)
	h[0].Hold(1)
	s.settle()
	s.want("web: failed")
	s.link.up, s.link.running = true, true
	s.table.setLink(s.link)
	s.settle()
	s.want("set up the virtual MAC's interface vrrp.51", "web: recovered", "add 10.0.0.100/24", "announce 10.0.0.100", "web: on")
}

func TestOpening_Alias(t *testing.T) {
	for _, o := range []opening{{}, {1, 2}, {8, 0}} {
		if got, ok := described(o.describe()); !ok || got != o {
			t.Errorf("%v is read back as %v, %v", o, got, ok)
		}
	}
	for _, alias := range []string{"", "uplink to r1", "baton: parent arp_ignore x arp_announce 0", "baton: parent arp_ignore -1 arp_announce 0"} {
		if got, ok := described(alias); ok {
			t.Errorf("%q is read as %v", alias, got)
		}
	}
}

func TestQueue_GapIsForTheLinkAsAWhole(t *testing.T) {
	s, _ := newSim(t)
	one, two := web("10.0.0.1/24", "10.0.0.2/24"), virtualWeb("10.0.0.3/24")
	one.Announce.Gap, two.Announce.Gap = 100*ms, 20*ms
	s.table.add(one, newHandle(one, func() {}))
	s.table.add(two, newHandle(two, func() {}))
	queues := []*queue{&s.table.ifaces["eth0"].queue, &s.table.ifaces["vrrp.51"].queue}
	for _, r := range s.table.routers {
		for _, a := range r.addresses {
			r.iface.queue.start(a)
		}
	}
	var at []time.Duration
	start := s.now
	for len(at) < 3 {
		for _, q := range queues {
			if a := q.next(s.now); a != nil {
				at = append(at, s.now-start)
				q.stop(a)
			}
		}
		s.now = max(s.now+1, min(queues[0].deadline(), queues[1].deadline()))
	}
	if diff := cmp.Diff([]time.Duration{0, 100 * ms, 200 * ms}, at); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
}

func TestRefuse_NothingIsPutOnUnguarded(t *testing.T) {
	r := web("10.0.0.100/24")
	r.Refuse = true
	s, h := newSim(t, r)
	h[0].Hold(1)
	s.settle()
	s.want("web: failed", "web: off")
	s.table.becomeGuarded(nil)
	s.settle()
	s.want("add 10.0.0.100/24", "announce 10.0.0.100", "web: recovered", "web: on")
	// What is on stays on: to take it off would harm those who go through it.
	s.table.becomeGuarded(unix.EPERM)
	s.settle()
	if len(s.journal) > 0 {
		t.Errorf("journal %q, want nothing", s.journal)
	}
}

func TestRefuse_OwnerAccepts(t *testing.T) {
	r := web("10.0.0.100/24", "2001:db8::100/64")
	r.Refuse = true
	owner := web("10.0.0.1/24")
	owner.Refuse, owner.Native = true, true
	s, _ := newSim(t, r, owner, web("10.0.0.2/24"))
	want := []netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("2001:db8::100")}
	if diff := cmp.Diff(want, s.table.refused(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

// The first announcement takes the frames to all addresses of the MAC: none
// goes before all of them answer, or cannot be put on.
func TestMacvlan_AnnouncesWhenAllAddressesAnswer(t *testing.T) {
	announced := func(s *sim) int {
		n := 0
		for _, line := range s.journal {
			if strings.HasPrefix(line, "announce ") {
				n++
			}
		}
		return n
	}
	s, h := newSim(t, virtualWeb("10.0.0.100/24", "2001:db8::100/64", "2001:db8::101/64"))
	s.settle()
	s.silent = true
	h[0].Hold(1)
	s.run(settleLast / 2)
	if n := announced(s); n > 0 {
		t.Errorf("%d announcements before the kernel answers for all: %q", n, s.journal)
	}
	s.silent = false // but of the interface it has not said yet that it runs
	s.run(2 * settlePause)
	if n := announced(s); n > 0 {
		t.Errorf("%d announcements before the interface runs: %q", n, s.journal)
	}
	s.vlan.running = true
	s.table.setLink(s.vlan)
	s.run(2 * settlePause)
	if n := announced(s); n < 3 {
		t.Errorf("%d announcements when it does: %q", n, s.journal)
	}

	s, h = newSim(t, virtualWeb("10.0.0.100/24", "10.0.0.101/24"))
	s.settle()
	s.refuse[netip.MustParseAddr("10.0.0.101")] = unix.EPERM
	h[0].Hold(1)
	s.run(time.Second)
	if got := strings.Join(s.journal, "\n"); !strings.Contains(got, "announce 10.0.0.100") || strings.Contains(got, "announce 10.0.0.101") {
		t.Errorf("journal %q, want the one announced that is on", s.journal)
	}
}

const spreadRoute = "route 10.1.0.0/16 via 10.9.0.9"

// spread is a router with a virtual MAC, an address on another interface and a
// route, all in place.
func spread(t *testing.T) (*sim, *Handle) {
	r := virtualWeb("10.0.0.100/24")
	r.Addresses = append(r.Addresses, option("10.9.0.100/24", func(a *Address) { a.Interface = "eth1" }))
	r.Routes = []Route{route("10.1.0.0/16", "10.9.0.9")}
	s, h := newSim(t, r)
	s.table.setLink(link{index: 3, name: "eth1", ethernet: true, up: true, running: true, mac: [6]byte{2, 0, 0, 0, 0, 2}})
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	return s, h[0]
}

func TestMacvlan_WhatIsElsewhereComesAndGoesWithIt(t *testing.T) {
	s, h := spread(t)
	h.Release()
	s.settle()
	s.want("remove "+spreadRoute, "set down the virtual MAC's interface vrrp.51", "remove 10.9.0.100/24", "remove 10.0.0.100/24", "web: off")
	h.Hold(2)
	s.settle()
	s.want("set up the virtual MAC's interface vrrp.51", "add 10.9.0.100/24", "announce 10.9.0.100", "add 10.0.0.100/24", "announce 10.0.0.100",
		"web: on", "add "+spreadRoute)
}

// Without its base there is no macvlan to wait for: the successor has the
// addresses, on the other interface too.
func TestMacvlan_WhatIsElsewhereGoesWithoutTheBase(t *testing.T) {
	s, h := spread(t)
	s.loseVlan()
	s.table.removeLink(s.link.index)
	s.settle()
	s.journal = nil
	h.Release()
	s.settle()
	s.want("remove "+spreadRoute, "remove 10.9.0.100/24", "web: off")
}

// Nor where others have taken its name.
func TestMacvlan_WhatIsElsewhereGoesThoughItCannotBeMade(t *testing.T) {
	s, h := spread(t)
	s.loseVlan()
	s.table.setLink(link{index: 77, name: "vrrp.51", ethernet: true, kind: "dummy"})
	s.settle()
	s.journal = nil
	h.Release()
	s.settle()
	s.want("remove "+spreadRoute, "remove 10.9.0.100/24", "web: off")
}
