package link

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
)

// Address is an address of this host, on an interface.
type Address struct {
	Prefix     netip.Prefix // the host's own address, and the length of its network's prefix
	Secondary  bool         // IPv4: another address of the same network was there first
	Tentative  bool         // IPv6: duplicate address detection is running, or has failed
	Deprecated bool         // no longer chosen as a source by itself
	Permanent  bool         // without a lifetime
}

// Interface is one network interface at one moment. Its slices are shared and
// must not be written to.
type Interface struct {
	Index      int
	Generation uint64   // another one tells that the interface was deleted and made again
	Name       string   // as `ip link` shows it first
	AltNames   []string // other names that ByName finds it by
	MAC        net.HardwareAddr
	MTU        int
	Up         bool // AdminUp, Carrier, and the operational state allows traffic (RFC 2863)
	AdminUp    bool // somebody wants it up
	Carrier    bool // the link beneath is there
	Loopback   bool
	Addresses  []Address // in the kernel's order
}

// Source chooses the address that adverts come from, passing over those that
// exclude names (virtual addresses); a nil exclude names none. IPv4: the primary
// address, in the kernel's order; a secondary one where every primary is excluded,
// as when the host's own came back while a virtual one was there. IPv6: the first link-local one that duplicate
// address detection has let pass (RFC 9568 section 7.2).
func (i Interface) Source(ipv6 bool, exclude func(netip.Addr) bool) (netip.Addr, bool) {
	var secondary netip.Addr
	for _, a := range i.Addresses {
		addr := a.Prefix.Addr()
		switch {
		case addr.Is4() == ipv6:
		case ipv6 && (a.Tentative || !addr.IsLinkLocalUnicast()):
		case exclude != nil && exclude(addr):
		case a.Secondary:
			if !secondary.IsValid() {
				secondary = addr
			}
		default:
			return addr, true
		}
	}
	return secondary, secondary.IsValid()
}

// SourceTo chooses the address that adverts to a peer come from (unicast),
// passing over those that exclude names; a nil exclude names none. IPv4: a primary
// address, or else a secondary one, as with Source. IPv6: one that duplicate address detection has let pass, link-local for
// a link-local peer and for no other, which no answer would find. Of these, the
// first whose network the peer is in; else the first. An address that is not
// deprecated goes before one that is, and a permanent one before one with a
// lifetime, which the peer's configuration can hardly name.
func (i Interface) SourceTo(peer netip.Addr, exclude func(netip.Addr) bool) (netip.Addr, bool) {
	peer = peer.WithZone("")
	best, source := -1, netip.Addr{}
	for _, a := range i.Addresses {
		addr := a.Prefix.Addr()
		switch {
		case addr.Is4() != peer.Is4(), addr.IsLinkLocalUnicast() != peer.IsLinkLocalUnicast() && peer.Is6():
			continue
		case a.Tentative, exclude != nil && exclude(addr):
			continue
		}
		rank := 0
		for n, good := range [...]bool{a.Permanent, !a.Deprecated, a.Prefix.Contains(peer), !a.Secondary} {
			if good {
				rank |= 1 << n
			}
		}
		if rank > best {
			best, source = rank, addr
		}
	}
	return source, source.IsValid()
}

// Table is every interface of a network namespace at one moment. It never
// changes; a newer one takes its place.
type Table struct {
	interfaces []Interface // sorted by index
	names      map[string]int
}

// newTable takes the interfaces over.
func newTable(interfaces []Interface) *Table {
	slices.SortFunc(interfaces, func(a, b Interface) int { return a.Index - b.Index })
	t := &Table{interfaces: interfaces, names: make(map[string]int, len(interfaces))}
	for n, i := range interfaces {
		for _, name := range i.AltNames {
			t.names[name] = n
		}
	}
	for n, i := range interfaces {
		t.names[i.Name] = n // a name goes before an alternative name
	}
	return t
}

// ByName finds an interface by its name or an alternative name.
func (t *Table) ByName(name string) (Interface, bool) {
	n, ok := t.names[name]
	if !ok {
		return Interface{}, false
	}
	return t.interfaces[n], true
}

// ByIndex finds an interface by the kernel's number for it.
func (t *Table) ByIndex(index int) (Interface, bool) {
	n, ok := slices.BinarySearchFunc(t.interfaces, index, func(i Interface, index int) int { return i.Index - index })
	if !ok {
		return Interface{}, false
	}
	return t.interfaces[n], true
}

// Interfaces are all of them, sorted by index; the slice must not be written to.
func (t *Table) Interfaces() []Interface {
	return t.interfaces
}

func (t *Table) equal(other *Table) bool {
	return reflect.DeepEqual(t.interfaces, other.interfaces)
}
