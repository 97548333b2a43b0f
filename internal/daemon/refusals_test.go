package daemon

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"baton/internal/link"
	"baton/vrrp"
)

func TestRefusal_ChangesNothing(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.forget()
	deadline := s.n.deadline()
	s.now += time.Second
	s.packet(peerAddr, []byte{0x31, 51}, 255)
	s.packet(peerAddr, nil, 64)
	s.hear(ownAddr, 250)
	stranger := vrrp.Advertisement{VRID: 99, Priority: 250, Interval: time.Second, Addresses: []netip.Addr{thirdAddr}}
	s.packet(thirdAddr, stranger.AppendTo(nil, thirdAddr, vrrp.IPv4.Group()), 255)
	s.wantDone()
	if got := s.n.deadline(); got != deadline {
		t.Errorf("the deadline moved by %s", got-deadline)
	}
	counts := s.n.counters.link("eth0", false)
	for _, r := range []vrrp.Refusal{vrrp.RefusedLength, vrrp.RefusedTTL, vrrp.RefusedOwn, vrrp.RefusedVRID} {
		if got := counts.refused[r].Load(); got != 1 {
			t.Errorf("%s: counted %d, want 1", r, got)
		}
	}
	if got := strings.Count(s.log.String(), `msg="packet refused"`); got != 4 {
		t.Errorf("%d lines in the log, want 4:\n%s", got, s.log.String())
	}
	s.wantLog(`level=INFO msg="packet refused" interface=eth0 from=10.0.0.3 reason=vrid means="no virtual router here has its VRID" refused_so_far=1 vrid=99`)
	if got := s.n.uplink("eth0").survey.Speakers(); len(got) != 1 || got[0].VRID != 99 || got[0].Source != thirdAddr {
		t.Errorf("virtual routers of others on the link: %+v, want VRID 99 of %s", got, thirdAddr)
	}
	s.wantLog(`level=WARN msg="packet refused" interface=eth0 from=10.0.0.2 reason=` + vrrp.RefusedTTL.String())
}

func TestRefusals_LogOncePerMinuteSourceAndReason(t *testing.T) {
	var log bytes.Buffer
	f := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), newCounters())
	now := 1000 * time.Second
	lines := func() int { return strings.Count(log.String(), "\n") }
	count := func(src netip.Addr, r vrrp.Refusal) { f.count(now, "eth0", link.Packet{Src: src}, r) }

	count(peerAddr, vrrp.RefusedTTL)
	count(peerAddr, vrrp.RefusedTTL)
	count(peerAddr, vrrp.RefusedChecksum)
	count(thirdAddr, vrrp.RefusedTTL)
	if got := lines(); got != 3 {
		t.Errorf("%d lines, want 3: two sources, one with two reasons", got)
	}
	now += limitEvery - 1
	count(peerAddr, vrrp.RefusedTTL)
	if got := lines(); got != 3 {
		t.Errorf("%d lines within the minute, want 3", got)
	}
	now++
	count(peerAddr, vrrp.RefusedTTL)
	if got := lines(); got != 4 {
		t.Errorf("%d lines after a minute, want 4", got)
	}
	if got := f.counts[linkKey{"eth0", false}].refused[vrrp.RefusedTTL].Load(); got != 5 {
		t.Errorf("counted %d, want 5, logged or not", got)
	}
	if !strings.Contains(log.String(), "refused_so_far=5") {
		t.Errorf("the last line does not tell how many there were:\n%s", log.String())
	}
}

func TestRefusals_AreBounded(t *testing.T) {
	var log bytes.Buffer
	f := newRefusals(slog.New(slog.NewTextHandler(&log, nil)), newCounters())
	now := 1000 * time.Second
	forged := netip.MustParseAddr("192.0.2.0")
	const flood = 4 * limitKeys
	for range flood {
		f.count(now, "eth0", link.Packet{Src: forged}, vrrp.RefusedTTL)
		forged = forged.Next()
	}
	if got := f.counts[linkKey{"eth0", false}].refused[vrrp.RefusedTTL].Load(); got != flood {
		t.Errorf("counted %d of %d", got, flood)
	}
	if got := strings.Count(log.String(), "\n"); got != limitKeys {
		t.Errorf("%d lines, want %d", got, limitKeys)
	}
	if got := len(f.logged.last); got != limitKeys {
		t.Errorf("%d sources remembered, want %d", got, limitKeys)
	}
	now += limitEvery
	log.Reset()
	f.count(now, "eth0", link.Packet{Src: forged}, vrrp.RefusedTTL)
	if log.Len() == 0 || len(f.logged.last) != 1 {
		t.Errorf("a minute after the flood: %d sources remembered, log %q", len(f.logged.last), log.String())
	}
}

func TestRefusals_EachReasonHasAdvice(t *testing.T) {
	for r := vrrp.Accepted + 1; int(r) < vrrp.Refusals; r++ {
		if advice[r] == "" {
			t.Errorf("%s: no advice", r)
		}
	}
}
