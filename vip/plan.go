package vip

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// batch is how many addresses are removed or renewed, and at most how many
	// are put on, before the worker looks at announcements and new wishes again.
	batch = 32
	// roomFirst is how many of many addresses are put on first; then twice as
	// many while that takes less than roomTime. An IPv4 address takes 10 µs, an
	// IPv6 one 12 where there are few and 600 where there are 1,000, so that the
	// first announcement leaves within a fraction of a millisecond.
	roomFirst = 4
	roomTime  = time.Millisecond
)

// requestKind says what is asked of the kernel.
type requestKind uint8

const (
	_        requestKind = iota
	set                  // put the address on, or renew it
	remove               // take it off
	promote              // let secondary addresses outlive their primary
	makeLink             // make a macvlan
	dropLink             // take it away
	mendLink             // give it back its MAC address and mode
	upLink
	downLink
	tune // change settings of an interface
)

// String returns the kind as the verb of an error message.
func (k requestKind) String() string {
	switch k {
	case set:
		return "add"
	case remove:
		return "remove"
	case promote:
		return "set promote_secondaries for"
	case makeLink:
		return "make the virtual MAC's interface"
	case dropLink:
		return "remove the interface"
	case mendLink:
		return "mend the virtual MAC's interface"
	case upLink:
		return "set up the virtual MAC's interface"
	case downLink:
		return "set down the virtual MAC's interface"
	case tune:
		return "change settings of"
	}
	return fmt.Sprintf("requestKind(%d)", uint8(k))
}

// request is one change asked of the kernel.
type request struct {
	kind     requestKind
	address  *address // nil for promote, and for what strayed
	index    int
	name     string // of the interface, for messages
	prefix   netip.Prefix
	peer     netip.Addr    // the other end; the zero Addr: none
	lifetime time.Duration // 0: for ever
	renewal  bool          // of an address that is on
	noRoute  bool          // bring no prefix route, or leave that of IPv6 when removing
	mortal   bool          // an IPv6 address and its route without a lifetime are to get one
	primary  bool          // removing it may take secondary addresses with it
	metric   uint32        // of the routes that the address brings; 0: the kernel's default

	object   *object   // a route or a rule, in place of an address
	follower *follower // nil for what an earlier configuration left

	// Of an interface; see macvlan.go.
	macvlan  *macvlan // nil for a stray, and for what carries macvlans
	base     link     // what carries it
	settings *settings
}

// plan returns the requests that bring the kernel nearer to what is wished: at
// most t.room installations, or batch renewals when nothing is to be installed,
// and about batch removals. An address counts as missing when the kernel is known
// not to have it, so the caller first tells the table all that the kernel said.
func (t *table) plan(now time.Duration) []request {
	p := plan{room: t.room}
	p.removals, t.strays = append(p.removals, t.strays...), nil
	for _, r := range t.routers {
		if r.dirty || now >= r.due {
			r.plan(t, &p, now)
		}
	}
	if len(p.adds) > 0 {
		for _, q := range p.renewals {
			q.address.router.dirty = true
		}
		p.renewals = nil
	}
	t.routes(p.removals)
	return slices.Concat(p.unfollow, p.links, p.wrong, p.adds, p.follow, p.removals, p.renewals, t.promotions())
}

// plan collects requests by kind, in the order in which they are made.
type plan struct {
	room     int       // for adds
	unfollow []request // removals of routes and rules
	links    []request // changes of macvlans
	follow   []request // routes and rules to be put in place
	wrong    []request // removals of what stands in the way of adds
	adds     []request
	removals []request
	renewals []request
}

// plan adds to p what is to be done now for the router's addresses, as far as
// there is room, and notes when to look again.
func (r *router) plan(t *table, p *plan, now time.Duration) {
	r.dirty, r.pending, r.due = false, false, never
	stands := r.macvlan == nil || r.macvlan.plan(t, p, now)
	r.renewals(now)
	for _, a := range r.addresses {
		if a.wished && (stands || !a.onMacvlan()) {
			r.planOne(p, a, now)
		}
	}
	if !r.follow(p, now) {
		return // routes and rules go before their addresses
	}
	// Backwards, for the first that was put on is the primary address of its
	// network: were it the first to go, the kernel would promote the next, and
	// then that one's next, at 4 ms each when there are 1,000.
	for _, a := range slices.Backward(r.addresses) {
		if !a.wished && (stands || !a.onMacvlan()) {
			r.planOne(p, a, now)
		}
	}
}

// onMacvlan reports whether the address is on the interface of its router's
// virtual MAC, and waits for that.
func (a *address) onMacvlan() bool { return a.router.macvlan != nil && a.iface == a.router.iface }

// planOne adds to p what is to be done now for one address.
func (r *router) planOne(p *plan, a *address, now time.Duration) {
	todo := a.step(now)
	if todo == 0 {
		return
	}
	if now < a.retryAt {
		r.due = min(r.due, a.retryAt)
		return
	}
	r.pending = true
	switch {
	case todo == remove && len(p.removals) < batch:
		p.removals = append(p.removals, a.removals(false)...)
	case todo == set && a.installed && len(p.renewals) < batch:
		p.wrong = append(p.wrong, a.removals(true)...)
		p.renewals = append(p.renewals, a.addition())
	case todo == set && !a.installed && len(p.adds) < p.room:
		wrong := a.removals(true)
		p.wrong = append(p.wrong, wrong...)
		if len(wrong) > 0 && a.Prefix.Addr().Is6() {
			// The kernel tells of the removal at once and of the addition later, from a
			// work queue: in one go the table would take the address for lost.
			r.dirty = true
			return
		}
		p.adds = append(p.adds, a.addition())
	default:
		r.dirty = true
	}
}

// routes marks, of removals of IPv6 addresses, those that have to take the
// network's prefix route with them: the last of a network in which the host has
// no address of its own.
func (t *table) routes(removals []request) {
	gone := make(map[*network]int)
	for i := range removals {
		q := &removals[i]
		if q.address == nil || q.prefix.Addr().Is4() {
			continue
		}
		nw := q.address.iface.networks[q.address.Prefix.Masked()]
		if q.address.NoPrefixRoute {
			continue
		}
		gone[nw]++
		q.noRoute = nw.hosts > 0 || gone[nw] < nw.vips
	}
}

// paced notes how long it took to carry out requests.
func (t *table) paced(requests []request, took time.Duration) {
	adds := 0
	for _, q := range requests {
		if q.kind == set && q.address != nil && !q.renewal {
			adds++
		}
	}
	switch {
	case adds < t.room: // that was all
		t.room = roomFirst
	case took < roomTime:
		t.room = min(2*t.room, batch)
	default:
		t.room = max(t.room/2, roomFirst)
	}
}

// promotions returns what protects others' secondary addresses from the end of
// a primary address of ours, which may come without our doing, by its lifetime.
func (t *table) promotions() []request {
	var out []request
	for _, f := range t.ifaces {
		if f.promote && f.link.index != 0 && !f.link.promote {
			out = append(out, request{kind: promote, index: f.link.index, name: f.link.name})
		}
		f.promote = false
	}
	return out
}

// renewals marks the router's addresses for renewal when it is time.
func (r *router) renewals(now time.Duration) {
	if r.Lifetime <= 0 {
		return
	}
	renew := now >= r.renewAt
	if renew {
		r.renewAt = now + r.Lifetime/3
	}
	for _, a := range r.addresses {
		if a.installed && !a.own {
			a.renew = a.renew || renew
			r.due = min(r.due, r.renewAt)
		}
	}
}

// step compares what is wished of the address with what the kernel has, and
// returns what is to be done when a.retryAt has passed.
func (a *address) step(now time.Duration) requestKind {
	f := a.iface
	if f.link.index == 0 {
		return 0
	}
	if !a.wished {
		if a.remove && len(a.removals(false)) > 0 {
			return remove
		}
		a.remove = false
		return 0
	}
	if a.installed && !a.present() {
		a.becomeMissing(now)
	}
	if a.installed {
		f.promote = f.promote || a.endangers()
		if a.renew {
			return set
		}
		return 0
	}
	if a.hosts() {
		a.becomeInstalled(true, now)
		return 0
	}
	if a.given || !f.link.up || a.router.unguarded() != nil {
		return 0
	}
	return set
}

// present reports whether the kernel has the address as it is wished: with any
// prefix length where it cannot have two of them (IPv6), and in any form where
// the host's own will do.
func (a *address) present() bool {
	for _, e := range a.iface.seen[a.Prefix.Addr()] {
		if a.own || a.fits(e) && (e.prefix == a.Prefix || e.prefix.Addr().Is6()) {
			return true
		}
	}
	return false
}

// hosts reports whether the address is the host's own: of a Native router, and
// on without the mark of this program. Where the kernel does not know the mark,
// what an earlier run left counts too; it ends with its lifetime and is then
// replaced as any other.
func (a *address) hosts() bool {
	for _, e := range a.iface.seen[a.Prefix.Addr()] {
		if a.router.Native && e.proto != Protocol {
			return true
		}
	}
	return false
}

// endangers reports whether the end of the address by its lifetime may take
// other addresses with it: it is an IPv4 primary address of a network.
func (a *address) endangers() bool {
	if a.router.Lifetime <= 0 {
		return false
	}
	for _, e := range a.iface.seen[a.Prefix.Addr()] {
		if e.prefix == a.Prefix && !a.own && !e.assumed && e.primary() {
			return true
		}
	}
	return false
}

func (e entry) primary() bool {
	return e.prefix.Addr().Is4() && !e.prefix.IsSingleIP() && !e.secondary
}

// primary reports whether any form of the address is a primary one.
func (a *address) primary() bool {
	for _, e := range a.iface.seen[a.Prefix.Addr()] {
		if e.primary() {
			return true
		}
	}
	return false
}

// addition is the request that puts the address on or renews it. Where the
// host has an IPv6 address of its own in the same network, ours brings no
// prefix route: it would share the host's, and the kernel would give a route
// that router advertisements keep alive our lifetime.
func (a *address) addition() request {
	f := a.iface
	metric := uint32(0)
	if f.macvlan != nil {
		metric = lastRoute
	}
	q := request{
		kind: set, address: a, index: f.link.index, name: f.link.name, prefix: a.Prefix, peer: a.Peer.Addr(), lifetime: a.router.Lifetime,
		renewal: a.installed, metric: metric,
		noRoute: a.NoPrefixRoute || a.Prefix.Addr().Is6() && f.networks[a.Prefix.Masked()].hosts > 0,
	}
	for _, e := range f.seen[a.Prefix.Addr()] {
		q.mortal = q.mortal || e.permanent && e.prefix == a.Prefix && a.Prefix.Addr().Is6() && q.lifetime > 0 && !q.noRoute
	}
	return q
}

// removals are the requests that take off what the kernel has of the address,
// or, with wrong, only what has another form than it should: of IPv4 the kernel
// keeps the options that it has when the address is set again, of IPv6 the route.
// The host's own is never among them.
func (a *address) removals(wrong bool) []request {
	var out []request
	f := a.iface
	for _, e := range f.seen[a.Prefix.Addr()] {
		if a.router.Native && e.proto != Protocol || wrong && e.prefix == a.Prefix && a.fits(e) {
			continue
		}
		unwanted := wrong && a.NoPrefixRoute && !e.noRoute && e.prefix.Addr().Is6() && f.networks[a.Prefix.Masked()].hosts == 0
		out = append(out, request{
			kind: remove, address: a, index: f.link.index, name: f.link.name, prefix: e.prefix, peer: e.peer,
			primary: e.primary(), noRoute: !unwanted,
		})
	}
	return out
}

// done notes the kernel's answer to a request; err is nil when it was done, and
// otherwise says everything.
func (t *table) done(q request, err error, now time.Duration) {
	if q.object != nil {
		t.followed(q, err, now)
		return
	}
	f := t.iface(q.index)
	gone := errors.Is(err, unix.ENODEV)
	switch {
	case q.kind >= makeLink:
		t.doneLink(q, err, now)
	case q.kind == promote:
		if err != nil {
			t.log.Warn("secondary addresses of others may be lost with a virtual address", "interface", q.name, "err", err)
		} else {
			t.log.Info("secondary addresses now outlive their primary", "interface", q.name, "sysctl", "net.ipv4.conf."+q.name+".promote_secondaries=1")
		}
		if f != nil {
			f.link.promote = true // or it would be tried for ever
		}
	case f == nil || q.address == nil || gone:
		// The interface has left; its return starts all over. Until its message
		// comes there is nothing to do either.
		if q.address != nil && gone {
			q.address.retryAt = now + retryFirst
			q.address.router.dirty = true
		}
	case q.kind == remove:
		q.address.router.dirty = true
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			q.address.failed(err, now)
			return
		}
		f.removeEntry(entry{prefix: q.prefix, peer: q.peer})
		if q.address.router.wish == nil {
			t.log.Warn("virtual address was there at the start: taken off", "router", q.address.router.Name, "interface", q.name, "address", q.prefix)
		}
		if q.address.wished {
			t.log.Warn("address was on in another form than configured", "router", q.address.router.Name, "interface", q.name, "found", q.prefix, "wanted", q.address.Prefix)
		}
	case err != nil:
		q.address.router.dirty = true
		q.address.failed(err, now)
	default:
		f.installed(q, now)
		if q.address.settling && !slices.Contains(t.settling, q.address) {
			t.settling = append(t.settling, q.address)
		}
	}
}

// installed notes that a set has succeeded.
func (f *iface) installed(q request, now time.Duration) {
	a := q.address
	a.router.dirty, a.renew = true, false
	if !a.present() {
		f.setEntry(a.form())
	}
	if a.installed || !a.wished {
		a.recovered()
		return
	}
	a.becomeInstalled(false, now)
}

// deadline returns when the table has something to do of itself.
func (t *table) deadline() time.Duration {
	due := never
	for _, r := range t.routers {
		if r.dirty {
			return 0
		}
		due = min(due, r.due)
	}
	for _, f := range t.ifaces {
		if f.speaks() {
			due = min(due, f.queue.deadline())
		}
	}
	if len(t.settling) > 0 {
		due = min(due, t.settleAt)
	}
	if t.routing.stale {
		due = min(due, t.routing.readAt)
	}
	return due
}
