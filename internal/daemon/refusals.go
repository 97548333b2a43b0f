package daemon

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"baton/internal/link"
	"baton/vrrp"
)

// refusals counts the packets that were refused, by interface, family and reason, and
// logs each reason at most once a minute for each source.
type refusals struct {
	log    *slog.Logger
	all    *counters
	counts map[linkKey]*tally
	logged limiter[refusalKey]
}

type refusalKey struct {
	iface  string
	src    netip.Addr
	reason vrrp.Refusal
}

func newRefusals(log *slog.Logger, all *counters) *refusals {
	return &refusals{
		log:    log,
		all:    all,
		counts: make(map[linkKey]*tally),
	}
}

// advice says what each reason may mean for whoever reads it.
var advice = map[vrrp.Refusal]string{
	vrrp.RefusedTTL:         "it did not come from this link, or its sender is further away than min_ttl and max_ttl allow",
	vrrp.RefusedVersion:     "its sender speaks another version of VRRP: see version; with keepalived, vrrp_version",
	vrrp.RefusedType:        "it is no advertisement",
	vrrp.RefusedLength:      "its length does not fit its number of addresses",
	vrrp.RefusedChecksum:    "it is damaged",
	vrrp.RefusedVRID:        "no virtual router here has its VRID",
	vrrp.RefusedCount:       "it carries no virtual address",
	vrrp.RefusedInterval:    "its interval is zero",
	vrrp.RefusedOwn:         "it comes from our own address: the network returns our packets, or a second host has the address",
	vrrp.RefusedDestination: "one of us speaks multicast and the other unicast: see peers",
	vrrp.RefusedPeer:        "its sender is not in peers",
	vrrp.RefusedAuthType:    "one of us has a password and the other none, or it wants AH, which baton does not speak: see authentication",
	vrrp.RefusedPassword:    "its sender has another password: give every node the same one, see authentication",
	vrrp.RefusedMismatch:    "its sender has another advertisement_interval, which version 2 does not allow",
	vrrp.RefusedSigned:      "its sender signs, and this router has no keys: see authentication",
	vrrp.RefusedUnsigned:    "its sender does not sign, or somebody forges: see authentication",
	vrrp.RefusedTrailer:     "it is signed in a way that baton does not know: keepalived before 2.4.1 had another",
	vrrp.RefusedKey:         "its sender signs with a key that this node does not have: see keys and send",
	vrrp.RefusedStale:       "its sender's clock, or ours, is wrong by more than the window, or it is an old packet: look at NTP",
	vrrp.RefusedSignature:   "its sender has another key of that number, or somebody forges",
	vrrp.RefusedReplay:      "it was heard before: somebody plays old packets back, or its sender's clock went back",
}

// count counts one refused packet.
func (f *refusals) count(now time.Duration, iface string, p link.Packet, reason vrrp.Refusal) {
	key := linkKey{iface, p.Src.Is6()}
	c := f.counts[key]
	if c == nil {
		c = f.all.link(iface, key.ipv6)
		f.counts[key] = c
	}
	so := c.refused[reason].Add(1)
	if !f.logged.allow(now, refusalKey{iface, p.Src, reason}) {
		return
	}
	level := slog.LevelWarn
	if reason == vrrp.RefusedVRID {
		level = slog.LevelInfo // others may share the link
	}
	attrs := []any{"interface", iface, "from", p.Src, "reason", reason.String(), "means", advice[reason], "refused_so_far", so}
	if len(p.Payload) > 1 {
		attrs = append(attrs, "vrid", p.Payload[1])
	}
	f.log.Log(context.Background(), level, "packet refused", attrs...)
}
