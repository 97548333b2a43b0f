package daemon

import (
	"cmp"
	"log/slog"
	"slices"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vrrp"
)

const (
	// maxRetryAfter bounds the doubling of retry_after.
	maxRetryAfter = time.Hour
	// ownerRetryAfter is the shortest retry_after of an address owner. It is
	// master the moment it leaves FAULT: without a hold it would fail, recover
	// and be master again for ever, all in one turn of the loop.
	ownerRetryAfter = time.Second
)

// group is the routers that are one election: what they track, and who is told
// of it. Most have one router; two families of addresses are two, and the
// configuration's groups have more. That they change their role together is
// the protocol's matter.
type group struct {
	node    *node
	name    string
	number  int // in the protocol
	routers []*router
	tracks  []health.Track
	hooks   hooks
	log     *slog.Logger

	role    vrrp.Role     // that all its routers had last
	started bool          // the first evaluation is over: INIT does not come back
	startAt time.Duration // when INIT may end; Never before the daemon has begun
	// masterSince is when the group last became master, or ceased to be; 0
	// when it has not been yet.
	masterSince time.Duration
	hold        health.Hold
	failure     string // why hold was begun
	failed      bool   // in this mastership: it ends, whether or not the hold is over before
	evalAt      time.Duration
	out         health.Outcome // of the newest evaluation
	common      []string       // the reasons for FAULT of all of it, newest evaluation

	pending *role.Transition // waits for the addresses of all its routers
	last    role.Transition  // the newest change of role, whether or not the hooks were told

	place   int              // among those that are published, by name
	stale   bool             // what was published of it is not all true any more
	history []control.Change // newest first
	how     how              // it came by its role

	standby *standby // an operator holds it out of the election; nil: none does
	order   *order   // of an operator, that is carried out; nil: none

	transitions uint64 // changes of role so far

	bound   *bound // the services that run where the role is; nil: none
	leaving bool   // it leaves for good, a master once its services are stopped
	left    bool   // it has left the election
	removed bool   // it is not configured any more

	next     []*router   // while the node is reconfigured: those that it will have
	reshaped bool        // likewise: they are others, or its name is
	hooked   role.Router // what the hooks were told that they belong to

	said    bool         // the others were told with priority 0 that it gives the role away
	noted   record.State // as the record has it
	resumed resumed      // from the process before
}

// group returns the group of a configured router, new where it is its first.
func (n *node) group(c config.Router) *group {
	name := c.Group
	if name == "" {
		name = c.Name
	}
	for _, g := range n.groups {
		if g.name == name && !g.removed {
			return g
		}
	}
	n.numbers++
	g := &group{node: n, name: name, number: n.numbers, evalAt: vrrp.Never, startAt: vrrp.Never, tracks: tracksOf(c.Track)}
	g.out.Priority = int(c.Priority)
	g.standby = n.standby
	g.hold = health.NewHold(retryAfter(c), maxRetryAfter)
	n.groups = append(n.groups, g)
	for _, t := range c.Track {
		n.byCheck[t.Check] = append(n.byCheck[t.Check], g)
	}
	return g
}

// retryAfter is how long the first hold lasts.
func retryAfter(c config.Router) time.Duration {
	if c.Priority == 255 {
		return max(c.RetryAfter, ownerRetryAfter)
	}
	return c.RetryAfter
}

// complete is called when all routers of the group are there.
func (g *group) complete() {
	g.relog()
	g.hooked = g.hookRouter()
	g.hooks = g.node.out.hooks(g.hooked)
	g.bind()
}

// relog has the group log as what it is.
func (g *group) relog() {
	first := g.routers[0]
	switch {
	case len(g.routers) == 1:
		g.log = first.log
	case first.cfg.Group != "":
		g.log = g.node.log.With("group", g.name)
	default:
		g.log = g.node.log.With("router", g.name)
	}
}

// hookRouter is what the hooks are told that they belong to.
func (g *group) hookRouter() role.Router {
	first := g.routers[0].cfg
	r := role.Router{Name: g.name, Group: first.Group != "", Node: g.node.cfg.Node, Hooks: hooksOf(first.Notify)}
	for _, m := range g.routers {
		if !slices.Contains(r.Interfaces, m.cfg.Interface) {
			r.Interfaces = append(r.Interfaces, m.cfg.Interface)
		}
		if !slices.Contains(r.VRIDs, m.cfg.VRID) {
			r.VRIDs = append(r.VRIDs, m.cfg.VRID)
		}
		for _, a := range m.cfg.Addresses {
			r.Addresses = append(r.Addresses, a.Prefix.String())
		}
	}
	return r
}

// changed handles the change of role of one router: it is the group's once all
// of them have made it.
func (g *group) changed(now time.Duration, by *router, a vrrp.Action) {
	g.node.dirty = append(g.node.dirty, g)
	for _, r := range g.routers {
		if r.role != a.To {
			return
		}
	}
	from := g.role
	if from == a.To {
		return // some of them were elsewhere and are back
	}
	g.role, g.pending = a.To, nil
	g.transitions++
	if cmp.Or(a.Of, a.Cause) == vrrp.CauseAdopted {
		reason := by.reason(a)
		g.noteChange(how{"adopted", reason}, role.Transition{To: state(a.To), From: state(from), Reason: reason})
		g.adopted(reason)
		return
	}
	g.resumed.adopt = false
	if g.order != nil {
		g.orderChanged(now, g.heardBy(by, a), a)
	}
	if from == vrrp.Master || a.To == vrrp.Master {
		g.masterSince, g.failed = now, false
		if g.bound != nil {
			g.bound.served, g.bound.atMark = false, false
		}
	}
	if len(g.routers) > 1 && a.Cause != vrrp.CauseGroup { // it speaks for all, whoever is the last
		a.Of, a.Cause, a.Member = a.Cause, vrrp.CauseGroup, by.id
	}
	heard := g.heardBy(by, a)
	t := role.Transition{To: state(a.To), From: state(from), Reason: by.reason(a)}
	g.remember(heard, a, t)
	switch a.To {
	case vrrp.Master:
		t.Takeover = takeover(cmp.Or(a.Of, a.Cause))
		t.PreviousMaster = heard.nameOf(a.Rival)
		for _, r := range g.routers {
			if t.PreviousMaster == "" {
				t.PreviousMaster = r.nameOf(r.master)
			}
			r.master = vrrp.Rival{}
		}
		if b := g.bound; b != nil {
			t.PreviousMaster = cmp.Or(t.PreviousMaster, b.silent)
			b.silent = ""
			if t.Takeover == "silence" {
				b.silent = t.PreviousMaster
			}
		}
		g.pending = &t
		g.last = g.withMasters(t)
		g.placed()
	case vrrp.Backup, vrrp.Fault:
		g.last = g.withMasters(t)
		if !g.leaving && !g.toldBefore(t) { // of the end, or by the process before
			g.tell(t)
		}
		// What has to follow may have been down, and have forgotten whom.
		known := slices.ContainsFunc(g.routers, func(r *router) bool { return r.follows.Addr.IsValid() })
		if from == vrrp.Fault && known {
			g.followMaster()
		}
	}
}

// masterElsewhere is who else has the role, as far as was heard, and the router
// that heard it; nil where none has.
func (g *group) masterElsewhere() (by *router, master vrrp.Rival) {
	for _, r := range g.routers {
		if m := g.node.set.State(r.id).Master; m.Addr.IsValid() {
			return r, m
		}
	}
	return nil, vrrp.Rival{}
}

// tell adds the masters to a transition and hands it to the hooks.
func (g *group) tell(t role.Transition) {
	t = g.withMasters(t)
	g.hooks.Tell(t)
	if t.Reassert {
		return
	}
	g.node.out.announce(webhook.Role{
		Router: g.name, Group: g.routers[0].cfg.Group != "", From: string(t.From), To: string(t.To), Priority: t.Priority, Reason: t.Reason,
		Master: t.Master, PreviousMaster: t.PreviousMaster, Takeover: t.Takeover,
	})
}

// withMasters adds to a transition what is known of the masters.
func (g *group) withMasters(t role.Transition) role.Transition {
	n := g.node
	st := n.set.State(g.routers[0].id)
	t.Priority = int(st.Priority)
	if t.To == role.Master {
		t.Master, t.MasterAddress = n.cfg.Node, st.Local.String()
	}
	for _, r := range g.routers {
		if t.Master == "" && r.master.Addr.IsValid() {
			t.Master, t.MasterAddress = r.nameOf(r.master), r.master.Addr.String()
		}
	}
	if t.From == role.Master && t.To != role.Master {
		t.PreviousMaster = n.cfg.Node
	}
	return t
}
