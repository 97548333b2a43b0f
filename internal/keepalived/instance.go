package keepalived

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// instance is a vrrp_instance.
type instance struct {
	election
	key    string // baton's name
	router mapping
	group  *group // nil: it stands alone

	said map[string]*Block // what counts once, by its keyword: the last line of it

	known, six   bool // the family: it is that of the first address of all
	iface        string
	vrid         int
	version      int
	priority     int
	preempt      bool
	preemptDelay time.Duration
	strict       bool
	announce     announce
	addresses    []vip
	addressLines int
	source       netip.Addr
	sourceAt     *Block
	sourceKept   bool
	unicast      unicast
	auth         authentication
	authAt       *Block
	routes       []route
	rules        []rule
	virtualMAC   string // the name of its interface; empty: none
}

type vridKey struct {
	iface string
	six   bool
	vrid  int
}

// claim is an address that an instance has taken.
type claim struct {
	addr  netip.Addr
	link  string
	named bool // the file names the interface
}

// clashes tells whether both cannot be on one host.
func (a claim) clashes(b claim) bool {
	return a.addr == b.addr && (a.link == b.link || !a.addr.IsLinkLocalUnicast() && !(a.named && b.named))
}

// takes tells whether an address is of the family of the instance, which that of the
// first one is.
func (in *instance) takes(a netip.Addr) bool {
	if !in.known {
		in.known, in.six = true, a.Is6()
	}
	return a.Is6() == in.six
}

// readInstances reads vrrp_instance and vrrp_sync_group, and accounts for every block
// that nobody else has.
func (c *conversion) readInstances(blocks []*Block) {
	var groups []*group
	for _, b := range blocks {
		if b.Keyword() == "vrrp_sync_group" {
			if g := c.readGroup(b, groups); g != nil {
				groups = append(groups, g)
			}
		}
	}
	for _, b := range blocks {
		if b.Keyword() == "vrrp_instance" && len(b.Words) == 2 {
			c.instanceNames[b.Words[1].Text] = true
		}
	}
	var instances []*instance
	for _, b := range blocks {
		if b.Keyword() == "vrrp_instance" {
			if in := c.readInstance(b, instances, groups); in != nil {
				instances = append(instances, in)
			}
		}
	}
	for _, g := range groups {
		c.finishGroup(g, instances)
	}
	for _, b := range blocks {
		c.readOther(b)
	}
}

// readInstance reads one. It is nil where keepalived skips it; one that baton cannot
// have is not among the conversion's.
func (c *conversion) readInstance(b *Block, others []*instance, groups []*group) *instance {
	args := b.Arguments()
	switch {
	case len(args) != 1:
		c.report.block(Ignored, b, "an instance has one word for its name: keepalived skips it")
		return nil
	case slices.ContainsFunc(others, func(o *instance) bool { return o.name == args[0].Text }):
		c.report.block(Ignored, b, "the name is taken: keepalived skips it")
		return nil
	}
	in := &instance{election: election{block: b, name: args[0].Text}, router: newMapping(), said: map[string]*Block{}}
	in.strict, in.announce = c.globals.strict, c.globals.announce
	in.group = groupOf(in.name, groups)
	at, vips := len(c.report.Findings), len(c.vips)
	c.nameInstance(in)
	readBlock(c, in, b.Children, instanceKeywords())
	if why := c.finishInstance(in); why != "" {
		c.release(in, vips)
		c.report.Findings = c.report.Findings[:at]
		c.report.block(Unsupported, b, why)
		return in
	}
	c.instances = append(c.instances, in)
	return in
}

// release gives back what an instance has taken that is not in the output.
func (c *conversion) release(in *instance, vips int) {
	delete(c.names, in.key)
	c.vips = c.vips[:vips]
	for _, r := range in.routes {
		delete(c.routes, routeKey{r.to, r.table, r.metric})
	}
	for _, r := range in.rules {
		r.repair = false
		delete(c.rules, r)
	}
}

// nameInstance gives it a name of baton's.
func (c *conversion) nameInstance(in *instance) {
	in.key = unused(nameFor(in.name), func(s string) bool { return c.names[s] || c.instanceNames[s] && s != in.name })
	c.names[in.key] = true
	if in.key != in.name {
		c.report.line(Approximated, in.block, "the router is "+in.key+", also for hooks: names have letters, digits, dot, dash and underscore, and are there once")
		return
	}
	c.report.line(Converted, in.block, "")
}

// keep keeps the last line of a keyword until the whole block has been read.
func keep(slot string) func(*conversion, *instance, *Block) {
	return func(c *conversion, in *instance, b *Block) {
		if before := in.said[slot]; before != nil {
			c.dropped(before)
		}
		in.said[slot] = b
	}
}

// dropped accounts for a line that a later one of its keyword replaces.
func (c *conversion) dropped(b *Block) { c.report.block(Ignored, b, again) }

// keepState is keep for a keyword where MASTER stays.
func (c *conversion) keepState(in *instance, b *Block) {
	before := in.said["state"]
	if before != nil && len(before.Arguments()) > 0 && before.Arguments()[0].Text == "MASTER" {
		c.report.block(Ignored, b, "keepalived stays with the MASTER above")
		return
	}
	keep("state")(c, in, b)
}

// finishInstance makes the router. why tells why there is none; it is empty where there
// is.
func (c *conversion) finishInstance(in *instance) (why string) {
	if why = c.place(in); why != "" {
		return why
	}
	c.elect(in)
	c.list(in)
	c.timing(in)
	if in.six && len(in.addresses) == 0 && len(in.unicast.peers) == 0 {
		return "an IPv6 instance without addresses is none in baton: it would not know the family"
	}
	key := vridKey{in.iface, in.six, in.vrid}
	if other, taken := c.vrids[key]; taken {
		return fmt.Sprintf("%s has VRID %d on %s already, in the same family: give one of them another, on all nodes", other, in.vrid, in.iface)
	}
	c.vrids[key] = in.name
	c.send(in)
	c.authenticate(in)
	if in.auth.hmac != nil {
		in.router.set("authentication", in.auth.hmac.node())
	}
	c.macAndAccept(in)
	c.extras(in)
	c.trackAddresses(in)
	if in.group == nil {
		c.writeElection(in.router, &in.election, in.priority, in.preempt, in.preemptDelay)
	}
	in.router.sort(routerOrder)
	return ""
}

// routerOrder is the order of a router's keys: where it is, who is master, how it
// talks, what it has.
var routerOrder = []string{
	"interface", "vrid", "version", "priority", "preempt", "preempt_delay", "start_delay", "advertisement_interval", "missed_advertisements", "checksum", "authentication",
	"source_address", "peers", "min_ttl", "max_ttl", "virtual_mac", "accept", "track_link", "addresses", "announce", "routes", "rules", "track", "notify",
}

// place finds where the router is: its interface, its VRID.
func (c *conversion) place(in *instance) (why string) {
	b := in.said["interface"]
	if b != nil {
		w, ok := c.first(b)
		if ok {
			in.iface = w.Text
			c.became(Converted, b, "")
			if base, _, alias := strings.Cut(in.iface, ":"); alias && isInterface(base) {
				in.iface = base
				c.report.amend(b.Pos(), Approximated, "an alias is no interface: it is "+base)
			}
		}
	}
	switch {
	case in.iface == "" && len(in.unicast.peers) > 0:
		for _, v := range in.addresses {
			if in.iface == "" {
				in.iface = v.iface
			}
		}
		if in.iface == "" {
			in.iface = c.globals.interfaceFor
		}
		if in.iface == "" || in.iface == "lo" || !isInterface(in.iface) {
			return "it names no interface, and baton's routers have one: add the one that the peers are behind"
		}
		c.report.add(Approximated, in.block.Pos(), in.what(), "it names no interface, and baton's routers have one: "+in.iface+", where its addresses go")
	case in.iface == "":
		return "it names no interface: keepalived does not start"
	case in.iface == "lo":
		return "it is on the loopback, which no advertisement leaves: keepalived refuses it"
	case !isInterface(in.iface):
		return short(in.iface) + " cannot be the name of an interface"
	}
	in.router.set("interface", in.iface)
	if b == nil {
		in.router.comment("interface", "# The file names none: where the addresses go.")
	}
	if b = in.said["virtual_router_id"]; b == nil {
		return "it has no virtual_router_id: keepalived does not start"
	}
	n, ok := c.number(b, 1, 255)
	if !ok {
		return "its virtual_router_id is no number from 1 to 255: keepalived does not start"
	}
	in.vrid = n
	c.became(Converted, b, "")
	in.router.set("vrid", n)
	return ""
}

// list writes the addresses.
func (c *conversion) list(in *instance) {
	in.addresses = slices.DeleteFunc(in.addresses, func(v vip) bool {
		mine := claim{v.prefix.Addr(), v.iface, v.iface != ""}
		if !mine.named {
			mine.link = in.iface
		}
		for _, other := range c.vips {
			if mine.clashes(other) {
				c.report.amend(v.line.Pos(), Unsupported, "the address is there already: it can be on a host once")
				return true
			}
		}
		c.vips = append(c.vips, mine)
		return false
	})
	c.limits(in)
	if len(in.addresses) == 0 {
		b := in.said["no_virtual_ipaddress"]
		if b == nil {
			c.report.add(Approximated, in.block.Pos(), in.what(), "it has no address: with addresses: [] it runs for hooks alone, and keepalived 2.2.7 cannot be its peer")
		}
	}
	if b := in.said["no_virtual_ipaddress"]; b != nil {
		c.flag(b)
		c.became1(Converted, b, "")
	}
}

// writeAddresses writes them, with their labels.
func (c *conversion) writeAddresses(in *instance) {
	all := list(len(in.addresses) < 2)
	for _, v := range in.addresses {
		on := in.iface
		if in.virtualMAC != "" {
			on = in.virtualMAC
		}
		if v.iface != "" {
			on = v.iface
		}
		if rest, ok := strings.CutPrefix(v.label, on); v.label != "" && (!ok || rest != "" && rest[0] != ':') {
			mended := on + ":" + strings.ReplaceAll(v.label, ":", "-")
			if len(mended) > 15 {
				mended = ""
			}
			c.report.amend(v.labelAt, Approximated, "baton's labels begin with the name of the interface: "+cmpOr(mended, "it has none"))
			v.label = mended
		}
		if v.iface == in.iface && in.virtualMAC == "" {
			v.iface = ""
		}
		all.Content = append(all.Content, valueNode(v.node()))
	}
	in.router.set("addresses", all)
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
