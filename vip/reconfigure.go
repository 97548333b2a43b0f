package vip

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Change is what becomes of a router that [Worker.Add] has registered.
type Change struct {
	Handle *Handle
	// Router is what it is from now on; Interface, VirtualMAC and Native stay the
	// same. Addresses, routes and rules that it has no longer are removed, and new
	// ones are put in place where the addresses are wished on. None of those that it
	// keeps is touched, nor announced again.
	Router Router
	// Seq takes the place of that of the last Hold, if that still holds: On follows
	// with it once all is in place.
	Seq uint64
	// Remove says that it ends. What of it is still on is removed.
	Remove bool
}

// Reconfigure changes routers, all in one step: an address that one of them loses
// and another one wins on the same interface stays on in between. It may be called
// whenever the methods of the handles may be, and does not wait for the worker.
func (w *Worker) Reconfigure(changes ...Change) {
	w.adding.Lock()
	w.added = append(w.added, addition{changes: reshaped(changes)})
	w.adding.Unlock()
	w.ring()
}

// reshaped gives the handles the shapes of their routers.
func reshaped(changes []Change) []reshaping {
	var all []reshaping
	for _, c := range changes {
		if c.Remove {
			c.Router = Router{}
		}
		all = append(all, reshaping{Change: c, shape: c.Handle.reshape(c)})
	}
	return all
}

// reshaping is a Change on its way to the table.
type reshaping struct {
	Change
	shape *shape
}

// shape says which addresses the positions of a wish mean.
type shape struct {
	index     map[netip.Addr]int // never changed
	announced []announcements    // by position
}

func newShape(r Router) *shape {
	s := &shape{index: make(map[netip.Addr]int, len(r.Addresses)), announced: make([]announcements, len(r.Addresses))}
	for i, a := range r.Addresses {
		s.index[a.Prefix.Addr()] = i
	}
	return s
}

// reshape makes the newest wish one for another list of addresses. While some
// have been released, new ones are not put on: their router is leaving.
func (h *Handle) reshape(c Change) *shape {
	old, was := h.newest.Load(), h.shape
	h.shape = newShape(c.Router)
	for a, i := range h.shape.index {
		if j, known := was.index[a]; known {
			h.shape.announced[i].times.Store(was.announced[j].times.Load())
			h.shape.announced[i].last.Store(was.announced[j].last.Load())
		}
	}
	if old == nil {
		return h.shape
	}
	next := &wish{shape: h.shape, held: old.held && !c.Remove, lent: old.lent, seq: c.Seq}
	if old.off != nil {
		next.off = make([]uint64, (len(h.shape.index)+63)/64)
		next.held = false
		for a, i := range h.shape.index {
			if j, known := was.index[a]; known && old.wants(j) {
				next.held = true
			} else {
				next.off[i/64] |= 1 << (i % 64)
			}
		}
	}
	h.newest.Store(next)
	return h.shape
}

// reconfigure takes changes over, all at once. The caller resyncs afterwards.
func (t *table) reconfigure(changes []reshaping) {
	// What they no longer have is dropped at first, so that others can have it.
	changed := make(map[*Handle]*router, len(changes))
	for _, r := range t.routers {
		changed[r.handle] = r
	}
	for _, c := range changes {
		r := changed[c.Handle]
		if r == nil {
			continue
		}
		for _, a := range r.addresses {
			a.dropped = true
		}
		for _, f := range r.followers {
			f.dropped = true
		}
		r.removed = c.Remove
	}
	for _, c := range changes {
		if r := changed[c.Handle]; r != nil {
			t.reshape(r, c)
		}
	}
	for _, r := range t.routers {
		r.dropRest()
	}
	t.tidy()
}

// reshape makes a router what a change says.
func (t *table) reshape(r *router, c reshaping) {
	lifetime := r.Lifetime
	if c.Remove {
		c.Router = r.Router
		c.Router.Addresses, c.Router.Routes, c.Router.Rules = nil, nil, nil
	}
	r.Router, r.shape, r.dirty = c.Router, c.shape, true
	if w := r.wish; w != nil {
		r.wish = &wish{shape: c.shape, held: w.held, lent: w.lent, seq: c.Seq}
		r.onSaid = r.onSaid && (!w.held || w.off != nil)
	}
	r.refusal = nil
	if r.refuses() {
		r.refusal = &t.refusal
	}
	left := r.addresses
	r.addresses = nil
	for _, a := range c.Router.Addresses {
		on := r.iface.name
		f := t.use(cmp.Or(a.Interface, on), r)
		na := f.vips[a.Prefix.Addr()]
		switch {
		case na == nil || !na.dropped:
			na = t.addAddress(r, f, a)
		case na.router != r:
			na.router.addresses = slices.DeleteFunc(na.router.addresses, func(o *address) bool { return o == na })
			na.router.dirty = true
		}
		na.adopt(r, a, lifetime)
		r.addresses = append(r.addresses, na)
	}
	for _, a := range left {
		if a.dropped && a.router == r {
			r.addresses = append(r.addresses, a)
		}
	}
	if r.handle.newest.Load() == nil {
		for _, a := range r.addresses {
			if a.wished { // by the router that had it
				a.becomeReleased()
			}
		}
	}
	t.follow(r) // what is there already serves, and what was dropped goes where it does not
	t.addAnnounce(r.iface, r.Announce)
}

// adopt makes the address one that the router wants so. With other options it is
// off in the sense of the wish, and put on anew in place of what is there.
func (a *address) adopt(r *router, want Address, lifetime time.Duration) {
	want = want.asKept()
	was := a.Address
	a.router, a.Address, a.dropped = r, want, false
	a.renew = a.renew || a.installed && !a.own && (want.Source != was.Source || lifetime != r.Lifetime)
	was.Source, was.Repair = want.Source, want.Repair
	if was == want {
		return
	}
	if was.Prefix.Masked() != want.Prefix.Masked() && want.Prefix.Addr().Is6() && a.iface.networks[want.Prefix.Masked()] == nil {
		a.iface.networks[want.Prefix.Masked()] = &network{}
	}
	if a.installed {
		a.becomeOff()
	}
}

// dropRest releases what nobody has taken over of what a change has dropped.
func (r *router) dropRest() {
	for _, a := range r.addresses {
		if a.dropped && (a.wished || !a.remove && a.iface.link.index != 0 && len(a.removals(false)) > 0) {
			a.becomeReleased()
			r.dirty = true
		}
	}
	for _, f := range r.followers {
		if f.dropped && f.wished {
			f.becomeReleased()
			r.dirty = true
		}
	}
}

// tidy forgets what has been dropped and is gone, and interfaces that nobody names
// any more.
func (t *table) tidy() {
	t.drops = false
	for _, r := range t.routers {
		r.addresses = slices.DeleteFunc(r.addresses, func(a *address) bool {
			gone := a.dropped && !(a.remove && a.iface.link.index != 0 && len(a.removals(false)) > 0)
			if gone {
				a.iface.disown(a)
			}
			return gone
		})
		r.followers = slices.DeleteFunc(r.followers, func(f *follower) bool {
			gone := f.dropped && len(f.removals()) == 0
			if gone {
				k := &t.routing
				if k.followers[f.key] = slices.DeleteFunc(k.followers[f.key], func(o *follower) bool { return o == f }); len(k.followers[f.key]) == 0 {
					delete(k.followers, f.key)
				}
			}
			return gone
		})
	}
	for _, r := range t.routers {
		t.drops = t.drops || slices.ContainsFunc(r.addresses, func(a *address) bool { return a.dropped }) ||
			slices.ContainsFunc(r.followers, func(f *follower) bool { return f.dropped })
	}
	t.routers = slices.DeleteFunc(t.routers, func(r *router) bool {
		gone := r.removed && len(r.addresses) == 0 && len(r.followers) == 0
		if gone && r.macvlan != nil {
			t.removeMacvlan(r.macvlan)
		}
		return gone
	})
	t.tidyInterfaces()
}

func (t *table) tidyInterfaces() {
	named := make(map[*iface]bool)
	for _, f := range t.ifaces {
		f.routers, f.queue.least = nil, 0
	}
	for _, r := range t.routers {
		t.addAnnounce(r.iface, r.Announce)
		t.use(r.iface.name, r)
		if r.macvlan != nil {
			named[r.macvlan.base] = true
		}
		for _, a := range r.addresses {
			t.use(a.iface.name, r)
		}
		for _, f := range r.followers {
			if f.iface != nil {
				t.use(f.iface.name, r)
			}
		}
		for _, name := range r.Announce.AlsoOn {
			named[t.ifaces[name]] = true
		}
	}
	for name, f := range t.ifaces {
		if len(f.routers) == 0 && !named[f] {
			delete(t.ifaces, name)
		}
	}
}

// disown forgets an address of the interface.
func (f *iface) disown(a *address) {
	f.queue.stop(a)
	f.wanted = slices.DeleteFunc(f.wanted, func(o *address) bool { return o == a })
	if f.vips[a.Prefix.Addr()] == a {
		delete(f.vips, a.Prefix.Addr())
	}
}

// removeMacvlan takes away the interface of a virtual MAC that no router has any
// more.
func (t *table) removeMacvlan(m *macvlan) {
	m.base.macvlans = slices.DeleteFunc(m.base.macvlans, func(o *macvlan) bool { return o == m })
	m.self.macvlan = nil
	m.self.queue.pace = &pace{}
	if m.self.link.index != 0 && !m.foreign() {
		t.strays = append(t.strays, t.dismiss(m.self.link)...)
	}
	if len(m.base.macvlans) == 0 {
		m.base.former = nil
	}
}

// dismissed reports whether the interface is about to be taken away.
func (t *table) dismissed(index int) bool {
	return slices.ContainsFunc(t.strays, func(q request) bool { return q.kind == dropLink && q.index == index })
}

// keepLink has an interface stay that was about to be taken away.
func (t *table) keepLink(name string) {
	t.strays = slices.DeleteFunc(t.strays, func(q request) bool { return q.kind == dropLink && q.name == name })
}
