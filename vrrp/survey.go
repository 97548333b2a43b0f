package vrrp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Bounds of a survey: a link has some dozens of virtual routers at most, and a
// flood of forged sources must not cost more memory than this. The worst case
// is 255 addresses each, 1.6 MB.
const maxSpeakers = 256

// Authentication is how a speaker's advertisements are authenticated.
type Authentication uint8

// The kinds. AuthenticationUnknown is a type of version 2 that has no name.
const (
	NoAuthentication        Authentication = iota
	PasswordAuthentication                 // version 2, type 1
	AHAuthentication                       // version 2, type 2
	SignatureAuthentication                // the trailer of HMAC
	UnknownAuthentication                  // version 2, another type
)

var authenticationNames = [...]string{"none", "pass", "ah", "hmac", "unknown"}

// String returns the kind in one word.
func (a Authentication) String() string {
	if int(a) < len(authenticationNames) {
		return authenticationNames[a]
	}
	return fmt.Sprintf("authentication(%d)", uint8(a))
}

// Speaker is one source that advertises one VRID on a link. Times are readings
// of the clock that Hear is given.
type Speaker struct {
	VRID           uint8
	Family         Family
	Source         netip.Addr
	Version        uint8
	Unicast        bool  // to a host, not to the group
	Priority       uint8 // 0: it has left
	Interval       time.Duration
	Addresses      []netip.Addr
	Authentication Authentication
	Count          uint64 // advertisements heard
	First, Last    time.Duration
}

// Survey is who speaks VRRP on one link, whether a router of ours accepts it or
// not. It is for one goroutine. The zero value is empty.
//
// It holds 256 speakers. In a full one a newcomer takes the place of the one
// not heard for longest among those that have missed three of their intervals,
// and where there is none of those, among those that were heard only once. So
// a flood of forged sources neither grows it nor drives out anybody who is
// heard regularly; while it lasts, a newcomer may be missed.
type Survey struct {
	known []Speaker
	heard Advertisement // reused for each packet
}

// Hear notes a packet. What is no advertisement of version 2 or 3, or has a
// wrong checksum, is passed over: it says nothing of anybody.
func (s *Survey) Hear(now time.Duration, p Packet) {
	a := &s.heard
	p.Src = p.Src.WithZone("")
	if r := a.Parse(p.Message, p.Src, p.Dst); r != Accepted && r != RefusedVRID {
		return
	}
	k := s.find(now, a.VRID, p.Src)
	if k == nil {
		return
	}
	k.Version, k.Unicast = a.Version, !p.Dst.IsMulticast()
	k.Priority, k.Interval = a.Priority, a.Interval
	k.Addresses = append(k.Addresses[:0], a.Addresses...)
	k.Authentication = a.authentication()
	k.Count++
	k.Last = now
}

// find returns the entry of a speaker, which may be new; nil where there is no
// place for it.
func (s *Survey) find(now time.Duration, vrid uint8, src netip.Addr) *Speaker {
	family := IPv6
	if src.Is4() {
		family = IPv4
	}
	silent, once := -1, -1
	older := func(i, than int) bool { return than < 0 || s.known[i].Last < s.known[than].Last }
	for i := range s.known {
		k := &s.known[i]
		switch {
		case k.VRID == vrid && k.Source == src:
			return k
		case now-k.Last > 3*k.Interval && older(i, silent):
			silent = i
		case k.Count == 1 && older(i, once):
			once = i
		}
	}
	place := silent
	switch {
	case len(s.known) < maxSpeakers:
		place = len(s.known)
		s.known = append(s.known, Speaker{})
	case silent < 0:
		place = once
	}
	if place < 0 {
		return nil
	}
	k := &s.known[place]
	*k = Speaker{VRID: vrid, Family: family, Source: src, First: now, Addresses: k.Addresses[:0]}
	return k
}

func (a *Advertisement) authentication() Authentication {
	switch {
	case a.Signed:
		return SignatureAuthentication
	case a.AuthType == authNone:
		return NoAuthentication
	case a.AuthType == authPassword:
		return PasswordAuthentication
	case a.AuthType == authAH:
		return AHAuthentication
	}
	return UnknownAuthentication
}

// Speakers returns what was heard, by VRID, family and source. The list is the
// caller's.
func (s *Survey) Speakers() []Speaker {
	all := slices.Clone(s.known)
	for i := range all {
		all[i].Addresses = slices.Clone(all[i].Addresses)
	}
	slices.SortFunc(all, func(a, b Speaker) int {
		return cmp.Or(cmp.Compare(a.VRID, b.VRID), cmp.Compare(a.Family, b.Family), a.Source.Compare(b.Source))
	})
	return all
}
