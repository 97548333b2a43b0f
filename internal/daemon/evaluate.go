package daemon

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"baton/health"
	"baton/internal/control"
	"baton/vrrp"
)

// What verdicts, the link and the addresses mean for a router: whether it takes
// part in the election, and with which priority.

// addressGrace is how long a master may be without an address of its own
// before it counts as unable to hold it: what passes by itself, such as a
// link that goes down, has shown itself by then.
const addressGrace = time.Second

// evaluate recomputes, from a snapshot, whether the group's routers take part
// in the election and with which priority.
func (g *group) evaluate(now time.Duration) {
	n := g.node
	g.touch()
	switch b := g.bound; {
	case g.left:
		return
	case b != nil && b.stuck != "" && !g.isMaster():
		b.stuck = ""
		g.leave(now) // nothing is left to stay for
		return
	}
	g.out = health.Evaluate(int(g.routers[0].cfg.Priority), g.tracks, n.reading, health.State{Master: g.isMaster(), Since: g.serviceSince()}, now)
	g.evalAt = g.out.Next
	g.checkStandby(now)
	alone := slices.ContainsFunc(g.out.Faults, func(check string) bool { return n.quorums[check] })
	if g.leaving {
		g.evaluateLeaving(now, alone)
		return
	}
	if !g.started && !g.resumed.adopt && (len(g.out.Waiting) > 0 || now < g.startAt) {
		if now < g.startAt {
			g.evalAt = min(g.evalAt, g.startAt)
		}
		return
	}
	g.serve(now)
	g.common = g.reasons(now)
	first := !g.started
	g.started = true
	if st := n.set.State(g.routers[0].id); g.out.Priority != int(st.Priority) {
		g.log.Info("priority", "from", st.Priority, "to", g.out.Priority, "why", g.explain(now))
		if st.Role != vrrp.Init {
			n.out.event(control.RouterEvent, g.name, fmt.Sprintf("priority %d to %d", st.Priority, g.out.Priority), g.sum())
		}
	}
	// A master stops its services before it says that it goes, unless it is cut off
	// from the others: they are already taking over.
	common := g.common
	free := g.guide(now, len(common) > 0 || g.order.leaves())
	if !free && g.isMaster() && !alone {
		common = nil
	}
	unheard := alone || g.wordless()
	for _, r := range g.routers {
		r.apply(now, uint8(g.out.Priority), common, unheard, first)
	}
	g.carryOut(now, free)
}

// evaluateLeaving is the same for a group that leaves for good. One that is master
// stays so until its services are stopped, and only what that must not be waited for
// counts meanwhile. Another one leaves the election at once, or it would take the
// role once more.
func (g *group) evaluateLeaving(now time.Duration, alone bool) {
	if g.guide(now, true) || !g.isMaster() {
		g.depart(now)
		return
	}
	var common []string
	if alone {
		g.common = g.reasons(now)
		common = g.common
	}
	for _, r := range g.routers {
		if link, _ := r.linkFault(); link != "" || alone {
			r.apply(now, r.node.set.State(r.id).Priority, common, alone, false)
		}
	}
}

// serviceSince is when the grace of its checks begins: with the role, and in a
// master anew with each start of its services, and with each service that died and
// is brought back, as that takes as long as the first start and is bound by the
// tries.
func (g *group) serviceSince() time.Duration {
	if g.bound != nil && g.isMaster() {
		return max(g.masterSince, g.bound.since)
	}
	return g.masterSince
}

// isMaster tells whether all routers of the group are, but for one that is about to
// join those that run.
func (g *group) isMaster() bool {
	master := false
	for _, r := range g.routers {
		if !r.entered {
			continue
		}
		if r.node.set.State(r.id).Role != vrrp.Master {
			return false
		}
		master = true
	}
	return master
}

// apply brings the group's reasons for FAULT, the router's own and the priority
// to the state machine; unheard says that a master leaves for them without a word.
func (r *router) apply(now time.Duration, priority uint8, common []string, unheard, first bool) {
	link, deaf := r.linkFault()
	faults := common
	if link != "" {
		faults = append([]string{link}, faults...)
	}
	first = first || !r.entered
	r.entered = true
	changed := !slices.Equal(faults, r.faults)
	r.faults = faults
	reprioritise := func() { r.step(now, vrrp.Event{Kind: vrrp.Reprioritised, Priority: priority}) }
	// The fault goes before a priority that falls with it, or the router would
	// yield and then leave; and a router starts with the priority it has.
	switch {
	case len(faults) > 0:
		why := strings.Join(faults, "; ")
		told := slices.ContainsFunc(r.group.routers, func(o *router) bool { return o.id < r.id && slices.Equal(o.faults, faults) })
		if changed && !told && r.node.set.State(r.id).Role == vrrp.Fault {
			r.log.Info("reasons for FAULT changed", "reason", why)
		}
		r.step(now, vrrp.Event{Kind: vrrp.Faulty, Deaf: deaf, Mute: link != "" && !deaf, Alone: unheard, Reason: why})
		reprioritise()
	case first:
		reprioritise()
		r.step(now, vrrp.Event{Kind: vrrp.Startup, Adopt: r.group.resumed.adopt, Since: r.group.resumed.Since})
	default:
		reprioritise()
		r.step(now, vrrp.Event{Kind: vrrp.Recovered})
	}
}

// deaf tells whether the link is one that nobody can be heard on. With
// track_link false, one that is down need not be.
func (r *router) deaf() bool {
	return !r.link.exists || !r.link.state.Up && r.cfg.TrackLink
}

// linkFault says why nobody hears this router, and whether it is deaf as well;
// the reason is empty where the link is good.
func (r *router) linkFault() (why string, deaf bool) {
	u := r.link
	switch {
	case !u.exists:
		return fmt.Sprintf("interface %s does not exist", u.name), true
	case !u.state.Up && r.cfg.TrackLink:
		return fmt.Sprintf("interface %s is down", u.name), true
	case u.problem[r.cfg.IPv6] != "":
		return u.problem[r.cfg.IPv6], true
	case r.source().IsValid():
		return "", false
	case r.cfg.Source.IsValid():
		return fmt.Sprintf("source_address %s is not on interface %s", r.cfg.Source, u.name), false
	case len(r.cfg.Peers) > 0:
		return fmt.Sprintf("interface %s has no address of its own to speak to %s from", u.name, r.cfg.Peers[0]), false
	case r.cfg.IPv6:
		return fmt.Sprintf("interface %s has no link-local address", u.name), false
	}
	return fmt.Sprintf("interface %s has no IPv4 address of its own", u.name), false
}

// serve keeps account of whether this group, or another node, does what a
// master has to do. When a check that asks "am I serving?" fails, or a virtual
// address cannot be put in place, a hold begins: out of the role neither
// counts, and without a hold the node would look healthy and take the role
// again at once.
func (g *group) serve(now time.Duration) {
	if !g.isMaster() {
		if by, _ := g.masterElsewhere(); by != nil {
			g.hold.Occupied()
		}
		return
	}
	if g.bound != nil && g.bound.wish == stop {
		return // nobody serves where services are stopped
	}
	for _, t := range g.tracks {
		if t.Effect.When == health.Master && slices.Contains(g.out.Faults, t.Check) {
			g.fail(now, g.checkFault(t.Check))
			return
		}
	}
	for _, r := range g.routers {
		if link, _ := r.linkFault(); len(r.broken) == 0 || link != "" {
			continue
		}
		if at := r.brokenSince + addressGrace; now < at {
			g.evalAt = min(g.evalAt, at)
			continue
		}
		for addr, err := range r.broken {
			if addr.IsValid() || r.link.state.Up {
				g.fail(now, err.Error()) // one of them will do
				return
			}
		}
	}
	if g.bound == nil || g.bound.ready {
		g.hold.Served(now)
	}
}

// fail holds the group in FAULT for retry_after: it could not do as master
// what a master has to do.
func (g *group) fail(now time.Duration, why string) {
	g.failure, g.failed = why, true
	g.hold.Failed(now)
}

// held ends a reason for FAULT that stays for retry_after.
const held = " (held: it failed as master)"

// reasons lists why all of the group is in FAULT, if it is.
func (g *group) reasons(now time.Duration) []string {
	var reasons []string
	if g.standby != nil {
		reasons = append(reasons, g.standby.reason(g.node.out.wall()))
	}
	for _, check := range g.out.Faults {
		reasons = append(reasons, g.checkFault(check))
	}
	until := g.hold.Until()
	if until > now {
		g.evalAt = min(g.evalAt, until)
	}
	if until > now || g.failed {
		if !slices.Contains(reasons, g.failure) {
			reasons = append(reasons, g.failure+held)
		}
	}
	return reasons
}

// checkFault says that a check fails, in its own words where it has some.
func (g *group) checkFault(check string) string {
	if text := g.node.verdicts[check].Text; text != "" {
		return fmt.Sprintf("%s fails: %s", check, text)
	}
	return check + " fails"
}

// vacant ends a hold early: a node that failed as master is better than none.
func (g *group) vacant(now time.Duration, a vrrp.Action) {
	g.vacantStandby(now)
	g.touch() // the status may name a master
	until := g.hold.Until()
	if until <= now {
		return
	}
	g.hold.Vacant(now)
	if g.hold.Until() == until { // it has been said, or is over no sooner
		return
	}
	g.log.Warn("nobody holds the role: the hold after a failure as master ends early",
		"nobody_for", round(a.Elapsed), "in", round(max(0, g.hold.Until()-now)))
	g.node.dirty = append(g.node.dirty, g)
}
