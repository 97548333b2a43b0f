package config

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// candidate is a router of the file, whether this node runs it or not.
type candidate struct {
	fields
	name    string
	value   *node
	contest *contest
}

// contest is one election: that of a router which stands alone, or of a group.
type contest struct {
	fields          // where prefer, priority, track and so on stand
	what   string   // router or group
	group  string   // its name; empty: a router that stands alone
	key    *node    // tells it from all others
	runs   []fields // of its routers: a node takes part that runs all of them
}

// claim is a VRID or an address that a router has taken as this node sees it.
type claim struct {
	router string
	at     place
	link   string // the interface of an address
	named  bool   // the file names it, since it is not the router's
}

// reading is a router of one family, and what is known of its places in the file.
type reading struct {
	Router
	fields         fields
	addresses      []placedAddress
	routes         []placedRoute
	rules          []placedRule
	effectAt       map[string]*node // of each check in Track
	sign           *node            // the type of authentication
	placedServices []placedService
	both           bool // the router has another half, of the other family
	bare           bool // the file says that there are no addresses
	complete       bool // each of the addresses could be read
}

type routerReader struct {
	*walk
	defaults, groupDefaults fields
	candidates              []*candidate
	here                    bool      // this node runs the router that is being read
	read                    []reading // those that this node runs
	vrids                   map[vridKey]claim
	vips                    map[netip.Addr][]claim
	routes                  map[routeKey]claim
	rules                   map[Rule]claim
	rate                    float64 // advertisements a second, if this node is the master of all
}

type vridKey struct {
	iface string
	ipv6  bool
	vrid  uint8
}

// readRouters reads all virtual routers and groups, and keeps the routers that this node runs.
func (w *walk) readRouters(top, defaults fields) {
	rr := &routerReader{walk: w, vrids: map[vridKey]claim{}, vips: map[netip.Addr][]claim{}, routes: map[routeKey]claim{}, rules: map[Rule]claim{}}
	rr.readDefaults(defaults.own["virtual_router"], defaults.own["group"])
	n := top.own["virtual_routers"]
	entries := w.entries(n, "virtual_routers")
	if len(entries) == 0 && w.files.readable && (n == nil || n.kind == empty || n.kind == mapping) {
		at := w.files.root.place
		if n != nil {
			at = n.place
		}
		w.errorAt(at, "", "virtual_routers: {NAME: {interface: ..., vrid: ..., addresses: [...]}}", "there is no virtual router: nothing to do")
	}
	for _, e := range entries {
		if w.name(e.key, "virtual router") {
			rr.candidate(e)
		}
	}
	rr.readGroups(top.own["groups"])
	for _, c := range rr.candidates {
		rr.router(c)
	}
	rr.nameVirtualMACs()
	for _, r := range rr.read {
		rr.finish(&r)
		w.config.Routers = append(w.config.Routers, r.Router)
	}
	if rr.rate > mostAdvertisements {
		w.warnAt(n.place, "virtual_routers", "a longer advertisement_interval", "%d routers send %.0f advertisements a second when this node is master of all: that takes much of a processor", len(w.config.Routers), rr.rate)
	}
	slices.SortFunc(w.config.Routers, func(a, b Router) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), compareBools(a.IPv6, b.IPv6))
	})
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// mostAdvertisements is where a warning begins, in advertisements a second. 40,000 cost 6 to 16 % of a core, 410,000 all of one.
const mostAdvertisements = 50_000

// readDefaults reads what routers and groups have in common, and reports its own mistakes, whoever uses it.
func (rr *routerReader) readDefaults(router, group *node) {
	w := rr.walk
	asked, needed := len(w.config.questions), w.secrets.needed
	w.secrets.needed = false
	rr.defaults = w.fields(router, place{}, routerKeys, "virtual router")
	if router != nil {
		rr.values(rr.defaults)
		rr.preferences(contest{fields: rr.defaults, what: "router", runs: []fields{rr.defaults}})
	}
	rr.groupDefaults = w.fields(group, place{}, electionKeys, "group")
	if group != nil {
		rr.electionValues(rr.groupDefaults, &reading{})
		rr.preferences(contest{fields: rr.groupDefaults, what: "group", runs: []fields{rr.groupDefaults}})
	}
	w.secrets.needed = needed
	w.config.questions = w.config.questions[:asked]
}

func (rr *routerReader) candidate(e entry) {
	f := rr.walk.fields(e.value, e.key.place, routerKeys, "virtual router")
	if f.broken {
		return
	}
	f.path, f.fallback = e.value.path, fallback(f, rr.defaults)
	rr.candidates = append(rr.candidates, &candidate{fields: f, name: e.key.text, value: e.value})
}

// fallback are the defaults that hold beside some own values. Of two ways to say one thing, the own one takes the other's default out.
func fallback(f, defaults fields) map[string]*node {
	rest := maps.Clone(defaults.own)
	for _, pair := range [][2]string{{"prefer", "priority"}, {"unicast", "peers"}} {
		if f.own[pair[0]] != nil || f.own[pair[1]] != nil {
			delete(rest, pair[0])
			delete(rest, pair[1])
		}
	}
	return rest
}

func (rr *routerReader) router(c *candidate) {
	w, f := rr.walk, c.fields
	if c.contest == nil {
		c.contest = &contest{fields: f, what: "router", key: c.value, runs: []fields{f}}
	}
	needed, asked := w.secrets.needed, len(w.config.questions)
	rr.here = runsOn(f, w.me.Name)
	w.secrets.needed = needed && rr.here
	r := rr.values(f)
	w.secrets.needed = needed
	r.Name, r.Group = c.name, c.contest.group

	f.require("interface", "")
	f.require("vrid", "")
	f.require("addresses", "addresses: [10.0.0.100/24]")
	rr.preferences(*c.contest)
	rr.bindServices(*c.contest, c.name, r)
	el, known := w.shared.elections[c.contest.key]
	if !known {
		el = rr.elect(*c.contest)
		w.shared.elections[c.contest.key] = el
	}
	r.Priorities = el.priorities
	r.Priority = r.Priorities[w.me.Name]
	if !known { // what is wrong with it, every node sees
		w.asAll(func() {
			rr.lintPriorities(*c.contest, r, el.nodes)
			rr.lintServices(*c.contest, r, el.nodes)
		})
	}
	for _, name := range []string{"source_address", "peers"} {
		if n := f.raw(name); n != nil && !rr.here && lacks(f, w.me.Name) == name {
			w.warnAt(n.place, n.path, "write one for every node that shall run it, or none at all", "a node without a value does not run this router")
		}
	}
	rr.rivals(&r.Router)
	halves := rr.halves(f, r, el.nodes)
	if !rr.here {
		w.config.questions = w.config.questions[:asked]
		return
	}
	for _, half := range halves {
		rr.claims(f, half)
		rr.rate += float64(time.Second) / float64(half.Interval)
	}
	rr.read = append(rr.read, halves...)
}

// runsOn tells whether a node runs a router: it does unless a key that differs by node has no value for it.
func runsOn(f fields, node string) bool { return lacks(f, node) == "" }

// lacks returns the key because of which a node does not run a router; it is empty for a node that does.
func lacks(f fields, node string) string {
	for _, k := range f.table {
		if n := f.raw(k.name); k.perNode && n != nil && n.kind == mapping && len(n.entries) > 0 && pick(n, node) == nil {
			return k.name
		}
	}
	return ""
}

// lacks returns the key because of which a node does not take part; it is empty for a node that does.
func (c contest) lacks(node string) string {
	for _, f := range c.runs {
		if key := lacks(f, node); key != "" {
			return key
		}
	}
	return ""
}

// runners returns the nodes that take part in an election, in the order of `nodes`.
func (rr *routerReader) runners(c contest) []Node {
	nodes := rr.nodes
	if len(nodes) == 0 {
		nodes = []Node{rr.me}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return c.lacks(n.Name) != "" })
}

// values reads a router's keys, each by itself.
func (rr *routerReader) values(f fields) reading {
	w := rr.walk
	r := reading{fields: f, Router: Router{
		Interface:       w.interfaceName(f, "interface"),
		VRID:            uint8(f.number("vrid", 1, 255)),
		Version:         3,
		Interval:        w.advertisementInterval(f),
		Missed:          f.number("missed_advertisements", 1, 100),
		PlainChecksum:   f.oneOf("checksum", "pseudo-header", "rfc9568") == "rfc9568",
		Source:          f.address("source_address"),
		OnlyPeers:       f.boolean("only_peers"),
		MinTTL:          uint8(f.number("min_ttl", 1, 255)),
		MaxTTL:          uint8(f.number("max_ttl", 1, 255)),
		VirtualMAC:      w.virtualMAC(f),
		Accept:          f.boolean("accept"),
		TrackLink:       f.boolean("track_link"),
		AddressLifetime: f.duration("address_lifetime", 10*time.Second, 365*day, true),
		Announce:        w.announce(f),
	}}
	if f.oneOf("version", "3", "2") == "2" {
		r.Version = 2
	}
	w.authentication(f, &r)
	if n := f.get("address_lifetime"); r.AddressLifetime%time.Second != 0 {
		w.errorAt(n.place, n.path, "", "%s is no whole number of seconds: the kernel counts those", n.text)
	}
	if r.Source.IsValid() {
		n := f.get("source_address")
		w.config.ask(question{kind: askAddress, at: n.place, path: n.path, addr: r.Source})
	}
	if n := f.get("min_ttl"); r.MaxTTL != 0 && r.MinTTL > r.MaxTTL {
		w.errorAt(n.place, n.path, "", "%d is above max_ttl, %d: nobody would be believed", r.MinTTL, r.MaxTTL)
	}
	rr.addresses(f, &r)
	r.routes, r.rules = rr.routeList(f), rr.ruleList(f)
	rr.electionValues(f, &r)
	return r
}

// electionValues reads the keys of a router that stands alone, or of a group.
func (rr *routerReader) electionValues(f fields, r *reading) {
	rr.services(f, r)
	r.PromoteAfter = f.duration("promote_after", time.Millisecond, time.Hour, true)
	switch f.oneOf("on_stop_failure", "hold", "release", "reboot") {
	case "release":
		r.OnStopFailure = StopFailureRelease
	case "reboot":
		r.OnStopFailure = StopFailureReboot
	}
	r.Preempt = f.boolean("preempt") && (f.has("preempt") || len(r.Services) == 0)
	r.PreemptDelay = f.duration("preempt_delay", time.Millisecond, time.Hour, true)
	r.StartDelay = f.duration("start_delay", time.Millisecond, time.Hour, true)
	r.RetryAfter = f.duration("retry_after", time.Second, time.Hour, true)
	r.Notify = rr.notify(f)
	r.Track, r.effectAt = rr.track(f)
	if n := f.get("preempt_delay"); n != nil && r.PreemptDelay > 0 && !r.Preempt {
		hint := ""
		if !f.has("preempt") {
			hint = "where there are services preempt is false, unless it is said"
		}
		rr.warnAt(n.place, n.path, hint, "has no effect with preempt: false: a worse master is followed for ever")
	}
}

func (w *walk) advertisementInterval(f fields) time.Duration {
	const step = 10 * time.Millisecond
	most := 4095 * step
	if n := f.raw("version"); n != nil && n.text == "2" { // which counts otherwise: see versions
		most = day
	}
	d := f.duration("advertisement_interval", step, most, false)
	if d%step != 0 {
		n := f.get("advertisement_interval")
		below := d.Truncate(step)
		w.errorAt(n.place, n.path, formatDuration(below)+" or "+formatDuration(below+step), "%s cannot be told to the others: an advertisement carries steps of 10ms", n.text)
	}
	return d
}

// announce merges the defaults' keys and the router's.
func (w *walk) announce(f fields) Announce {
	a := w.fields(f.own["announce"], f.at, announceKeys, "announce")
	a.fallback = w.fields(f.fallback["announce"], f.at, announceKeys, "announce").own
	return Announce{
		Count:      a.number("count", 1, 100),
		AgainAfter: a.duration("again_after", 100*time.Millisecond, time.Hour, true),
		Every:      a.duration("every", time.Second, day, true),
		Gap:        a.duration("gap", time.Millisecond, time.Second, true),
		AlsoOn:     w.interfaceNames(a, "also_on"),
	}
}

// notify merges the defaults' events and the router's.
func (w *walk) notify(f fields) Notify {
	events := w.fields(f.own["notify"], f.at, notifyKeys, "notify")
	events.fallback = w.fields(f.fallback["notify"], f.at, notifyKeys, "notify").own
	of := func(event string) []Command {
		if n := events.raw(event); n != nil {
			return w.hookCommands(n)
		}
		return nil
	}
	return Notify{
		Any: of("any"), Master: of("master"), Backup: of("backup"), Fault: of("fault"), Stop: of("stop"), Reassert: of("reassert"),
		FIFO: events.fifo(),
	}
}

// fifo is the path of a named pipe; an empty list takes a default out, as that of an event.
func (f fields) fifo() string {
	if n := f.raw("fifo"); n != nil && n.kind == list && len(n.items) == 0 {
		return ""
	}
	n := f.scalar("fifo")
	if n == nil {
		return ""
	}
	if !strings.HasPrefix(n.text, "/") {
		f.w.errorAt(n.place, n.path, "write the whole path, such as /run/baton/events", "%s is no absolute path", quote(n.text))
		return ""
	}
	return n.text
}

// claims reports what another router has on this node already.
func (rr *routerReader) claims(f fields, r reading) {
	w := rr.walk
	if n := f.get("vrid"); n != nil && r.VRID != 0 && r.Interface != "" && (len(r.addresses) > 0 || r.bare) {
		key := vridKey{r.Interface, r.IPv6, r.VRID}
		if first, taken := rr.vrids[key]; taken {
			w.errorAt(n.place, n.path, "", "%d is taken on %s by %q (%s)", r.VRID, r.Interface, first.router, first.at.from(n.place))
		} else {
			rr.vrids[key] = claim{router: r.Name, at: n.place}
		}
	}
	for _, a := range r.addresses {
		addr := a.Prefix.Addr()
		mine := claim{router: r.Name, at: a.at, link: cmp.Or(a.Interface, r.Interface), named: a.Interface != ""}
		i := slices.IndexFunc(rr.vips[addr], func(other claim) bool { return mine.clashes(other, addr) })
		if i >= 0 {
			first := rr.vips[addr][i]
			w.errorAt(a.at, a.path, "", "%s is already an address of %q (%s)", addr, first.router, first.at.from(a.at))
			continue
		}
		rr.vips[addr] = append(rr.vips[addr], mine)
	}
	rr.claimRoutes(r)
}

// clashes tells whether an address can be there once only. A link-local one is another on each link, and so is one that the file
// puts on interfaces which it names.
func (c claim) clashes(other claim, a netip.Addr) bool {
	return c.link == other.link || !a.IsLinkLocalUnicast() && !(c.named && other.named)
}
