package vrrp

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A host that advertises our virtual addresses in a way that we cannot elect
// with (another version, another VRID) would be a second holder. A router
// that is just starting waits for as long as such a host is heard.

const (
	version2          = 2
	authenticationLen = 8 // trailer of a version 2 advertisement (RFC 2338 section 5.3)
)

// foreign looks at a packet that was refused. Only one that is whole, and
// comes from this link, counts.
func (s *Set) foreign(now time.Duration, n network, p Packet, refusal Refusal) {
	a := &s.heard
	var why string
	switch {
	case refusal == RefusedVersion && a.parseVersion2(p.Message):
		why = "in version 2"
	case refusal == RefusedVRID:
		why = "as VRID"
	default:
		return
	}
	if a.Priority == 0 || s.lookup[n] == nil {
		return
	}
	for _, r := range s.lookup[n] {
		if r == nil || !r.holdable() {
			continue
		}
		for _, addr := range a.Addresses {
			if slices.Contains(r.cfg.Addresses, addr) {
				if refusal == RefusedVRID {
					why = fmt.Sprintf("as VRID %d", a.VRID)
				}
				r.step(now, Event{
					Kind:     Unelectable,
					Interval: a.Interval,
					Rival:    Rival{Addr: p.Src, Priority: a.Priority},
					Reason:   fmt.Sprintf("it advertises %s %s", addr, why),
				})
				s.requeue(r)
				break
			}
		}
	}
}

// parseVersion2 reads a version 2 advertisement (RFC 3768 section 5): whole
// seconds, a checksum without pseudo-header, eight bytes of authentication.
func (a *Advertisement) parseVersion2(message []byte) bool {
	if len(message) < headerLen || message[0] != version2<<4|typeAdvertisement {
		return false
	}
	count := int(message[3])
	if len(message) != headerLen+4*count+authenticationLen || fold(sum16(0, message)) != 0xffff {
		return false
	}
	a.VRID, a.Priority = message[1], message[2]
	a.Interval = time.Duration(message[5]) * time.Second
	a.Addresses = a.Addresses[:0]
	for p := message[headerLen : headerLen+4*count]; len(p) > 0; p = p[4:] {
		a.Addresses = append(a.Addresses, netip.AddrFrom4([4]byte(p)))
	}
	return true
}

// unelectable holds a router that is just starting in INIT for as long as a
// peer is heard that has our addresses and that we cannot elect with. Once
// settled, nothing on the wire is an off switch.
func (r *router) unelectable(now time.Duration, e Event) {
	if !r.holdable() {
		return
	}
	if r.role == Backup {
		r.becomeInit(now, Action{Cause: CauseUnelectable, Rival: e.Rival, Reason: e.Reason})
	}
	// Not less than a second: a peer with a short interval that misses three
	// must not make us change our role all the time.
	r.timer = now + 3*max(e.Interval, time.Second)
}

// holdable tells whether an unelectable holder of our addresses matters now.
func (r *router) holdable() bool {
	return r.role == Backup && !r.settled || r.role == Init && r.timer != Never
}
