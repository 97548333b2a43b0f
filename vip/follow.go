package vip

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// routing is what the table knows of routes and rules: all that are this
// program's, of the others only rules equal to one that a router has. A
// notification never changes it, it only has the whole read again: routes of
// many hops, replaced routes and what the kernel does without a word would
// otherwise each need a rule of their own.
type routing struct {
	followers map[key][]*follower
	tables    map[uint32]bool // that followers name
	lengths   [2][129]bool    // destination lengths of the routes, of IPv4 and of IPv6
	seen      map[key][]object
	port      uint32 // netlink port of the requests, whose echo is no news
	// everywhere has what is left in any table removed, not only in those of followers.
	everywhere bool
	swept      bool          // what earlier configurations left has been removed
	stale      bool          // to be read again
	again      bool          // and then once more
	readAt     time.Duration // but not before
}

// follower is a Route or Rule of a router with what has been wished and done of it.
type follower struct {
	upkeep
	object
	name      string // as ip(8) writes it
	router    *router
	known     *routing
	iface     *iface // that a route names; nil: none
	repair    bool
	dropped   bool // its router does not have it any more: it is forgotten once it is removed
	wished    bool
	remove    bool // to be removed: released, or left by an earlier run
	installed bool
	given     bool  // removed by somebody else, and repair is false
	taken     bool  // somebody has removed it, as the kernel told
	rival     error // the foreign route that stands in the way, as reported
}

// follow registers the router's routes and rules.
func (t *table) follow(n *router) {
	for _, r := range n.Routes {
		f := &follower{object: r.object(), name: r.String(), repair: r.Repair}
		if r.Interface != "" && r.Type == unix.RTN_UNICAST {
			f.iface = t.use(r.Interface, n)
		}
		t.routing.lengths[half(f.six)][max(0, f.to.Bits())] = true
		t.routing.add(n, f)
	}
	for _, r := range n.Rules {
		t.routing.add(n, &follower{object: r.object(), name: r.String(), repair: r.Repair})
	}
}

func (k *routing) add(n *router, f *follower) {
	if k.followers == nil {
		k.followers, k.tables, k.seen = make(map[key][]*follower), make(map[uint32]bool), make(map[key][]object)
	}
	f.router, f.known, f.remove = n, k, true
	n.followers = append(n.followers, f)
	k.followers[f.key] = append(k.followers[f.key], f)
	k.tables[f.table] = true
}

// half is the index of a family.
func half(six bool) int {
	if six {
		return 1
	}
	return 0
}

// has reports whether a router has routes, or rules, of a family.
func (k *routing) has(rule, six bool) bool {
	for o := range k.followers {
		if o.rule == rule && o.six == six {
			return true
		}
	}
	return false
}

// touched notes that the kernel may have dropped routes without a word: it does
// so with IPv4 routes when an interface goes down or an address is removed.
func (k *routing) touched() {
	if len(k.followers) > 0 {
		k.touch()
	}
}

// touch has all be read, and shortly afterwards once more: the kernel tells of a
// removal before it makes it, and shows until then what will be gone.
func (k *routing) touch() { k.stale, k.again = true, true }

// hear takes a notification about a route or a rule.
func (k *routing) hear(m syscall.NetlinkMessage) {
	if m.Header.Pid == k.port {
		return
	}
	o, ok := parseObject(m)
	if !ok {
		return
	}
	gone := m.Header.Type == unix.RTM_DELROUTE || m.Header.Type == unix.RTM_DELRULE
	for _, f := range k.followers[o.key] {
		k.touch()
		switch {
		case gone && o.proto == Protocol, gone && f.rule, m.Header.Flags&unix.NLM_F_REPLACE != 0:
			// What the kernel removes by itself, with an interface or a source, is
			// told in the name of nobody. So is what route(8) removes of IPv4.
			f.taken = f.taken || m.Header.Pid != 0 || !o.six && !o.source.IsValid()
		case gone:
			f.retryAt, f.rival = 0, nil
		}
	}
}

// read takes the routes and rules that the kernel has, less those routes that
// are not this program's. It returns what is to be removed since it is this
// program's and belongs to no router: once, when the first are read.
func (t *table) read(objects []object) {
	k := &t.routing
	k.seen, k.stale, k.again = make(map[key][]object), k.again, false
	for _, o := range objects {
		switch {
		case len(k.followers[o.key]) > 0:
			if o.rule || o.proto == Protocol {
				k.seen[o.key] = append(k.seen[o.key], o)
			}
		case !k.swept && o.proto == Protocol && (k.tables[o.table] || k.everywhere):
			t.strays = append(t.strays, request{kind: remove, object: &o})
		}
	}
	k.swept = true
	for _, list := range k.followers {
		for _, f := range list {
			f.router.dirty = true
			f.taken = f.taken && (k.stale || !f.there())
		}
	}
}

// there reports whether the kernel has it.
func (f *follower) there() bool {
	return slices.ContainsFunc(f.known.seen[f.key], f.fits)
}

// fits reports whether an object of the same key is the wished one: a route of
// this program with the same options, or anybody's rule, of which the key says all.
func (f *follower) fits(o object) bool {
	if o.kind != f.kind || o.scope != f.scope || o.source != f.source || o.mtu != f.mtu {
		return false
	}
	return f.kind != unix.RTN_UNICAST || slices.ContainsFunc(o.hops, func(h hop) bool {
		return h.via == f.hops[0].via && (f.iface == nil || f.iface.link.index != 0 && h.index == f.iface.link.index)
	})
}

// become makes w the wish. What the router lends to the end, since its
// addresses leave one by one, keeps its routes until the last one goes: they
// serve this host alone.
func (f *follower) become(w *wish, anew bool) {
	switch {
	case !w.held && f.wished:
		f.becomeReleased()
	case w.held && (anew || !f.wished):
		f.wished, f.remove, f.given, f.rival = true, false, false, nil
		f.upkeep = upkeep{}
	}
}

// becomeReleased ends the wish for it.
func (f *follower) becomeReleased() {
	f.wished, f.remove, f.installed, f.given, f.taken, f.rival = false, true, false, false, false, nil
	f.upkeep = upkeep{}
}

// becomeInstalled notes that it is in place.
func (f *follower) becomeInstalled(now time.Duration) {
	f.installed, f.rival = true, nil
	if f.accepted() {
		f.say(Event{Kind: Recovered})
	}
	if f.missing {
		f.missing = false
		if f.fights <= fightFree {
			f.say(Event{Kind: Repaired, After: now - f.noticed})
		}
	}
}

// becomeMissing notes that it is not in place although it should be and was.
func (f *follower) becomeMissing(now time.Duration) {
	taken := f.taken
	f.installed, f.taken = false, false
	if taken && !f.repair {
		f.given = true
		f.say(Event{Kind: Removed})
		return
	}
	contested := f.lost(now)
	switch {
	case !taken: // the kernel's doing, with an interface or an address
		f.missing = false
	case contested:
		f.say(Event{Kind: Contested, Err: fmt.Errorf("keep %s: %w", f.name, errContested)})
	}
}

func (f *follower) say(e Event) {
	e.Object = f.name
	f.router.say(e)
}

func (f *follower) failed(err error, now time.Duration) {
	if f.refused(err, now) {
		f.say(Event{Kind: Failed, Err: err})
	}
}

// ready reports whether routes and rules may be put in place: all addresses are
// on, also as the source of a route. Of a router that leaves address by address
// they are not all on, and nothing new comes.
func (r *router) ready() bool {
	for _, a := range r.addresses {
		if !a.dropped && !a.given && (!a.installed || a.settling) {
			return false
		}
	}
	return true
}

// follow adds to p what is to be done now for the routes and rules. It reports
// whether the addresses may go, which is when none is left that has to go first.
func (r *router) follow(p *plan, now time.Duration) bool {
	gone := true
	for _, f := range r.followers {
		if f.wished {
			r.followOne(p, f, now)
		}
	}
	for _, f := range slices.Backward(r.followers) {
		if !f.wished && !r.followOne(p, f, now) {
			gone = false
		}
	}
	return gone
}

// followOne reports whether there was room in the plan.
func (r *router) followOne(p *plan, f *follower, now time.Duration) bool {
	todo := f.step(now)
	if todo == 0 {
		return true
	}
	if now < f.retryAt {
		r.due = min(r.due, f.retryAt)
		return true
	}
	if todo == set && f.iface != nil && f.iface.absence() != nil {
		f.failed(fmt.Errorf("%s %s: %w", set, f.name, f.iface.absence()), now)
		r.due = min(r.due, f.retryAt)
		return true
	}
	r.pending = true
	switch {
	case len(p.unfollow) >= batch || len(p.follow) >= batch:
		r.dirty = true
		return false
	case todo == set:
		p.follow = append(p.follow, f.addition())
	}
	p.unfollow = append(p.unfollow, f.removals()...)
	return true
}

// step compares what is wished with what the kernel has.
func (f *follower) step(now time.Duration) requestKind {
	if !f.wished {
		if f.remove && len(f.removals()) > 0 {
			return remove
		}
		f.remove = false
		return 0
	}
	switch there := f.there(); {
	case there && !f.installed && !f.given:
		f.becomeInstalled(now)
	case !there && f.installed:
		f.becomeMissing(now)
	}
	switch {
	case f.installed || f.given:
		return 0
	case f.iface != nil && f.iface.link.index == 0 && len(f.removals()) > 0:
		return remove // it leads to an interface that has another name now
	case f.router.ready():
		return set
	}
	return 0
}

// addition is the request that puts it in place.
func (f *follower) addition() request {
	o := f.object
	if f.iface != nil {
		o.hops = []hop{{via: f.hops[0].via, index: f.iface.link.index}}
	}
	return request{kind: set, follower: f, object: &o}
}

// removals are the requests that remove what this program has made of it; of a
// wished one, what stands in its way. What another router wishes so stays.
func (f *follower) removals() []request {
	var out []request
	for _, o := range f.known.seen[f.key] {
		others := func(g *follower) bool { return g != f && g.wished && g.fits(o) }
		if o.proto != Protocol || slices.ContainsFunc(f.known.followers[f.key], others) {
			continue
		}
		for _, h := range o.hops { // of many, the others are not this program's
			if len(o.hops) > 1 && h.via == f.hops[0].via {
				o.hops = []hop{h}
			}
		}
		out = append(out, request{kind: remove, follower: f, object: &o})
	}
	return out
}

// followed notes the kernel's answer to a request about a route or a rule.
func (t *table) followed(q request, err error, now time.Duration) {
	k, f := &t.routing, q.follower
	for _, g := range k.followers[q.object.key] {
		g.router.dirty = true
	}
	if q.kind == set {
		if err != nil {
			f.failed(err, now)
			return
		}
		k.seen[f.key] = append(k.seen[f.key], *q.object)
		f.becomeInstalled(now)
		return
	}
	gone := err == nil || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
	if gone {
		k.seen[q.object.key] = slices.DeleteFunc(k.seen[q.object.key], func(o object) bool { return o.proto == Protocol && (o.rule || o.same(*q.object)) })
	}
	switch {
	case f == nil && gone:
		t.log.Warn("route or rule of an earlier configuration was there at the start: removed", "object", q.describe())
	case f == nil:
		t.log.Error("route or rule of an earlier configuration not removed", "object", q.describe(), "err", err)
	case !gone:
		f.failed(err, now)
	case f.router.wish == nil:
		t.log.Warn("route or rule was there at the start: removed", "router", f.router.Name, "object", f.name)
	case f.wished:
		t.log.Warn("route or rule was there in another form than configured", "router", f.router.Name, "object", f.name)
	}
}

// same reports whether two routes of a key lead the same way; q may name one of
// several hops.
func (o object) same(q object) bool {
	return o.kind == q.kind && (len(q.hops) == 0 || slices.ContainsFunc(o.hops, func(h hop) bool { return h == q.hops[0] }))
}

// describe names what a request is about.
func (q request) describe() string {
	switch {
	case q.follower != nil:
		return q.follower.name
	case q.object.rule:
		return Rule{IPv6: q.object.six, From: q.object.from, To: q.object.to, Table: q.object.table, Priority: q.object.order, FwMark: q.object.mark, FwMask: q.object.mask, Input: q.object.input, Output: q.object.output}.String()
	}
	r := Route{To: q.object.to, Metric: q.object.order, Table: q.object.table, Scope: q.object.scope, Type: q.object.kind}
	if len(q.object.hops) > 0 {
		r.Via = q.object.hops[0].via
	}
	return r.String()
}
