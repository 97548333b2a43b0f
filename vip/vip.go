package vip

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"
)

// Protocol is the address protocol number (IFA_PROTO) that the worker writes on
// each address it installs: 112, VRRP's IP protocol number, which neither the
// kernel (1 to 3) nor iproute2 uses for addresses. `ip -d address` shows it.
// Kernels before 5.18 ignore it. Routes and rules get the same number as their
// protocol (rtm_protocol, FRA_PROTOCOL), which all kernels keep.
const Protocol = 112

// Announce says how often an address is announced while it is held.
type Announce struct {
	// Count is how many announcements a burst has, the first at once, the
	// others 50 ms apart. Below 1 means 1.
	Count int
	// AgainAfter is the time from the first announcement to the repetition of
	// the whole burst; 0 means no repetition.
	AgainAfter time.Duration
	// Every is the time between single announcements after the bursts, for as
	// long as the address is held; 0 means none.
	Every time.Duration
	// Gap is the least time between two announcements on the interface, on it and
	// the virtual MACs that it carries together; of the routers there the longest
	// counts. 0 means 32 in 3 ms.
	Gap time.Duration
	// AlsoOn names more interfaces that every announcement is sent on, as it is,
	// for switches that must learn the way. One that does not exist, is down or
	// is no Ethernet is passed over; that an announcement fails there counts for
	// nothing.
	AlsoOn []string
}

// Address is one virtual address.
type Address struct {
	// Prefix is the address with the prefix length to install it with; /32 or
	// /128 when the address brings no network.
	Prefix netip.Prefix
	// Repair says that the address is put back when somebody else removes it.
	Repair bool

	// What follows is compared with what the kernel has, except Source, which each
	// renewal sets, and Label and Broadcast where none is wished. An address with
	// other options is taken off and put on again, within some 0.1 ms, for the
	// kernel does not change them in place.

	// Interface is where the address goes, when that is not the router's
	// interface or its virtual MAC's.
	Interface string
	// Label is the name that old tools show for an IPv4 address (IFA_LABEL); it
	// begins with the interface's name.
	Label string
	// Scope is RT_SCOPE_UNIVERSE, RT_SCOPE_LINK or RT_SCOPE_HOST (rtnetlink(7)) of
	// an IPv4 address; that of an IPv6 address the kernel finds by itself.
	Scope uint8
	// Broadcast is that of an IPv4 network; the zero Addr means none.
	Broadcast netip.Addr
	// Peer is the other end of a point-to-point link; the zero Prefix means none.
	// Its length then counts, as with ip(8), not that of Prefix. An IPv6 address
	// with a peer brings a route to the peer alone, not to the peer's network.
	Peer netip.Prefix
	// NoPrefixRoute says that the address brings no route to its network.
	NoPrefixRoute bool
	// Source lets the kernel choose an IPv6 address as a source.
	Source bool
}

// VirtualMAC is an interface of its own for a router's addresses: a macvlan in
// bridge mode on top of the router's interface, with the virtual router MAC
// address (RFC 9568 section 7.3). The worker makes it as soon as that interface
// exists, sets it up while an address is wished, and down before the addresses
// go. It takes it away when Run ends with no address on it.
//
// The interface below and the macvlan answer ARP each for its own addresses only
// (arp_ignore, arp_announce); what the one below had is in the macvlan's alias
// and is put back with the last one. The macvlan forwards as the interface
// below does, takes nothing from router advertisements, and its routes are the
// host's last choice (metric 1048576). Its IPv6 link-local address is a random
// one, or none where a virtual address is link-local.
//
// Whatever others do to it is undone. A macvlan of that name is taken over, and
// mended or made anew where it is another one; anything else of that name is
// not touched. A macvlan with such an alias that no router has is removed.
type VirtualMAC struct {
	Name string // at most 15 bytes
	MAC  [6]byte
}

// Route is a route that is there while the router's addresses are. Where another
// program has made one of the same To, Table and Metric it is not put in place,
// which is Failed, until the other has gone.
type Route struct {
	To        netip.Prefix // masked; of length 0: the default route
	Via       netip.Addr   // the zero Addr: none
	Interface string       // empty: the kernel finds it by Via
	Source    netip.Addr   // preferred source; the zero Addr: none
	Metric    uint32       // 0: the kernel's default
	Table     uint32       // 254 is main
	Scope     uint8        // RT_SCOPE_... of an IPv4 route; ip(8) takes LINK for one without Via
	Type      uint8        // RTN_...; all but RTN_UNICAST have neither Via nor Interface
	MTU       uint32       // 0: none
	OnLink    bool         // RTNH_F_ONLINK
	Repair    bool         // put back when somebody else removes it
}

// Rule is a rule of policy routing that is there while the router's addresses
// are. An equal rule of another program serves in its place, and stays.
type Rule struct {
	IPv6     bool
	From, To netip.Prefix // masked; the zero Prefix: any
	Table    uint32
	Priority uint32
	FwMark   uint32 // 0 without FwMask: any
	FwMask   uint32 // of FwMark; 0: all of it
	Input    string // interface; empty: any
	Output   string
	Repair   bool // put back when somebody else removes it
}

// Router is what the worker has to know of one virtual router. It changes only by
// [Worker.Reconfigure].
type Router struct {
	// Name is the router's name, repeated in its events.
	Name string
	// Interface is the name of the interface that carries the addresses. It
	// need not exist yet.
	Interface string
	// Addresses are valid and distinct; no other router of the same interface
	// has one of them.
	Addresses []Address
	// Lifetime is how long the kernel keeps an address that is no longer
	// renewed; the worker renews at a third of it. Rounded up to seconds; 0
	// means for ever. Below 3 s a renewal can come too late.
	Lifetime time.Duration
	// Announce is the announcement policy.
	Announce Announce
	// Native says that the addresses belong to this host (priority 255). An
	// address that is present already and was not installed by this program is
	// then the host's own: it is announced, never changed, never removed.
	Native bool
	// VirtualMAC is the interface that the addresses are on; nil means Interface.
	VirtualMAC *VirtualMAC
	// Refuse drops packets to the addresses, save for ARP and ND (Accept_Mode
	// false, RFC 9568 section 6.1), on whatever interface they come but lo: what
	// the host sends to itself passes. It is done by the nftables table
	// "inet baton", which is put back when others remove it. While it cannot be
	// made, no address of the router is put on. Of a Native router it is ignored
	// (section 6.4.3).
	Refuse bool
	// Routes and Rules follow the addresses: they are put in place once all
	// addresses are on, in this order, and go in reverse before the addresses do.
	// A Release of some addresses leaves them in place until all are released:
	// they serve this host alone, also while it lends addresses to its end. On and
	// Off do not wait for them.
	Routes []Route
	Rules  []Rule
}

// Event is something that the worker has to say about a router.
type Event struct {
	// Router is the router's name; empty for Stuck.
	Router string
	Kind   EventKind
	// Address is the address concerned; the zero Addr when it is the router as a
	// whole, or an Object.
	Address netip.Addr
	// Object is the route or rule concerned, as [Route.String] or [Rule.String]
	// has it; else empty. Its kind is Failed, Recovered, Repaired, Removed or
	// Contested, and On and Off do not depend on it.
	Object string
	// Err is the reason, set with Failed, Contested and Stuck.
	Err error
	// After is the time from noticing to having it mended and announced
	// (Repaired), or the time waited so far (Stuck).
	After time.Duration
	// Seq is the seq of the router's last Hold; 0 before the first.
	Seq uint64
}

// EventKind is the kind of an Event; its zero value is invalid.
type EventKind uint8

// The kinds of events.
const (
	_ EventKind = iota
	// On: all wished addresses are on and each has been announced. Once per Hold.
	On
	// Off: none of the router's addresses is on. Once after start, when what an
	// earlier run left has been removed (unless Hold came first); once per
	// Release that leaves none; and when the last one has gone with the interface
	// or, its Repair being false, otherwise. Then On follows when they are back.
	Off
	// Failed: something wished cannot be done; Err says what and why. Once per
	// change of the error; it is tried again until it succeeds or the wish is
	// gone.
	Failed
	// Recovered: what had failed is done.
	Recovered
	// Repaired: the address, route or rule was removed by somebody else; it is
	// back, and the address has been announced. With none of them: somebody
	// removed or changed the virtual MAC's interface; it is as it was, with all
	// addresses, and they have been announced.
	Repaired
	// Removed: it was removed by somebody else and stays away until
	// the next Hold, since its Repair is false.
	Removed
	// Contested: somebody removes it, or changes the virtual MAC's interface,
	// again and again. It is put back at a bounded rate from now on, without
	// further Repaired events until it has been left alone for a while.
	Contested
	// Stuck: the kernel has not answered a request for some time. The worker
	// waits on.
	Stuck
)

// String returns the kind in lower case.
func (k EventKind) String() string {
	switch k {
	case On:
		return "on"
	case Off:
		return "off"
	case Failed:
		return "failed"
	case Recovered:
		return "recovered"
	case Repaired:
		return "repaired"
	case Removed:
		return "removed"
	case Contested:
		return "contested"
	case Stuck:
		return "stuck"
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Options are a Worker's surroundings.
type Options struct {
	// Log gets what no event tells; nil discards it.
	Log *slog.Logger
	// Report gets the events, in order and never two at a time: from the
	// goroutine of Run, save for Stuck, which comes from a timer while that
	// goroutine waits for the kernel. It must not block. Nil discards them.
	Report func(Event)
}
