package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// router is one virtual router with everything around its state machine.
type router struct {
	node      *node
	cfg       config.Router
	name      string // with the family, where another router has the same name
	id        vrrp.ID
	family    vrrp.Family
	link      *uplink
	mac       link.MAC // that its advertisements come from; zero: the interface's own
	group     *group
	addresses addresses
	log       *slog.Logger

	entered bool // it has left INIT, or was to: a new one of a group that runs has not

	role   vrrp.Role // as of the last change that was handled
	faults []string  // the reasons for FAULT of its own and of its group, newest evaluation

	broken      map[netip.Addr]error // addresses that could not be put in place
	brokenSince time.Duration
	failing     map[string]error // routes and rules likewise, by what they are

	kept     vrrp.Action   // the first advertisement as master, while it is kept back
	keptTill time.Duration // at most; Never where none is

	heldBy   string     // the holder of our addresses that INIT waits for
	wanted   bool       // the role wants the addresses on, whether or not their turn has come
	on       bool       // addresses are, or may be, on this host
	inPlace  bool       // all of the newest Hold are
	holds    uint64     // sequence of Hold: a new number announces again
	follows  vrrp.Rival // who is master elsewhere, as the services know it
	shown    vrrp.Rival // the same, as the newest status has it
	heard    []*heardPeer
	heardNew time.Duration // when the newest of them was heard first

	leftWord bool       // it has sent that it leaves, in this mastership
	master   vrrp.Rival // who else holds the role, as far as was heard; zero while this node does
}

// newRouter puts a configured router in the set, and in its group.
func (n *node) newRouter(c config.Router) (*router, error) {
	r := &router{
		node:   n,
		cfg:    c,
		name:   n.nameFor(c),
		family: familyOf(c.IPv6),
		link:   n.uplink(c.Interface),
		group:  n.group(c),
		log:    n.logOf(c),
		broken: make(map[netip.Addr]error),

		failing: make(map[string]error),

		keptTill: vrrp.Never,
	}
	var err error
	r.id, err = n.set.Add(electionOf(c, n.cfg, r.link.number, r.group.number))
	if err != nil {
		return nil, fmt.Errorf("virtual router %s: %w", c.Name, err)
	}
	if i := int(r.id); i == len(n.byID) {
		n.byID = append(n.byID, r)
	} else {
		n.byID[i] = r
	}
	if c.VirtualMAC != nil && !c.VirtualMAC.FromInterface {
		r.mac = link.VirtualMAC(c.VRID, c.IPv6)
	}
	r.group.routers = append(r.group.routers, r)
	r.link.add(r)
	r.addresses = n.out.addresses(addressesOf(c, r.name))
	return r, nil
}

// nameFor is the name of a router, with the family where another one has the same.
func (n *node) nameFor(c config.Router) string {
	if slices.ContainsFunc(n.cfg.Routers, func(o config.Router) bool { return o.Name == c.Name && o.IPv6 != c.IPv6 }) {
		return c.Name + " " + familyOf(c.IPv6).String()
	}
	return c.Name
}

func (n *node) logOf(c config.Router) *slog.Logger {
	return n.log.With("router", c.Name, "interface", c.Interface, "family", familyOf(c.IPv6).String(), "vrid", c.VRID)
}

// source is the address that the router's advertisements come from, or the
// zero Addr where there is none. For a router that does not own its virtual
// addresses it is never one of them (RFC 9568 section 7.2).
func (r *router) source() netip.Addr {
	virtual := func(addr netip.Addr) bool {
		return slices.ContainsFunc(r.link.routers, func(other *router) bool {
			return other.cfg.Priority != 255 && slices.ContainsFunc(other.cfg.Addresses, func(a config.Address) bool {
				return a.Prefix.Addr() == addr
			})
		})
	}
	if want := r.cfg.Source; want.IsValid() {
		for _, a := range r.link.state.Addresses {
			if a.Prefix.Addr() == want && !a.Tentative {
				return want
			}
		}
		return netip.Addr{}
	}
	var addr netip.Addr
	if len(r.cfg.Peers) > 0 {
		addr, _ = r.link.state.SourceTo(r.cfg.Peers[0], virtual)
	} else {
		addr, _ = r.link.state.Source(r.cfg.IPv6, virtual)
	}
	return addr
}

// step hands an event to the state machine. What that knows of a master ends
// with the role it was learned in, and the hooks ask for it.
func (r *router) step(now time.Duration, e vrrp.Event) {
	if m := r.node.set.State(r.id).Master; m.Addr.IsValid() {
		r.master = m
	}
	r.node.do(now, r.node.set.Step(now, r.id, e))
}

// mostKept is how long the first advertisement is kept back at most.
const mostKept = 20 * time.Millisecond

// keepBack keeps the first advertisement of a master with a virtual MAC until
// its addresses answer, and tells whether it did. It is the frame from which
// switches learn where that MAC is now, and to set an interface up and put the
// addresses on takes some milliseconds: 8 to 14 questions of a client at 1 kHz
// were lost at a planned move while the old master still answered. The second
// one waits with it, which may be due a moment later, as the routers of a link
// share a phase. A last word goes at once.
//
// So it is where an operator has this node take over: a keepalived lets go at the
// first advertisement of a better node, and lost 2 questions when it was faster.
func (r *router) keepBack(now time.Duration, a vrrp.Action, actions []vrrp.Action) bool {
	if r.keptTill != vrrp.Never && a.Priority > 0 {
		r.kept = a
		return true
	}
	r.keptTill = vrrp.Never
	if r.mac == (link.MAC{}) && !r.group.takes() || r.group.unplaced() {
		return false
	}
	takes := func(o vrrp.Action) bool { return o.Router == a.Router && o.Kind == vrrp.Hold }
	if !slices.ContainsFunc(actions, takes) {
		return false
	}
	r.kept, r.keptTill = a, now+r.mayKeep()
	r.node.keptTill = min(r.node.keptTill, r.keptTill)
	return true
}

// mayKeep is for how long no other backup acts that has waited for the same
// master: half of the time by which its skew is longer than ours. With two
// nodes there is none.
func (r *router) mayKeep() time.Duration {
	if r.group.takes() { // no other backup waits: the old master advertises still
		return addressGrace
	}
	if len(r.cfg.Priorities) == 2 {
		return min(mostKept, r.cfg.Interval/2)
	}
	own, next := r.node.set.State(r.id).Priority, uint8(0)
	for _, p := range r.cfg.Priorities {
		if p < own {
			next = max(next, p)
		}
	}
	steps := time.Duration(1)
	if next > 0 {
		steps = time.Duration(own - next)
	}
	return min(mostKept, steps*r.cfg.Interval/512)
}

// sendKept sends what was kept back, if anything.
func (r *router) sendKept() (sent bool) {
	if r.keptTill == vrrp.Never {
		return false
	}
	r.keptTill = vrrp.Never
	if r.node.send(r.kept) {
		r.node.out.flush()
	}
	return true
}

// do carries out one action; advertisements have been sent before.
func (r *router) do(now time.Duration, a vrrp.Action) {
	switch a.Kind {
	case vrrp.Send:
		if a.Priority == 0 {
			r.addresses.Lend()
		}
	case vrrp.Hold, vrrp.Announce:
		r.wanted, r.inPlace = true, false
		if !r.group.unplaced() {
			r.hold()
		}
	case vrrp.Release:
		r.wanted = false
		if a.Addr.IsValid() {
			r.addresses.Release(a.Addr)
		} else {
			r.addresses.Release()
		}
	case vrrp.Change:
		r.changed(now, a)
	case vrrp.Reassert:
		r.node.counters.reassert(a.Elapsed)
		r.log.Warn("two masters: this node won and announced its addresses again",
			"rival", r.nameOf(a.Rival), "rival_priority", a.Rival.Priority, "for", round(a.Elapsed))
		r.node.out.event(control.RouterEvent, r.group.name, "two masters", fmt.Sprintf("%s was master as well for %s, with %d: this node won and announced its addresses again",
			r.nameOf(a.Rival), round(a.Elapsed), a.Rival.Priority))
		r.group.tell(role.Transition{To: role.Master, From: role.Master, Reassert: true, Reason: r.nameOf(a.Rival) + " was master as well"})
	case vrrp.Vacant:
		r.group.vacant(now, a)
	case vrrp.Yielded:
		r.log.Info("priority fell, and nobody took over", "within", round(a.Elapsed))
		r.node.out.event(control.RouterEvent, r.group.name, "stays MASTER", "its priority fell, and nobody took over within "+round(a.Elapsed))
	case vrrp.Unheard:
		r.addresses.Hold(r.holds)
		r.group.unheard(a)
	case vrrp.Notice:
		if r.node.noticed.allow(now, noticeKey{r.id, a.Note, a.Rival.Addr}) {
			r.notice(a)
		}
	}
}

// hold puts the addresses on and announces them, or announces them again.
func (r *router) hold() {
	r.on, r.inPlace = true, false
	r.holds++
	r.addresses.Hold(r.holds)
}

// changed handles a change of role.
func (r *router) changed(now time.Duration, a vrrp.Action) {
	r.role = a.To
	if a.To == vrrp.Master {
		r.follows = vrrp.Rival{}
	} else {
		r.keptTill = vrrp.Never
	}
	if a.From == vrrp.Master {
		r.addresses.Lend() // what is still on is the successor's to announce
	}
	reason := r.reason(a)
	r.heldBy = ""
	if a.Cause == vrrp.CauseUnelectable {
		r.heldBy = r.nameOf(a.Rival)
	}
	clear(r.broken)
	clear(r.failing)
	attrs := []any{"from", a.From.String(), "to", a.To.String(), "reason", reason, "priority", r.node.set.State(r.id).Priority}
	if len(r.group.out.Terms) > 0 { // else the number says it all
		attrs = append(attrs, "why", r.group.explainPriority())
	}
	r.log.Info("role", attrs...)
	if a.Rival.Addr.IsValid() && (a.To == vrrp.Backup || a.To == vrrp.Fault) {
		r.master = a.Rival
	}
	r.group.changed(now, r, a)
}

// addressEvent takes what the address worker says of this router. Off and what
// follows a Hold may come late: what belongs to an earlier one says nothing of
// this one.
func (r *router) addressEvent(now time.Duration, e vip.Event) {
	if e.Seq != r.holds {
		return
	}
	r.node.counters.address(e.Kind)
	r.noteAddress(e)
	r.group.touch()
	if e.Object != "" {
		r.objectEvent(e)
		return
	}
	switch e.Kind {
	case vip.On:
		r.on = true // also again: an interface that was made anew had taken them away
		r.inPlace = true
		clear(r.broken)
		if r.sendKept() && r.mac == (link.MAC{}) {
			r.hold() // the old master lets an address go when it is announced after our first word
			return
		}
		r.group.placed()
		r.group.awaited()
	case vip.Off:
		r.on, r.inPlace = false, false
		r.group.awaited()
	case vip.Failed:
		switch {
		case e.Address.IsValid():
			r.log.Error("virtual address could not be put in place", "address", e.Address, "err", e.Err)
		case errors.Is(e.Err, vip.ErrNoInterface), errors.Is(e.Err, vip.ErrLinkDown):
			r.log.Info("virtual addresses wait for their interface", "err", e.Err) // the link's state is a reason for FAULT
		default:
			r.log.Error("virtual addresses cannot be put in place", "err", e.Err)
		}
		if len(r.broken) == 0 {
			r.brokenSince = now
		}
		r.broken[e.Address] = e.Err
		r.node.dirty = append(r.node.dirty, r.group)
	case vip.Recovered:
		if e.Address.IsValid() {
			r.log.Info("virtual address is in place", "address", e.Address)
		}
		delete(r.broken, e.Address)
	case vip.Repaired:
		if e.Address.IsValid() {
			r.log.Warn("virtual address was removed by others: put back and announced", "address", e.Address, "after", round(e.After))
		} else {
			r.log.Warn("interface of the virtual MAC was changed by others: made anew", "name", r.macvlan(), "after", round(e.After))
		}
	case vip.Removed:
		r.log.Warn("virtual address was removed by others, and stays away as repair is false", "address", e.Address)
	case vip.Contested:
		if e.Address.IsValid() {
			r.log.Error("virtual address is removed again and again", "address", e.Address, "err", e.Err)
		} else {
			r.log.Error("interface of the virtual MAC is changed again and again", "name", r.macvlan(), "err", e.Err)
		}
	}
}

// macvlan is the name of the interface of the router's virtual MAC, if it has
// one.
func (r *router) macvlan() string {
	if r.cfg.VirtualMAC == nil {
		return ""
	}
	return r.cfg.VirtualMAC.Name
}

// objectEvent takes what the address worker says of a route or a rule. Neither
// the role nor the hooks hang on one.
func (r *router) objectEvent(e vip.Event) {
	switch e.Kind {
	case vip.Failed:
		r.failing[e.Object] = e.Err
		r.log.Error("route or rule could not be put in place", "object", e.Object, "err", e.Err)
	case vip.Recovered:
		delete(r.failing, e.Object)
		r.log.Info("route or rule is in place", "object", e.Object)
	case vip.Repaired:
		r.log.Warn("route or rule was removed by others: put back", "object", e.Object, "after", round(e.After))
	case vip.Removed:
		r.log.Warn("route or rule was removed by others, and stays away as repair is false", "object", e.Object)
	case vip.Contested:
		r.log.Error("route or rule is removed again and again", "object", e.Object, "err", e.Err)
	}
}
