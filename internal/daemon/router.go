package daemon

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
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
	// addressGrace is how long a master may be without an address of its own
	// before it counts as unable to hold it: what passes by itself, such as a
	// link that goes down, has shown itself by then.
	addressGrace = time.Second
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

// linkFault says why nobody can be heard on the link, or is empty.
func (r *router) linkFault() string {
	u := r.link
	switch {
	case !u.exists:
		return fmt.Sprintf("interface %s does not exist", u.name)
	case !u.state.Up:
		return fmt.Sprintf("interface %s is down", u.name)
	case u.problem[r.cfg.IPv6] != "":
		return u.problem[r.cfg.IPv6]
	case r.source().IsValid():
		return ""
	case r.cfg.Source.IsValid():
		return fmt.Sprintf("source_address %s is not on interface %s", r.cfg.Source, u.name)
	case r.cfg.IPv6:
		return fmt.Sprintf("interface %s has no link-local address", u.name)
	}
	return fmt.Sprintf("interface %s has no IPv4 address of its own", u.name)
}

// evaluate recomputes, from a snapshot, whether the router takes part in the
// election and with which priority.
func (r *router) evaluate(now time.Duration) {
	n := r.node
	if n.leaving {
		r.evalAt = vrrp.Never
		return
	}
	st := n.set.State(r.id)
	verdict := func(check string) health.Verdict { return n.verdicts[check].To }
	out := health.Evaluate(int(r.cfg.Priority), r.tracks, verdict, health.State{Master: st.Role == vrrp.Master, Since: r.masterSince}, now)
	r.evalAt = out.Next
	if !r.started && len(out.Waiting) > 0 {
		return
	}
	link := r.linkFault()
	r.serve(now, st, out, link)
	faults := r.reasons(now, link, out)
	changed := !slices.Equal(faults, r.faults)
	r.faults = faults
	first := !r.started
	r.started = true
	// The fault goes before a priority that falls with it, or the router would
	// yield and then leave; and a router starts with the priority it has.
	switch {
	case len(faults) > 0:
		if changed && st.Role == vrrp.Fault {
			r.log.Info("reasons for FAULT changed", "reason", strings.Join(faults, "; "))
		}
		r.step(now, vrrp.Event{Kind: vrrp.Faulty, Deaf: link != "", Reason: strings.Join(faults, "; ")})
		r.reprioritise(now, st, out)
	case first:
		r.reprioritise(now, st, out)
		r.step(now, vrrp.Event{Kind: vrrp.Startup})
	default:
		r.reprioritise(now, st, out)
		r.step(now, vrrp.Event{Kind: vrrp.Recovered})
	}
}

// serve keeps account of whether this router, or another one, does what a
// master has to do. When a check that asks "am I serving?" fails, or a virtual
// address cannot be put in place, a hold begins: out of the role neither
// counts, and without a hold the node would look healthy and take the role
// again at once.
func (r *router) serve(now time.Duration, st vrrp.State, out health.Outcome, link string) {
	if st.Role != vrrp.Master {
		if st.Master.Addr.IsValid() {
			r.hold.Occupied()
		}
		return
	}
	for _, t := range r.tracks {
		if t.Effect.When == health.Master && slices.Contains(out.Faults, t.Check) {
			r.fail(now, r.checkFault(t.Check))
			return
		}
	}
	if len(r.broken) > 0 && link == "" {
		if at := r.brokenSince + addressGrace; now < at {
			r.evalAt = min(r.evalAt, at)
		} else {
			for _, err := range r.broken {
				r.fail(now, err.Error()) // one of them will do
				return
			}
		}
	}
	r.hold.Served(now)
}

// fail holds the router in FAULT for retry_after: it could not do as master
// what a master has to do.
func (r *router) fail(now time.Duration, why string) {
	r.failure = why
	r.hold.Failed(now)
}

// reasons lists why the router is in FAULT, if it is.
func (r *router) reasons(now time.Duration, link string, out health.Outcome) []string {
	var reasons []string
	if link != "" {
		reasons = append(reasons, link)
	}
	for _, check := range out.Faults {
		reasons = append(reasons, r.checkFault(check))
	}
	if until := r.hold.Until(); until > now {
		r.evalAt = min(r.evalAt, until)
		if !slices.Contains(reasons, r.failure) {
			reasons = append(reasons, r.failure+" (held: it failed as master)")
		}
	}
	return reasons
}

func (r *router) checkFault(check string) string {
	if text := r.node.verdicts[check].Text; text != "" {
		return fmt.Sprintf("%s fails: %s", check, text)
	}
	return check + " fails"
}

func (r *router) reprioritise(now time.Duration, st vrrp.State, out health.Outcome) {
	if out.Priority == int(st.Priority) {
		return
	}
	r.log.Info("priority", "from", st.Priority, "to", out.Priority, "role", st.Role.String(), "terms", terms(r.cfg.Priority, out))
	r.step(now, vrrp.Event{Kind: vrrp.Reprioritised, Priority: uint8(out.Priority)})
}

// terms writes a priority as the sum it is: "200 - 60 (galera)".
func terms(base uint8, out health.Outcome) string {
	var b strings.Builder
	fmt.Fprint(&b, base)
	for _, t := range out.Terms {
		sign, amount := "+", t.Amount
		if amount < 0 {
			sign, amount = "-", -amount
		}
		fmt.Fprintf(&b, " %s %d (%s)", sign, amount, t.Check)
	}
	return b.String()
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

// vacant ends a hold early: a node that failed as master is better than none.
func (r *router) vacant(now time.Duration, a vrrp.Action) {
	if r.hold.Until() <= now {
		return
	}
	r.hold.Vacant(now)
	r.log.Warn("nobody holds the role: the hold after a failure as master ends early",
		"nobody_for", round(a.Elapsed), "in", round(max(0, r.hold.Until()-now)))
	r.node.dirty = append(r.node.dirty, r)
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

// weighted tells whether a check can move the router's priority, here or on
// the other nodes, which have the same file.
func (r *router) weighted() bool {
	return slices.ContainsFunc(r.tracks, func(t health.Track) bool { return t.Effect.Kind == health.Weight })
}

func (r *router) nameOf(rival vrrp.Rival) string { return r.node.nameOf(rival, r) }

// reason says in words why a role changed.
func (r *router) reason(a vrrp.Action) string {
	rival := r.nameOf(a.Rival)
	priority := r.node.set.State(r.id).Priority
	switch a.Cause {
	case vrrp.CauseStartup:
		if r.heldBy != "" {
			return r.heldBy + ", which could not be elected with, is no longer heard"
		}
		if slices.ContainsFunc(r.tracks, health.Track.HoldsInit) {
			return "every check that could fault it has answered"
		}
		return "started"
	case vrrp.CauseOwner:
		return "owns the addresses (priority 255)"
	case vrrp.CauseSilence:
		return "heard nobody for " + round(a.Elapsed)
	case vrrp.CauseLeft:
		return fmt.Sprintf("%s left (priority 0); skew %s", rival, round(a.Elapsed))
	case vrrp.CausePreempt:
		return fmt.Sprintf("%d beats %d of %s", priority, a.Rival.Priority, rival)
	case vrrp.CauseBetter:
		return fmt.Sprintf("%s is higher: %d above %d", rival, a.Rival.Priority, priority)
	case vrrp.CauseTie:
		return fmt.Sprintf("%s has priority %d as well, and the higher address", rival, a.Rival.Priority)
	case vrrp.CauseStalled:
		return fmt.Sprintf("this host stood still for %s, and %s took over", round(a.Elapsed), rival)
	case vrrp.CauseRecovered:
		return "no reason for FAULT is left"
	case vrrp.CauseShutdown:
		return "baton stops"
	case vrrp.CauseUnelectable:
		return fmt.Sprintf("%s holds addresses of ours and cannot be elected with: %s", rival, a.Reason)
	}
	return a.Reason
}

// noticeKey is what one finding is about.
type noticeKey struct {
	router vrrp.ID
	note   vrrp.Note
	peer   netip.Addr
}

// notice logs a finding about a peer, or about ourselves.
func (r *router) notice(a vrrp.Action) {
	rival := slog.String("peer", r.nameOf(a.Rival))
	switch a.Note {
	case vrrp.NoteInterval:
		r.log.Warn("a peer has another advertisement interval; the master's counts", rival)
	case vrrp.NoteAddresses:
		r.log.Warn("a peer has other virtual addresses: give every node the same list", rival)
	case vrrp.NoteChecksum:
		r.log.Warn("a peer sends the other IPv4 checksum, and may refuse ours: see checksum", rival)
	case vrrp.NoteOwners:
		r.log.Warn("a peer has priority 255 as well: only one node can own the addresses", rival)
	case vrrp.NoteEqualPriority:
		r.log.Info("a peer has the same priority: the higher address decides", rival, "priority", a.Rival.Priority)
	case vrrp.NoteConflict:
		r.log.Warn("a peer is master as well: it is told that this node is better", rival, "peer_priority", a.Rival.Priority)
	case vrrp.NoteLate:
		r.log.Warn("this process was late: it listens before it acts", "late", round(a.Elapsed))
	}
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

// takeover is the hooks' word for how the role was got.
func takeover(c vrrp.Cause) string {
	switch c {
	case vrrp.CauseLeft:
		return "handover"
	case vrrp.CauseSilence:
		return "silence"
	}
	return "election"
}

func state(r vrrp.Role) role.State { return role.State(r.String()) }
