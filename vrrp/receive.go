package vrrp

import (
	"net/netip"
	"time"
)

// receive handles an advertisement that passed all checks and is not ours.
func (r *router) receive(now time.Duration, a *Advertisement, src netip.Addr) {
	rival := Rival{Addr: src, Priority: a.Priority}
	r.peers.heard(r, now, a, src)
	if a.Priority > 0 && r.grip == lent {
		r.heard(now)
	}
	switch r.role {
	case Backup:
		r.receiveBackup(now, a, rival)
	case Master:
		r.receiveMaster(now, a, rival)
	case Fault:
		if a.Priority > 0 {
			r.follow(now, a, rival)
		} else {
			r.master = Rival{}
		}
	}
}

// follow takes a rival for the master and its interval for the one that
// counts (section 6.4.2).
func (r *router) follow(now time.Duration, a *Advertisement, rival Rival) {
	r.master, r.masterAt = rival, now
	r.masterInterval = a.Interval
	r.listen(now)
}

// listen starts the master down interval anew.
func (r *router) listen(now time.Duration) {
	r.accepted, r.ready = now, false
	r.timer = now + r.downInterval()
}

// receiveBackup is the Backup part of section 6.4.2.
func (r *router) receiveBackup(now time.Duration, a *Advertisement, rival Rival) {
	r.relistened = false
	switch {
	case a.Priority == 0:
		if r.left.Addr.IsValid() {
			return // the skew runs already: a flood of them must not put it off
		}
		if other := r.peers.beside(r, now, rival.Addr); other != nil {
			r.otherLeft(other)
			return
		}
		r.left, r.leftAt = rival, now
		r.master = Rival{}
		if !r.ready {
			r.timer = now + r.skew(r.priority, r.masterInterval)
		}
		r.group.left(now, r)
	case a.Priority >= r.priority || !r.preempts():
		r.settled = true
		r.left = Rival{}
		r.preemptAt = Never
		r.lastWord(now, rival)
		r.follow(now, a, rival)
	case r.delays(now):
		r.settled = true
		r.left = Rival{}
		r.follow(now, a, rival)
	default:
		// Discarded; the running timer is not touched, so preemption takes
		// at most the master down interval.
		r.settled = true
		r.master, r.masterAt = rival, now
	}
}

// otherLeft is priority 0 from one of two masters that do not hear each other.
// Section 6.4.2 starts the skew whoever it is, and then the next backup becomes
// master for a moment beside the other one. That one is heard within its interval,
// and only when it is not does the skew begin.
func (r *router) otherLeft(other *Peer) {
	r.master, r.masterAt = Rival{Addr: other.Addr, Priority: other.Priority}, other.LastHeard
	if !r.ready {
		r.timer = min(r.timer, other.LastHeard+other.Interval+r.skew(r.priority, r.masterInterval))
	}
}

// delays tells whether a worse master, which is heard now, is followed for the
// time being.
func (r *router) delays(now time.Duration) bool {
	if r.cfg.PreemptDelay == 0 || r.priority == 255 {
		return false
	}
	if r.preemptAt == Never {
		r.preemptAt = now + r.cfg.PreemptDelay
	}
	return now < r.preemptAt
}

func (r *router) preempts() bool { return r.cfg.Preempt && !r.waived || r.priority == 255 }

// receiveMaster is the Active part of section 6.4.3. Preempt_Mode is not
// consulted there.
func (r *router) receiveMaster(now time.Duration, a *Advertisement, rival Rival) {
	if r.stalled(now) {
		r.relisten(now) // what waited in the socket while we stood still is read first
	}
	switch {
	case r.quiet == handing:
		if a.Priority > 0 {
			r.group.succeeded(now, r, a, rival)
		}
	case a.Priority == 0:
		if r.quiet == speaking && r.answer(now) {
			r.timer = r.nextAdvertisement(now)
		}
	case a.Priority > r.priority:
		r.yieldTo(now, a, Action{Cause: CauseBetter, Rival: rival})
	case a.Priority == r.priority && r.local.Less(rival.Addr):
		if r.undecided(now, a) {
			r.contend(now, a, rival)
			return
		}
		r.yieldTo(now, a, Action{Cause: CauseTie, Rival: rival})
	case r.quiet == relistening && !r.preempts():
		// We were away for longer than the peers' patience: this one has
		// taken over, and we do not take the role back.
		r.yieldTo(now, a, Action{Cause: CauseStalled, Rival: rival, Elapsed: now - r.sent})
	default:
		r.beat(now, a, rival)
	}
}

// yieldTo makes way for a better master. The addresses are lent, and go one
// by one as the successor announces them; but where both have become master
// at the same moment nobody relies on ours yet, and to put them on and
// announce them after the winner would mislead the neighbours.
//
// It says a last word: where the two were masters side by side (a link that
// was cut and heals) and the winner spoke first, it would never know that
// there was another, and never mend the neighbours' caches. A winner that has
// just taken over sees an advertisement that crossed its own.
func (r *router) yieldTo(now time.Duration, a *Advertisement, why Action) {
	if r.quiet == speaking && now-r.since >= crossing && r.mayAnswer(now) {
		r.send(now, r.priority)
	}
	r.giveUp(now, releaseAfter)
	r.heir = true
	r.becomeBackup(now, why)
	r.follow(now, a, why.Rival)
	r.group.pull(now, r, why)
}

// giveUp lends the addresses for the bound, or lets them go where the role has
// only just begun.
func (r *router) giveUp(now, bound time.Duration) {
	if r.fresh && now-r.since < min(crossing, r.cfg.Interval/2) {
		r.release()
		return
	}
	r.lend(now, bound)
}

// lastWord tells a better master, heard for the first time since the group
// pulled us down, that we were master beside it. It matters where this link
// was cut and heals after another one on which the group met its better: the
// winner would never mend the neighbours' caches here. A worse one, or one
// that loses the tie, would step back for it, and is told nothing.
func (r *router) lastWord(now time.Duration, rival Rival) {
	if !r.owes {
		return
	}
	r.owes = false
	if rival.Priority > r.priority || rival.Priority == r.priority && r.local.Less(rival.Addr) {
		r.send(now, r.priority)
	}
}
