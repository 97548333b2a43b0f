package config

import (
	"net/netip"
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
	Addresses               []Address     // in the order of the file; none where it says so, for hooks alone
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
	// Known are the addresses of all nodes, this one among them, that this router's advertisements come from, as far as `nodes`
	// or `source_address` tell for certain; else none.
	Known []netip.Addr

	VirtualMAC *VirtualMAC // nil: the addresses are on Interface itself
	Accept     bool        // a master that does not own the addresses takes packets to them

	PreemptDelay time.Duration // how long a worse master is followed first
	StartDelay   time.Duration // how long the router stays in INIT at least
	Missed       int           // advertisements missed until a backup acts, at least 1
	TrackLink    bool          // the loss of the link is FAULT

	Routes []Route // while master, in the order of the file
	Rules  []Rule

	// Services run where the role is, in this order. The addresses go on before the one with the index AddressesAt; all of a
	// group's members have the group's.
	Services      []Service
	AddressesAt   int
	PromoteAfter  time.Duration // how long a new master waits before it starts them
	OnStopFailure OnStopFailure
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
	FIFO                                       string // path of a named pipe that is told of every change; empty: none
}
