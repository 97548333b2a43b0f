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
