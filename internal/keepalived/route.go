package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// route is a virtual route as baton has it.
type route struct {
	to             netip.Prefix
	via, source    netip.Addr
	iface          string
	metric, table  uint32
	scope, kind    string
	mtu            int
	onLink, repair bool
	pos            Pos
}

// routeKey is what the kernel tells routes apart by.
type routeKey struct {
	to            netip.Prefix
	table, metric uint32
}

// routeLine is the work on one line of virtual_routes.
type routeLine struct {
	route
	c     *conversion
	six   bool   // inet6 stands there
	known bool   // the destination has been read
	drop  string // why nothing of it is in the output; empty: it is
	out   Outcome
}

// routeWords are the words of a route that baton has nothing for, and that do not
// change where packets go. They are followed by one value.
var routeWords = []string{
	"tos", "dsfield", "hoplimit", "advmss", "rtt", "rttvar", "reordering", "window", "cwnd", "ssthresh", "realms", "rto_min", "initcwnd", "initrwnd",
	"features", "quickack", "congctl", "fastopen_no_cookie", "ttl-propagate", "pref", "expires", "encap", "vrf", "weight", "as", "track_group",
}

var routeTypes = []string{"unicast", "local", "blackhole", "unreachable", "prohibit", "throw", "broadcast", "multicast", "anycast", "nat"}

// readRoutes reads virtual_routes.
func (c *conversion) readRoutes(in *instance, b *Block) {
	c.report.words(Converted, "", b.Words[0])
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, b.Keyword()+" has a block, and no words before it", args...)
	}
	for _, line := range b.Children {
		c.stray(line)
		l := &routeLine{c: c, route: route{table: 254, repair: true, pos: line.Pos()}}
		at := len(c.report.Findings)
		for words := line.Words; len(words) > 0; {
			words = words[l.word(words):]
		}
		l.check()
		if l.drop != "" {
			c.report.Findings = c.report.Findings[:at]
			c.report.line(l.out, line, l.drop)
			continue
		}
		in.routes = append(in.routes, l.route)
	}
}

// leave takes the line out, for a reason.
func (l *routeLine) leave(o Outcome, why string) {
	if l.drop == "" {
		l.out, l.drop = o, why
	}
}

// word reads one word, or one with its value, and tells how many there were.
func (l *routeLine) word(words []Word) int {
	r := &l.c.report
	text := words[0].Text
	switch {
	case slices.Contains(routeTypes, text):
		if i := slices.Index(routeTypes, text); i > 5 {
			l.leave(Unsupported, "baton has routes of the types "+strings.Join(routeTypes[:6], ", "))
		}
		if text != "unicast" {
			l.kind = text
		}
		r.words(Converted, "", words[0])
		return 1
	case text == "no_track":
		l.repair = false
		r.words(Converted, "", words[0])
		return 1
	case text == "onlink":
		l.onLink = true
		r.words(Converted, "", words[0])
		return 1
	case text == "append" || text == "prepend":
		r.words(NotNeeded, "it is about routes to the same network with the same metric: baton has one", words[0])
		return 1
	case text == "inet" || text == "inet6":
		l.six = l.six || text == "inet6"
		r.words(Converted, "", words[0])
		return 1
	}
	if !slices.Contains([]string{"to", "via", "gw", "nexthop", "or", "dev", "oif", "src", "metric", "priority", "preference", "table", "scope", "mtu", "protocol", "proto"}, text) && !slices.Contains(routeWords, text) {
		l.destination(words[:1], text)
		return 1
	}
	if len(words) < 2 {
		l.leave(Ignored, text+" lacks its value")
		r.words(Ignored, "it lacks its value", words[0])
		return 1
	}
	return l.pair(words)
}

// pair reads a word and its value.
func (l *routeLine) pair(words []Word) int {
	r := &l.c.report
	value := words[1].Text
	switch text := words[0].Text; text {
	case "to":
		if slices.Contains(routeTypes, value) || value == "inet6" || value == "inet" { // to TYPE NETWORK
			r.words(Converted, "", words[0])
			return 1
		}
		l.destination(words[:2], value)
	case "via", "gw":
		if value == "inet" || value == "inet6" {
			r.words(Converted, "", words[:2]...)
			if len(words) > 2 {
				return 2 + l.hop(words[2:3])
			}
			return 2
		}
		return l.hop(words[:2])
	case "nexthop", "or":
		return l.nextHop(words)
	case "dev", "oif":
		l.iface = value
		if !isInterface(value) {
			l.leave(Ignored, "it cannot be the name of an interface: "+short(value))
		}
		r.words(Converted, "", words[:2]...)
	case "src":
		a, ok := address(value)
		if !ok || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			l.leave(Ignored, "src is no address of a host")
		}
		l.source = a
		r.words(Converted, "", words[:2]...)
	case "metric", "priority", "preference":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			l.leave(Ignored, text+" is no number")
		}
		l.metric = uint32(n)
		r.words(Converted, "", words[:2]...)
	case "table":
		n, problem := table(value)
		if problem != "" {
			l.leave(Unsupported, problem)
		}
		l.table = n
		r.words(Converted, "", words[:2]...)
	case "scope":
		l.scope = value
		r.words(Converted, "", words[:2]...)
	case "mtu":
		n := 2
		if value == "lock" && len(words) > 2 {
			n, value = 3, words[2].Text
			l.c.report.add(Approximated, words[1].Pos, "mtu lock", "the kernel may learn of a smaller one")
		}
		if mtu, err := strconv.Atoi(value); err == nil {
			l.mtu = mtu
		}
		r.words(Converted, "", words[:n]...)
		return n
	case "protocol", "proto":
		r.words(NotNeeded, "baton knows its routes by a protocol of its own", words[:2]...)
	default:
		n := 2
		if value == "lock" && len(words) > 2 {
			n = 3
		}
		r.words(Unsupported, "baton's routes have no "+text+": ip route change ..., in a notify command", words[:n]...)
		return n
	}
	return 2
}

func (l *routeLine) destination(words []Word, text string) {
	l.c.report.words(Converted, "", words...)
	if text == "default" || text == "all" || text == "any" {
		l.known = true
		return
	}
	p, fits, ok := prefix(text)
	if !ok || !fits || p.Addr().Is4In6() {
		l.leave(Ignored, "keepalived knows no such word of a route, and leaves it out: "+short(text))
		return
	}
	l.to, l.known = p.Masked(), true
	if l.to != p {
		l.c.report.Findings[len(l.c.report.Findings)-1].Outcome = Approximated
		l.c.report.Findings[len(l.c.report.Findings)-1].Text = "the network is " + l.to.String() + ": the kernel refuses another one"
	}
}

// hop reads where packets go; its address is the last of the words.
func (l *routeLine) hop(words []Word) int {
	a, ok := address(words[len(words)-1].Text)
	if !ok || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a.Is4In6() {
		l.leave(Ignored, "via is no address of a host")
	}
	if !l.via.IsValid() {
		l.via = a
		l.c.report.words(Converted, "", words...)
	} else {
		l.c.report.words(Unsupported, oneHop, words...)
	}
	return len(words)
}

const oneHop = "a route of baton's has one next hop, the first: write an interface bond, or two routes with different metrics"

// nextHop reads one of several, of which the first counts.
func (l *routeLine) nextHop(words []Word) int {
	n := 1
	for n < len(words) && words[n].Text != "nexthop" && words[n].Text != "or" {
		if words[0].Text == "or" && n == 2 {
			break
		}
		n++
	}
	if l.via.IsValid() || words[0].Text == "or" {
		l.c.report.words(Unsupported, oneHop, words[:n]...)
		return n
	}
	l.c.report.words(Approximated, "of several next hops baton has the first", words[0])
	for rest := words[1:n]; len(rest) > 0; {
		rest = rest[l.word(rest):]
	}
	return n
}

// table is the number of a routing table.
func table(text string) (n uint32, problem string) {
	switch text {
	case "main":
		return 254, ""
	case "default":
		return 253, ""
	case "local":
		return 255, ""
	}
	v, err := strconv.ParseUint(text, 0, 32)
	if err != nil || v == 0 {
		return 0, "baton wants the number of table " + short(text) + ", which /etc/iproute2/rt_tables of this host has"
	}
	return uint32(v), ""
}

// check takes out what the kernel, and baton, would refuse.
func (l *routeLine) check() {
	if !l.known {
		l.leave(Ignored, "it has no destination")
	}
	if l.drop != "" {
		return
	}
	six := l.six
	for _, a := range []netip.Addr{l.to.Addr(), l.source, l.via} {
		if a.IsValid() {
			six = a.Is6()
		}
	}
	if !l.to.IsValid() {
		l.to = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if six {
			l.to = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	nowhere := l.kind != "" && l.kind != "local"
	least := 68
	if six {
		least = 1280
	}
	switch {
	case l.to.Addr().Is6() != six || l.via.IsValid() && l.via.Is6() != six || l.source.IsValid() && l.source.Is6() != six:
		l.leave(Ignored, "keepalived leaves it out: IPv4 and IPv6 are mixed")
	case nowhere && (l.via.IsValid() || l.iface != ""):
		l.leave(Ignored, "a route of type "+l.kind+" leads nowhere, and the kernel refuses it with a next hop")
	case l.kind == "local" && l.via.IsValid():
		l.leave(Ignored, "a route of type local ends on this host, and the kernel refuses it with a next hop")
	case !nowhere && !l.via.IsValid() && l.iface == "":
		l.leave(Unsupported, "it leads nowhere: add via or dev")
	case l.via.IsValid() && six && l.via.IsLinkLocalUnicast() && l.iface == "":
		l.leave(Ignored, "the kernel refuses a link-local next hop without dev")
	case l.onLink && l.via.IsValid() && l.iface == "":
		l.leave(Ignored, "the kernel refuses onlink without dev")
	}
	if l.drop != "" {
		return
	}
	if l.onLink && !l.via.IsValid() {
		l.onLink = false
	}
	if l.mtu != 0 && (l.mtu < least || l.mtu > 65535 || nowhere) {
		l.c.report.add(Unsupported, l.pos, "mtu", fmt.Sprintf("the mtu of a route that leads somewhere is %d to 65535", least))
		l.mtu = 0
	}
	switch l.scope {
	case "0":
		l.scope = "global"
	case "200":
		l.scope = "site"
	case "253":
		l.scope = "link"
	case "254":
		l.scope = "host"
	}
	switch {
	case l.scope == "":
	case six:
		l.scope = ""
	case !slices.Contains([]string{"global", "site", "link", "host"}, l.scope):
		l.c.report.add(Unsupported, l.pos, "scope "+short(l.scope), "baton has the scopes global, site, link and host: it is what ip route makes of it")
		l.scope = ""
	}
	if key := (routeKey{l.to, l.table, l.metric}); l.c.routes[key] {
		l.leave(Unsupported, "there is a route to the same network with the same metric and table already: give it another metric")
	} else {
		l.c.routes[key] = true
	}
}

// node is the route as baton has it.
func (r route) node() mapping {
	m := newMapping()
	to := r.to.String()
	if r.to.Bits() == 0 && (r.via.IsValid() || r.source.IsValid()) {
		to = "default"
	}
	m.set("to", to)
	if r.kind != "" {
		m.set("type", r.kind)
	}
	if r.via.IsValid() {
		m.set("via", r.via.String())
	}
	if r.iface != "" {
		m.set("interface", r.iface)
	}
	if r.onLink {
		m.set("on_link", true)
	}
	if r.source.IsValid() {
		m.set("source", r.source.String())
	}
	if r.metric != 0 {
		m.set("metric", int(r.metric))
	}
	if r.table != 254 {
		m.set("table", tableNode(r.table))
	}
	if r.scope != "" {
		m.set("scope", r.scope)
	}
	if r.mtu != 0 {
		m.set("mtu", r.mtu)
	}
	if !r.repair {
		m.set("repair", false)
	}
	return m.flow()
}

func tableNode(n uint32) any {
	switch n {
	case 253:
		return "default"
	case 254:
		return "main"
	case 255:
		return "local"
	}
	return int(n)
}
