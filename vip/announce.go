package vip

import (
	"container/heap"
	"slices"
	"time"
)

const (
	// spacing is the time between the announcements of one burst, per address:
	// long enough that one hiccup does not swallow two, short against the
	// second or so that a client waits before it gives up.
	spacing = 50 * time.Millisecond
	// burst and gap bound what one interface sends: at most burst frames, then
	// nothing for gap. 1,000 addresses are announced within 31 gaps, 93 ms; a
	// switch that punts ARP to its CPU sees no more than 32 in a row.
	burst = 32
	gap   = 3 * time.Millisecond
	// resend is when a frame that could not be sent is tried again, then after
	// twice that, and so on up to resendLast.
	resend     = 20 * time.Millisecond
	resendLast = time.Second
)

// never is later than every deadline.
const never = time.Duration(1<<63 - 1)

// following returns when the announcement after sent of them is due, given
// when the first and the last of those were sent; ok is false when there is none.
func (p Announce) following(sent int, first, last time.Duration) (due time.Duration, ok bool) {
	count := max(p.Count, 1)
	switch {
	case sent < count:
		return last + spacing, true
	case p.AgainAfter > 0 && sent == count:
		return max(first+p.AgainAfter, last+spacing), true
	case p.AgainAfter > 0 && sent < 2*count:
		return last + spacing, true
	case p.Every > 0:
		return last + p.Every, true
	}
	return 0, false
}

// turn is one address's place in a queue. It is void once the address's
// announcing has been started anew or stopped, which changes its round.
type turn struct {
	address *address
	round   uint64
	due     time.Duration
}

func (t turn) void() bool { return t.round != t.address.round }

// queue is the announcement schedule of one interface.
type queue struct {
	first []turn   // never announced in this round: these go before all others
	again turnHeap // by due time
	full  int      // length of again at which void turns are taken out of all of it
	*pace
}

// pace bounds what is sent on one link: by one queue, or by those of all the
// macvlans on it together.
type pace struct {
	least  time.Duration // between two frames; 0: burst in each gap
	opened time.Duration // start of the current window
	left   int           // frames that may still be sent in it
}

// bounds returns how many frames may be sent in how long.
func (p *pace) bounds() (frames int, within time.Duration) {
	if p.least > 0 {
		return 1, p.least
	}
	return burst, gap
}

// take reports whether a frame may be sent now, and counts it.
func (p *pace) take(now time.Duration) bool {
	frames, within := p.bounds()
	if now >= p.opened+within || now < p.opened {
		p.opened, p.left = now, frames
	}
	if p.left == 0 {
		return false
	}
	p.left--
	return true
}

// free returns when a frame may be sent.
func (p *pace) free() time.Duration {
	if p.left > 0 {
		return 0
	}
	_, within := p.bounds()
	return p.opened + within
}

// leastFull is the least value of full: a short list may hold what it likes.
const leastFull = 64

// start begins to announce a by its router's policy, forgetting what has been
// announced of it before.
func (q *queue) start(a *address) {
	a.round++
	a.sent, a.unsent = 0, 0
	q.first = append(q.first, turn{address: a, round: a.round})
}

// stop ends the announcing of a.
func (q *queue) stop(a *address) { a.round++ }

// next returns an address that is to be announced now, or nil when none is due
// or the window is used up. The caller answers with sent, failed or stop.
func (q *queue) next(now time.Duration) *address {
	q.drop()
	if !q.pending(now) || !q.take(now) {
		return nil
	}
	if len(q.first) > 0 {
		a := q.first[0].address
		q.first = q.first[1:]
		return a
	}
	return heap.Pop(&q.again).(turn).address
}

// sent notes that a has been announced.
func (q *queue) sent(a *address, now time.Duration) {
	a.sent++
	a.unsent = 0
	if a.sent == 1 {
		a.began = now
	}
	if due, ok := a.router.Announce.following(a.sent, a.began, now); ok {
		q.later(a, due)
	}
}

// failed notes that a could not be announced now.
func (q *queue) failed(a *address, now time.Duration) {
	q.later(a, now+min(resendLast, resend<<min(a.unsent, 10)))
	a.unsent++
}

// later puts a in again. Void turns leave that list by themselves only when
// they are due, which may be a day: where announcing starts anew all the time,
// they would pile up behind the turn of another address.
func (q *queue) later(a *address, due time.Duration) {
	if len(q.again) >= max(q.full, leastFull) {
		q.again = slices.DeleteFunc(q.again, turn.void)
		heap.Init(&q.again)
		q.full = 2 * len(q.again)
	}
	heap.Push(&q.again, turn{address: a, round: a.round, due: due})
}

// deadline returns when next will have something.
func (q *queue) deadline() time.Duration {
	q.drop()
	due := never
	if len(q.first) > 0 {
		due = 0
	} else if len(q.again) > 0 {
		due = q.again[0].due
	}
	if due != never {
		due = max(due, q.free())
	}
	return due
}

func (q *queue) pending(now time.Duration) bool {
	return len(q.first) > 0 || len(q.again) > 0 && q.again[0].due <= now
}

// drop removes void turns from the heads of both lists.
func (q *queue) drop() {
	for len(q.first) > 0 && q.first[0].void() {
		q.first = q.first[1:]
	}
	for len(q.again) > 0 && q.again[0].void() {
		heap.Pop(&q.again)
	}
}

// turnHeap orders turns by due time.
type turnHeap []turn

func (h turnHeap) Len() int           { return len(h) }
func (h turnHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h turnHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push and Pop are for container/heap.
func (h *turnHeap) Push(x any) { *h = append(*h, x.(turn)) }

// Pop removes the last element.
func (h *turnHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	return t
}
