package vrrp

import "time"

// conflict is a rival that is master beside us and loses to us.
type conflict struct {
	rival     Rival
	since     time.Duration // 0: no conflict
	last      time.Duration
	until     time.Duration
	announced time.Duration
}

// beat answers a losing advertisement at once, so that its sender steps back
// (section 6.4.3; new in RFC 9568), and heals what two masters have done to
// the neighbours' caches.
func (r *router) beat(now time.Duration, a *Advertisement, rival Rival) {
	switch {
	case r.quiet != speaking:
		r.quiet = speaking
		r.send(now, r.priority)
		r.timer = r.nextAdvertisement(now)
	case r.mayAnswer(now):
		r.send(now, r.priority)
	}
	c := &r.conflict
	if c.since == 0 {
		if now-r.since < crossing {
			return
		}
		*c = conflict{since: now, announced: now}
		r.act(Action{Kind: Notice, Note: NoteConflict, Rival: rival})
		r.act(Action{Kind: Announce})
	} else if now-c.announced >= reannounceEvery {
		c.announced = now
		r.act(Action{Kind: Announce})
	}
	c.rival, c.last = rival, now
	c.until = now + a.Interval + a.Interval/2
}

// mayAnswer bounds the advertisements that others can make us send: whoever
// has been sent one just now needs no second.
func (r *router) mayAnswer(now time.Duration) bool {
	return now-r.sent >= r.cfg.Interval/answersPerInterval
}
