package vip

import "time"

// Bounds of the repair of something that somebody removes again and again: the
// first few times at once, then at growing intervals up to one a second.
const (
	fightFree  = 5
	fightFirst = 50 * time.Millisecond
	fightLast  = time.Second
	fightCalm  = 10 * time.Second
)

// Bounds of the retries after an error.
const (
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
)

// upkeep is the errors and repairs of something that the worker keeps in place.
type upkeep struct {
	err     string // last reported
	retryAt time.Duration
	backoff time.Duration
	missing bool          // removed by somebody else, not yet back
	noticed time.Duration // since when
	fights  int           // repairs without a calm between them
}

// refused notes an error, and reports whether it has not been told yet.
func (u *upkeep) refused(err error, now time.Duration) (tell bool) {
	u.backoff = min(max(2*u.backoff, retryFirst), retryLast)
	u.retryAt = now + u.backoff
	tell = u.err != err.Error()
	u.err = err.Error()
	return tell
}

// accepted notes a success, and reports whether it ends an error.
func (u *upkeep) accepted() (tell bool) {
	u.retryAt, u.backoff = 0, 0
	tell = u.err != ""
	u.err = ""
	return tell
}

// lost notes that somebody removed the thing, and reports whether that makes a
// fight of it, which is told once.
func (u *upkeep) lost(now time.Duration) (tell bool) {
	if now >= u.noticed+fightCalm {
		u.fights = 0
	}
	u.missing, u.noticed = true, now
	u.fights++
	if u.fights <= fightFree {
		return false
	}
	u.retryAt = now + min(fightLast, fightFirst<<min(u.fights-fightFree-1, 10))
	return u.fights == fightFree+1
}
