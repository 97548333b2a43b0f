package vrrp

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Reconfiguration is another configuration for a router that exists.
type Reconfiguration struct {
	ID     ID
	Config Config
	// Priority is the effective one from now on; 0: it stays what it is. A master
	// whose priority falls by this does not yield: it was not a failure, and those
	// who preempt will.
	Priority uint8
}

// Reconfigure gives routers another configuration, all in one step, so that
// groups can take another shape. A router keeps its role, what it has heard and
// when it advertises next, but sooner where its interval is shorter now. A group
// whose members have different roles becomes one: FAULT wins, then BACKUP.
//
// Link, Family, VRID and Version cannot change: that is another router. It fails
// where a configuration is out of its documented ranges, and then has changed
// nothing.
func (s *Set) Reconfigure(now time.Duration, changes []Reconfiguration) ([]Action, error) {
	s.actions = s.actions[:0]
	for i := range changes {
		c := &changes[i]
		if c.Config.Version == 0 {
			c.Config.Version = version3
		}
		was := s.routers[c.ID].cfg
		err := c.Config.check()
		if c.Config.Link != was.Link || c.Config.Family != was.Family || c.Config.VRID != was.VRID || c.Config.Version != was.Version {
			err = fmt.Errorf("link, family, VRID and version cannot change")
		}
		if err != nil {
			return nil, fmt.Errorf("reconfigure router VRID %d %s: %w", was.VRID, was.Family, err)
		}
	}
	var regrouped []*group
	for _, c := range changes {
		r := s.routers[c.ID]
		group := r.cfg.Group
		r.reconfigure(now, c)
		if c.Config.Group != group {
			regrouped = append(regrouped, r.group)
			s.ungroup(r, group)
			s.gather(r)
			regrouped = append(regrouped, r.group)
		}
	}
	for _, g := range regrouped {
		g.unite(now)
		if len(g.members) > 0 {
			s.requeue(g.members[0])
		}
	}
	for _, c := range changes {
		s.requeue(s.routers[c.ID])
	}
	return s.actions, nil
}

// Remove takes a router out of the set. It has been shut down and holds nothing
// any more, or has never been started. Its ID may be given to another one.
func (s *Set) Remove(id ID) {
	r := s.routers[id]
	heap.Remove(&s.queue, r.position)
	s.ungroup(r, r.cfg.Group)
	s.lookup[network{r.cfg.Link, r.cfg.Family}][r.cfg.VRID] = nil
	s.bursts[r.cfg.Link][r.burst]--
	s.routers[id] = nil
}

// place finds an ID for a new router.
func (s *Set) place(r *router) {
	i := slices.Index(s.routers, nil)
	if i < 0 {
		i = len(s.routers)
		s.routers = append(s.routers, nil)
	}
	r.id = ID(i)
	s.routers[i] = r
}

// ungroup takes a router out of its group, which had the number.
func (s *Set) ungroup(r *router, number int) {
	g := r.group
	g.members = slices.DeleteFunc(g.members, func(m *router) bool { return m == r })
	if number != 0 && len(g.members) == 0 {
		delete(s.groups, number)
	}
}

// configure sets what follows from the configuration alone.
func (r *router) configure(cfg Config) {
	cfg.Addresses = slices.Clone(cfg.Addresses)
	cfg.Excluded = slices.Clone(cfg.Excluded)
	cfg.Peers = slices.Clone(cfg.Peers)
	cfg.Nodes = slices.Clone(cfg.Nodes)
	if cfg.Password != nil {
		password := *cfg.Password
		cfg.Password = &password
	}
	r.cfg = cfg
	r.destinations = cfg.Peers
	if len(cfg.Peers) == 0 {
		r.destinations = []netip.Addr{cfg.Family.Group()}
	}
	r.phase = r.offset % cfg.Interval
}

func (r *router) reconfigure(now time.Duration, c Reconfiguration) {
	was, down := r.cfg, r.downInterval()
	r.configure(c.Config)
	if !was.HMAC.equal(r.cfg.HMAC) { // else what it knows of the senders stays
		r.signatures = newSignatures(r.cfg.HMAC)
	}
	if !slices.Equal(was.Addresses, r.cfg.Addresses) || !slices.Equal(was.Excluded, r.cfg.Excluded) {
		r.readdress()
	}
	if c.Priority != 0 {
		r.priority = c.Priority
	}
	switch {
	case was.Interval == r.cfg.Interval:
	case r.role == Master:
		// What was due later than it is now has not been late.
		r.sent = max(r.sent, now-r.cfg.Interval)
		if r.quiet == speaking {
			r.timer = min(r.timer, r.sent+r.cfg.Interval)
		}
	case r.cfg.Version == version2 || !r.master.Addr.IsValid(): // else the master's counts
		r.masterInterval = r.cfg.Interval
	}
	if (r.role == Backup || r.role == Fault) && r.timer != Never {
		// What is shorter now is not over before an interval in which a master by the
		// new configuration would have been heard.
		least := min(r.timer, now+r.masterInterval+r.skew(r.priority, r.masterInterval))
		r.timer = max(r.timer+r.downInterval()-down, least)
	}
	if !r.preempts() {
		r.preemptAt = Never
	}
}

// readdress takes another list of addresses. Those that a former master lends
// stay lent, and one that it has given back is given back.
func (r *router) readdress() {
	holds := slices.Concat(r.cfg.Addresses, r.cfg.Excluded)
	gone := make([]bool, len(holds))
	r.goneN = 0
	for i, a := range holds {
		// What is new to one that only lends is not on.
		j := slices.Index(r.holds, a)
		if r.grip == lent && (j < 0 || r.gone[j]) {
			gone[i] = true
			r.goneN++
		}
	}
	r.holds, r.gone = holds, gone
	if r.grip == lent && r.goneN == len(holds) {
		r.release()
	}
}

// unite makes one role of those that the members of a group have which has taken
// another shape. Members in INIT enter later, see enter. Who was kept by a member
// that has left is not any more.
func (g *group) unite(now time.Duration) {
	at := func(is func(*router) bool) *router {
		if i := slices.IndexFunc(g.members, func(m *router) bool { return !m.stopped && is(m) }); i >= 0 {
			return g.members[i]
		}
		return nil
	}
	why := Action{Cause: CauseRegrouped}
	if m := at(func(m *router) bool { return m.role == Fault }); m != nil {
		g.enter(now, m, CauseRegrouped)
	}
	if m := at(func(m *router) bool { return m.role == Fault }); m != nil {
		g.fail(now, m, why, false)
		return
	}
	m := at(func(m *router) bool { return m.role == Backup })
	if m == nil {
		return
	}
	g.pull(now, m, why)
	if m := at(func(m *router) bool { return m.ready }); m != nil {
		g.takeOver(now, m)
	}
}

// equal tells whether two routers sign and verify alike.
func (h *HMAC) equal(o *HMAC) bool {
	if h == nil || o == nil {
		return h == o
	}
	for n, key := range h.Keys {
		if !slices.Equal(key, o.Keys[n]) {
			return false
		}
	}
	return len(h.Keys) == len(o.Keys) && h.Send == o.Send && h.Mode == o.Mode && h.Window == o.Window
}
