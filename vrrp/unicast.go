package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
)

// A router with peers advertises to each of them and not to the group. RFC
// 9568 has no such thing; keepalived does.

// checkPeers checks whom a router speaks to and hears.
func (c Config) checkPeers() error {
	for _, p := range c.Peers {
		if !c.Family.plain(p) || p.IsMulticast() || p.IsUnspecified() {
			return fmt.Errorf("peer %s is not a plain %s host", p, c.Family)
		}
	}
	if c.MinTTL > c.MaxTTL {
		return fmt.Errorf("TTL %d to %d is no range", c.MinTTL, c.MaxTTL)
	}
	return nil
}

// plain tells whether the address is of the family, and nothing but an
// address.
func (f Family) plain(a netip.Addr) bool {
	return a.IsValid() && a.Is4() == (f == IPv4) && !a.Is4In6() && a.Zone() == ""
}

// route checks whether a packet came in the way that the router's peers send.
// That one to the group has TTL 255 was checked before.
func (c *Config) route(p Packet) Refusal {
	unicast := len(c.Peers) > 0
	switch {
	case unicast == p.Dst.IsMulticast():
		return RefusedDestination
	case !unicast:
		return Accepted
	case !c.AnySource && !slices.Contains(c.Peers, p.Src):
		return RefusedPeer
	case c.MaxTTL > 0 && (p.TTL < c.MinTTL || p.TTL > c.MaxTTL):
		return RefusedTTL
	}
	return Accepted
}
