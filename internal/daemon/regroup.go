package daemon

import (
	"cmp"
	"slices"
	"time"

	"baton/internal/config"
	"baton/internal/role"
	"baton/vrrp"
)

// election is the routers of a configuration that change their role together.
type election struct {
	name    string
	routers []config.Router
}

func electionsOf(cfg *config.Config) []*election {
	var all []*election
	for _, c := range cfg.Routers {
		name := cmp.Or(c.Group, c.Name)
		i := slices.IndexFunc(all, func(e *election) bool { return e.name == name })
		if i < 0 {
			i = len(all)
			all = append(all, &election{name: name})
		}
		all[i].routers = append(all[i].routers, c)
	}
	return all
}

// regroup brings the routers that stay into the groups of the configuration. An
// election goes on in the group in which most began it: that of its first router, or
// of the same name. It returns the groups that leave.
func (n *node) regroup(kept map[routerKey]*router, leavers []*router) (leaving []*group) {
	claimed := make(map[*group]bool)
	for _, e := range electionsOf(n.cfg) {
		var members []*router
		for _, c := range e.routers {
			if r := kept[keyOf(c)]; r != nil {
				r.cfg = c
				members = append(members, r)
			}
		}
		if len(members) == 0 {
			continue
		}
		var g *group
		for _, m := range members {
			if !claimed[m.group] && (g == nil || m.group.name == e.name) {
				g = m.group
			}
		}
		if g == nil {
			g = members[0].group.split(e.name)
		}
		claimed[g] = true
		g.reshaped = g.name != e.name || !slices.Equal(g.routers, members)
		g.next, g.name = members, e.name
	}
	for _, r := range leavers {
		g := r.group
		if claimed[g] {
			g = g.split(r.cfg.Name)
			g.hooks = unheardHooks{}
		}
		g.next = append(g.next, r)
		if !g.removed {
			g.removed = true
			leaving = append(leaving, g)
		}
	}
	for _, g := range slices.Clone(n.groups) {
		if g.removed && !slices.Contains(leaving, g) {
			continue // from before
		}
		if g.routers, g.next = g.next, nil; len(g.routers) == 0 {
			n.retire(g)
			continue
		}
		for _, r := range g.routers {
			r.group = g
		}
		if g.removed {
			g.name += removedMark
		}
	}
	return leaving
}

// unheardHooks is for a router that leaves its group.
type unheardHooks struct{}

func (unheardHooks) Tell(role.Transition) {}

func (unheardHooks) Resume(role.State) {}

func (unheardHooks) Reconfigure(role.Router) {}

// split is another group in the state of this one, for some of its routers.
func (g *group) split(name string) *group {
	n := g.node
	n.numbers++
	s := &group{
		node: n, name: name, number: n.numbers, tracks: g.tracks, log: g.log,
		role: g.role, started: g.started, startAt: g.startAt, masterSince: g.masterSince, hold: g.hold, failure: g.failure,
		failed: g.failed, evalAt: vrrp.Never, out: g.out, common: g.common, last: g.last, history: g.history, how: g.how, standby: g.standby,
	}
	n.groups = append(n.groups, s)
	return s
}

// retire forgets a group whose routers have all gone to others. Its role is not given
// up, and so its hooks are not told.
func (n *node) retire(g *group) {
	g.abort("its routers have joined another group")
	n.groups = slices.DeleteFunc(n.groups, func(o *group) bool { return o == g })
	g.left = true
	var run services
	if g.bound != nil {
		run = g.bound.run
	}
	n.out.retire(g.hooks, run)
}

// sort has the routers of a group in the order of the configuration.
func (g *group) sort() {
	place := make(map[routerKey]int)
	for i, c := range g.node.cfg.Routers {
		place[keyOf(c)] = i
	}
	slices.SortStableFunc(g.routers, func(a, b *router) int { return place[keyOf(a.cfg)] - place[keyOf(b.cfg)] })
}

// bury forgets the groups that were removed and have let go of everything, and lets
// in who waited for them.
func (n *node) bury(now time.Duration) {
	done := func(g *group) bool {
		return g.removed && g.left && g.free() && !slices.ContainsFunc(g.routers, func(r *router) bool {
			return r.on || n.set.State(r.id).Addresses != vrrp.AddressesOff
		})
	}
	if n.leaving || !slices.ContainsFunc(n.groups, done) {
		return
	}
	saved, needs := n.saved(), n.needs()
	for _, g := range slices.Clone(n.groups) {
		if !done(g) {
			continue
		}
		var gone []addressChange
		for _, r := range g.routers {
			n.set.Remove(r.id)
			n.byID[r.id] = nil
			n.routers = slices.DeleteFunc(n.routers, func(o *router) bool { return o == r })
			gone = append(gone, addressChange{of: r.addresses, remove: true})
		}
		n.out.readdress(gone)
		n.groups = slices.DeleteFunc(n.groups, func(o *group) bool { return o == g })
		var run services
		if g.bound != nil {
			run = g.bound.run
		}
		n.out.retire(g.hooks, run)
		g.log.Info("virtual router is not run any more", "name", g.name)
	}
	n.admit(now)
	for _, g := range n.groups {
		if g.reshaped && !g.removed {
			g.reshape(now)
		}
		g.reshaped = false
	}
	n.relink(needs)
	n.restructured(now, saved)
}
