package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"baton/vrrp"
)

// refusals counts the packets that were refused, by interface and reason, and
// logs each reason at most once a minute for each source.
type refusals struct {
	log    *slog.Logger
	counts map[string]*[vrrp.Refusals]uint64 // by interface
	logged limiter[refusalKey]
}

type refusalKey struct {
	iface  string
	src    netip.Addr
	reason vrrp.Refusal
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{
		log:    log,
		counts: make(map[string]*[vrrp.Refusals]uint64),
	}
}

// advice says what each reason may mean for whoever reads it.
var advice = map[vrrp.Refusal]string{
	vrrp.RefusedTTL:      "it did not come from this link",
	vrrp.RefusedVersion:  "its sender does not speak version 3: with keepalived, set vrrp_version 3",
	vrrp.RefusedType:     "it is no advertisement",
	vrrp.RefusedLength:   "its length does not fit its number of addresses",
	vrrp.RefusedChecksum: "it is damaged",
	vrrp.RefusedVRID:     "no virtual router here has its VRID",
	vrrp.RefusedCount:    "it carries no virtual address",
	vrrp.RefusedInterval: "its interval is zero",
	vrrp.RefusedOwn:      "it comes from our own address: the network returns our packets, or a second host has the address",
}

// count counts one refused packet.
func (f *refusals) count(now time.Duration, iface string, src netip.Addr, reason vrrp.Refusal) {
	c := f.counts[iface]
	if c == nil {
		c = new([vrrp.Refusals]uint64)
		f.counts[iface] = c
	}
	c[reason]++
	if !f.logged.allow(now, refusalKey{iface, src, reason}) {
		return
	}
	level := slog.LevelWarn
	if reason == vrrp.RefusedVRID {
		level = slog.LevelInfo // others may share the link
	}
	f.log.Log(context.Background(), level, "packet refused", "interface", iface, "from", src, "reason", reason.String(),
		"means", advice[reason], "refused_so_far", c[reason])
}
