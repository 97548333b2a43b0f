package vip

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"
)

// table is what the worker knows: the wishes, the interfaces, the addresses
// that the kernel has, and what has been done. It does no I/O and reads no
// clock. A round of the worker is: tell it what the kernel said and what is
// wished, take requests from plan, answer each with done, take announcements
// from the queues, answer each with announced or unannounced, call report.
type table struct {
	log     *slog.Logger
	emit    func(Event)
	routers []*router
	ifaces  map[string]*iface
	strays  []request // to be taken off: on interfaces that changed their name, and of no router
	routing routing

	// settling are the IPv6 addresses that wait for their announcement until
	// the kernel answers for them. It acknowledges an address at once and makes
	// its route some 0.1 to 7 ms later, from a work queue. Whoever believes an
	// announcement in between asks a host that is silent, and the old master
	// has let go: 1 to 13 questions of a client at 1 kHz were lost.
	settling []*address
	settleAt time.Duration // when to look at them next
	settleIn time.Duration // the pause before that
	room     int           // how many addresses the next plan may put on

	drops   bool            // some of a router may be dropped, and not forgotten yet
	filters bool            // net.ipv4.conf.all.rp_filter is not 0
	told    map[string]bool // what has been logged once
	refusal error           // why packets that are to be refused are not; nil: they are
}

// iface is an interface that a router names, whether it exists or not.
type iface struct {
	name     string
	link     link
	seen     map[netip.Addr][]entry    // addresses the kernel has there
	networks map[netip.Prefix]*network // the IPv6 networks of the vips
	vips     map[netip.Addr]*address   // addresses the routers have here
	wanted   []*address                // the same, in the order of the routers
	routers  []*router                 // that name it
	queue    queue
	promote  bool // one of ours is a primary address and the sysctl that spares its secondaries is not set

	macvlan  *macvlan   // that this is; nil: another interface
	macvlans []*macvlan // that this carries
	former   *opening   // how it answered before it carried any; nil: not looked at
}

// network says how many addresses of an IPv6 network the kernel has.
type network struct {
	hosts int // that no router has, with whatever prefix length
	vips  int // that one has, and that bring its route
}

// link is an interface as the kernel describes it.
type link struct {
	index    int // 0: there is none
	name     string
	others   []string // alternative names, by which a router may name it too
	mac      [6]byte
	ethernet bool // it has Ethernet addresses, so that announcements make sense
	up       bool // IFF_UP
	running  bool // IFF_RUNNING: it has a carrier
	forward6 bool // net.ipv6.conf.NAME.forwarding
	promote  bool // net.ipv4.conf.NAME.promote_secondaries

	kind     string // "macvlan", "bridge" and so on; empty for hardware
	base     int    // index of the interface below, negative in another namespace
	mode     uint32 // of a macvlan
	alias    string // IFLA_IFALIAS
	six      bool   // it knows IPv6
	forward4 bool   // net.ipv4.conf.NAME.forwarding
	opening  opening
}

// entry is an address that the kernel has on an interface.
type entry struct {
	prefix    netip.Prefix // not masked; with a peer, of the peer's length
	peer      netip.Addr   // the zero Addr: none
	proto     uint8        // IFA_PROTO
	label     string       // this and the next two: of IPv4 only
	scope     uint8
	broadcast netip.Addr
	noRoute   bool // IFA_F_NOPREFIXROUTE
	permanent bool // it has no lifetime
	secondary bool
	assumed   bool // concluded from an acknowledgement: secondary is not known yet
}

// router is a Router with what has been wished and done of it.
type router struct {
	Router
	handle    *Handle
	shape     *shape // of the handle, as far as it is known here
	removed   bool   // it is forgotten once nothing of it is on
	emit      func(Event)
	iface     *iface   // of those addresses that name no other
	macvlan   *macvlan // that iface is; nil without VirtualMAC
	wish      *wish    // nil: none yet
	addresses []*address
	followers []*follower
	refusal   *error        // of the table, for a router with Refuse; nil for others
	dirty     bool          // plan has to look at it, whatever the time
	due       time.Duration // when plan has to look at it
	renewAt   time.Duration
	pending   bool   // something can be done for it at once
	onSaid    bool   // On has been reported for the present wish
	offSaid   bool   // Off has been reported since an address was last on
	linkErr   string // what of the interfaces has been reported
}

// address is one Address of a router with what has been wished and done of it.
type address struct {
	Address
	router    *router
	iface     *iface
	dropped   bool // its router does not have it any more: it is forgotten once it is off
	wished    bool
	remove    bool // to be taken off: released, or left by an earlier run
	installed bool // on, as far as we did or know
	own       bool // Native, and the host's own: neither installed nor removed by us
	renew     bool // its lifetime is to be renewed
	given     bool // removed by somebody else, and Repair is false
	announced bool // at least once since the last Hold or repair

	settling   bool          // IPv6: on, but perhaps not answered yet; see table.settling
	settleTill time.Duration // then it is announced all the same

	upkeep

	// Announcing; see queue.
	round  uint64
	sent   int
	unsent int // attempts that failed since
	began  time.Duration
}

// How often the kernel is asked whether it answers for an address, and how long
// that is waited for. The pauses grow: whoever asks all the time, with real-time
// priority, keeps the work queue from its work. The end is shortly before a
// former master lets go.
const (
	settleFirst = 200 * time.Microsecond
	settlePause = 5 * time.Millisecond
	settleLast  = 900 * time.Millisecond
	settleBatch = 64 // addresses at once
)

// What keeps addresses off for as long as their interface is away; a Failed of a
// router as a whole wraps them.
var (
	ErrNoInterface = errors.New("there is no such interface")
	ErrLinkDown    = errors.New("the interface is down")
)

var errContested = errors.New("somebody removes it again and again")

func newTable(log *slog.Logger, emit func(Event)) *table {
	return &table{log: log, emit: emit, ifaces: make(map[string]*iface), room: roomFirst, told: make(map[string]bool), refusal: errNotYet}
}

// add registers a router. The caller resyncs afterwards, for the interface may
// be one whose messages were not kept so far.
func (t *table) add(r Router, h *Handle) {
	on := r.Interface
	if r.VirtualMAC != nil {
		on = r.VirtualMAC.Name
	}
	t.keepLink(on)
	n := &router{Router: r, handle: h, shape: h.first, emit: t.emit, dirty: true}
	n.iface = t.use(on, n)
	for _, a := range r.Addresses {
		n.addresses = append(n.addresses, t.addAddress(n, t.use(cmp.Or(a.Interface, on), n), a))
	}
	t.follow(n)
	t.routers = append(t.routers, n)
	if r.VirtualMAC != nil {
		t.addMacvlan(n)
	}
	if r.refuses() {
		n.refusal = &t.refusal
	}
	t.addAnnounce(n.iface, r.Announce)
}

// addAddress registers an address of a router.
func (t *table) addAddress(n *router, f *iface, a Address) *address {
	a = a.asKept()
	na := &address{Address: a, router: n, iface: f, remove: true}
	f.wanted = append(f.wanted, na)
	f.vips[a.Prefix.Addr()] = na
	if a.Prefix.Addr().Is6() && f.networks[a.Prefix.Masked()] == nil {
		f.networks[a.Prefix.Masked()] = &network{}
	}
	return na
}

// asKept is the address as the kernel keeps it.
func (a Address) asKept() Address {
	if a.Peer.IsValid() { // its length is the one that the kernel keeps
		a.Prefix = netip.PrefixFrom(a.Prefix.Addr(), a.Peer.Bits())
		// Of IPv6 it brings a route to the peer alone: one to the peer's network the
		// kernel would make at a renewal and leave behind.
		a.NoPrefixRoute = a.NoPrefixRoute || a.Peer.Addr().Is6()
	}
	return a
}

// interfaceNamed returns the interface of that name, as one to be heard of from
// now on.
func (t *table) interfaceNamed(name string) *iface {
	f := t.ifaces[name]
	if f == nil {
		f = &iface{name: name, seen: make(map[netip.Addr][]entry), networks: make(map[netip.Prefix]*network), vips: make(map[netip.Addr]*address)}
		f.queue.pace = &pace{}
		t.ifaces[name] = f
	}
	return f
}

// speaks reports whether announcements can be sent there.
func (f *iface) speaks() bool {
	return f.link.up && (f.macvlan == nil || f.macvlan.stands())
}

// use returns the interface of that name, which the router now names.
func (t *table) use(name string, r *router) *iface {
	f := t.interfaceNamed(name)
	if !slices.Contains(f.routers, r) {
		f.routers = append(f.routers, r)
	}
	return f
}

// wishes takes each router's newest wish.
func (t *table) wishes(now time.Duration) {
	for _, r := range t.routers {
		if w := r.handle.newest.Load(); w != nil && w != r.wish && w.shape == r.shape { // else its change comes first
			r.become(w, now)
		}
	}
}

// overtaken reports whether there is a newer wish than the one that is carried
// out: what it wants is looked at before anything more is announced, as another
// host may have the address now.
func (r *router) overtaken() bool { return r.handle.newest.Load() != r.wish }

// become makes w the router's wish.
func (r *router) become(w *wish, now time.Duration) {
	anew := w.held && (r.wish == nil || !r.wish.held || w.seq != r.wish.seq)
	again := w.held && !w.lent && r.wish != nil && r.wish.lent
	r.wish, r.dirty = w, true
	if !w.held {
		r.offSaid = false
		if r.macvlan == nil || r.macvlan.failure == nil {
			r.linkErr = ""
		}
	}
	if anew {
		r.onSaid, r.linkErr = false, "" // what is still so is said again
	}
	for i, a := range r.addresses {
		switch {
		case a.dropped:
		case !w.wants(i) && a.wished:
			a.becomeReleased()
		case w.wants(i) && (anew || !a.wished):
			a.becomeWished()
		case w.lent && a.wished:
			a.iface.queue.stop(a)
		case again && a.installed:
			a.announce()
		}
	}
	for _, f := range r.followers {
		if !f.dropped {
			f.become(w, anew)
		}
	}
}

// becomeWished begins a wish for the address.
func (a *address) becomeWished() {
	a.wished, a.remove, a.given, a.announced = true, false, false, false
	a.upkeep = upkeep{}
	if a.installed {
		a.announce()
	}
}

// becomeReleased ends the wish for the address.
func (a *address) becomeReleased() {
	a.wished, a.remove = false, true
	a.installed, a.own, a.renew, a.given, a.announced, a.settling = false, false, false, false, false, false
	a.upkeep = upkeep{}
	a.iface.queue.stop(a)
}

// becomeInstalled notes that the address is on, as the host's own or by us.
func (a *address) becomeInstalled(own bool, now time.Duration) {
	r := a.router
	if r.renewAt <= now {
		r.renewAt = now + r.Lifetime/3
	}
	a.installed, a.own, a.announced = true, own, false
	r.offSaid = false
	a.recovered()
	if a.Prefix.Addr().Is6() && !own {
		a.settling, a.settleTill = true, now+settleLast
		return // settled announces it
	}
	a.announce()
}

// unsettled are the addresses of which it is time to ask whether the kernel
// answers for them; settled takes its answer.
func (t *table) unsettled(now time.Duration) []*address {
	if now < t.settleAt {
		return nil
	}
	return t.settling[:min(len(t.settling), settleBatch)]
}

// settled notes for the first settling addresses whether the kernel answers
// for them.
func (t *table) settled(local []bool, now time.Duration) {
	var overdue []netip.Addr
	waiting := t.settling[:0]
	before := len(t.settling)
	for i, a := range t.settling {
		switch {
		case !a.settling:
		case i >= len(local):
			waiting = append(waiting, a)
		case local[i] && a.iface.ready():
			a.becomeSettled()
		case now >= a.settleTill:
			overdue = append(overdue, a.Prefix.Addr())
			a.becomeSettled()
		default:
			waiting = append(waiting, a)
		}
	}
	clear(t.settling[len(waiting):])
	t.settling = waiting
	if len(overdue) > 0 {
		t.log.Warn("the kernel does not answer for addresses that it has", "addresses", len(overdue), "first", overdue[0], "waited", settleLast)
	}
	t.settleIn = min(2*t.settleIn, settlePause)
	if t.settleIn == 0 || len(waiting) < before {
		t.settleIn = settleFirst
	}
	t.settleAt = now + t.settleIn
}

// ready reports whether what comes for the interface's addresses is answered. A
// macvlan that was just set up is not before the kernel, from a work queue, has
// called it running: 5 to 12 questions were lost in that time.
func (f *iface) ready() bool { return f.macvlan == nil || f.link.running }

// becomeSettled begins to announce an address that was settling.
func (a *address) becomeSettled() {
	a.settling, a.router.dirty = false, true
	a.announce()
}

// becomeMissing notes that the address is not on the interface although it
// should be and was.
func (a *address) becomeMissing(now time.Duration) {
	a.becomeOff()
	if !a.iface.link.up {
		return // the kernel's doing, with the link
	}
	if !a.Repair {
		a.given = true
		a.router.say(Event{Kind: Removed, Address: a.Prefix.Addr()})
		return
	}
	if a.lost(now) {
		a.router.say(Event{Kind: Contested, Address: a.Prefix.Addr(), Err: fmt.Errorf("keep %s on %s: %w", a.Prefix, a.iface.name, errContested)})
	}
}

// becomeOff notes that the address is not on the interface any more.
func (a *address) becomeOff() {
	a.installed, a.own, a.renew, a.announced, a.settling = false, false, false, false, false
	a.iface.queue.stop(a)
}

// becomeGone notes that the interface has gone, with the address on it.
func (a *address) becomeGone() {
	a.becomeOff()
	a.missing = false
	a.remove = !a.wished // on an interface that comes, as at start
	a.retryAt, a.backoff = 0, 0
}

// announce starts announcing the address, where that makes sense.
func (a *address) announce() {
	if a.settling {
		return // it is announced in the end
	}
	f := a.iface
	switch {
	case !f.link.ethernet, a.router.wish.lent:
		a.announced = true
	case f.macvlan != nil:
		f.macvlan.announce(a)
	default:
		f.queue.start(a)
	}
}

// failed notes an error in something done for the address.
func (a *address) failed(err error, now time.Duration) {
	if a.refused(err, now) {
		if m := a.iface.macvlan; m != nil {
			m.announceWaiting()
		}
		a.router.say(Event{Kind: Failed, Address: a.Prefix.Addr(), Err: err})
	}
}

// recovered notes that something done for the address succeeded.
func (a *address) recovered() {
	if a.accepted() {
		a.router.say(Event{Kind: Recovered, Address: a.Prefix.Addr()})
	}
}

// announced notes that an announcement of a was sent.
func (t *table) announced(a *address, now time.Duration) {
	a.iface.queue.sent(a, now)
	a.router.handle.note(a.Prefix.Addr(), a.sent, now)
	a.announced = true
	if a.retryAt == 0 { // else the error is another one
		a.recovered()
	}
	if a.missing {
		a.missing = false
		if a.fights <= fightFree {
			a.router.say(Event{Kind: Repaired, Address: a.Prefix.Addr(), After: now - a.noticed})
		}
	}
}

// unannounced notes that an announcement of a could not be sent.
func (t *table) unannounced(a *address, err error, now time.Duration) {
	a.iface.queue.failed(a, now)
	if a.err == "" {
		a.err = err.Error()
		a.router.say(Event{Kind: Failed, Address: a.Prefix.Addr(), Err: err})
	}
}

// say emits an event of the router.
func (r *router) say(e Event) {
	e.Router = r.Name
	if r.wish != nil {
		e.Seq = r.wish.seq
	}
	r.emit(e)
}

// report emits what has become true of the routers as wholes.
func (t *table) report(now time.Duration) {
	for _, r := range t.routers {
		t.reportRouter(r, now)
	}
}

func (t *table) reportRouter(r *router, now time.Duration) {
	wished, on, allOn, busy, elsewhere := 0, 0, true, r.pending, false
	for _, a := range r.addresses {
		if a.wished {
			wished++
			allOn = allOn && a.installed && a.announced
		}
		if a.installed {
			on++
		}
		waits := a.iface.link.index != 0 && (a.remove || a.missing)
		busy = busy || waits
		elsewhere = elsewhere || waits && !a.onMacvlan()
	}
	if m := r.macvlan; m != nil {
		lost := m.ready && r.dirty // perhaps: plan has not looked why yet
		busy = (busy && m.self.link.index != 0 || m.missing || lost) && m.failure == nil || elsewhere
		if wished > 0 && allOn {
			m.repaired(now)
		}
	}
	r.reportLink()
	held := r.wish != nil && r.wish.held
	switch {
	case held && allOn && !r.onSaid: // at once where there are no addresses
		r.onSaid = true
		r.say(Event{Kind: On})
	case on == 0 && !busy && !r.offSaid && (wished > 0 || !held):
		r.offSaid, r.onSaid = true, false
		r.say(Event{Kind: Off})
	}
}

// reportLink emits whether an interface keeps something wished from being on.
func (r *router) reportLink() {
	var reason error
	for _, a := range r.addresses {
		if !a.wished || a.installed || reason != nil {
			continue
		}
		f := a.iface
		if f.macvlan != nil {
			f = f.macvlan.base // the other is the worker's own affair
		}
		if err := cmp.Or(r.unguarded(), f.absence()); err != nil {
			reason = fmt.Errorf("hold addresses on %s: %w", f.name, err)
		}
	}
	if r.macvlan != nil && r.macvlan.failure != nil { // wished or not: it will be
		reason = r.macvlan.failure
	}
	switch {
	case reason == nil && r.linkErr != "":
		r.linkErr = ""
		r.say(Event{Kind: Recovered})
	case reason != nil && r.linkErr != reason.Error():
		r.linkErr = reason.Error()
		r.say(Event{Kind: Failed, Err: reason})
	}
}

// absence says why nothing can be put on the interface; nil when it can.
func (f *iface) absence() error {
	switch {
	case f.link.index == 0:
		return ErrNoInterface
	case !f.link.up:
		return ErrLinkDown
	}
	return nil
}

// hardware returns the interface's Ethernet address.
func (f *iface) hardware() net.HardwareAddr { return f.link.mac[:] }
