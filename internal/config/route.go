package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// placedRoute is a route and where it stands.
type placedRoute struct {
	Route
	at   *node
	both bool // nothing in it tells the family: it is one of each that the router has
}

// placedRule is a rule and where it stands.
type placedRule struct {
	Rule
	at   *node
	both bool
}

// routeKey is what the kernel tells routes apart by.
type routeKey struct {
	to            netip.Prefix
	table, metric uint32
}

// The tables of /etc/iproute2/rt_tables that are the same on every host.
var tables = map[string]uint32{"default": 253, "main": 254, "local": 255}

// routeTypes are the types of a route, RTN_... of rtnetlink(7).
var routeTypes = map[string]uint8{"unicast": 1, "local": 2, "blackhole": 6, "unreachable": 7, "prohibit": 8, "throw": 9}

// items returns those of a list of mappings; what is no mapping is reported, with its words as one.
func (w *walk) items(f fields, name, example string, vocabulary words) []*node {
	n := f.get(name)
	if n == nil {
		return nil
	}
	if n.kind != list {
		w.errorAt(n.place, n.path, name+": ["+example+"]", "is %s, want a list", n.kind)
		return nil
	}
	var all []*node
	for _, item := range n.items {
		switch item.kind {
		case mapping:
			all = append(all, item)
		case scalar:
			w.errorAt(item.place, n.path, "write "+vocabulary.mapping(strings.Fields(item.text)), "is a single value, want a mapping")
		default:
			w.errorAt(item.place, n.path, "write "+example, "is %s, want a mapping", item.kind)
		}
	}
	return all
}

func (rr *routerReader) routeList(f fields) (all []placedRoute) {
	repair := f.boolean("repair")
	for _, item := range rr.items(f, "routes", "{to: 10.2.0.0/16, via: 10.0.0.1}", routeWords) {
		rf := rr.walk.fields(item, item.place, routeKeys, "route")
		errors := rr.errors
		r := rr.route(rf, repair)
		r.at = item
		if rr.errors == errors && rf.get("to") != nil {
			all = append(all, r)
		}
	}
	return all
}

func (rr *routerReader) route(f fields, repair bool) placedRoute {
	w := rr.walk
	word := f.oneOf("type", "unicast", "local", "unreachable", "blackhole", "prohibit", "throw")
	r := placedRoute{Route: Route{
		Interface: w.routeInterface(f, "interface"),
		Via:       f.address("via"),
		Source:    f.address("source"),
		Metric:    f.number32("metric", 1, math.MaxUint32),
		Table:     w.table(f),
		Type:      routeTypes[word],
		OnLink:    f.boolean("on_link"),
		Repair:    repair,
	}}
	rr.lacking(f, "via")
	rr.lacking(f, "interface")
	if f.has("repair") {
		r.Repair = f.boolean("repair")
	}
	f.require("to", "")
	six, known := r.family()
	if n := f.scalar("to"); n != nil && n.text == "default" {
		r.both = !known
		r.To = anywhere(six)
	} else if n != nil {
		r.To = w.network(n)
		if known && r.To.IsValid() && r.To.Addr().Is6() != six {
			w.errorAt(n.place, n.path, "", "%s is of another family than via or source", r.To)
		}
		six = r.To.Addr().Is6()
	}
	if r.Via.IsValid() && r.Source.IsValid() && r.Via.Is6() != r.Source.Is6() {
		n := f.get("source")
		w.errorAt(n.place, n.path, "", "%s is of another family than via, %s", r.Source, r.Via)
	}
	least := uint32(68)
	if six {
		least = 1280 // RFC 8200 section 5
	}
	r.MTU = f.number32("mtu", least, 65535)
	r.Scope = w.routeScope(f, r.Route, six)
	rr.lintRoute(f, r.Route, word)
	return r
}

// family tells the family of a route by its next hop or its source.
func (r Route) family() (six, known bool) {
	for _, a := range []netip.Addr{r.Via, r.Source} {
		if a.IsValid() {
			return a.Is6(), true
		}
	}
	return false, false
}

func anywhere(six bool) netip.Prefix {
	if six {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// lintRoute reports what the kernel would refuse.
func (rr *routerReader) lintRoute(f fields, r Route, word string) {
	w := rr.walk
	if word != "unicast" && word != "local" {
		for _, name := range []string{"via", "interface", "on_link", "mtu"} {
			if n := f.own[name]; n != nil {
				w.errorAt(n.place, n.path, "take it out", "a route of type %s leads nowhere", word)
			}
		}
		return
	}
	switch {
	case word == "local" && f.has("via"):
		n := f.raw("via")
		w.errorAt(n.place, n.path, "take it out", "a route of type local ends on this host")
	case !f.has("via") && !f.has("interface"):
		w.errorAt(f.at, f.path, "via: ADDRESS, or interface: NAME", "leads nowhere: neither via nor interface is there")
	case r.OnLink && !f.has("via"):
		n := f.get("on_link")
		w.errorAt(n.place, n.path, "take it out", "is said of via, and there is none")
	case r.OnLink && !f.has("interface"):
		n := f.get("on_link")
		w.errorAt(n.place, n.path, "add interface: NAME", "on which link? there is no interface")
	case r.Via.IsLinkLocalUnicast() && r.Via.Is6() && !f.has("interface"):
		n := f.raw("via")
		w.errorAt(n.place, n.path, "add interface: NAME", "%s is link-local, and there is no interface", r.Via)
	}
}

// routeScope is that of ip-route(8): what stands there, or what the type and the next hop make of it. IPv6 has none.
func (w *walk) routeScope(f fields, r Route, six bool) uint8 {
	word := f.oneOf("scope", "global", "site", "link", "host")
	if n := f.get("scope"); n != nil && six {
		w.errorAt(n.place, n.path, "take it out", "scope is for IPv4 routes")
		return scopeGlobal
	}
	switch word {
	case "site":
		return scopeSite
	case "link":
		return scopeLink
	case "host":
		return scopeHost
	case "global":
		return scopeGlobal
	}
	switch {
	case six:
		return scopeGlobal
	case r.Type == routeTypes["local"]:
		return scopeHost
	case r.Type == routeTypes["unicast"] && !f.has("via"):
		return scopeLink
	}
	return scopeGlobal
}

// routeInterface reads a name that may be that of a virtual MAC, or of the loopback.
func (w *walk) routeInterface(f fields, name string) string {
	n := f.scalar(name)
	if n == nil {
		return ""
	}
	if problem, hint := unfitInterface(n.text); problem != "" {
		w.errorAt(n.place, n.path, hint, "%s %s", quote(n.text), problem)
		return ""
	}
	return n.text
}

// table reads a routing table: main where there is no value.
func (w *walk) table(f fields) uint32 {
	n := f.scalar("table")
	if n == nil {
		return tables["main"]
	}
	if t, ok := tables[n.text]; ok {
		return t
	}
	if _, wrong := parseNumber(n); wrong == "want a decimal number" {
		w.errorAt(n.place, n.path, "its number: the names of /etc/iproute2/rt_tables are one host's matter", "%s is no table", quote(n.text))
		return 0
	}
	return f.number32("table", 1, math.MaxUint32)
}

// network reads NETWORK/LEN, or an address for one host.
func (w *walk) network(n *node) netip.Prefix {
	p, err := parsePrefix(n.text)
	a := p.Addr()
	switch {
	case err != nil:
		hint := ""
		if n.text == "all" || n.text == "any" {
			hint = "leave it out for any"
		}
		w.errorAt(n.place, n.path, hint, "%s is no network: want ADDRESS/LEN", quote(n.text))
	case a.Is4In6():
		w.errorAt(n.place, n.path, "write it as IPv4", "%s is an IPv4 network in IPv6 form", quote(n.text))
	case p != p.Masked():
		w.errorAt(n.place, n.path, "the network is "+p.Masked().String()+", the host "+a.String(), "%s is neither a network nor a host", quote(n.text))
	default:
		return p
	}
	return netip.Prefix{}
}

func (rr *routerReader) ruleList(f fields) (all []placedRule) {
	repair := f.boolean("repair")
	for _, item := range rr.items(f, "rules", "{from: 10.2.0.0/16, table: 100, priority: 1000}", ruleWords) {
		rf := rr.walk.fields(item, item.place, ruleKeys, "rule")
		errors := rr.errors
		r := rr.rule(rf, repair)
		r.at = item
		if rr.errors == errors {
			all = append(all, r)
		}
	}
	return all
}

func (rr *routerReader) rule(f fields, repair bool) placedRule {
	w := rr.walk
	r := placedRule{Rule: Rule{
		Table:    w.table(f),
		Priority: f.number32("priority", 1, 32765),
		Input:    w.routeInterface(f, "iif"),
		Output:   w.routeInterface(f, "oif"),
		Repair:   repair,
	}}
	f.require("table", "")
	f.require("priority", "priority: 1000; main is looked up at 32766")
	if f.has("repair") {
		r.Repair = f.boolean("repair")
	}
	if n := f.scalar("from"); n != nil {
		r.From = w.network(n)
	}
	if n := f.scalar("to"); n != nil {
		r.To = w.network(n)
	}
	switch {
	case r.From.IsValid() && r.To.IsValid() && r.From.Addr().Is6() != r.To.Addr().Is6():
		n := f.get("to")
		w.errorAt(n.place, n.path, "", "%s is of another family than from, %s", r.To, r.From)
	case r.From.IsValid():
		r.IPv6 = r.From.Addr().Is6()
	case r.To.IsValid():
		r.IPv6 = r.To.Addr().Is6()
	default:
		r.both = true
	}
	if n := f.scalar("fwmark"); n != nil {
		r.FwMark, r.FwMask = w.mark(n)
	}
	return r
}

// mark reads MARK or MARK/MASK, decimal or hexadecimal: nobody writes bits in another way.
func (w *walk) mark(n *node) (mark, mask uint32) {
	text, maskText, hasMask := strings.Cut(n.text, "/")
	parse := func(s string) (uint32, bool) {
		digits, hexadecimal := strings.CutPrefix(strings.ToLower(s), "0x")
		base := 10
		if hexadecimal {
			base = 16
		} else if len(s) > 1 && s[0] == '0' {
			return 0, false
		}
		v, err := strconv.ParseUint(digits, base, 32)
		return uint32(v), err == nil && !strings.HasPrefix(digits, "+")
	}
	mark, ok := parse(text)
	mask = math.MaxUint32
	if hasMask && ok {
		mask, ok = parse(maskText)
	}
	switch {
	case !ok:
		w.errorAt(n.place, n.path, "such as 0x10, 16 or 0x10/0xff", "%s is no mark", quote(n.text))
	case mark == 0:
		w.errorAt(n.place, n.path, "leave it out for any", "0 is the mark of what has none")
	case mark&^mask != 0:
		w.errorAt(n.place, n.path, "", "%s never fits: the mask leaves %#x of a mark", quote(n.text), mask)
	}
	return mark, mask
}

// routesOf returns the routes of a router's half. both says that there is another half.
func routesOf(all []placedRoute, six, both bool) (mine []placedRoute) {
	for _, r := range all {
		if r.both {
			r.To = anywhere(six)
			if six {
				r.Scope = scopeGlobal
			}
		} else if both && r.To.Addr().Is6() != six {
			continue
		}
		mine = append(mine, r)
	}
	return mine
}

func rulesOf(all []placedRule, six, both bool) (mine []placedRule) {
	for _, r := range all {
		if r.both {
			r.IPv6 = six
		} else if both && r.IPv6 != six {
			continue
		}
		mine = append(mine, r)
	}
	return mine
}

// claimRoutes reports a route or a rule that this node has already.
func (rr *routerReader) claimRoutes(r reading) {
	for _, p := range r.routes {
		key := routeKey{p.To, p.Table, p.Metric}
		if first, taken := rr.routes[key]; taken {
			rr.errorAt(p.at.place, p.at.path, "another metric or table", "%q has a route to %s in table %d already (%s)", first.router, p.To, p.Table, first.at.from(p.at.place))
			continue
		}
		rr.routes[key] = claim{router: r.Name, at: p.at.place}
	}
	for _, p := range r.rules {
		key := p.Rule
		key.Repair = false
		if first, taken := rr.rules[key]; taken {
			rr.errorAt(p.at.place, p.at.path, "", "%q has this rule already (%s)", first.router, first.at.from(p.at.place))
			continue
		}
		rr.rules[key] = claim{router: r.Name, at: p.at.place}
	}
}
