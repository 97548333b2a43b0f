package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// reconfigure changes routers as a worker does.
func (s *sim) reconfigure(changes ...Change) {
	s.table.reconfigure(reshaped(changes))
	s.resync()
}

func named(name string, prefixes ...string) Router {
	r := web(prefixes...)
	r.Name = name
	return r
}

func TestReconfigure_AddressesOfOneRouter(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "10.0.0.2/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.reconfigure(Change{Handle: h[0], Router: web("10.0.0.3/24", "10.0.0.2/24"), Seq: 2})
	s.settle()
	s.want("add 10.0.0.3/24", "remove 10.0.0.1/24", "announce 10.0.0.3", "web: on")
	h[0].Release()
	s.settle()
	s.want("remove 10.0.0.2/24", "remove 10.0.0.3/24", "web: off")
	s.reconfigure(Change{Handle: h[0], Router: web("10.0.0.4/24")})
	s.settle()
	s.want("web: off") // what is not held is not put on
	h[0].Hold(3)
	s.settle()
	s.want("add 10.0.0.4/24", "announce 10.0.0.4", "web: on")
}

func TestReconfigure_AddressMovesInOneStep(t *testing.T) {
	s, h := newSim(t, named("a", "10.0.0.1/24", "10.0.0.2/24"), named("b", "10.0.0.3/24"))
	h[0].Hold(1)
	h[1].Hold(1)
	s.settle()
	s.journal = nil
	s.reconfigure(
		Change{Handle: h[1], Router: named("b", "10.0.0.3/24", "10.0.0.2/24"), Seq: 2},
		Change{Handle: h[0], Router: named("a", "10.0.0.1/24"), Seq: 1})
	s.settle()
	s.want("a: on", "b: on")
	h[0].Release()
	s.settle()
	s.want("remove 10.0.0.1/24", "a: off")
	s.reconfigure( // to one that does not hold
		Change{Handle: h[0], Router: named("a", "10.0.0.2/24")},
		Change{Handle: h[1], Router: named("b", "10.0.0.3/24"), Seq: 3})
	s.settle()
	s.want("remove 10.0.0.2/24", "b: on", "a: off")
	s.reconfigure(Change{Handle: h[1], Remove: true})
	s.settle()
	s.want("remove 10.0.0.3/24")
	if len(s.table.routers) != 1 || len(s.table.ifaces["eth0"].vips) != 1 {
		t.Errorf("%d routers with %d addresses are left", len(s.table.routers), len(s.table.ifaces["eth0"].vips))
	}
}

func TestReconfigure_OtherOptionsOfAnAddress(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	h[0].Hold(1)
	s.settle()
	s.journal = nil
	s.reconfigure(Change{Handle: h[0], Router: web("10.0.0.1/25"), Seq: 1})
	s.settle()
	s.want("remove 10.0.0.1/24", "add 10.0.0.1/25", "announce 10.0.0.1", "web: on")
	r := web("10.0.0.1/25")
	r.Lifetime = time.Minute
	s.reconfigure(Change{Handle: h[0], Router: r, Seq: 1})
	s.settle()
	s.want("add 10.0.0.1/25", "web: on") // a renewal
}

// While addresses are released one by one those that are new are not put on.
func TestReconfigure_WhatIsLent(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24", "10.0.0.2/24"))
	h[0].Hold(1)
	h[0].Release(netip.MustParseAddr("10.0.0.1"))
	s.settle()
	s.journal = nil
	s.reconfigure(Change{Handle: h[0], Router: web("10.0.0.3/24", "10.0.0.2/24", "10.0.0.1/24"), Seq: 1})
	s.settle()
	s.want()
	h[0].Release(netip.MustParseAddr("10.0.0.2"))
	s.settle()
	s.want("remove 10.0.0.2/24", "web: off")
}

// A wish that the worker sees before the change that it belongs to waits.
func TestReconfigure_WishBeforeItsChange(t *testing.T) {
	s, h := newSim(t, web("10.0.0.1/24"))
	changes := reshaped([]Change{{Handle: h[0], Router: web("10.0.0.2/24", "10.0.0.1/24")}})
	h[0].Hold(1)
	s.settle()
	s.want("web: off")
	s.table.reconfigure(changes)
	s.settle()
	s.want("add 10.0.0.2/24", "add 10.0.0.1/24", "announce 10.0.0.2", "announce 10.0.0.1", "web: on")
}

// After any sequence of changes the host has what is wished, and what was wished
// before and after a change was on all the time.
func TestReconfigure_AnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c"}
		s, h := newSim(nil, named("a"), named("b"), named("c"))
		has := make([][]string, len(names))
		held := make([]bool, len(names))
		wished := func() map[netip.Prefix]bool {
			all := make(map[netip.Prefix]bool)
			for i := range names {
				for _, p := range has[i] {
					if held[i] {
						all[netip.MustParsePrefix(p)] = true
					}
				}
			}
			return all
		}
		seq := uint64(0)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			before := wished()
			s.journal = nil
			if i := rapid.IntRange(0, 4).Draw(t, "what"); i < len(names) {
				if held[i] = rapid.Bool().Draw(t, "hold"); held[i] {
					seq++
					h[i].Hold(seq)
				} else {
					h[i].Release()
				}
			} else {
				var changes []Change
				next := make([][]string, len(names))
				for n := range 4 {
					length := rapid.SampledFrom([]int{24, 24, 24, 25}).Draw(t, "length")
					if owner := rapid.IntRange(-1, len(names)-1).Draw(t, "owner"); owner >= 0 {
						next[owner] = append(next[owner], fmt.Sprintf("10.0.0.%d/%d", n+1, length))
					}
				}
				has = next
				for i, name := range names {
					changes = append(changes, Change{Handle: h[i], Router: named(name, has[i]...), Seq: seq})
				}
				s.table.reconfigure(reshaped(changes))
				s.resync()
			}
			for range 50 { // turns, until there is nothing to do
				if !s.turn() && s.table.deadline() > s.now {
					break
				}
				s.now += gap
			}
			after := wished()
			if len(after) != len(s.kernel) {
				t.Fatalf("the host has %v, wished is %v", s.kernel, after)
			}
			for p := range after {
				if !s.kernel[p] {
					t.Fatalf("%s is missing", p)
				}
				if before[p] && slices.Contains(s.journal, "remove "+p.String()) {
					t.Fatalf("%s was removed in between", p)
				}
			}
			vips := 0
			for i := range names {
				vips += len(has[i])
			}
			if f := s.table.ifaces["eth0"]; len(f.vips) != vips || len(f.wanted) != vips {
				t.Fatalf("%d and %d addresses are known, want %d", len(f.vips), len(f.wanted), vips)
			}
		}
	})
}

func TestWorker_Reconfigure(t *testing.T) {
	l := newLab(t)
	l.add("192.0.2.9/24")
	one := gateway()
	before := l.ours()
	h := l.start(one)[0]
	h.Hold(1)
	l.expect(On)
	l.until("the routes are there", func() bool { return l.ours() != before })
	full := l.ours()
	two := one
	two.Routes, two.Rules = one.Routes[:1], nil
	l.worker.Reconfigure(Change{Handle: h, Router: two, Seq: 2})
	if e := l.expect(On); e.Seq != 2 {
		t.Errorf("On for %d, want 2", e.Seq)
	}
	l.until("one route is left", func() bool { got := l.ours(); return got != full && got != before })
	l.worker.Reconfigure(Change{Handle: h, Router: one, Seq: 3})
	l.until("all are there again", func() bool { return l.ours() == full })
	l.worker.Reconfigure(Change{Handle: h, Remove: true})
	l.until("nothing is left", func() bool { return l.ours() == before && !l.has(one.Addresses[0].Prefix.Addr().String()) })
}

func TestWorker_RemovesAVirtualMACThatNoRouterHas(t *testing.T) {
	l := newLab(t)
	r := Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24"), VirtualMAC: &VirtualMAC{Name: "vrrp.51", MAC: [6]byte{0, 0, 0x5e, 0, 1, 51}}, Refuse: true}
	h := l.start(r)[0]
	h.Hold(1)
	l.expect(On)
	h.Release()
	l.expect(Off)
	l.worker.Reconfigure(Change{Handle: h, Remove: true})
	l.until("the interface has gone", func() bool { _, err := l.kernel.LinkByName("vrrp.51"); return err != nil })
	h = l.worker.Add(r) // the same name, for another router
	h.Hold(1)
	l.expect(On)
	if !l.has("10.0.0.100") && len(l.on("vrrp.51")) == 0 {
		t.Error("a router that comes later has no address")
	}
}
