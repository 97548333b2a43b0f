package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/internal/control"
	"baton/vrrp"
)

// The orders of an operator, as they come: from the control socket to the protocol
// loop, and what came of them back.

// Order carries out an order and returns when that is done. It goes on when ctx ends.
func (d *daemon) Order(ctx context.Context, o control.Order) (control.Result, error) {
	type taken struct {
		outcomes chan control.Outcome
		count    int
		standby  *control.Standby
		err      error
	}
	result := control.Result{Node: d.config().Node}
	took := make(chan taken, 1)
	d.loop.post(ctx, func(now time.Duration) {
		n := d.loop.node
		t := taken{outcomes: make(chan control.Outcome, len(n.groups))} // the loop waits for nobody
		t.count, t.standby, t.err = n.obey(now, o, func(out control.Outcome) { t.outcomes <- out })
		took <- t
	})
	gone := control.Errorf(control.Unavailable, "baton ends")
	var t taken
	select {
	case t = <-took:
	case <-ctx.Done():
		return result, gone
	case <-d.ctx.Done():
		return result, gone
	}
	if t.err != nil {
		return result, t.err
	}
	result.Standby = t.standby
	for range t.count {
		select {
		case out := <-t.outcomes:
			result.Outcomes = append(result.Outcomes, out)
		case <-ctx.Done():
			return result, gone
		case <-d.ctx.Done():
			return result, gone
		}
	}
	slices.SortFunc(result.Outcomes, func(a, b control.Outcome) int { return cmp.Compare(a.Router, b.Router) })
	if o.Kind == control.StandbyOrder || o.Kind == control.ResumeOrder {
		if err := d.standbyFile.settled(ctx); err != nil && !errors.Is(err, context.Canceled) {
			result.Unsaved = err.Error()
		}
	}
	return result, nil
}

// obey begins an order. done is called for each group that it is about, at once or
// later; count says how many these are. An error says that nothing was begun.
func (n *node) obey(now time.Duration, o control.Order, done func(control.Outcome)) (count int, shown *control.Standby, err error) {
	groups, err := n.find(o.Routers)
	if err != nil {
		return 0, nil, err
	}
	if n.leaving {
		return 0, nil, control.Errorf(control.Refused, "baton stops")
	}
	switch o.Kind {
	case control.StandbyOrder:
		s := n.newStandby(now, o)
		n.beginStandby(now, s, groups, o, done)
		shown = shownStandby(s)
	case control.ResumeOrder:
		n.resumeGroups(now, groups, o, done)
	default:
		if len(groups) != 1 {
			return 0, nil, control.Errorf(control.BadRequest, "one router is wanted, and %d were given", len(groups))
		}
		g := groups[0]
		begin := map[control.OrderKind]func(*group, time.Duration, control.Order, func(control.Outcome)) string{
			control.FailoverOrder: (*group).failover,
			control.TakeoverOrder: (*group).takeover,
			control.ClearOrder:    (*group).clear,
			control.AnnounceOrder: (*group).announce,
		}[o.Kind]
		if begin == nil {
			return 0, nil, control.Errorf(control.BadRequest, "there is no order %q", o.Kind)
		}
		why := g.busy()
		if why == "" {
			why = begin(g, now, o, done)
		}
		if why != "" {
			n.log.Info("order refused", "what", string(o.Kind)+" by "+o.By, "of", g.name, "reason", why)
			return 0, nil, control.Errorf(control.Refused, "%s", why)
		}
	}
	n.stale = true
	n.settle(now)
	return len(groups), shown, nil
}

// find returns the groups that are named, by themselves or by a member, each once, or
// all where no name is given.
func (n *node) find(names []string) ([]*group, error) {
	if len(names) == 0 {
		return n.groups, nil
	}
	var groups []*group
	for _, name := range names {
		i := slices.IndexFunc(n.groups, func(g *group) bool {
			return g.name == name || slices.ContainsFunc(g.routers, func(r *router) bool { return r.cfg.Name == name })
		})
		if i < 0 {
			return nil, control.Errorf(control.NotFound, "this node runs no virtual router and no group %q", name)
		}
		if !slices.Contains(groups, n.groups[i]) {
			groups = append(groups, n.groups[i])
		}
	}
	return groups, nil
}

// busy says why no order can be begun now; empty: it can.
func (g *group) busy() string {
	switch {
	case g.node.leaving || g.leaving:
		return g.goodbye()
	case g.order != nil:
		return g.order.what() + " is under way for " + g.name
	}
	return ""
}

// cannotHandOver says why a master cannot give the role away in order; empty: it can.
func (g *group) cannotHandOver() string {
	b := g.bound
	switch {
	case b != nil && b.wish == stop && len(g.common) > 0:
		return fmt.Sprintf("%s leaves already: %s", g.name, strings.Join(g.common, "; "))
	case g.fenced() && !b.served && g.last.Takeover == "silence":
		return fmt.Sprintf("%s took over from a master that fell silent, and its services are not ready yet: handed over now, nobody would fence that one", g.name)
	}
	return ""
}

// beginStandby holds groups out of the election: a master once it has given the role
// away, or at once where that is forced and no services are bound, the others at once.
func (n *node) beginStandby(now time.Duration, s *standby, groups []*group, o control.Order, done func(control.Outcome)) {
	if len(o.Routers) == 0 {
		n.standby = s
	}
	what := string(o.Kind) + " by " + o.By
	var atOnce []*group
	var before []control.Outcome
	for _, g := range groups {
		why := g.busy()
		if why == "" && g.isMaster() && !o.Force {
			why = g.cannotHandOver()
		}
		switch {
		case why != "":
			out := g.outcome()
			out.OK, out.Text = false, why
			g.tellOutcome(what, out, done)
		case g.isMaster():
			g.beginOrder(now, &order{kind: o.Kind, by: o.By, standby: s, force: o.Force, done: done}, stopping)
		case g.standby == nil && g.roleNow() == vrrp.Backup.String() && g.masterName() == "" && !o.Force:
			g.beginOrder(now, &order{kind: o.Kind, by: o.By, standby: s, done: done}, seeking)
		default:
			atOnce, before = append(atOnce, g), append(before, g.outcome())
			g.standby = s
			n.dirty = append(n.dirty, g)
		}
	}
	n.settle(now)
	for i, g := range atOnce {
		before[i].Text = heldOut
		g.tellOutcome(what, before[i], done)
	}
	n.keepStandby()
}

// resumeGroups lets groups take part again, and calls off a standby that waits for
// services to stop.
func (n *node) resumeGroups(now time.Duration, groups []*group, o control.Order, done func(control.Outcome)) {
	if len(o.Routers) == 0 {
		n.standby = nil
	}
	what := string(o.Kind) + " by " + o.By
	for _, g := range groups {
		out := g.outcome()
		switch under := g.order; {
		case under != nil && under.standby != nil && (under.phase == stopping || under.phase == seeking):
			g.conclude(false, "called off by "+o.By)
			out.Text = "its standby was called off"
		case g.standby == nil && (under == nil || under.standby == nil):
			out.Text = "it was not in standby"
		case under != nil:
			out.OK, out.Text = false, g.busy()+": try again in a moment"
		default:
			g.standby = nil
			g.beginOrder(now, &order{kind: o.Kind, by: o.By, done: done}, joining)
			continue
		}
		g.tellOutcome(what, out, done)
	}
	n.keepStandby()
}

// joined ends a resume once it is known who is master.
func (g *group) joined(now time.Duration) {
	st := g.node.set.State(g.routers[0].id)
	by, m := g.masterElsewhere()
	name := ""
	if by != nil {
		name = by.nameOf(m)
	}
	switch {
	case st.Role == vrrp.Master:
		g.conclude(true, g.last.Reason)
	case st.Role != vrrp.Backup:
		g.conclude(true, g.explainShort(now))
	case by == nil: // it is master itself when nobody is heard
	case !g.node.set.Wins(g.routers[0].id):
		g.conclude(true, fmt.Sprintf("%s is master with %d", name, m.Priority))
	case by.cfg.Preempt && !st.Waived:
		g.conclude(true, fmt.Sprintf("%s is master with %d: this node takes the role back by itself (preempt)", name, m.Priority))
	default:
		g.conclude(true, fmt.Sprintf("%s is master with %d: baton takeover %s brings it home", name, m.Priority, g.name))
	}
}

// failover begins to give the role away once.
func (g *group) failover(now time.Duration, o control.Order, done func(control.Outcome)) (refused string) {
	if !g.isMaster() {
		return g.name + " is " + g.roleNow() + " here: " + g.elsewhere()
	}
	if g.node.set.State(g.routers[0].id).Priority == 255 {
		return fmt.Sprintf("this node owns the addresses of %s (priority 255) and would take the role back at once: baton standby %s holds it out", g.name, g.name)
	}
	if why := g.cannotHandOver(); why != "" {
		return why
	}
	g.beginOrder(now, &order{kind: o.Kind, by: o.By, done: done}, stopping)
	return ""
}

// elsewhere says where the role is.
func (g *group) elsewhere() string {
	if name := g.masterName(); name != "" {
		return name + " is master"
	}
	return "nobody was heard as master"
}

// takeover begins to take the role.
func (g *group) takeover(now time.Duration, o control.Order, done func(control.Outcome)) (refused string) {
	id := g.routers[0].id
	st := g.node.set.State(id)
	by, m := g.masterElsewhere()
	switch {
	case g.isMaster():
		return g.name + " is MASTER here already"
	case g.standby != nil:
		return fmt.Sprintf("%s is in %s; baton resume ends that", g.name, g.standby.reason(g.node.out.wall()))
	case st.Role != vrrp.Backup:
		return g.name + " is " + st.Role.String() + ": " + g.explainShort(now)
	case by == nil:
		return fmt.Sprintf("nobody was heard as master of %s: this node takes the role by itself if that stays so", g.name)
	case !g.node.set.Wins(id):
	case g.bound != nil && g.routers[0].cfg.PromoteAfter == 0:
		return fmt.Sprintf("services are bound to %[1]s, and without promote_after they would start here while those of %[2]s still stop: baton failover %[1]s on %[2]s stops them first", g.name, by.nameOf(m))
	default:
		g.beginOrder(now, &order{kind: o.Kind, by: o.By, done: done}, taking)
		g.routers[0].step(now, vrrp.Event{Kind: vrrp.TakeOver, Reason: o.By})
		return ""
	}
	for _, r := range g.routers {
		st := g.node.set.State(r.id)
		if st.Master.Addr.IsValid() && st.Master.Priority > st.Priority {
			return fmt.Sprintf("%s has priority %d, which is above %d here: it would take the role back at once", r.nameOf(st.Master), st.Master.Priority, st.Priority)
		}
	}
	return fmt.Sprintf("%s has priority %d as well, and the higher address: it would take the role back at once", by.nameOf(m), m.Priority)
}

// clear ends the hold after a failure as master, and forgets those before it.
func (g *group) clear(now time.Duration, o control.Order, done func(control.Outcome)) (refused string) {
	switch until := g.hold.Until(); {
	case g.isMaster() && g.failed:
		return fmt.Sprintf("%s leaves still: %s", g.name, g.failure)
	case until <= now:
		return fmt.Sprintf("%s is not held: it is %s, %s", g.name, g.roleNow(), cmp.Or(g.explainShort(now), g.elsewhere()))
	}
	out := g.outcome()
	g.hold.Clear()
	g.node.dirty = append(g.node.dirty, g)
	g.node.settle(now)
	out.Text = "the hold is over and what led to it is forgotten: " + g.failure
	if g.roleNow() == vrrp.Fault.String() {
		out.OK = false
		out.Text = "the hold is over, and another reason is left: " + g.explainShort(now)
	}
	g.tellOutcome(string(o.Kind)+" by "+o.By, out, done)
	return ""
}

// announce announces the addresses again.
func (g *group) announce(now time.Duration, o control.Order, done func(control.Outcome)) (refused string) {
	count := 0
	for _, r := range g.routers {
		if r.on {
			count += len(r.cfg.Addresses)
		}
	}
	switch {
	case !g.isMaster():
		return fmt.Sprintf("%s is %s here, and has nothing to announce: %s", g.name, g.roleNow(), g.elsewhere())
	case count == 0 || g.unplaced():
		return fmt.Sprintf("%s has no address on", g.name)
	}
	g.beginOrder(now, &order{kind: o.Kind, by: o.By, done: done}, telling)
	g.order.outcome.Addresses = count
	for _, r := range g.routers {
		if r.on {
			r.hold()
		}
	}
	return ""
}
