package vip

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Handle carries the wishes for one router to the worker. Its methods do not
// block, take no lock that the worker holds while it works, and are for one
// goroutine at a time. They may be called before, during and after Run.
type Handle struct {
	poke   func()
	first  *shape // that it was made with
	shape  *shape // newest
	newest atomic.Pointer[wish]
}

// announcements are what has been announced of one address, for those who ask.
type announcements struct {
	times atomic.Int64
	last  atomic.Int64 // CLOCK_BOOTTIME, nanoseconds
}

// wish is one immutable wish: all addresses, less those released.
type wish struct {
	shape *shape
	held  bool
	lent  bool // held, and not to be announced
	seq   uint64
	off   []uint64 // bit set of released addresses, by position; nil means none
}

// wants reports whether the wish wants the address at position i on.
func (w *wish) wants(i int) bool {
	return w.held && (w.off == nil || w.off[i/64]&(1<<(i%64)) == 0)
}

func newHandle(r Router, poke func()) *Handle {
	s := newShape(r)
	return &Handle{poke: poke, first: s, shape: s}
}

// Hold wishes all addresses of the router on. A seq other than that of the
// Hold before makes the worker announce all of them anew, by the full policy,
// also when they are on already, and answer with On. The same seq after Lend makes
// it announce them anew, without an answer.
func (h *Handle) Hold(seq uint64) {
	h.set(&wish{shape: h.shape, held: true, seq: seq})
}

// Lend wishes what is on kept, but not announced any more, until Hold or Release:
// a successor may announce it any moment, and must have the last word. Without a
// Hold before it does nothing.
func (h *Handle) Lend() {
	old := h.newest.Load()
	if old == nil || !old.held {
		return
	}
	next := *old
	next.lent = true
	h.set(&next)
}

// Release wishes the named addresses off; without arguments, all. An address
// that is not the router's is ignored.
func (h *Handle) Release(addrs ...netip.Addr) {
	old := h.newest.Load()
	if old == nil {
		old = &wish{}
	}
	next := &wish{shape: h.shape, lent: old.lent, seq: old.seq}
	if old.held && len(addrs) > 0 {
		next.off = make([]uint64, (len(h.shape.index)+63)/64)
		copy(next.off, old.off)
		for _, a := range addrs {
			if i, ok := h.shape.index[a]; ok {
				next.off[i/64] |= 1 << (i % 64)
			}
		}
		for _, i := range h.shape.index {
			next.held = next.held || next.off[i/64]&(1<<(i%64)) == 0
		}
	}
	h.set(next)
}

// Announced is how often an address has been announced since it was put on last,
// or since that was begun anew, and when the last time was, on CLOCK_BOOTTIME; 0
// where it has not been. It may be called from any goroutine.
func (h *Handle) Announced(addr netip.Addr) (times int, last time.Duration) {
	s := h.current()
	i, ok := s.index[addr]
	if !ok {
		return 0, 0
	}
	return int(s.announced[i].times.Load()), time.Duration(s.announced[i].last.Load())
}

// note keeps that an address has been announced.
func (h *Handle) note(addr netip.Addr, times int, at time.Duration) {
	s := h.current()
	if i, ok := s.index[addr]; ok {
		s.announced[i].times.Store(int64(times))
		s.announced[i].last.Store(int64(at))
	}
}

// current is the shape of the newest wish, for any goroutine.
func (h *Handle) current() *shape {
	if w := h.newest.Load(); w != nil && w.shape != nil {
		return w.shape
	}
	return h.first
}

func (h *Handle) set(w *wish) {
	h.newest.Store(w)
	h.poke()
}
