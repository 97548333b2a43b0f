package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

const (
	// maxRetryAfter bounds the doubling of retry_after.
	maxRetryAfter = time.Hour
	// ownerRetryAfter is the shortest retry_after of an address owner. It is
	// master the moment it leaves FAULT: without a hold it would fail, recover
	// and be master again for ever, all in one turn of the loop.
	ownerRetryAfter = time.Second
)

// router is one virtual router with everything around its state machine.
type router struct {
	node      *node
	cfg       config.Router
	id        vrrp.ID
	family    vrrp.Family
	link      *uplink
	tracks    []health.Track
	addresses addresses
	hooks     hooks
	log       *slog.Logger

	role    vrrp.Role // as of the last change that was handled
	started bool      // the first evaluation is over: INIT does not come back
	// masterSince is when the router last became master, or ceased to be; 0
	// when it has not been yet.
	masterSince time.Duration
	hold        health.Hold
	failure     string   // why hold was begun
	faults      []string // the reasons for FAULT, newest evaluation
	evalAt      time.Duration

	broken      map[netip.Addr]error // addresses that could not be put in place
	brokenSince time.Duration

	heldBy  string // the holder of our addresses that INIT waits for
	on      bool   // addresses are, or may be, on this host
	holds   uint64 // sequence of Hold: a new number announces again
	pending *role.Transition
	master  vrrp.Rival // who else holds the role, as far as was heard; zero while this node does
}

// newRouter puts a configured router in the set.
func (n *node) newRouter(c config.Router) (*router, error) {
	r := &router{
		node:   n,
		cfg:    c,
		family: vrrp.IPv4,
		link:   n.uplink(c.Interface),
		evalAt: vrrp.Never,
		broken: make(map[netip.Addr]error),
	}
	retryAfter := c.RetryAfter
	if c.Priority == 255 {
		retryAfter = max(retryAfter, ownerRetryAfter)
	}
	r.hold = health.NewHold(retryAfter, maxRetryAfter)
	checksum := vrrp.PseudoHeader
	if c.PlainChecksum {
		checksum = vrrp.MessageOnly
	}
	if c.IPv6 {
		r.family = vrrp.IPv6
	}
	var addrs []netip.Addr
	for _, a := range c.Addresses {
		addrs = append(addrs, a.Prefix.Addr())
	}
	var err error
	r.id, err = n.set.Add(vrrp.Config{
		Link:         r.link.number,
		Family:       r.family,
		VRID:         c.VRID,
		Priority:     c.Priority,
		Interval:     c.Interval,
		Preempt:      c.Preempt,
		Addresses:    addrs,
		Checksum:     checksum,
		BestRival:    c.BestRival,
		SlowestRival: c.SlowestRival,
	})
	if err != nil {
		return nil, fmt.Errorf("virtual router %s: %w", c.Name, err)
	}
	r.link.routers = append(r.link.routers, r)
	r.link.vrids[c.IPv6] = r.link.vrids[c.IPv6].With(c.VRID)
	r.log = n.log.With("router", c.Name, "interface", c.Interface, "family", r.family.String(), "vrid", c.VRID)
	r.tracks = tracksOf(c.Track)
	r.addresses = n.out.addresses(addressesOf(c))
	r.hooks = n.out.hooks(hooksOf(c, n.cfg))
	return r, nil
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
	addr, _ := r.link.state.Source(r.cfg.IPv6, virtual)
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

// do carries out one action; advertisements have been sent before.
func (r *router) do(now time.Duration, a vrrp.Action) {
	switch a.Kind {
	case vrrp.Hold, vrrp.Announce:
		r.on = true
		r.holds++
		r.addresses.Hold(r.holds)
	case vrrp.Release:
		if a.Addr.IsValid() {
			r.addresses.Release(a.Addr)
		} else {
			r.addresses.Release()
		}
	case vrrp.Change:
		r.changed(now, a)
	case vrrp.Reassert:
		r.log.Warn("two masters: this node won and announced its addresses again",
			"rival", r.nameOf(a.Rival), "rival_priority", a.Rival.Priority, "for", round(a.Elapsed))
		r.tell(role.Transition{To: role.Master, From: role.Master, Reassert: true, Reason: r.nameOf(a.Rival) + " was master as well"})
	case vrrp.Vacant:
		r.vacant(now, a)
	case vrrp.Yielded:
		r.log.Info("priority fell, and nobody took over", "within", round(a.Elapsed))
	case vrrp.Notice:
		if r.node.noticed.allow(now, noticeKey{r.id, a.Note, a.Rival.Addr}) {
			r.notice(a)
		}
	}
}

// changed handles a change of role.
func (r *router) changed(now time.Duration, a vrrp.Action) {
	reason := r.reason(a)
	r.role = a.To
	r.heldBy = ""
	if a.Cause == vrrp.CauseUnelectable {
		r.heldBy = r.nameOf(a.Rival)
	}
	if a.From == vrrp.Master || a.To == vrrp.Master {
		r.masterSince = now
	}
	r.pending = nil
	clear(r.broken)
	r.node.dirty = append(r.node.dirty, r)
	r.log.Info("role", "from", a.From.String(), "to", a.To.String(), "reason", reason,
		"priority", r.node.set.State(r.id).Priority)
	t := role.Transition{To: state(a.To), From: state(a.From), Reason: reason}
	switch a.To {
	case vrrp.Master:
		t.Takeover = takeover(a.Cause)
		if !a.Rival.Addr.IsValid() {
			a.Rival = r.master
		}
		t.PreviousMaster = r.nameOf(a.Rival)
		r.master = vrrp.Rival{}
		r.pending = &t // told when the addresses are on
	case vrrp.Backup, vrrp.Fault:
		if a.Rival.Addr.IsValid() {
			r.master = a.Rival
		}
		r.tell(t)
	}
}

// tell completes a transition and hands it to the hooks.
func (r *router) tell(t role.Transition) {
	n := r.node
	st := n.set.State(r.id)
	t.Priority = int(st.Priority)
	switch {
	case t.To == role.Master:
		t.Master, t.MasterAddress = n.cfg.Node, st.Local.String()
	case r.master.Addr.IsValid():
		t.Master, t.MasterAddress = r.nameOf(r.master), r.master.Addr.String()
	}
	if t.From == role.Master && t.To != role.Master {
		t.PreviousMaster = n.cfg.Node
	}
	r.hooks.Tell(t)
}

// addressEvent takes what the address worker says of this router. Off and what
// follows a Hold may come late: what belongs to an earlier one says nothing of
// this one.
func (r *router) addressEvent(now time.Duration, e vip.Event) {
	if e.Seq != r.holds {
		return
	}
	switch e.Kind {
	case vip.On:
		r.on = true // also again: an interface that was made anew had taken them away
		clear(r.broken)
		r.tellPending()
	case vip.Off:
		r.on = false
	case vip.Failed:
		if e.Address.IsValid() {
			r.log.Error("virtual address could not be put in place", "address", e.Address, "err", e.Err)
		} else { // the link's state says so too, as a reason for FAULT
			r.log.Info("virtual addresses wait for their interface", "err", e.Err)
		}
		if len(r.broken) == 0 {
			r.brokenSince = now
		}
		r.broken[e.Address] = e.Err
		r.node.dirty = append(r.node.dirty, r)
	case vip.Recovered:
		if e.Address.IsValid() {
			r.log.Info("virtual address is in place", "address", e.Address)
		}
		delete(r.broken, e.Address)
	case vip.Repaired:
		r.log.Warn("virtual address was removed by others: put back and announced", "address", e.Address, "after", round(e.After))
	case vip.Removed:
		r.log.Warn("virtual address was removed by others, and stays away as repair is false", "address", e.Address)
	case vip.Contested:
		r.log.Error("virtual address is removed again and again", "address", e.Address, "err", e.Err)
	}
}

// tellPending tells the hooks of a mastership whose addresses are on.
func (r *router) tellPending() {
	if r.pending != nil {
		r.tell(*r.pending)
		r.pending = nil
	}
}
