package keepalived

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// vip is a virtual address.
type vip struct {
	prefix    netip.Prefix // its length is that of the peer, where there is one
	excluded  bool         // not advertised
	iface     string       // empty: the router's
	label     string
	labelAt   Pos
	scope     string // empty: global
	broadcast string // an address, or auto; empty: none
	peer      netip.Addr
	noRoute   bool
	source    bool // IPv6: may be chosen as a source address
	noTrack   bool
	line      *Block
}

// node is the address as baton has it.
func (v vip) node() any {
	m := newMapping()
	text := v.prefix.String()
	if v.peer.IsValid() {
		text = v.prefix.Addr().String()
	}
	m.set("address", text)
	if v.excluded {
		m.set("advertise", false)
	}
	if v.iface != "" {
		m.set("interface", v.iface)
	}
	if v.label != "" {
		m.set("label", v.label)
	}
	if v.scope != "" {
		m.set("scope", v.scope)
	}
	if v.broadcast != "" {
		m.set("broadcast", v.broadcast)
	}
	if v.peer.IsValid() {
		m.set("peer", netip.PrefixFrom(v.peer, v.prefix.Bits()).String())
	}
	if v.noRoute {
		m.set("no_prefix_route", true)
	}
	if v.source {
		m.set("source", true)
	}
	if v.noTrack {
		m.set("repair", false)
	}
	if len(m.node.Content) == 2 {
		return text
	}
	return m.flow()
}

// readAddresses reads virtual_ipaddress, or virtual_ipaddress_excluded.
func (c *conversion) readAddresses(in *instance, b *Block, excluded bool) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, b.Keyword()+" has a block, and no words before it", args...)
	}
	c.report.words(Converted, "", b.Words[0])
	for _, line := range b.Children {
		in.addressLines++
		c.readAddress(in, line, excluded)
	}
}

// readAddress reads one line of them.
func (c *conversion) readAddress(in *instance, b *Block, excluded bool) {
	c.stray(b)
	p, fits, ok := prefix(b.Words[0].Text)
	if !ok {
		c.report.line(Ignored, b, "it is no address: keepalived leaves it out")
		return
	}
	a := p.Addr()
	if !excluded && !in.takes(a) {
		c.report.line(Ignored, b, "keepalived leaves it out: the addresses of an instance are of one family. Write it into virtual_ipaddress_excluded, or into an instance of its own; a router of baton's may have both")
		return
	}
	v := vip{prefix: p, excluded: excluded, line: b}
	outcome, text := Converted, ""
	if !fits {
		outcome, text = Ignored, fmt.Sprintf("the length is a number from 0 to %d: keepalived has /%d", a.BitLen(), p.Bits())
	}
	if v.prefix, ok = fitting(p); !ok {
		c.report.line(Unsupported, b, "it is no address that one host can have: leave it out")
		return
	}
	if v.prefix != p {
		outcome, text = Approximated, fmt.Sprintf("baton takes no address of a network or of all its hosts, and no /0: %s it is", v.prefix)
	}
	if a.Is6() && v.prefix.Bits() < 128 && text == "" {
		text = "baton does not let the kernel choose it as a source address; if it shall: source: true"
	}
	c.report.words(outcome, text, b.Words[0])
	at := len(c.report.Findings) - 1
	keep := true
	for words := b.Arguments(); len(words) > 0; {
		n := c.addressOption(in, &v, words, &keep)
		words = words[n:]
	}
	if !keep {
		f := &c.report.Findings[at]
		f.Outcome, f.Text = Ignored, "keepalived leaves the address out, for what stands behind it"
		return
	}
	in.addresses = append(in.addresses, v)
}

// addressOption reads one option, accounts for it, and tells how many words it has.
func (c *conversion) addressOption(in *instance, v *vip, words []Word, keep *bool) int {
	six := v.prefix.Addr().Is6()
	switch words[0].Text {
	case "noprefixroute":
		v.noRoute = true
		c.report.words(Converted, "", words[0])
		return 1
	case "no_track":
		v.noTrack = true
		c.report.words(Converted, "", words[0])
		return 1
	case "-nodad":
		c.report.words(NotNeeded, "addresses are put on without duplicate address detection", words[0])
		return 1
	case "home", "mngtmpaddr", "autojoin":
		c.report.words(Unsupported, "baton does not set this flag of the kernel's: ip address change ... "+words[0].Text+", in a notify command", words[0])
		return 1
	case "use_vmac":
		c.report.words(Unsupported, "virtual MACs are made for the router's own interface alone: give this address a router of its own on its interface, with virtual_mac", words[0])
		return 1
	case "dev", "label", "brd", "broadcast", "scope", "peer", "preferred_lft", "track_group":
	default:
		c.report.words(Ignored, "keepalived knows no such word behind an address", words[0])
		return 1
	}
	if len(words) < 2 {
		c.report.words(Ignored, "it lacks its value: keepalived refuses the file, or does without", words[0])
		return 1
	}
	pair, value := words[:2], words[1].Text
	switch words[0].Text {
	case "dev":
		if v.iface != "" {
			*keep = false
			c.report.words(Ignored, "there is a dev already", pair...)
			break
		}
		if !isInterface(value) {
			c.report.words(Unsupported, "it cannot be the name of an interface: the address is on the router's", pair...)
			break
		}
		if value == "lo" {
			c.report.words(Approximated, "baton puts no address on the loopback: it is on the router's interface, and announced there", pair...)
			break
		}
		v.iface = value
		c.report.words(Converted, "", pair...)
	case "label":
		switch {
		case six:
			c.report.words(Ignored, "IPv6 addresses have no label", pair...)
		case len(value) > 15 || unfitText(value) != "":
			*keep = false
			c.report.words(Ignored, "it is longer than 15 characters", pair...)
		default:
			v.label, v.labelAt = value, words[0].Pos
			c.report.words(Converted, "", pair...)
		}
	case "brd", "broadcast":
		c.readBroadcast(v, pair, keep)
	case "scope":
		c.readScope(v, pair)
	case "peer":
		a, ok := address(value)
		if !ok || a.Is6() != six || a == v.prefix.Addr() {
			c.report.words(Ignored, "it is no address of the other end", pair...)
			break
		}
		v.peer = a
		c.report.words(Converted, "", pair...)
	case "preferred_lft":
		c.readPreferred(v, pair)
	case "track_group":
		c.report.words(Ignored, "it is for static addresses", pair...)
	}
	return 2
}

func (c *conversion) readBroadcast(v *vip, pair []Word, keep *bool) {
	value := pair[1].Text
	a, ok := address(value)
	switch {
	case v.prefix.Addr().Is6():
		*keep = false
		c.report.words(Ignored, "IPv6 has no broadcast", pair...)
	case value == "-":
		c.report.words(Converted, "", pair...)
	case value == "+" && v.prefix.Bits() > 30:
		c.report.words(Ignored, fmt.Sprintf("a /%d has no broadcast address", v.prefix.Bits()), pair...)
	case value == "+":
		v.broadcast = "auto"
		c.report.words(Converted, "", pair...)
	case !ok || a.Is6():
		*keep = false
		c.report.words(Ignored, "it is no broadcast address", pair...)
	default:
		v.broadcast = a.String()
		c.report.words(Converted, "", pair...)
	}
}

func (c *conversion) readScope(v *vip, pair []Word) {
	scope := pair[1].Text
	if name, ok := map[string]string{"0": "global", "253": "link", "254": "host"}[scope]; ok {
		scope = name
	}
	n, err := strconv.Atoi(scope)
	switch {
	case scope == "global":
		c.report.words(Converted, "", pair...)
	case v.prefix.Addr().Is6():
		c.report.words(NotNeeded, "the kernel knows the scope of an IPv6 address by itself", pair...)
	case scope == "link" || scope == "host":
		v.scope = scope
		c.report.words(Converted, "", pair...)
	case scope == "site" || scope == "nowhere" || err == nil && n > 0 && n < 256:
		c.report.words(Approximated, "baton's addresses have the scope global, link or host: it is global", pair...)
	default:
		c.report.words(Ignored, "keepalived knows no such scope: it is global", pair...)
	}
}

func (c *conversion) readPreferred(v *vip, pair []Word) {
	switch value := pair[1].Text; {
	case value == "0":
		c.report.words(Converted, "", pair...)
	case v.prefix.Addr().Is4():
		c.report.words(NotNeeded, "an IPv4 address is always preferred", pair...)
	case value == "forever":
		v.source = true
		c.report.words(Converted, "", pair...)
	default:
		if _, err := strconv.ParseUint(value, 10, 32); err != nil {
			c.report.words(Ignored, "keepalived wants a number of seconds, or forever", pair...)
			return
		}
		v.source = true
		c.report.words(Approximated, "baton has 0 and for ever: it is for ever", pair...)
	}
}

// fitting is the prefix as baton takes it: the address of a host. Without ok there is
// no such.
func fitting(p netip.Prefix) (netip.Prefix, bool) {
	a := p.Addr()
	if a.Is4In6() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return p, false
	}
	host := netip.PrefixFrom(a, a.BitLen())
	free := a.BitLen() - p.Bits()
	if p.Bits() == 0 || free >= 2 && p.Masked().Addr() == a {
		return host, true
	}
	if a.Is4() && free >= 2 {
		b := a.As4()
		mask := uint32(1)<<free - 1
		if binary.BigEndian.Uint32(b[:])&mask == mask {
			return host, true
		}
	}
	return p, true
}

// limits moves what an advertisement cannot carry to those that are not in it, as
// keepalived does, and sees to it that there is one that is advertised.
func (c *conversion) limits(in *instance) {
	most := 255
	if in.six {
		most = 89 // of an Ethernet frame, which has place for 90: a peer of 2.2.7 wants the same ones
	}
	n := 0
	for i := range in.addresses {
		if v := &in.addresses[i]; !v.excluded {
			if n++; n > most {
				v.excluded = true
				c.report.add(NotNeeded, v.line.Pos(), v.prefix.String(), fmt.Sprintf("an advertisement carries %d addresses: keepalived and baton have the others without telling of them", most))
			}
		}
	}
	if n > 0 || len(in.addresses) == 0 {
		return
	}
	six := in.addresses[0].prefix.Addr().Is6()
	for i := range in.addresses {
		if v := &in.addresses[i]; v.prefix.Addr().Is6() == six {
			v.excluded = false
		}
	}
	in.six = six
	c.report.add(Approximated, in.block.Pos(), in.what(), "it advertises no address, and baton advertises one at least: those of virtual_ipaddress_excluded are advertised. keepalived 2.2.7 as a peer would want the same")
}

// trackAddresses tracks the interfaces of addresses that are not the router's: their
// loss is a FAULT in keepalived.
func (c *conversion) trackAddresses(in *instance) {
	for _, v := range in.addresses {
		if v.iface == "" || v.iface == in.iface || v.iface == in.virtualMAC || unfitText(v.iface) != "" {
			continue
		}
		check := c.linkCheck(v.line, v.iface, false)
		if slices.ContainsFunc(in.track, func(t tracked) bool { return t.check == check }) {
			continue
		}
		in.track = append(in.track, tracked{check: check, keyword: "track_interface", name: v.iface, pos: v.line.Pos()})
	}
}

// elsewhere tells whether an address is on another interface than the router's.
func (in *instance) elsewhere() bool {
	return slices.ContainsFunc(in.addresses, func(v vip) bool { return v.iface != "" && v.iface != in.iface })
}
