package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"baton/internal/config"
	"baton/internal/control"
	"baton/vrrp"
)

// What an operator orders, while it is carried out: one order at a time for a group.

// phase is how far an order has come.
type phase uint8

const (
	stopping phase = iota // standby and failover: the services stop, and the node is master still
	handing               // priority 0 is said, and somebody has to be heard
	letting               // the role is gone, the addresses go
	taking                // takeover: the role is there, and all that belongs to it is awaited
	telling               // announce: the addresses are awaited once more
	joining               // resume: who is master is not known yet
	seeking               // standby: a backup that does not know whether there is a master
)

// order is what a group is at.
type order struct {
	kind    control.OrderKind
	by      string
	standby *standby // standby: what is in force when the role is gone
	force   bool     // standby: also where nobody takes over
	done    func(control.Outcome)

	phase   phase
	outcome control.Outcome
	began   time.Duration
	until   time.Duration // what is not over then is given up
	said    time.Duration // when handing or letting began
}

// what says of an order what it is.
func (o *order) what() string { return string(o.kind) + " by " + o.by }

// leaves tells whether a master stops its services for an order, and gives the role
// away.
func (o *order) leaves() bool { return o != nil && o.phase <= handing }

// reason is why the role goes.
func (g *group) orderReason() string {
	if s := g.order.standby; s != nil {
		return s.reason(g.node.out.wall())
	}
	return g.order.what()
}

// target is the role that an order leads to.
func (o *order) target() vrrp.Role {
	if o.standby != nil {
		return vrrp.Fault
	}
	return vrrp.Backup
}

// beginOrder makes an order the group's.
func (g *group) beginOrder(now time.Duration, o *order, p phase) {
	o.phase, o.began, o.until = p, now, now+g.orderTime()
	o.outcome = g.outcome()
	g.order = o
	g.log.Info("order", "what", o.what(), "role", g.role.String())
	g.node.dirty = append(g.node.dirty, g)
}

// orderTime is how long an order may take: that all services stop, or start, and
// twice the wait for a successor.
func (g *group) orderTime() time.Duration {
	start := g.routers[0].cfg.PromoteAfter
	for _, s := range g.routers[0].cfg.Services {
		start += s.StartTimeout + stopMargin
	}
	return max(start, g.stopTime()) + 2*g.handoverBound() + leaveMargin
}

// handoverBound is how long a successor is waited for.
func (g *group) handoverBound() time.Duration {
	var bound time.Duration
	for _, r := range g.routers {
		bound = max(bound, g.node.set.HandoverBound(r.id))
	}
	return bound
}

// outcome is the beginning of one: what the group is now.
func (g *group) outcome() control.Outcome {
	return control.Outcome{Router: g.name, Interface: g.interfaces(), From: g.roleNow(), To: g.roleNow(), OK: true}
}

func (g *group) interfaces() string {
	var names []string
	for _, r := range g.routers {
		if !slices.Contains(names, r.cfg.Interface) {
			names = append(names, r.cfg.Interface)
		}
	}
	return strings.Join(names, ", ")
}

func (g *group) roleNow() string { return g.node.set.State(g.routers[0].id).Role.String() }

// conclude ends the order and tells who waits for it.
func (g *group) conclude(ok bool, text string) {
	o := g.order
	g.order = nil
	o.outcome.OK, o.outcome.Text = ok, text
	g.tellOutcome(o.what(), o.outcome, o.done)
	g.node.dirty = append(g.node.dirty, g)
	g.node.forgetStandby()
	if o.standby != nil {
		g.node.keepStandby()
	}
}

// tellOutcome notes what came of an order, and tells who waits for it.
func (g *group) tellOutcome(what string, out control.Outcome, done func(control.Outcome)) {
	out.To, out.Master = g.roleNow(), g.masterName()
	text := changeText(out) + ": " + out.Text
	if out.OK {
		g.log.Info("order carried out", "what", what, "outcome", text)
	} else {
		g.log.Warn("order not carried out", "what", what, "outcome", text)
	}
	g.node.out.event(control.OperatorEvent, g.name, what, text)
	g.touch()
	done(out)
}

// changeText is what became of the role.
func changeText(out control.Outcome) string {
	if out.From == out.To {
		return "stays " + out.To
	}
	return out.From + " to " + out.To
}

// abort ends an order, if there is one, for a reason that has nothing to do with it.
func (g *group) abort(why string) {
	if g.order != nil {
		g.conclude(false, why)
	}
}

// carryOut goes on with the order after an evaluation. free says that nothing of the
// services is left to stop.
func (g *group) carryOut(now time.Duration, free bool) {
	o := g.order
	if o == nil {
		return
	}
	switch master := g.isMaster(); {
	case now >= o.until:
		g.conclude(false, "it is not over after "+round(now-o.began)+": the log tells more")
		return
	case o.phase == stopping && !master:
		g.roleGone(now)
	case o.phase == stopping && free:
		g.handOver(now)
	case o.phase == handing && !master: // a fault came in between
		g.roleGone(now)
	case o.phase == letting:
		g.letGo(now)
	case o.phase == taking:
		g.taken(now)
	case o.phase == telling:
		g.told()
	case o.phase == joining:
		g.joined(now)
	case o.phase == seeking:
		g.seek(now)
	}
	if g.order != nil {
		g.evalAt = min(g.evalAt, o.until)
	}
}

// handOver gives the role away once the services are stopped.
func (g *group) handOver(now time.Duration) {
	o := g.order
	if g.bound != nil && g.bound.wish == stop {
		o.outcome.Stopped = now - o.began
	}
	o.said = now
	if o.force { // a FAULT needs no successor
		o.phase = letting
		g.enforce()
		return
	}
	o.phase = handing
	g.routers[0].step(now, vrrp.Event{Kind: vrrp.HandOver, To: o.target(), Reason: g.orderReason()})
}

// unheard ends a hand-over for which nobody was heard.
func (g *group) unheard(a vrrp.Action) {
	o := g.order
	if o == nil || o.phase != handing {
		return
	}
	text := fmt.Sprintf("nobody took over within %s, the address never left: %s", round(a.Elapsed), g.askAbout())
	if g.unplaced() {
		text = fmt.Sprintf("nobody took over within %s: %s", round(a.Elapsed), g.askAbout())
	}
	if o.outcome.Stopped > 0 {
		text = fmt.Sprintf("%s stopped in %s, then %s; what was stopped is started again", g.serviceNames(), round(o.outcome.Stopped), text)
	}
	g.conclude(false, text)
}

// askAbout asks what may be wrong where nobody takes over.
func (g *group) askAbout() string {
	var others []string
	for _, node := range slices.Sorted(maps.Keys(g.routers[0].cfg.Priorities)) {
		if node != g.node.cfg.Node {
			others = append(others, node)
		}
	}
	links := g.interfaces()
	verb := "does"
	if strings.Contains(links, ",") {
		verb = "do"
	}
	switch n := len(others); {
	case n == 0:
		return "does another node run it?"
	case n == 1:
		return fmt.Sprintf("%s %s work on %s, and is baton well there?", verb, links, others[0])
	default:
		return fmt.Sprintf("%s %s work on %s and %s, and is baton well there?", verb, links, strings.Join(others[:n-1], ", "), others[n-1])
	}
}

// serviceNames are the services that an order has stopped.
func (g *group) serviceNames() string {
	var names []string
	for _, s := range g.routers[0].cfg.Services {
		if !s.OnlyAfterSilence {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// orderChanged notes that the role goes: what an order holds out of the election must
// be in force before the next evaluation would let it in again.
func (g *group) orderChanged(now time.Duration, by *router, a vrrp.Action) {
	o := g.order
	if !o.leaves() || a.From != vrrp.Master {
		return
	}
	switch {
	case cmp.Or(a.Of, a.Cause) == vrrp.CauseHandover:
		o.outcome.Master, o.outcome.Heard = by.nameOf(a.Rival), max(a.Elapsed, 1)
	case a.Rival.Addr.IsValid(): // a better one took it before
		o.outcome.Master, o.outcome.Heard = by.nameOf(a.Rival), 1
	}
	g.roleGone(now)
}

// roleGone waits for the end of the addresses. A standby is in force now, unless it was
// a fault that came before anybody was heard: when that is mended this node may be the
// only one that can have the role.
func (g *group) roleGone(now time.Duration) {
	o := g.order
	if o.phase == stopping {
		o.said = now
	}
	o.phase = letting
	if o.outcome.Heard > 0 {
		g.enforce()
	}
	g.node.dirty = append(g.node.dirty, g)
}

// enforce puts the standby in force that was ordered, if one was.
func (g *group) enforce() {
	o := g.order
	if o.standby == nil || g.standby == o.standby {
		return
	}
	g.standby = o.standby
	g.node.keepStandby()
	g.node.dirty = append(g.node.dirty, g)
	for _, r := range g.routers {
		if g.roleNow() == vrrp.Fault.String() && len(r.faults) == 0 {
			r.faults = []string{g.orderReason()} // the line about the role says it
		}
	}
}

// seek holds a backup out once it knows of a master, and has it hand over where it is
// the master itself by then.
func (g *group) seek(now time.Duration) {
	by, _ := g.masterElsewhere()
	switch o := g.order; {
	case g.isMaster():
		if why := g.cannotHandOver(); why != "" {
			g.conclude(false, why)
			return
		}
		o.phase, o.outcome.From = stopping, g.roleNow()
		g.node.dirty = append(g.node.dirty, g)
	case g.standby == o.standby && g.roleNow() != vrrp.Backup.String():
		g.conclude(true, heldOut)
	case by != nil || g.roleNow() != vrrp.Backup.String():
		g.enforce()
	}
}

// heldOut is what comes of a standby of a router that is not master.
const heldOut = "held out"

// letGo ends the order once no address is here any more.
func (g *group) letGo(now time.Duration) {
	o := g.order
	if g.isMaster() {
		return // a FAULT that is ordered comes with the next evaluation
	}
	if by, m := g.masterElsewhere(); o.outcome.Heard == 0 && by != nil {
		o.outcome.Master, o.outcome.Heard = by.nameOf(m), max(now-o.said, 1)
		g.enforce()
	}
	if slices.ContainsFunc(g.routers, func(r *router) bool { return r.on }) {
		return
	}
	o.outcome.Held = now - o.said
	if o.outcome.Heard == 0 && !o.force {
		g.conclude(false, fmt.Sprintf("the role went before anybody was heard (%s), and nobody was since", g.last.Reason))
		return
	}
	g.conclude(true, g.leftText())
}

// leftText says how the role went.
func (g *group) leftText() string {
	o := g.order.outcome
	var parts []string
	if o.Stopped > 0 {
		parts = append(parts, fmt.Sprintf("%s stopped in %s", g.serviceNames(), round(o.Stopped)))
	}
	switch {
	case o.Heard == 0:
		parts = append(parts, "nobody was heard: no node holds the address")
	default:
		parts = append(parts, fmt.Sprintf("%s was heard after %s", o.Master, round(o.Heard)))
	}
	text := strings.Join(parts, ", then ")
	switch hasAddresses := slices.ContainsFunc(g.routers, func(r *router) bool { return len(r.cfg.Addresses) > 0 }); {
	case !hasAddresses:
	case g.unplaced() && o.Stopped > 0:
		text += "; the address went off in its place among the services"
	default:
		text += fmt.Sprintf("; the address was held for %s", round(o.Held))
	}
	return text
}

// taken ends a takeover once all that belongs to the role is there.
func (g *group) taken(now time.Duration) {
	o := g.order
	placed := !slices.ContainsFunc(g.routers, func(r *router) bool { return !r.inPlace })
	if placed && o.said == 0 {
		o.said = max(now-o.began, 1)
	}
	switch {
	case !g.isMaster():
		g.conclude(false, "it took the role and lost it again: "+g.last.Reason)
	case g.ready():
		text := g.last.Reason + "; the address was on after " + round(o.said)
		if g.bound != nil {
			text += ", every service after " + round(now-o.began)
		}
		g.conclude(true, text)
	}
}

// told ends an announcement.
func (g *group) told() {
	o := g.order
	switch {
	case !g.isMaster():
		g.conclude(false, "the role went meanwhile: "+g.last.Reason)
	case !slices.ContainsFunc(g.routers, func(r *router) bool { return !r.inPlace }):
		g.conclude(true, plural(o.outcome.Addresses, "address was", "addresses were")+" announced again")
	}
}

func plural(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

// stopFailedInOrder ends an order for which a service did not stop, where the role is
// kept then. So it is behind a fence: another node would take priority 0 for an
// orderly end, and silence would have this one fenced.
func (g *group) stopFailedInOrder(policy config.OnStopFailure, text string) bool {
	o := g.order
	if !o.leaves() || !g.isMaster() {
		return false
	}
	switch {
	case policy == config.StopFailureHold:
		text += ": this node stays master (on_stop_failure: hold)"
	case policy == config.StopFailureRelease && g.fenced() && !o.force:
		text += ": this node stays master, or the next one would fence it"
	default:
		return false
	}
	g.conclude(false, text)
	return true
}

// awaited has the order go on that may have waited for what has happened.
func (g *group) awaited() {
	if g.order != nil {
		g.node.dirty = append(g.node.dirty, g)
	}
}

// heardBy is the router on whose link the rival of a change was heard.
func (g *group) heardBy(by *router, a vrrp.Action) *router {
	if a.Cause == vrrp.CauseGroup {
		return g.node.byID[a.Member]
	}
	return by
}

// takes tells whether the group becomes master as an operator has ordered it.
func (g *group) takes() bool { return g.order != nil && g.order.phase == taking }
