package vrrp

import "time"

// conflict is a rival that is master beside us and loses to us.
type conflict struct {
	rival Rival
	since time.Duration // 0: no conflict
	last  time.Duration
	until time.Duration // then it is over, if nothing more is heard
}

// beat answers a losing advertisement at once, so that its sender steps back
// (section 6.4.3; new in RFC 9568), and heals what two masters have done to
// the neighbours' caches.
func (r *router) beat(now time.Duration, a *Advertisement, rival Rival) {
	if r.quiet == speaking {
		r.answer(now)
	} else {
		r.quiet = speaking
		r.send(now, r.priority)
		r.timer = r.nextAdvertisement(now)
	}
	if r.contend(now, a, rival) && now >= r.announceAt {
		r.announceAgain(now)
	}
}

// contend notes that a rival is master beside us, and tells whether it is,
// and has not just begun as we have.
func (r *router) contend(now time.Duration, a *Advertisement, rival Rival) bool {
	c := &r.conflict
	if c.since == 0 {
		if now-r.since < crossing {
			return false
		}
		c.since = now
		r.act(Action{Kind: Notice, Note: NoteConflict, Rival: rival})
	}
	c.rival, c.last = rival, now
	c.until = now + max(a.Interval+a.Interval/2, conflictQuiet)
	return true
}

// conflictOver tells of a rival that is silent at last, and heals what it has
// done since the last announcement.
func (r *router) conflictOver(now time.Duration) {
	c := r.conflict
	r.conflict = conflict{}
	r.announceAgain(now)
	r.act(Action{Kind: Reassert, Rival: c.rival, Elapsed: c.last - c.since})
}

// announceAgain announces the addresses, and puts the next time off: forged
// advertisements must not draw a flood of announcements.
func (r *router) announceAgain(now time.Duration) {
	r.announceAt = now + reannounceEvery
	r.act(Action{Kind: Announce})
}

// answer advertises to one that should have known better, and tells whether it
// did. Where we have just spoken, the next advertisement is brought forward
// instead: one answer serves all who ask meanwhile.
func (r *router) answer(now time.Duration) bool {
	if !r.mayAnswer(now) {
		r.timer = min(r.timer, r.sent+r.answerGap())
		return false
	}
	r.send(now, r.priority)
	return true
}

// mayAnswer bounds the advertisements that others can make us send.
func (r *router) mayAnswer(now time.Duration) bool {
	return now-r.sent >= r.answerGap()
}

func (r *router) answerGap() time.Duration {
	return r.cfg.skewUnit(r.cfg.Interval) / answersPerInterval
}
