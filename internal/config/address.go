package config

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// mostIPv6 is how many IPv6 addresses fit into an advertisement of an Ethernet frame: (1500 - 40 - 8) / 16.
const mostIPv6 = 90

// addresses reads a router's list, and where each address stands. What is wrong has been reported and is left out.
func (w *walk) addresses(f fields) (all []Address, at []place) {
	n := f.get("addresses")
	repair := f.boolean("repair")
	switch {
	case n == nil:
		return nil, nil
	case n.kind == scalar:
		items := strings.FieldsFunc(n.text, func(r rune) bool { return r == ' ' || r == ',' || r == '-' })
		w.errorAt(n.place, n.path, "addresses: ["+short(strings.Join(items, ", "))+"]", "is a single value, want a list")
		return nil, nil
	case n.kind != list:
		w.errorAt(n.place, n.path, "addresses: [10.0.0.100/24]", "is %s, want a list of ADDRESS/LEN", n.kind)
		return nil, nil
	case len(n.items) == 0:
		w.errorAt(n.place, n.path, "addresses: [10.0.0.100/24]", "is empty: a virtual router has at least one address")
	case len(n.items) > 255:
		w.errorAt(n.items[255].place, n.path, "", "has %d addresses: an advertisement carries at most 255", len(n.items))
		return nil, nil
	}
	for _, item := range n.items {
		a := Address{Repair: repair}
		text := item
		switch item.kind {
		case scalar:
		case mapping:
			af := w.fields(item, item.place, addressKeys, "address")
			if !af.require("address", "") {
				continue
			}
			if text = af.scalar("address"); text == nil {
				continue
			}
			if af.has("repair") {
				a.Repair = af.boolean("repair")
			}
		default:
			w.errorAt(item.place, n.path, "", "is %s, want ADDRESS/LEN", item.kind)
			continue
		}
		if a.Prefix = w.virtualAddress(text); a.Prefix.IsValid() {
			all, at = append(all, a), append(at, text.place)
		}
	}
	return all, at
}

// virtualAddress reads ADDRESS/LEN or ADDRESS; the result is invalid where that is wrong.
func (w *walk) virtualAddress(n *node) netip.Prefix {
	fail := func(hint, format string, args ...any) netip.Prefix {
		w.errorAt(n.place, n.path, hint, format, args...)
		return netip.Prefix{}
	}
	if words := strings.Fields(n.text); len(words) > 1 {
		if words[1] == "-" {
			return fail("the dashes of a list stand below each other", "%s is more than an address", quote(n.text))
		}
		return fail("write "+short(words[0])+": it goes on the router's interface", "%s is more than an address", quote(n.text))
	}
	text, length, hasLength := strings.Cut(n.text, "/")
	a, err := netip.ParseAddr(text)
	if err != nil {
		return fail(addressHint(n.text), "%s is no address: want ADDRESS/LEN", quote(n.text))
	}
	if problem, hint := unusable(a); problem != "" {
		return fail(hint, "%s %s", quote(n.text), problem)
	}
	if !hasLength {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := netip.ParsePrefix(n.text)
	if err != nil {
		return fail(lengthHint(a, length), "%s: the length is a number from 1 to %d", quote(n.text), a.BitLen())
	}
	if p.Bits() == 0 {
		return fail("the length of the network that it is in, such as /24", "%s would have the whole internet on the link", quote(n.text))
	}
	hostBits := a.BitLen() - p.Bits()
	switch {
	case hostBits < 2: // a link of two hosts, or one host: every address is one
	case p.Masked().Addr() == a && a.Is4():
		return fail("an address of a host in it, or "+a.String()+"/32", "%s is the address of a network", quote(n.text))
	case p.Masked().Addr() == a:
		return fail("an address of a host in it, or "+a.String()+"/128", "%s is the address of all routers in a network", quote(n.text))
	case a.Is4() && isBroadcast(a, hostBits):
		return fail("an address of a host in it, or "+a.String()+"/32", "%s is the broadcast address of a network", quote(n.text))
	}
	return p
}

func isBroadcast(a netip.Addr, hostBits int) bool {
	b := a.As4()
	mask := uint32(1)<<hostBits - 1
	return binary.BigEndian.Uint32(b[:])&mask == mask
}

// addressHint explains what is no address.
func addressHint(text string) string {
	switch {
	case strings.HasPrefix(text, "$"):
		return "variables are for commands and sockets; addresses may be {NODE: [...], default: [...]}"
	case strings.Trim(text, "0123456789./") == "" && strings.Count(text, ".") == 3:
		return "four numbers from 0 to 255, without leading zeros"
	}
	return ""
}

func lengthHint(a netip.Addr, length string) string {
	mask, err := netip.ParseAddr(length)
	if err != nil || !mask.Is4() || !a.Is4() {
		return ""
	}
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	bits := 0
	for bits < 32 && m&(1<<(31-bits)) != 0 {
		bits++
	}
	return "write " + netip.PrefixFrom(a, bits).String()
}

// family finds the address family of a router and reports what does not fit it.
func (rr *routerReader) family(f fields, r *reading, here bool) {
	w := rr.walk
	if len(r.Addresses) == 0 {
		return
	}
	n := f.get("addresses")
	r.IPv6 = r.Addresses[0].Prefix.Addr().Is6()
	for i, a := range r.Addresses {
		if a.Prefix.Addr().Is6() != r.IPv6 {
			w.errorAt(r.addressAt[i], n.path, "write two virtual routers, one for each family; they may have the same vrid",
				"%s is of another family than %s: in this version a virtual router has one", a.Prefix, r.Addresses[0].Prefix)
			return
		}
	}
	if src := r.Source; src.IsValid() {
		rr.source(f.get("source_address"), r.Router)
	}
	if r.IPv6 {
		if c := f.own["checksum"]; c != nil && r.PlainChecksum {
			w.errorAt(c.place, c.path, "take it out: IPv6 has only the one", "rfc9568 is a choice for IPv4; these addresses are IPv6")
		}
		r.PlainChecksum = false
		if first := r.Addresses[0].Prefix.Addr(); !first.IsLinkLocalUnicast() && here {
			w.warnAt(r.addressAt[0], n.path, "put one first, such as fe80::"+itoa(int(r.VRID))+"/64, on every router; keepalived before 2.3.3 must then list it too",
				"RFC 9568 wants a link-local address to be the first, %s is none", first)
		}
		if len(r.Addresses) > mostIPv6 {
			w.warnAt(n.place, n.path, "", "an advertisement with %d IPv6 addresses does not fit into an Ethernet frame, which holds %d", len(r.Addresses), mostIPv6)
		}
	}
	for i, a := range r.Addresses {
		if node, owned := rr.shared.owners[a.Prefix.Addr()]; owned && r.Priorities[node] != owner {
			w.errorAt(r.addressAt[i], n.path, "choose another one; or give "+node+" priority 255: it owns the address", "%s is an address of %s itself in `nodes`: baton would take it off that host", a.Prefix.Addr(), node)
		}
	}
}

func (rr *routerReader) source(n *node, r Router) {
	w := rr.walk
	switch {
	case r.Source.Is6() != r.IPv6:
		w.errorAt(n.place, n.path, "the address of this node from which advertisements are sent", "%s is of another family than the router's addresses", r.Source)
	case r.IPv6 && !r.Source.IsLinkLocalUnicast():
		w.errorAt(n.place, n.path, "leave it out: baton takes the link-local address of the interface", "%s is not link-local: IPv6 advertisements come from such an address", r.Source)
	case r.Priority != owner:
		for _, a := range r.Addresses {
			if a.Prefix.Addr() == r.Source {
				w.errorAt(n.place, n.path, "an address that this node always has", "%s is a virtual address of this router", r.Source)
			}
		}
	}
}
