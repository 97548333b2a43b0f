package config

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// halves makes a router of each family out of what was read, and reports what does not fit it. Nearly always there is one. What is
// not advertised goes with its family, or with the only one.
func (rr *routerReader) halves(f fields, r reading, nodes []Node) []reading {
	u := rr.unicast(f)
	rr.versions(f, &r)
	if len(r.addresses) == 0 && !r.bare { // broken, or none on this node
		return nil
	}
	families := rr.families(r, u)
	both := len(families) == 2
	var halves []reading
	for _, six := range families {
		half := r
		half.IPv6, half.both = six, both
		half.addresses = slices.DeleteFunc(slices.Clone(r.addresses), func(a placedAddress) bool { return both && a.Prefix.Addr().Is6() != six })
		half.routes = routesOf(r.routes, six, both)
		half.rules = rulesOf(r.rules, six, both)
		if both && r.Source.IsValid() && r.Source.Is6() != six {
			half.Source = netip.Addr{}
		}
		rr.sendTo(&half, u, nodes)
		rr.family(f, &half)
		half.Known = rr.known(half.Router, f)
		halves = append(halves, half)
	}
	return halves
}

// families are those of a router's advertisements, IPv4 first. Without addresses its peers tell.
func (rr *routerReader) families(r reading, u unicast) []bool {
	var seen [2]bool
	see := func(a netip.Addr) {
		if a.Is6() {
			seen[1] = true
		} else {
			seen[0] = true
		}
	}
	for _, a := range r.addresses {
		if a.Advertise {
			see(a.Prefix.Addr())
		}
	}
	if r.bare {
		for _, p := range u.peers {
			see(p.addr)
		}
		if u.network != "" && rr.me.Address(u.network).IsValid() {
			see(rr.me.Address(u.network))
		}
		if seen[0] && seen[1] { // it has one, and the peers of the other are reported
			seen[1] = false
		}
	}
	switch seen {
	case [2]bool{true, true}:
		return []bool{false, true}
	case [2]bool{false, true}:
		return []bool{true}
	}
	return []bool{false}
}

// versions reports what the version of VRRP does not have.
func (rr *routerReader) versions(f fields, r *reading) {
	w := rr.walk
	if r.Version == 3 {
		if r.Password != "" || r.sign != nil && r.sign.text == "pass" {
			w.errorAt(r.sign.place, r.sign.path, "version: 2, or type: hmac; where the defaults have it, authentication: {type: none}", "VRRP version 3 has no password (RFC 9568, section 9)")
		}
		return
	}
	r.PlainChecksum = false
	if n := f.own["checksum"]; n != nil {
		w.errorAt(n.place, n.path, "take it out: version 2 has only the one", "is a choice for version 3")
	}
	if n := f.get("advertisement_interval"); n != nil && r.Interval%(10*time.Millisecond) == 0 && (r.Interval%time.Second != 0 || r.Interval > 255*time.Second) {
		near := min(max(r.Interval.Round(time.Second), time.Second), 255*time.Second)
		w.errorAt(n.place, n.path, formatDuration(near)+", or version: 3", "%s cannot be told to the others of %q: version 2 counts whole seconds, from 1 to 255", n.text, r.Name)
	}
}

// family reports what does not fit the addresses of a router.
func (rr *routerReader) family(f fields, r *reading) {
	w := rr.walk
	n := f.get("addresses")
	switch {
	case !r.Source.IsValid():
	case f.get("source_address") != nil:
		rr.source(f.get("source_address"), *r)
	}
	if v := r.VirtualMAC; v != nil && !v.FromInterface && len(r.Peers) > 0 {
		m := f.get("virtual_mac")
		w.errorAt(m.place, m.path, "virtual_mac: {advertise_from: interface}", "advertisements to peers come from the router's interface, not from the virtual MAC")
	}
	var advertised []placedAddress
	for _, a := range r.addresses {
		if a.Advertise {
			advertised = append(advertised, a)
		}
	}
	if r.IPv6 && r.Version == 2 {
		v := f.raw("version")
		at, path := v.place, v.path
		if len(advertised) > 0 {
			at, path = advertised[0].at, advertised[0].path
		}
		hint := "version: 3"
		if r.both {
			hint = "another router with version: 3 for the IPv6 addresses; the two may have the same vrid"
		}
		w.errorAt(at, path, hint, "IPv6 has no VRRP version 2 (RFC 3768), which this router is to speak")
	}
	if r.IPv6 {
		if c := f.own["checksum"]; c != nil && r.PlainChecksum && !r.both {
			w.errorAt(c.place, c.path, "take it out: IPv6 has only the one", "rfc9568 is a choice for IPv4; these addresses are IPv6")
		}
		r.PlainChecksum = false
		if len(advertised) > 0 && !advertised[0].Prefix.Addr().IsLinkLocalUnicast() && rr.here && !r.both {
			w.warnAt(advertised[0].at, n.path, "put one first, such as fe80::"+itoa(int(r.VRID))+"/64, on every router; keepalived before 2.3.3 must then list it too",
				"RFC 9568 wants a link-local address to be the first, %s is none", advertised[0].Prefix.Addr())
		}
		most := mostIPv6
		if r.HMAC != nil {
			most--
		}
		if len(advertised) > most {
			w.warnAt(n.place, n.path, "", "an advertisement with %d IPv6 addresses does not fit into an Ethernet frame, which holds %d", len(advertised), most)
		}
	}
	for _, a := range r.addresses {
		if node, owned := rr.shared.owners[a.Prefix.Addr()]; owned && r.Priorities[node] != owner {
			w.errorAt(a.at, a.path, "choose another one; or give "+node+" priority 255: it owns the address", "%s is an address of %s itself in `nodes`: baton would take it off that host", a.Prefix.Addr(), node)
		}
	}
}

func (rr *routerReader) source(n *node, r reading) {
	w := rr.walk
	switch {
	case r.Source.Is6() != r.IPv6:
		w.errorAt(n.place, n.path, "the address of this node from which advertisements are sent", "%s is of another family than the router's addresses", r.Source)
	case r.IPv6 && !r.Source.IsLinkLocalUnicast() && len(r.Peers) == 0:
		w.errorAt(n.place, n.path, "leave it out: baton takes the link-local address of the interface", "%s is not link-local: IPv6 advertisements come from such an address", r.Source)
	case r.Priority != owner:
		for _, a := range r.addresses {
			if a.Prefix.Addr() == r.Source {
				w.errorAt(n.place, n.path, "an address that this node always has", "%s is a virtual address of this router", r.Source)
			}
		}
	}
}

// finish checks what needs the name of the interface that the addresses are on, and puts the parts together.
func (rr *routerReader) finish(r *reading) {
	on := r.Interface
	if r.VirtualMAC != nil {
		on = r.VirtualMAC.Name
	}
	for _, a := range r.addresses {
		if a.Interface == on {
			a.Interface = ""
		}
		rr.label(a, on)
		r.Addresses = append(r.Addresses, a.Address)
	}
	for _, p := range r.routes {
		r.Routes = append(r.Routes, p.Route)
	}
	for _, p := range r.rules {
		r.Rules = append(r.Rules, p.Rule)
	}
	rr.lintAlsoOn(r)
}

// label reports one that old tools would not show: the kernel takes any, they look for the interface's name.
func (rr *routerReader) label(a placedAddress, on string) {
	on = cmp.Or(a.Interface, on)
	if a.Label == "" || on == "" || len(a.Label) > mostName {
		return
	}
	n := a.options.get("label")
	if rest, ok := strings.CutPrefix(a.Label, on); !ok || rest != "" && rest[0] != ':' {
		rr.errorAt(n.place, n.path, "label: "+strconv.Quote(on+":"+itoa(1)), "%s does not begin with the name of the interface, %s", quote(a.Label), on)
	}
}

func (rr *routerReader) lintAlsoOn(r *reading) {
	n := r.fields.own["announce"].child("also_on")
	if n == nil {
		n = r.fields.fallback["announce"].child("also_on")
	}
	if n == nil {
		return
	}
	for _, item := range n.items {
		if item.text == r.Interface && item.kind == scalar {
			rr.errorAt(item.place, n.path, "take it out", "%s is the router's own interface, on which it announces anyway", item.text)
		}
	}
}
