package vrrp

import (
	"cmp"
	"net/netip"
	"time"
)

// group is routers that change their role together: one election on several
// links. A router without a group is one of its own.
//
// All members are master, or none is; all are in FAULT, or none is. After a
// call of the Set that holds always, with one exception: a member that was
// shut down is in INIT, and the others are still what they were.
type group struct {
	members []*router // by ID
	// to is what a hand-over leads to, for that reason.
	to     Role
	reason string
}

// gather puts a new router into its group.
func (s *Set) gather(r *router) {
	g := s.groups[r.cfg.Group]
	if g == nil {
		g = new(group)
	}
	if r.cfg.Group != 0 {
		s.groups[r.cfg.Group] = g
	}
	g.members = append(g.members, r)
	r.group = g
}

// because tells a member that it changes with another one, and why that did.
func because(by *router, why Action) Action {
	why.Of, why.Cause, why.Member = why.Cause, CauseGroup, by.id
	return why
}

// enter lets the group leave INIT or FAULT (section 6.4.1), once all members
// have started and none has a reason for FAULT. by is the member that had kept
// the others. One that an unelectable rival holds in INIT stays there, and
// comes after the others. Owners are master at once, and so are those that adopt
// what an earlier process of this host had, all of them or none, and one that joins
// masters.
func (g *group) enter(now time.Duration, by *router, cause Cause) {
	owners, adopted, joins := true, cause == CauseStartup, false
	for _, m := range g.members {
		joins = joins || m.role == Master && !m.stopped
		if !m.stopped && (!m.started || m.faulted) {
			return
		}
		owners = owners && m.priority == 255 && m.enters()
		adopted = adopted && m.adopts && m.role == Init && m.enters()
	}
	become, why := (*router).becomeBackup, Action{Cause: cause}
	switch {
	case adopted:
		become, why = (*router).becomeMaster, Action{Cause: CauseAdopted}
	case owners:
		become, why = (*router).becomeMaster, Action{Cause: CauseOwner}
	case joins: // the others have the role already, and nobody has it in part
		become = (*router).becomeMaster
	}
	for _, m := range g.members {
		if adopted {
			m.grip = held // by the process before
		}
		switch {
		case !m.enters():
		case m == by:
			become(m, now, why)
		default:
			become(m, now, because(by, why))
		}
		if adopted {
			m.since = min(m.adopted, now)
		}
		m.adopts = false
	}
}

// enters tells whether nothing on the wire keeps the router out.
func (r *router) enters() bool {
	return !r.stopped && (r.role == Fault || r.role == Init && r.timer == Never)
}

// takeOver makes all members master, if r was the last for which the others
// waited.
func (g *group) takeOver(now time.Duration, r *router) {
	for _, m := range g.members {
		if !m.ready && m.role != Master {
			return
		}
	}
	by := g.leaver(r)
	why := by.takeoverCause(now)
	for _, m := range g.members {
		switch {
		case m.role == Master:
		case m == by:
			m.becomeMaster(now, why)
		default:
			m.becomeMaster(now, because(by, why))
		}
	}
}

// leaver is the member whose master left with priority 0, where that is why r
// heard its own no more; else r.
func (g *group) leaver(r *router) *router {
	if !r.left.Addr.IsValid() {
		for _, m := range g.members {
			if m.left.Addr.IsValid() && m.leftAt >= r.accepted {
				return m
			}
		}
	}
	return r
}

// left tells the other members that the master of one has left: a group leaves
// as a whole, and where it left because of its link to another member, nothing
// was heard there. A peer without a group leaves one router and goes on with
// the others: it is heard within its interval, and only when it is not does
// the skew begin.
func (g *group) left(now time.Duration, by *router) {
	for _, m := range g.members {
		if m == by || m.role != Backup || m.ready {
			continue
		}
		m.timer = min(m.timer, max(now, m.accepted+m.masterInterval)+m.skew(m.priority, m.masterInterval))
	}
}

// listenOnce makes a backup that was late listen for one interval more, and
// with it those that were ready before: what they had not heard then says
// nothing of the time in which the host stood still.
func (g *group) listenOnce(now time.Duration, by *router) {
	for _, m := range g.members {
		if m == by || m.ready {
			m.relistened, m.ready = true, false
			m.timer = now + m.masterInterval + m.skew(m.priority, m.masterInterval)
		}
	}
}

// pull makes the other members step back with one that does: each says so, and
// keeps its addresses until its own successor has them.
func (g *group) pull(now time.Duration, by *router, why Action) {
	for _, m := range g.members {
		if m.role != Master {
			continue
		}
		owes := m.quiet == speaking && now-m.since >= crossing
		m.send(now, 0)
		m.giveUp(now, m.handoverBound())
		m.becomeBackup(now, because(by, why))
		m.owes = owes
	}
}

// fail takes the other members into FAULT; alone says that this node is cut off.
func (g *group) fail(now time.Duration, by *router, why Action, alone bool) {
	for _, m := range g.members {
		if m.stopped || m.role == Fault {
			continue
		}
		switch {
		case alone:
			m.leaveAlone(now)
		case m.role == Master:
			m.leaveWord(now)
		}
		m.becomeFault(now, because(by, why))
	}
}

// vacant tells whether nobody has been heard on any link of a group in FAULT
// for a master down interval. A link that cannot be heard is not vacant.
func (g *group) vacant(now time.Duration) bool {
	for _, m := range g.members {
		if !m.stopped && (m.deaf || now-m.accepted < m.downInterval()) {
			return false
		}
	}
	return true
}

// forsaken makes masters step back of which a member has been shut down and
// which have not been themselves: nobody may have half of a group.
func (g *group) forsaken(now time.Duration) bool {
	for _, m := range g.members {
		if m.stopped {
			g.pull(now, m, Action{Cause: CauseShutdown})
			return true
		}
	}
	return false
}

// yield makes all members silent after the priority fell, or changes for how
// long they are: the silence ends for all at once, when the last of them would
// have heard a better one.
func (g *group) yield(now time.Duration) {
	var silence time.Duration
	for _, m := range g.members {
		if m.role == Master && m.quiet == speaking {
			m.send(now, 0)
			m.quiet, m.quietSince = yielding, now
		}
		silence = max(silence, m.yieldTime())
	}
	for _, m := range g.members {
		if m.quiet == yielding {
			m.timer = m.quietSince + silence
		}
	}
}

// undecided tells whether a master that has lost a tie leaves it to another
// member to step back. On each link another node may have the greater address:
// if every member decided, two nodes could undo one another for ever. So the
// first one decides at once, for all; the next one where the first has not
// within two intervals, since it does not hear the rival, or since the rival's
// routers are no group; and so on.
func (r *router) undecided(now time.Duration, a *Advertisement) bool {
	var wait time.Duration
	for _, m := range r.group.members {
		if m.precedes(r) {
			wait += 2 * m.cfg.Interval
		}
	}
	if now-r.lostAt > 3*a.Interval {
		r.lostSince = now
	}
	r.lostAt = now
	return now-r.lostSince < wait
}

// precedes orders the members of a group in the same way on every node, by
// what all of them are configured with.
func (r *router) precedes(other *router) bool {
	order := cmp.Or(
		cmp.Compare(r.cfg.VRID, other.cfg.VRID),
		cmp.Compare(r.cfg.Family, other.cfg.Family),
		r.first().Compare(other.first()),
		cmp.Compare(r.id, other.id),
	)
	return order < 0
}

func (r *router) first() netip.Addr {
	if len(r.cfg.Addresses) == 0 {
		return netip.Addr{}
	}
	return r.cfg.Addresses[0]
}
