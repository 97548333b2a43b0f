package health

import "time"

// firstVacancy is how long, after the second fault in a row, a hold lasts though
// nobody has the role; it doubles with each further time.
const firstVacancy = 10 * time.Second

// Hold keeps a router in FAULT for a while after a check or a service failed
// that only a master can fail: as a backup it looks healthy, and would take the
// role again at once. The wait doubles with each such fault, and is forgotten
// after the router has served for as long as it was last held.
//
// A hold ends early where nobody has the role: a doubtful master is better than
// none. That is granted at once the first time, then only after 10 s, 20 s and so
// on, so that two broken nodes do not hand the role to and fro.
//
// The owner tells it of faults, and of who has the role: this router (Served),
// another one (Occupied) or nobody (Vacant). All moments are readings of one
// clock. The zero Hold never holds.
type Hold struct {
	first, most time.Duration

	failedAt time.Duration
	wait     time.Duration // the last hold's whole length; 0: nothing to remember
	early    int           // holds that ended early, of those remembered
	vacant   bool          // this hold may end early
	used     bool          // and this router has served since
	serving  bool
	served   time.Duration // since when, if serving
}

// NewHold returns a Hold whose waits double from first (retry_after) to most.
func NewHold(first, most time.Duration) Hold {
	return Hold{first: first, most: max(first, most)}
}

// Failed begins a hold: a service failed, or a check that counts in a master
// only. While one lasts it changes nothing.
func (h *Hold) Failed(now time.Duration) {
	if now < h.Until() {
		return
	}
	h.forget(now)
	if h.vacant {
		h.early++
	}
	h.wait = min(max(2*h.wait, h.first), h.most)
	h.failedAt = now
	h.vacant, h.used, h.serving = false, false, false
}

// Until is when the hold ends, as far as is known; it is over when that moment
// has come. Without a fault it is 0.
func (h *Hold) Until() time.Duration {
	wait := h.wait
	if h.vacant {
		wait = min(wait, h.vacancy())
	}
	return h.failedAt + wait
}

// vacancy is how long the hold lasts though nobody has the role.
func (h *Hold) vacancy() time.Duration {
	if h.early == 0 {
		return 0
	}
	return min(firstVacancy<<min(h.early-1, 16), h.most)
}

// Vacant says that nobody has the role on the link, for a master down interval
// by now. It may be said again and again.
func (h *Hold) Vacant(now time.Duration) {
	h.serving = false
	if now < h.Until() {
		h.vacant = true
	}
}

// Occupied says that another router has the role. A hold that could have ended
// early, and was not used for serving, lasts to its end after all.
func (h *Hold) Occupied() {
	h.serving = false
	if !h.used {
		h.vacant = false
	}
}

// Served says that this router has the role and nothing has failed. It may be
// said once or again and again.
func (h *Hold) Served(now time.Duration) {
	if !h.serving {
		h.serving, h.served, h.used = true, now, true
	}
	h.forget(now)
}

// forget drops what is remembered once the router has served for long enough.
func (h *Hold) forget(now time.Duration) {
	if h.serving && now-h.served >= h.wait {
		h.failedAt, h.wait, h.early, h.vacant = 0, 0, 0, false
	}
}

// HoldState is what a Hold remembers, as another process can go on with it.
type HoldState struct {
	FailedAt, Wait time.Duration
	Early          int
	Vacant, Used   bool
}

// State is what the hold remembers.
func (h *Hold) State() HoldState {
	return HoldState{FailedAt: h.failedAt, Wait: h.wait, Early: h.early, Vacant: h.vacant, Used: h.used}
}

// Resume makes the hold remember what another one did, on the same clock.
func (h *Hold) Resume(s HoldState) {
	h.failedAt, h.wait, h.early, h.vacant, h.used = s.FailedAt, min(s.Wait, h.most), max(s.Early, 0), s.Vacant, s.Used
}

// Clear ends the hold and forgets all, on an operator's word.
func (h *Hold) Clear() { *h = NewHold(h.first, h.most) }

// Change gives it other waits, from the next fault on.
func (h *Hold) Change(first, most time.Duration) { h.first, h.most = first, max(first, most) }
