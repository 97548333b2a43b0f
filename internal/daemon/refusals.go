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
	vrrp.RefusedVersion:  "its sender speaks another version than the router here: with keepalived, see vrrp_version",
	vrrp.RefusedType:     "it is no advertisement",
	vrrp.RefusedLength:   "its length does not fit its number of addresses",
	vrrp.RefusedChecksum: "it is damaged",
	vrrp.RefusedVRID:     "no virtual router here has its VRID",
	vrrp.RefusedCount:    "it carries no virtual address",
	vrrp.RefusedInterval: "its interval is zero",
	vrrp.RefusedOwn:      "it comes from our own address: the network returns our packets, or a second host has the address",

	vrrp.RefusedDestination: "one side speaks unicast, the other multicast",
	vrrp.RefusedPeer:        "its source is none of the peers of the router here",
	vrrp.RefusedAuthType:    "one side has a password, the other none",
	vrrp.RefusedPassword:    "its sender has another password",
	vrrp.RefusedMismatch:    "its sender has another interval, which version 2 does not allow",
	vrrp.RefusedSigned:      "it is signed, and the router here has no keys",
	vrrp.RefusedUnsigned:    "it is not signed, and the router here wants that",
	vrrp.RefusedTrailer:     "it is signed in a way that is not known here",
	vrrp.RefusedKey:         "the router here has no key with that number",
	vrrp.RefusedStale:       "the clock of its sender differs from ours by more than the window, or it is an old packet sent again",
	vrrp.RefusedSignature:   "its sender has another key, or it was changed on its way",
	vrrp.RefusedReplay:      "it is an old packet sent again",
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
