package vip

import (
	"net/netip"
	"testing"
	"time"
)

// Who asks is told how often an address was announced since it is on, and when last.
func TestHandle_Announced(t *testing.T) {
	first, second := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.11")
	r := Router{
		Name: "web", Interface: "eth0", Announce: Announce{Count: 5, AgainAfter: 5 * time.Second},
		Addresses: []Address{{Prefix: netip.PrefixFrom(first, 24)}, {Prefix: netip.PrefixFrom(second, 24)}},
	}
	s, handles := newSim(t, r)
	h := handles[0]
	want := func(addr netip.Addr, times int, last time.Duration) {
		t.Helper()
		if n, at := h.Announced(addr); n != times || at != last {
			t.Errorf("%s was announced %d times, last at %s; want %d, %s", addr, n, at, times, last)
		}
	}
	want(first, 0, 0)
	begin := s.now
	h.Hold(1)
	s.run(time.Second)
	want(first, 5, begin+4*spacing)
	s.run(10 * time.Second)
	want(first, 10, begin+5*time.Second+4*spacing)
	want(second, 10, begin+5*time.Second+4*spacing)
	begin = s.now
	h.Hold(2) // anew
	s.run(time.Second)
	want(first, 5, begin+4*spacing)
	want(netip.MustParseAddr("192.0.2.99"), 0, 0)
}

// What is lent to a successor stays on, and is announced no more, whatever was to
// come; nor where it is put back after somebody removed it. The way back announces
// it anew.
func TestHandle_Lend(t *testing.T) {
	addr := netip.MustParsePrefix("192.0.2.10/24")
	s, handles := newSim(t, Router{
		Name: "web", Interface: "eth0", Announce: Announce{Count: 2, AgainAfter: 5 * time.Second, Every: time.Minute},
		Addresses: []Address{{Prefix: addr, Repair: true}},
	})
	h := handles[0]
	h.Lend() // nothing is held
	s.settle()
	s.want("web: off")
	h.Hold(1)
	s.settle()
	s.want("add 192.0.2.10/24", "announce 192.0.2.10", "web: on")
	h.Lend()
	s.run(10 * time.Minute)
	s.want()
	s.lose("192.0.2.10/24")
	s.settle()
	s.want("add 192.0.2.10/24")
	h.Hold(1)
	s.run(time.Second)
	s.want("announce 192.0.2.10", "web: repaired 192.0.2.10", "announce 192.0.2.10")
	h.Lend()
	h.Hold(2)
	s.run(time.Second)
	s.want("announce 192.0.2.10", "web: on", "announce 192.0.2.10")
	h.Lend()
	h.Release()
	s.settle()
	s.want("remove 192.0.2.10/24", "web: off")
}
