package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Router is a virtual router as this node runs it.
type Router struct {
	Name      string
	Interface string
	IPv6      bool // the family of its addresses and of its advertisements
	VRID      uint8
	// Priority is this node's base priority: 1 to 254, or 255 for the owner of the addresses.
	Priority uint8
	// Priorities are the base priorities of every node that runs it.
	Priorities map[string]uint8
	// BestRival is the highest priority that another node can come to with every weight in its favour, SlowestRival the lowest
	// with every weight against it. Both are 0 where `nodes` do not name another.
	BestRival, SlowestRival uint8
	Interval                time.Duration // 10ms to 40.95s, in steps of 10ms
	Preempt                 bool
	PlainChecksum           bool          // IPv4 without the pseudo-header, as RFC 9568 has it
	Addresses               []Address     // at least one, in the order of the file
	Source                  netip.Addr    // invalid: to be chosen from those of the interface
	AddressLifetime         time.Duration // how long an address outlives its daemon; 0: for ever
	Announce                Announce
	RetryAfter              time.Duration // how long FAULT stays after a check that is tracked while master failed
	Track                   []Track
	Notify                  Notify

	// Group is the name of the group whose members change their role together; empty: none. Two families in one router's
	// `addresses` are two Routers of the same Name, which do so without a Group. Every member of a group has the group's
	// Priorities, Preempt, PreemptDelay, Track, Notify and RetryAfter.
	Group string

	Version int // of VRRP: 3, or 2 (IPv4 only)
	// Password is what version 2 sends in clear and wants to hear, at most 8 bytes: secret; empty: no authentication.
	Password string
	HMAC     *HMAC // nil: advertisements are not signed

	// Peers are where advertisements go, in place of multicast; none: multicast. OnlyPeers: nobody else is believed.
	// MinTTL and MaxTTL bound the TTL of what they send; 0: any.
	Peers          []netip.Addr
	OnlyPeers      bool
	MinTTL, MaxTTL uint8
	// Known are the addresses of all nodes, this one among them, in the network of `nodes` that this router's advertisements
	// come from; none where `nodes` do not tell.
	Known []netip.Addr

	VirtualMAC *VirtualMAC // nil: the addresses are on Interface itself
	Accept     bool        // a master that does not own the addresses takes packets to them

	PreemptDelay time.Duration // how long a worse master is followed first
	StartDelay   time.Duration // how long the router stays in INIT at least
	Missed       int           // advertisements missed until a backup acts, at least 1
	TrackLink    bool          // the loss of the link is FAULT

	Routes []Route // while master, in the order of the file
	Rules  []Rule
}

// VirtualMAC is a network interface of its own for the addresses, with the MAC address that belongs to the VRID.
type VirtualMAC struct {
	Name          string // of the interface to make, on top of the router's
	FromInterface bool   // advertisements come from the router's interface, not from the virtual MAC
}

// HMAC is how advertisements are signed. The keys are secret.
type HMAC struct {
	Keys   map[uint8][]byte // 32 to 64 bytes each
	Send   uint8            // which of them signs
	Mode   HMACMode
	Window time.Duration // 1s to 300s; 0: clocks are not compared
}

// HMACMode says what is signed, and what must be.
type HMACMode uint8

// The modes.
const (
	HMACEnforce HMACMode = iota
	HMACPermissive
	HMACReceiveOnly
)

// Route is a route that follows the master.
type Route struct {
	To        netip.Prefix // masked; 0.0.0.0/0 or ::/0 is the default route
	Via       netip.Addr   // invalid: on the link
	Interface string       // empty where the kernel is to find it by Via
	Source    netip.Addr   // preferred source; invalid: none
	Metric    uint32       // 0: the kernel's choice
	Table     uint32       // 254: main
	Scope     uint8        // RT_SCOPE_...
	Type      uint8        // RTN_UNICAST, or unreachable, blackhole and so on
	MTU       uint32       // 0: of the interface
	OnLink    bool         // Via need not be in a network of the interface
	Repair    bool
}

// Rule is a rule of policy routing that follows the master.
type Rule struct {
	IPv6          bool
	From, To      netip.Prefix // masked; invalid: any
	Table         uint32
	Priority      uint32 // 1 to 32765
	FwMark        uint32 // 0: any
	FwMask        uint32
	Input, Output string // interfaces; empty: any
	Repair        bool
}

// Address is a virtual address with the prefix length that it gets on the interface.
type Address struct {
	Prefix netip.Prefix // not masked
	Repair bool         // put back when somebody else removes it

	Advertise     bool         // in the advertisements; one that is not may be of the other family
	Interface     string       // other than the router's; empty: the router's, or that of its virtual MAC
	Label         string       // IPv4, such as eth0:web; empty: none
	Scope         uint8        // RT_SCOPE_UNIVERSE, RT_SCOPE_LINK or RT_SCOPE_HOST
	Broadcast     netip.Addr   // IPv4; invalid: none
	Peer          netip.Prefix // of a point-to-point link; invalid: none
	NoPrefixRoute bool
	Source        bool // IPv6: may be chosen as a source address
}

// Announce says how often gratuitous ARP or unsolicited NA is sent for each address.
type Announce struct {
	Count      int           // messages in a burst, at least 1
	AgainAfter time.Duration // a second burst so long after the first; 0: none
	Every      time.Duration // one message each time while master; 0: never
	Gap        time.Duration // from one message to the next on the same interface; 0: as fast as the interface takes them
	AlsoOn     []string      // more interfaces on which switches must learn where the addresses are
}

// Notify are the commands that are told of a change, by event; nil for none.
type Notify struct {
	Any, Master, Backup, Fault, Stop, Reassert []Command
}

// claim is a VRID or an address that a router has taken as this node sees it.
type claim struct {
	router string
	at     place
}

// reading is a router, and what is known of its places in the file.
type reading struct {
	Router
	addressAt []place          // of each of Addresses
	effectAt  map[string]*node // of each check in Track
}

type routerReader struct {
	*walk
	defaults fields
	vrids    map[vridKey]claim
	vips     map[vipKey]claim
	rate     float64 // advertisements a second, if this node is the master of all
}

type vridKey struct {
	iface string
	ipv6  bool
	vrid  uint8
}

type vipKey struct {
	link string // of a link-local address: that is another one on each link
	addr netip.Addr
}

// readRouters reads all virtual routers and keeps those that this node runs.
func (w *walk) readRouters(n, defaults *node) {
	rr := &routerReader{walk: w, vrids: map[vridKey]claim{}, vips: map[vipKey]claim{}}
	rr.defaults = w.fields(defaults, place{}, routerKeys, "virtual router")
	if defaults != nil { // its own mistakes, whoever uses it
		asked := len(w.config.questions)
		rr.values(rr.defaults)
		rr.preferences(rr.defaults)
		w.config.questions = w.config.questions[:asked]
	}
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
			rr.router(e)
		}
	}
	if rr.rate > mostAdvertisements {
		w.warnAt(n.place, "virtual_routers", "a longer advertisement_interval", "%d routers send %.0f advertisements a second when this node is master of all: that takes much of a processor", len(w.config.Routers), rr.rate)
	}
	slices.SortFunc(w.config.Routers, func(a, b Router) int { return strings.Compare(a.Name, b.Name) })
}

// mostAdvertisements is where a warning begins, in advertisements a second. 40,000 cost 6 to 16 % of a core, 410,000 all of one.
const mostAdvertisements = 50_000

func (rr *routerReader) router(e entry) {
	w := rr.walk
	f := w.fields(e.value, e.key.place, routerKeys, "virtual router")
	if f.broken {
		return
	}
	f.path, f.fallback = e.value.path, rr.fallback(f)

	needed, asked := w.secrets.needed, len(w.config.questions)
	here := runsOn(f, w.me.Name)
	w.secrets.needed = needed && here
	r := rr.values(f)
	w.secrets.needed = needed
	r.Name = e.key.text

	f.require("interface", "")
	f.require("vrid", "")
	f.require("addresses", "addresses: [10.0.0.100/24]")
	rr.preferences(f)
	el, known := w.shared.elections[e.value]
	if !known {
		el = rr.elect(f)
		w.shared.elections[e.value] = el
	}
	r.Priorities = el.priorities
	r.Priority = r.Priorities[w.me.Name]
	if !known { // what is wrong with it, every node sees
		w.asAll(func() { rr.lintPriorities(f, r, el.nodes) })
	}
	if n := f.raw("source_address"); n != nil && !here && lacks(f, w.me.Name) == "source_address" {
		w.warnAt(n.place, n.path, "write one for every node that shall run it, or none at all", "a node without a value does not run this router")
	}
	rr.rivals(&r.Router)
	rr.family(f, &r, here)
	if !here {
		w.config.questions = w.config.questions[:asked]
		return
	}
	rr.claims(f, r)
	w.config.Routers = append(w.config.Routers, r.Router)
	rr.rate += float64(time.Second) / float64(r.Interval)
}

// fallback are the defaults that hold for a router. prefer and priority are two ways to say one thing, so one of the router's own
// takes the other's default out.
func (rr *routerReader) fallback(f fields) map[string]*node {
	d := rr.defaults.own
	if f.own["prefer"] == nil && f.own["priority"] == nil {
		return d
	}
	rest := map[string]*node{}
	for name, n := range d {
		if name != "prefer" && name != "priority" {
			rest[name] = n
		}
	}
	return rest
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

// runners returns the nodes that run a router, in the order of `nodes`.
func (rr *routerReader) runners(f fields) []Node {
	nodes := rr.nodes
	if len(nodes) == 0 {
		nodes = []Node{rr.me}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return !runsOn(f, n.Name) })
}

// values reads a router's keys, each by itself.
func (rr *routerReader) values(f fields) reading {
	w := rr.walk
	r := reading{Router: Router{
		Interface:       w.interfaceName(f),
		VRID:            uint8(f.number("vrid", 1, 255)),
		Interval:        w.advertisementInterval(f),
		Preempt:         f.boolean("preempt"),
		PlainChecksum:   f.oneOf("checksum", "pseudo-header", "rfc9568") == "rfc9568",
		Source:          f.address("source_address"),
		AddressLifetime: f.duration("address_lifetime", 10*time.Second, 365*day, true),
		RetryAfter:      f.duration("retry_after", time.Second, time.Hour, true),
		Announce:        w.announce(f),
		Notify:          w.notify(f),
	}}
	if n := f.get("address_lifetime"); r.AddressLifetime%time.Second != 0 {
		w.errorAt(n.place, n.path, "", "%s is no whole number of seconds: the kernel counts those", n.text)
	}
	if r.Source.IsValid() {
		n := f.get("source_address")
		w.config.ask(question{kind: askAddress, at: n.place, path: n.path, addr: r.Source})
	}
	r.Addresses, r.addressAt = w.addresses(f)
	r.Track, r.effectAt = rr.track(f)
	return r
}

func (w *walk) interfaceName(f fields) string {
	n := f.scalar("interface")
	if n == nil {
		return ""
	}
	problem, hint := "", ""
	switch {
	case strings.Contains(n.text, ":"):
		problem, hint = "is an alias", "write "+short(n.text[:strings.IndexByte(n.text, ':')])
	case len(n.text) > 15:
		problem = "is longer than 15 characters"
	case n.text == "." || n.text == ".." || strings.ContainsAny(n.text, "/ \t\n\v\f\r"):
		problem = "cannot be the name of an interface"
	case strings.ContainsAny(n.text, typographic):
		problem, hint = "cannot be the name of an interface", `the quotes of YAML are " and '`
	case isAddress(n.text):
		problem, hint = "is an address", "the name of the interface that it is on, such as eth0"
	case n.text == "lo":
		problem = "is the loopback: no advertisement leaves the host there"
	default:
		w.config.ask(question{kind: askInterface, at: n.place, path: n.path, name: n.text})
		return n.text
	}
	w.errorAt(n.place, n.path, hint, "%s %s", quote(n.text), problem)
	return ""
}

// typographic are the quotes that word processors and web pages put in place of " and '.
const typographic = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

func (w *walk) advertisementInterval(f fields) time.Duration {
	const step = 10 * time.Millisecond
	d := f.duration("advertisement_interval", step, 4095*step, false)
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
	return Notify{Any: of("any"), Master: of("master"), Backup: of("backup"), Fault: of("fault"), Stop: of("stop"), Reassert: of("reassert")}
}

// claims reports what another router has on this node already.
func (rr *routerReader) claims(f fields, r reading) {
	w := rr.walk
	if n := f.get("vrid"); n != nil && r.VRID != 0 && r.Interface != "" && len(r.Addresses) > 0 {
		key := vridKey{r.Interface, r.IPv6, r.VRID}
		if first, taken := rr.vrids[key]; taken {
			w.errorAt(n.place, n.path, "", "%d is taken on %s by %q (%s)", r.VRID, r.Interface, first.router, first.at.from(n.place))
		} else {
			rr.vrids[key] = claim{r.Name, n.place}
		}
	}
	at := f.get("addresses")
	for i, a := range r.Addresses {
		key := vipKey{addr: a.Prefix.Addr()}
		if key.addr.IsLinkLocalUnicast() {
			key.link = r.Interface
		}
		here := r.addressAt[i]
		if first, taken := rr.vips[key]; taken {
			w.errorAt(here, at.path, "", "%s is already an address of %q (%s)", key.addr, first.router, first.at.from(here))
			continue
		}
		rr.vips[key] = claim{r.Name, here}
	}
}
