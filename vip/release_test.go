package vip

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// release calls Release in the lab.
func (l *lab) release(routers ...Router) (removed []string, err error) {
	l.within(func() { removed, err = Release(context.Background(), routers, slog.New(slog.DiscardHandler)) })
	return removed, err
}

// What a worker has put in place, and left there, goes; and what others have stays.
func TestRelease(t *testing.T) {
	l := newLab(t)
	plain := Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")}
	plain.Routes = []Route{route("192.0.2.0/24", "10.0.0.9")}
	plain.Rules = []Rule{{From: netip.MustParsePrefix("192.0.2.0/24"), Table: 99, Priority: 100}}
	virtual := Router{Name: "db", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.200/24"), VirtualMAC: &VirtualMAC{Name: "vrrp.52", MAC: [6]byte{0, 0, 0x5e, 0, 1, 52}}}
	l.add("10.0.0.1/24")
	l.until("the links and their own addresses have settled", func() bool {
		return !strings.Contains(l.ip("-o address show"), "tentative") && !strings.Contains(l.ip("-o link show dev left"), "LOWERLAYERDOWN")
	})
	before := l.ip("-o address show") + l.ip("-o link show")
	for name, routers := range map[string][]Router{"named": {plain, virtual}, "by its mark alone": nil} {
		for _, h := range l.start(plain, virtual) {
			h.Hold(1)
		}
		l.expect(On)
		l.expect(On)
		l.until("the route and the rule are in place", func() bool { return strings.Count(l.ours(), "\n") == 1 })
		l.end() // it leaves them, as a dead daemon does
		removed, err := l.release(routers...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !slices.Contains(removed, "address 10.0.0.100/24 on left") {
			t.Errorf("%s: removed %q", name, removed)
		}
		if got := l.ours(); got != "" {
			t.Errorf("%s: left:\n%s", name, got)
		}
		if diff := cmp.Diff(before, l.ip("-o address show")+l.ip("-o link show")); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
	if removed, err := l.release(plain); len(removed) > 0 || err != nil {
		t.Errorf("with nothing left: %q, %v", removed, err)
	}
	l.add("10.0.0.100/24") // of the host's own, which a record of an owner names
	plain.Native = true
	if removed, err := l.release(plain); len(removed) > 0 || err != nil || !l.has("10.0.0.100") {
		t.Errorf("of an owner: %q, %v", removed, err)
	}
}
