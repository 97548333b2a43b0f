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
// Kernels before 5.18 ignore it.
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
}

// Address is one virtual address.
type Address struct {
	// Prefix is the address with the prefix length to install it with; /32 or
	// /128 when the address brings no network.
	Prefix netip.Prefix
	// Repair says that the address is put back when somebody else removes it.
	Repair bool
}

// Router is what the worker has to know of one virtual router. It does not
// change after [Worker.Add].
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
}

// Event is something that the worker has to say about a router.
type Event struct {
	// Router is the router's name; empty for Stuck.
	Router string
	Kind   EventKind
	// Address is the address concerned; the zero Addr when it is the router as a whole.
	Address netip.Addr
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
	// Repaired: the address was removed by somebody else; it is back and has
	// been announced.
	Repaired
	// Removed: the address was removed by somebody else and stays away until
	// the next Hold, since its Repair is false.
	Removed
	// Contested: somebody removes the address again and again. It is put back at
	// a bounded rate from now on, without further Repaired events until it has
	// been left alone for a while.
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
