package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"baton/vrrp"
)

func TestLimiter(t *testing.T) {
	var l limiter[int]
	now := time.Hour
	for key := range limitKeys {
		if !l.allow(now, key) {
			t.Fatalf("key %d of %d is not let through", key, limitKeys)
		}
	}
	if l.allow(now+limitEvery-1, 0) {
		t.Error("a key is let through twice within the minute")
	}
	if l.allow(now, limitKeys) || len(l.last) != limitKeys {
		t.Errorf("more than %d keys: %d", limitKeys, len(l.last))
	}
	now += limitEvery
	if !l.allow(now, 0) || !l.allow(now, limitKeys) {
		t.Error("nothing was forgotten when the minute was over")
	}
}

// Whoever sends advertisements that differ in turn fills no log.
func TestNotices_AreLimited(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.forget()
	a := vrrp.Advertisement{VRID: 51, Priority: 250, Addresses: []netip.Addr{virtual}}
	for i := range 1000 {
		a.Interval = time.Duration(1+i%2) * time.Second
		s.packet(peerAddr, a.AppendTo(nil, peerAddr, vrrp.IPv4.Group()), 255)
	}
	if got := strings.Count(s.log.String(), "another advertisement interval"); got != 1 {
		t.Errorf("%d lines for one difference, want 1", got)
	}
}
