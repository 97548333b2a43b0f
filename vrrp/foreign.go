package vrrp

import (
	"fmt"
	"slices"
	"time"
)

// A host that advertises our virtual addresses in a way that we cannot elect
// with (another version, VRID, password, interval) would be a second holder. A
// router that is just starting waits for as long as such a host is heard.

// foreign looks at a packet that was parsed, and refused. Only one that comes
// the way that a router's peers send counts. Where signatures are
// enforced none does: anybody could send it.
func (s *Set) foreign(now time.Duration, n network, p Packet, refusal Refusal) {
	a := &s.heard
	if !refusal.unelectable() || a.Priority == 0 || s.lookup[n] == nil {
		return
	}
	for _, r := range s.lookup[n] {
		if r == nil || !r.holdable() || r.enforces() || r.cfg.route(p) != Accepted {
			continue
		}
		for _, addr := range a.Addresses {
			if slices.Contains(r.cfg.Addresses, addr) {
				r.step(now, Event{
					Kind:     Unelectable,
					Interval: a.Interval,
					Rival:    Rival{Addr: p.Src, Priority: a.Priority},
					Reason:   fmt.Sprintf("it advertises %s %s", addr, r.apart(a, refusal)),
				})
				s.requeue(r)
				break
			}
		}
	}
}

// unelectable tells whether a refusal leaves both sides master.
func (r Refusal) unelectable() bool {
	switch r {
	case RefusedVRID, RefusedVersion, RefusedAuthType, RefusedPassword, RefusedMismatch,
		RefusedSigned, RefusedTrailer, RefusedKey, RefusedStale, RefusedSignature:
		return true
	}
	return false
}

// apart says in which way an advertisement that was refused is not one of
// this router's.
func (r *router) apart(a *Advertisement, refusal Refusal) string {
	switch {
	case a.Version != r.cfg.Version:
		return fmt.Sprintf("in version %d", a.Version)
	case a.VRID != r.cfg.VRID:
		return fmt.Sprintf("as VRID %d", a.VRID)
	case refusal == RefusedPassword:
		return "with another password"
	case refusal == RefusedAuthType:
		return "with another kind of authentication"
	case refusal == RefusedMismatch:
		return fmt.Sprintf("every %s", a.Interval)
	case refusal == RefusedSigned:
		return "with a signature"
	case refusal == RefusedStale:
		return "with a signature of another time"
	}
	return "with another signature"
}

func (r *router) enforces() bool { return r.signatures != nil && r.signatures.mode == HMACEnforce }

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
