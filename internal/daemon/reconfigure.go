package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// Another configuration for a node that runs, in one turn of the loop. What is a
// router's own by its key stays; the rest is compared and changed.

// routerKey is what a virtual router is on this host, whatever its name is.
type routerKey struct {
	iface string
	ipv6  bool
	vrid  uint8
}

func keyOf(c config.Router) routerKey { return routerKey{c.Interface, c.IPv6, c.VRID} }

// restarts says what of a router cannot change while it runs; empty: all that has
// changed can.
func restarts(was, is config.Router) string {
	switch {
	case was.Version != is.Version:
		return "version"
	case !reflect.DeepEqual(was.VirtualMAC, is.VirtualMAC):
		return "virtual_mac"
	case (was.Priority == 255) != (is.Priority == 255):
		return "priority 255"
	}
	return ""
}

// addressChange is what becomes of a router for the address worker: see vip.Change.
type addressChange struct {
	of     addresses
	router vip.Router
	seq    uint64
	remove bool
}

// reconfigure makes the node one of another configuration. The uplinks that it needs
// are known to it before; routers that are the same in both need not be compared.
func (n *node) reconfigure(now time.Duration, cfg *config.Config, same map[routerKey]bool) {
	saved, needs := n.saved(), n.needs()
	n.cfg = cfg
	n.aware()
	want := make(map[routerKey]config.Router)
	taken := make(map[routerKey][]netip.Addr)
	for _, c := range cfg.Routers {
		want[keyOf(c)] = c
	}
	var leavers []*router
	kept := make(map[routerKey]*router)
	for _, r := range n.routers {
		if r.group.removed {
			continue
		}
		key := keyOf(r.cfg)
		c, known := want[key]
		if !known || restarts(r.cfg, c) != "" {
			leavers = append(leavers, r)
			continue
		}
		kept[key] = r
		for _, a := range c.Addresses {
			on := routerKey{iface: cmp.Or(a.Interface, c.Interface)}
			taken[on] = append(taken[on], a.Prefix.Addr())
		}
	}
	before := make(map[*router]config.Router)
	for _, r := range kept {
		before[r] = r.cfg
	}
	leaving := n.regroup(kept, leavers)
	n.change(now, before, same, leavers, taken)
	n.admit(now)
	for _, g := range n.groups {
		if !g.removed && (g.reshaped || slices.ContainsFunc(g.routers, func(r *router) bool { return !same[keyOf(r.cfg)] })) {
			g.reshape(now)
		}
		g.reshaped = false
	}
	n.relink(needs)
	for _, g := range leaving {
		g.leave(now)
	}
	for _, g := range n.groups { // that stayed for a service's sake the last time
		if g.removed && !g.leaving && !slices.Contains(leaving, g) {
			g.leave(now)
		}
	}
	n.restructured(now, saved)
}

// restructured is the end of a change of which routers and groups there are. saved is
// what was kept of standby before it.
func (n *node) restructured(now time.Duration, saved savedStandby) {
	n.shown, n.placed, n.stale = nil, nil, true
	n.byCheck = make(map[string][]*group)
	for _, g := range n.groups {
		for _, t := range g.tracks {
			n.byCheck[t.Check] = append(n.byCheck[t.Check], g)
		}
	}
	for _, r := range n.routers {
		if src := r.source(); src.IsValid() && src != n.set.State(r.id).Local {
			n.do(now, n.set.Step(now, r.id, vrrp.Event{Kind: vrrp.Readdressed, Addr: src}))
		}
	}
	n.dirty = append(n.dirty, n.groups...)
	n.out.structure()
	if !reflect.DeepEqual(saved, n.saved()) {
		n.keepStandby()
	}
	n.settle(now)
}

// aware forgets what it knows of checks that there are no longer.
func (n *node) aware() {
	n.forgotten = make(map[string]bool)
	for name := range n.quorums {
		n.forgotten[name] = true
	}
	n.quorums = make(map[string]bool)
	for _, c := range n.cfg.Checks {
		n.quorums[c.Name] = c.Type == config.QuorumCheck
		delete(n.forgotten, c.Name)
	}
	for name := range n.forgotten {
		delete(n.verdicts, name)
	}
}

// removedMark ends the name of what is not configured any more and has not left yet,
// so that another one can have the name.
const removedMark = " (removed)"

// change gives the state machines and the address worker what is new of the routers
// that stay, and takes from those that leave the addresses that stay with others.
func (n *node) change(now time.Duration, before map[*router]config.Router, same map[routerKey]bool, leavers []*router, taken map[routerKey][]netip.Addr) {
	var elections []vrrp.Reconfiguration
	var addresses []addressChange
	for _, r := range leavers {
		r.cfg.Addresses = slices.DeleteFunc(slices.Clone(r.cfg.Addresses), func(a config.Address) bool {
			return slices.Contains(taken[routerKey{iface: cmp.Or(a.Interface, r.cfg.Interface)}], a.Prefix.Addr())
		})
		r.name += removedMark
		elections = append(elections, r.reelection(0))
		addresses = append(addresses, r.change(r.cfg))
	}
	for _, r := range n.routers {
		was, stays := before[r]
		if !stays || same[keyOf(r.cfg)] && !r.group.reshaped {
			continue
		}
		priority := uint8(0)
		if was.Priority != r.cfg.Priority {
			g := r.group
			state := health.State{Master: g.isMaster(), Since: g.serviceSince()}
			priority = uint8(health.Evaluate(int(r.cfg.Priority), g.tracks, n.reading, state, now).Priority)
		}
		elections = append(elections, r.reelection(priority))
		name := r.name
		r.name = n.nameFor(r.cfg)
		r.log = n.logOf(r.cfg)
		if name != r.name || !reflect.DeepEqual(addressesOf(was, name), addressesOf(r.cfg, r.name)) {
			addresses = append(addresses, r.change(was))
		}
	}
	if len(addresses) > 0 {
		n.out.readdress(addresses)
	}
	for _, g := range n.groups { // their hooks may be told what follows
		if g.hooks == nil {
			g.hooks = n.out.hooks(g.hookRouter())
			g.hooked = g.hookRouter()
			if g.role != vrrp.Init {
				t := g.last
				t.To, t.From, t.Reason = state(g.role), state(g.role), "the configuration has it on its own now"
				g.tell(t)
			}
		}
	}
	actions, err := n.set.Reconfigure(now, elections)
	if err != nil { // the configuration has been checked
		n.log.Error("routers go on as they were", "err", err)
		return
	}
	n.do(now, slices.Clone(actions))
}

func (r *router) reelection(priority uint8) vrrp.Reconfiguration {
	return vrrp.Reconfiguration{ID: r.id, Config: electionOf(r.cfg, r.node.cfg, r.link.number, r.group.number), Priority: priority}
}

// change is what the address worker has to know of a router that had another
// configuration. What is held goes on to be held, and is in place when On has come.
func (r *router) change(was config.Router) addressChange {
	if !reflect.DeepEqual(was.Addresses, r.cfg.Addresses) {
		for addr := range r.broken {
			if addr.IsValid() && !slices.ContainsFunc(r.cfg.Addresses, func(a config.Address) bool { return a.Prefix.Addr() == addr }) {
				delete(r.broken, addr)
			}
		}
	}
	clear(r.failing)
	if r.holds > 0 {
		r.holds++
	}
	if r.wanted && !r.group.unplaced() {
		r.on, r.inPlace = true, false
	}
	return addressChange{of: r.addresses, router: addressesOf(r.cfg, r.name), seq: r.holds}
}

// admit adds the routers that are configured and not there, but for those that have
// to wait until what leaves has let go.
func (n *node) admit(now time.Duration) {
	live := make(map[routerKey]bool)
	for _, r := range n.routers {
		if !r.group.removed {
			live[keyOf(r.cfg)] = true
		}
	}
	for _, e := range electionsOf(n.cfg) {
		for _, c := range e.routers {
			if live[keyOf(c)] || n.blocked(c) {
				continue
			}
			r, err := n.newRouter(c)
			if err != nil { // the configuration has been checked
				n.log.Error("virtual router is not run", "router", c.Name, "err", err)
				continue
			}
			n.routers = append(n.routers, r)
			if g := r.group; g.hooks == nil {
				g.startAt = now + c.StartDelay
			}
			r.group.reshaped = true
			if src := r.source(); src.IsValid() {
				n.do(now, n.set.Step(now, r.id, vrrp.Event{Kind: vrrp.Readdressed, Addr: src}))
			}
		}
	}
	for _, g := range n.groups {
		g.sort()
		if g.hooks == nil && !g.removed {
			g.complete()
			g.begin(now)
		}
	}
}

// blocked tells whether a router cannot begin yet: one that leaves has its VRID, its
// name, or one of its addresses still.
func (n *node) blocked(c config.Router) bool {
	for _, r := range n.routers {
		if !r.group.removed {
			continue
		}
		if keyOf(r.cfg) == keyOf(c) || r.cfg.Name == c.Name || r.group.name == cmp.Or(c.Group, c.Name)+removedMark {
			return true
		}
		for _, a := range r.cfg.Addresses {
			if slices.ContainsFunc(c.Addresses, func(o config.Address) bool { return o.Prefix.Addr() == a.Prefix.Addr() }) {
				return true
			}
		}
		if m := c.VirtualMAC; m != nil && m.Name == r.macvlan() {
			return true
		}
	}
	return false
}

// reshape gives a group that stays what is configured of it.
func (g *group) reshape(now time.Duration) {
	first := g.routers[0]
	c := first.cfg
	g.tracks = tracksOf(c.Track)
	g.hold.Change(retryAfter(c), maxRetryAfter)
	g.relog()
	r := g.hookRouter()
	if !reflect.DeepEqual(r, g.hooked) {
		g.hooks.Reconfigure(r)
	}
	g.reshapeServices(now, r)
	g.hooked = r
	g.touch()
}

// reshapeServices starts what is bound now and was not, and stops what is not any
// more, where the role is.
func (g *group) reshapeServices(now time.Duration, r role.Router) {
	c, b := g.routers[0].cfg, g.bound
	held := func(r *router) bool { return r.wanted && r.on }
	switch {
	case b == nil && len(c.Services) == 0:
		return
	case b == nil:
		g.bind()
		g.bound.served = g.isMaster() // nobody is fenced, nor waited for: the role is here already
		g.bound.atMark = slices.ContainsFunc(g.routers, held)
		g.bound.run.Begin()
	case len(c.Services) == 0:
		g.bound = nil
		g.node.out.retire(nil, b.run)
		for _, r := range g.routers {
			if r.wanted && !r.on { // they waited for their turn
				r.hold()
			}
		}
	case !reflect.DeepEqual(b.services, c.Services) || b.at != c.AddressesAt || !sameRouter(r, g.hooked):
		isNew := func(s config.Service) bool {
			return !slices.ContainsFunc(b.services, func(o config.Service) bool { return whatOf(o) == whatOf(s) })
		}
		if b.wish == run && slices.ContainsFunc(c.Services, isNew) {
			b.ready, b.since = false, now
		}
		if !slices.ContainsFunc(c.Services, func(s config.Service) bool { return s.Name == b.stuck }) {
			b.stuck = ""
		}
		b.atMark = b.atMark || slices.ContainsFunc(g.routers, held)
		b.services, b.at = c.Services, c.AddressesAt
		b.run.Rebind(c, r)
		for _, r := range g.routers {
			if r.wanted && !r.on && !g.unplaced() {
				r.hold()
			}
		}
	}
}

// whatOf is what makes a service the same in two configurations.
func whatOf(s config.Service) string {
	what := fmt.Sprintf("%s %s %d %s", s.Name, s.Kind, s.Kind, s.Unit)
	switch s.Kind {
	case config.ContainerService:
		what += fmt.Sprintf("%+v", s.Container)
	case config.OCFService:
		what += fmt.Sprintf("%+v", s.OCF)
	}
	return what
}

// sameRouter tells whether commands find the same in their environment.
func sameRouter(a, b role.Router) bool {
	a.Hooks, b.Hooks = role.Hooks{}, role.Hooks{}
	return reflect.DeepEqual(a, b)
}

// needs is what the routers need of each uplink.
func (n *node) needs() map[*uplink]want {
	all := make(map[*uplink]want)
	for _, u := range n.links {
		all[u] = want{u, maps.Clone(u.known), maps.Clone(u.virtual)}
	}
	return all
}

// relink brings the uplinks to what their routers need, and has the filters of their
// sockets follow where that is not what they needed before.
func (n *node) relink(before map[*uplink]want) {
	for _, u := range slices.Clone(n.links) {
		u.routers, u.known, u.virtual, u.byVRID = nil, make(map[bool]link.Known), make(map[bool]bool), make(map[bool]*[256]*router)
		for _, r := range n.routers {
			if r.link == u {
				u.add(r)
			}
		}
		for _, c := range n.cfg.Routers { // also for one that has to wait
			if c.Interface == u.name {
				if _, there := u.known[c.IPv6]; !there {
					u.known[c.IPv6] = link.Known{}
				}
				if c.VirtualMAC != nil && !c.VirtualMAC.FromInterface {
					u.virtual[c.IPv6] = true
				}
			}
		}
		if len(u.known) == 0 {
			n.links = slices.DeleteFunc(n.links, func(o *uplink) bool { return o == u })
		}
		if was := before[u]; !reflect.DeepEqual(was.known, u.known) || !reflect.DeepEqual(was.virtual, u.virtual) {
			n.out.relinked(u)
		}
	}
}
