package vip

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// hear tells the table what a notification says.
func (t *table) hear(m syscall.NetlinkMessage) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK:
		if l, err := parseLink(m); err == nil && !foreign(m) {
			t.setLink(l)
			if !l.up {
				t.routing.touched()
			}
		}
	case unix.RTM_DELLINK:
		if l, err := parseLink(m); err == nil && !foreign(m) {
			t.removeLink(l.index)
			t.routing.touched()
		}
	case unix.RTM_NEWADDR:
		if a, err := parseAddress(m); err == nil {
			t.setAddr(a.index, a.entry)
		}
	case unix.RTM_DELADDR:
		if a, err := parseAddress(m); err == nil {
			t.removeAddr(a.index, a.entry)
			t.routing.touched()
		}
	case unix.RTM_NEWNETCONF:
		if index, on, ok := parseForwarding(m); ok {
			t.setForwarding(index, on)
		}
		if filters, ok := parseFilter(m); ok {
			t.setFilters(filters)
		}
	}
}

// foreign reports whether a link message is about something else than the
// interface as such: a bridge port that leaves its bridge is told as
// RTM_DELLINK with family AF_BRIDGE.
func foreign(m syscall.NetlinkMessage) bool { return m.Data[0] != unix.AF_UNSPEC }

// setLink notes that an interface exists, or has changed.
func (t *table) setLink(l link) {
	t.orphan(l)
	f := t.named(l)
	for _, other := range t.ifaces {
		if other.link.index == l.index && other != f {
			t.strayed(other)
		}
	}
	if f == nil {
		return
	}
	old := f.link
	if old.index != l.index {
		f.becomeAbsent()
	}
	if l.up && !old.up {
		// What the kernel took off when the link went down, it has told by now.
		// Later it would look as if somebody else had.
		for _, a := range f.wanted {
			if a.installed && !a.present() {
				a.becomeOff()
			}
		}
	}
	f.link = l
	f.becomeDirty()
	for _, r := range f.routers {
		for _, o := range r.followers {
			if l.up && !old.up {
				o.retryAt, o.backoff = 0, 0
			}
		}
	}
	// Neighbours have to be told anew when frames for us have to go another way,
	// or may have been lost.
	if old.index == l.index && (old.mac != l.mac || l.up && !old.up || l.running && !old.running) {
		for _, a := range f.wanted {
			a.retryAt, a.backoff = 0, 0
			if a.installed {
				a.announce()
			}
		}
	}
}

// named returns the interface that routers call by a name of the link's; its
// first name goes before the alternative ones. It is nil where none does.
func (t *table) named(l link) *iface {
	f := t.ifaces[l.name]
	for i := 0; f == nil && i < len(l.others); i++ {
		f = t.ifaces[l.others[i]]
	}
	return f
}

// setForwarding notes whether an interface forwards IPv6, which announcements
// from now on repeat.
func (t *table) setForwarding(index int, on bool) {
	if f := t.iface(index); f != nil && index != 0 {
		f.link.forward6 = on
	}
}

// strayed notes that an interface now has another name: what we put there has
// to be taken off, since nobody would renew or release it.
func (t *table) strayed(f *iface) {
	for _, a := range f.wanted {
		if a.installed && !a.own {
			t.strays = append(t.strays, request{kind: remove, index: f.link.index, name: f.link.name, prefix: a.Prefix, peer: a.Peer.Addr(), primary: a.primary()})
		}
	}
	f.becomeAbsent()
}

// removeLink notes that an interface is gone.
func (t *table) removeLink(index int) {
	for _, f := range t.ifaces {
		if f.link.index == index {
			f.becomeAbsent()
		}
	}
}

// becomeAbsent forgets everything that belonged to the interface's former self.
func (f *iface) becomeAbsent() {
	f.link, f.promote, f.former = link{}, false, nil
	f.forget()
	f.becomeDirty()
	for _, a := range f.wanted {
		a.becomeGone()
	}
}

// becomeDirty makes plan look at what is on the interface.
func (f *iface) becomeDirty() {
	for _, r := range f.routers {
		r.dirty = true
	}
	for _, m := range f.macvlans {
		m.router.dirty = true
	}
}

// forget forgets the addresses that the kernel had.
func (f *iface) forget() {
	clear(f.seen)
	for _, nw := range f.networks {
		*nw = network{}
	}
}

// iface returns the interface with that index, or nil when no router names it.
func (t *table) iface(index int) *iface {
	for _, f := range t.ifaces {
		if f.link.index == index {
			return f
		}
	}
	return nil
}

// setAddr notes that an address is on an interface, or has changed.
func (t *table) setAddr(index int, e entry) {
	if f := t.iface(index); f != nil {
		f.setEntry(e)
	}
}

func (f *iface) setEntry(e entry) {
	ip := e.prefix.Addr()
	f.removeEntry(e)
	f.seen[ip] = append(f.seen[ip], e)
	f.count(ip, 1)
}

// count notes that the kernel has an address more or less. Of the host's own
// the prefix length does not matter: one that DHCPv6 gave has /128, and its
// network a route by router advertisements.
func (f *iface) count(ip netip.Addr, n int) {
	if a := f.vips[ip]; a != nil {
		a.router.dirty = true
		if ip.Is6() && !a.NoPrefixRoute {
			f.networks[a.Prefix.Masked()].vips += n
		}
		return
	}
	for p, nw := range f.networks {
		if p.Contains(ip) {
			nw.hosts += n
		}
	}
}

// removeAddr notes that an address is no longer on an interface.
func (t *table) removeAddr(index int, e entry) {
	if f := t.iface(index); f != nil {
		f.removeEntry(e)
	}
}

// removeEntry forgets the address with that prefix and peer. An IPv6 address
// changes its peer and remains the same.
func (f *iface) removeEntry(gone entry) {
	ip := gone.prefix.Addr()
	list := f.seen[ip]
	for i, e := range list {
		if e.prefix != gone.prefix || e.peer != gone.peer && ip.Is4() {
			continue
		}
		if list = append(list[:i:i], list[i+1:]...); len(list) == 0 {
			delete(f.seen, ip)
		} else {
			f.seen[ip] = list
		}
		f.count(ip, -1)
		return
	}
}

// dump is the kernel's state as a whole.
type dump struct {
	links     []link
	addresses []dumped
	filters   bool
}

// dumped is one address of a dump.
type dumped struct {
	index int
	entry
}

// resync replaces all that is known of the kernel.
func (t *table) resync(d dump) {
	t.setFilters(d.filters)
	there := make(map[int]bool, len(d.links))
	for _, l := range d.links {
		there[l.index] = true
		t.setLink(l)
	}
	for _, f := range t.ifaces {
		if f.link.index != 0 && !there[f.link.index] {
			f.becomeAbsent()
		}
	}
	byIndex := make(map[int]*iface, len(t.ifaces))
	for _, f := range t.ifaces {
		f.forget()
		byIndex[f.link.index] = f
		for _, r := range f.routers {
			r.dirty = true
		}
	}
	delete(byIndex, 0)
	for _, e := range d.addresses {
		if f := byIndex[e.index]; f != nil {
			f.setEntry(e.entry)
		}
	}
}
