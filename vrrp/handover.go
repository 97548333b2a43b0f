package vrrp

import "time"

// Planned moves: an operator has a master give the role away, or a backup take
// it. The RFC knows the first as Shutdown alone (section 6.4.3); here it has a way
// back, as backups are silent and nobody can know beforehand that there is one.

// handOver begins to give the role away: all members say priority 0, as in
// section 6.4.3, keep their addresses, and are silent until somebody else is heard.
// to is what they are then, BACKUP or FAULT. An address owner would take the role
// back at once: it goes to FAULT only.
func (g *group) handOver(now time.Duration, to Role, reason string) {
	var bound time.Duration
	for _, m := range g.members {
		if m.role != Master || m.stopped || m.quiet == handing || m.priority == 255 && to == Backup {
			return
		}
		bound = max(bound, m.handoverBound())
	}
	g.to, g.reason = to, reason
	for _, m := range g.members {
		m.send(now, 0)
		m.lend(now, bound)
		m.quiet, m.quietSince, m.timer = handing, now, now+bound
		m.conflict = conflict{} // who goes on beside us has the role now
	}
}

// succeeded ends it: somebody else is heard as master on the link of one member,
// and the group changes as a whole. The priority does not matter, or a preferred
// node could never hand over. Each member keeps its addresses until its own
// successor has announced them, or for as long as the bound says.
func (g *group) succeeded(now time.Duration, by *router, a *Advertisement, rival Rival) {
	why := Action{Cause: CauseHandover, Rival: rival, Elapsed: now - by.quietSince, Reason: g.reason}
	for _, m := range g.members {
		if m.quiet != handing {
			continue
		}
		changes := why
		if m != by {
			changes = because(by, why)
		}
		if g.to == Fault {
			m.faulted = true
			m.becomeFault(now, changes)
		} else {
			m.becomeBackup(now, changes)
			m.waived = true
		}
	}
	by.follow(now, a, rival)
}

// unheard ends it where nobody was: the router goes on as master, at once, with
// the addresses that somebody else has announced meanwhile.
func (r *router) unheard(now time.Duration) {
	r.act(Action{Kind: Unheard, Elapsed: now - r.quietSince})
	if r.grip == released || r.goneN > 0 {
		r.act(Action{Kind: Hold})
	}
	r.grip = held
}

// takeOnce makes backups master that win against the masters they have heard,
// though Preempt_Mode is false (section 6.1), or a delay is not over. It is the
// preemption of section 6.4.2, only at once: the old master yields to what it
// hears (section 6.4.3), and keeps its addresses until ours are announced.
func (g *group) takeOnce(now time.Duration, by *router, reason string) {
	if !g.wins() {
		return
	}
	why := Action{Cause: CauseTakeover, Rival: by.master, Reason: reason}
	for _, m := range g.members {
		if m == by {
			m.becomeMaster(now, why)
		} else {
			m.becomeMaster(now, because(by, why))
		}
	}
}

// wins tells whether all members are backups, and the masters that were heard
// lose to them, of whom there is at least one. A tie is decided by the address
// (section 6.4.3), and in a group by that of the member which decides ties.
func (g *group) wins() bool {
	decides := g.members[0]
	for _, m := range g.members {
		if m.precedes(decides) {
			decides = m
		}
	}
	known := false
	for _, m := range g.members {
		switch {
		case m.role != Backup:
			return false
		case !m.master.Addr.IsValid():
			continue
		case m.master.Priority > m.priority:
			return false
		case m.master.Priority == m.priority && decides.local.Less(decides.master.Addr):
			return false
		}
		known = true
	}
	return known
}

// Wins tells whether the router is a backup that TakeOver would make master.
func (s *Set) Wins(id ID) bool { return s.routers[id].group.wins() }
