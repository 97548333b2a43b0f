package vrrp

import (
	"net/netip"
	"slices"
	"time"
)

// Make before break: a router that is no longer master keeps its addresses
// until its successor has them.

// handoverBound is how long a master that leaves waits to hear a successor:
// the skew of the slowest one possible, one interval, and a margin.
func (r *router) handoverBound() time.Duration {
	slowest := max(r.cfg.SlowestRival, 1)
	return r.skew(slowest, r.cfg.Interval) + r.cfg.Interval + handoverMargin
}

// heard notes that a router that leaves has heard its successor.
func (r *router) heard(now time.Duration) {
	if !r.heir {
		r.heir = true
		r.lentTil = now + releaseAfter
	}
}

// lend keeps the addresses for a successor, at most for the bound.
func (r *router) lend(now, bound time.Duration) {
	r.grip, r.heir = lent, false
	r.lentTil = now + bound
	clear(r.gone)
	r.goneN = 0
}

// release lets all addresses go.
func (r *router) release() {
	if r.grip == released {
		return
	}
	r.grip = released
	r.act(Action{Kind: Release})
}

// announced notes that another host has announced a virtual address: our
// successor has it, so we let it go.
func (r *router) announced(now time.Duration, addr netip.Addr) {
	if r.grip != lent {
		return
	}
	i := slices.Index(r.holds, addr)
	if i < 0 || r.gone[i] {
		return
	}
	if r.cfg.Together {
		r.release()
		return
	}
	if r.quiet != handing { // with a way back, only an advertisement is proof
		r.heard(now)
	}
	r.gone[i] = true
	r.goneN++
	r.act(Action{Kind: Release, Addr: addr})
	if r.goneN == len(r.holds) {
		r.grip = released
	}
}
