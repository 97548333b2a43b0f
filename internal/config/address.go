package config

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
)

// mostAddresses is how many addresses an advertisement carries: one byte counts them.
const mostAddresses = 255

// mostIPv6 is how many IPv6 addresses fit into an advertisement of an Ethernet frame: (1500 - 40 - 8) / 16. A
// signature takes 28 bytes.
const mostIPv6 = 90

// placedAddress is a virtual address and where it stands.
type placedAddress struct {
	Address
	at      place
	path    string
	options fields // of an address that is written as a mapping
}

// addresses reads a router's list. What is wrong has been reported and is left out.
func (rr *routerReader) addresses(f fields, r *reading) {
	w := rr.walk
	n := f.get("addresses")
	repair := f.boolean("repair")
	switch {
	case n == nil:
		return
	case n.kind == scalar:
		items := strings.FieldsFunc(n.text, func(r rune) bool { return r == ' ' || r == ',' || r == '-' })
		w.errorAt(n.place, n.path, "addresses: ["+short(strings.Join(items, ", "))+"]", "is a single value, want a list")
		return
	case n.kind != list:
		w.errorAt(n.place, n.path, "addresses: [10.0.0.100/24]; for hooks alone write []", "is %s, want a list of ADDRESS/LEN", n.kind)
		return
	case len(n.items) == 0:
		r.bare = true
		if s := f.get("services"); s != nil && len(s.items) > 0 {
			break // no keepalived could be its peer anyway: it has none
		}
		w.warnAt(n.place, n.path, "for hooks alone, among batons", "keepalived cannot be the peer of a router without addresses: 2.2.7 drops its advertisements")
	}
	r.complete = true
	advertised := map[bool]int{}
	for _, item := range n.items {
		a, ok := rr.virtualAddress(item, n, repair)
		if !ok {
			r.complete = false
			continue
		}
		if !a.Prefix.IsValid() { // none on this node
			continue
		}
		if a.Advertise {
			six := a.Prefix.Addr().Is6()
			if advertised[six]++; advertised[six] == mostAddresses+1 {
				w.errorAt(item.place, n.path, "{address: ..., advertise: false} is not in it", "an advertisement carries at most %d addresses, and this is one more", mostAddresses)
			}
		}
		r.addresses = append(r.addresses, a)
	}
	if len(advertised) == 0 && len(r.addresses) > 0 && r.complete {
		w.errorAt(n.place, n.path, "at least one without advertise: false", "none of them is advertised: the others would know of nothing to take over")
	}
}

// virtualAddress reads an item of the list. Without a value for this node the address is invalid.
func (rr *routerReader) virtualAddress(item, list *node, repair bool) (a placedAddress, ok bool) {
	w := rr.walk
	a = placedAddress{Address: Address{Advertise: true, Repair: repair}, at: item.place, path: list.path}
	text := item
	switch item.kind {
	case scalar:
	case mapping:
		a.options = w.fields(item, item.place, addressKeys, "address")
		if !a.options.require("address", "") {
			return a, false
		}
		if text = a.options.get("address"); text == nil {
			return a, true
		}
		if text = a.options.scalar("address"); text == nil {
			return a, false
		}
		a.at = text.place
		a.Prefix = w.addressWithLength(text)
		return a, rr.options(&a) && a.Prefix.IsValid()
	default:
		w.errorAt(item.place, list.path, "", "is %s, want ADDRESS/LEN", item.kind)
		return a, false
	}
	a.Prefix = w.addressWithLength(text)
	return a, a.Prefix.IsValid()
}

// options reads the other keys of an address.
func (rr *routerReader) options(a *placedAddress) bool {
	w, f := rr.walk, a.options
	errors := w.errors
	six := a.Prefix.Addr().Is6()
	known := a.Prefix.IsValid()
	a.Advertise = f.boolean("advertise")
	a.NoPrefixRoute = f.boolean("no_prefix_route")
	a.Source = f.boolean("source")
	a.Interface = w.interfaceName(f, "interface")
	rr.lacking(f, "interface")
	if f.has("repair") {
		a.Repair = f.boolean("repair")
	}
	switch f.oneOf("scope", "global", "link", "host") {
	case "link":
		a.Scope = scopeLink
	case "host":
		a.Scope = scopeHost
	}
	if n := f.scalar("label"); n != nil {
		if len(n.text) > mostName {
			w.errorAt(n.place, n.path, "", "%s is longer than 15 characters", quote(n.text))
		}
		a.Label = n.text
	}
	for _, name := range []string{"label", "scope", "broadcast"} {
		if n := f.get(name); n != nil && known && six {
			w.errorAt(n.place, n.path, "take it out", "%s is for IPv4 addresses", name)
		}
	}
	if n := f.get("source"); n != nil && known && !six {
		w.errorAt(n.place, n.path, "take it out", "source is for IPv6 addresses: an IPv4 address can always be the source of a packet")
	}
	if n := f.scalar("broadcast"); n != nil && known && !six {
		a.Broadcast = w.broadcast(n, a.Prefix)
	}
	if n := f.scalar("peer"); n != nil && known {
		a.Peer = w.peerOf(n, a.Prefix)
	}
	return w.errors == errors
}

// lacking reports a value that this node does not have although it runs the router.
func (rr *routerReader) lacking(f fields, name string) {
	if n := f.raw(name); rr.here && n != nil && n.kind == mapping && pick(n, rr.me.Name) == nil {
		rr.errorAt(n.place, n.path, "add it, or a default", "there is no value for a node that runs the router")
	}
}

// The scopes of addresses and routes, from /etc/iproute2/rt_scopes.
const (
	scopeGlobal uint8 = 0
	scopeSite   uint8 = 200
	scopeLink   uint8 = 253
	scopeHost   uint8 = 254
)

func (w *walk) broadcast(n *node, p netip.Prefix) netip.Addr {
	last := func() netip.Addr {
		b := p.Masked().Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(uint32(1)<<(32-p.Bits())-1))
		return netip.AddrFrom4(b)
	}
	if n.text == "auto" {
		if p.Bits() > 30 {
			w.errorAt(n.place, n.path, "", "a /%d has no broadcast address", p.Bits())
			return netip.Addr{}
		}
		return last()
	}
	a, err := netip.ParseAddr(n.text)
	if err != nil || !a.Is4() {
		hint := "an IPv4 address, or auto"
		if n.text == "+" || n.text == "-" {
			hint = `keepalived's brd + is broadcast: auto; brd - is what holds without it`
		}
		w.errorAt(n.place, n.path, hint, "%s is no broadcast address", quote(n.text))
		return netip.Addr{}
	}
	return a
}

// parsePrefix parses ADDRESS/LEN, or an address for one host, neither with a zone.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err == nil && a.Zone() != "" {
			err = errors.New("a zone has no place in it")
		}
		return netip.PrefixFrom(a, a.BitLen()), err
	}
	return netip.ParsePrefix(text)
}

// peerOf reads the other end of a point-to-point link. The length is that of the peer, then.
func (w *walk) peerOf(n *node, own netip.Prefix) netip.Prefix {
	p, err := parsePrefix(n.text)
	a := p.Addr()
	switch {
	case err != nil:
		w.errorAt(n.place, n.path, "ADDRESS or ADDRESS/LEN", "%s is no address", quote(n.text))
	case a.Is4() != own.Addr().Is4():
		w.errorAt(n.place, n.path, "", "%s is of another family than %s", a, own.Addr())
	case a == own.Addr():
		w.errorAt(n.place, n.path, "", "%s is the address itself", a)
	case own.Bits() != a.BitLen():
		w.errorAt(n.place, n.path, "address: "+own.Addr().String()+", peer: "+netip.PrefixFrom(a, own.Bits()).String(), "an address with a peer has no length of its own")
	default:
		return p
	}
	return netip.Prefix{}
}

// addressWithLength reads ADDRESS/LEN or ADDRESS; the result is invalid where that is wrong.
func (w *walk) addressWithLength(n *node) netip.Prefix {
	fail := func(hint, format string, args ...any) netip.Prefix {
		w.errorAt(n.place, n.path, hint, format, args...)
		return netip.Prefix{}
	}
	if words := strings.Fields(n.text); len(words) > 1 {
		if words[1] == "-" {
			return fail("the dashes of a list stand below each other", "%s is more than an address", quote(n.text))
		}
		return fail("write "+addressWords.mapping(words), "%s is more than an address", quote(n.text))
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
