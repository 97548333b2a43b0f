package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// maxPeers bounds what is remembered of who advertises a VRID: a link has a
// handful of nodes, and a flood of forged sources must not cost memory.
const maxPeers = 8

// Peer is another node that has advertised one of our virtual routers.
type Peer struct {
	Addr      netip.Addr
	Priority  uint8
	Interval  time.Duration
	Checksum  Checksum      // form of its last advertisement
	Heard     [2]uint64     // advertisements heard, by Checksum
	LastHeard time.Duration // reading of the Set's clock

	speaks  bool        // its last advertisement was not one that it leaves with
	differs [notes]bool // notes that have been given
}

// peers remembers the last few nodes heard. The zero value is empty.
type peers struct {
	known []Peer
}

// heard notes who sent a, and what about it differs from our configuration:
// each difference once, until it has gone. None of them is a reason to drop
// an advertisement (sections 7.1 and 8.3.2).
func (p *peers) heard(r *router, now time.Duration, a *Advertisement, src netip.Addr) {
	peer := p.find(src)
	peer.LastHeard = now
	peer.Interval = a.Interval
	peer.Checksum = a.Checksum
	peer.Heard[a.Checksum]++
	peer.speaks = a.Priority > 0
	if !peer.speaks {
		return // says nothing but that it leaves
	}
	peer.Priority = a.Priority
	differs := func(n Note, yes bool) {
		if yes && !peer.differs[n] {
			notice := Action{Kind: Notice, Note: n, Rival: Rival{Addr: src, Priority: a.Priority}}
			if n == NoteClock {
				notice.Reason = fmt.Sprintf("by %s", r.signatures.off.Round(time.Millisecond))
			}
			r.act(notice)
		}
		peer.differs[n] = yes
	}
	differs(NoteInterval, a.Interval != r.cfg.Interval)
	unequal := !slices.Equal(a.Addresses, r.cfg.Addresses)
	collides := unequal && disjoint(a.Addresses, r.cfg.Addresses)
	differs(NoteCollision, collides)
	differs(NoteAddresses, unequal && !collides)
	differs(NoteChecksum, r.cfg.Family == IPv4 && r.cfg.Version == version3 && a.Checksum != r.cfg.Checksum)
	differs(NoteOwners, a.Priority == 255 && r.priority == 255)
	differs(NoteEqualPriority, a.Priority == r.priority && a.Priority != 255)
	// Where our own address is not among the nodes' either, they do not tell
	// where advertisements come from.
	differs(NoteStranger, slices.Contains(r.cfg.Nodes, r.local) && !slices.Contains(r.cfg.Nodes, src))
	differs(NoteClock, r.signatures != nil && r.signatures.off > 0)
}

// beside returns the peer that was master beside src and is not yet due to speak
// again, the last of them to speak; nil where there is none. A worse one that we
// preempt does not count.
func (p *peers) beside(r *router, now time.Duration, src netip.Addr) *Peer {
	var last *Peer
	for i := range p.known {
		peer := &p.known[i]
		if peer.Addr == src || !peer.speaks || peer.LastHeard+peer.Interval <= now || peer.Priority < r.priority && r.preempts() {
			continue
		}
		if last == nil || peer.LastHeard > last.LastHeard {
			last = peer
		}
	}
	return last
}

// disjoint tells whether two lists, neither of them empty, have no address in
// common: then it is another virtual router that has our VRID.
func disjoint(a, b []netip.Addr) bool {
	return len(a) > 0 && len(b) > 0 && !slices.ContainsFunc(a, func(addr netip.Addr) bool { return slices.Contains(b, addr) })
}

// find returns the peer with the address; a new one takes the place of the
// one not heard for longest.
func (p *peers) find(addr netip.Addr) *Peer {
	oldest := 0
	for i := range p.known {
		if p.known[i].Addr == addr {
			return &p.known[i]
		}
		if p.known[i].LastHeard < p.known[oldest].LastHeard {
			oldest = i
		}
	}
	if len(p.known) < maxPeers {
		p.known = append(p.known, Peer{Addr: addr})
		return &p.known[len(p.known)-1]
	}
	p.known[oldest] = Peer{Addr: addr}
	return &p.known[oldest]
}
