package daemon

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/link"
	"baton/internal/record"
	"baton/internal/role"
	"baton/internal/webhook"
	"baton/vip"
	"baton/vrrp"
)

// node is all virtual routers of this host and what they know: the part of
// the daemon that runs on the protocol loop. It does no I/O of its own and
// reads no clock, so a test can drive it.
type node struct {
	cfg *config.Config
	log *slog.Logger
	set *vrrp.Set
	out outlets

	routers  []*router
	byID     []*router // by vrrp.ID; nil where there is none
	groups   []*group
	numbers  int // that groups have been given
	links    []*uplink
	byCheck  map[string][]*group
	quorums  map[string]bool          // checks that ask whether this node is in a majority
	verdicts map[string]health.Change // newest, by check
	// forgotten are the checks that the configuration before had.
	forgotten map[string]bool
	refused   *refusals
	counters  *counters

	unsent  limiter[unsentKey] // advertisements that failed
	noticed limiter[noticeKey] // findings about peers

	standby *standby // of the whole node; nil: none

	dirty   []*group // to be evaluated before the turn ends
	buf     []byte   // an advertisement on its way out
	evalAt  time.Duration
	leaving bool
	leaveBy time.Duration // when the loop ends though something is not done yet; Never before leave
	stale   bool          // what was published is not all true any more: of the groups that are stale as well
	shown   []*shown      // that was published, by name
	placed  []*group      // that have their places in it

	// departed is when the last master left whose successor may want to know that its
	// services have stopped, and lingers how long that is waited for; 0: none did.
	departed, lingers time.Duration

	keptTill time.Duration // when the next advertisement that is kept back goes out
}

// outlets is what the node asks others to do. None of them may block.
type outlets struct {
	// send queues an advertisement on a link, from the link's own MAC address
	// where mac is zero; flush sends what is queued.
	send  func(u *uplink, mac link.MAC, src, dst netip.Addr, message []byte, urgent bool)
	flush func()
	// wall reads the wall clock, since the Unix epoch: for signatures.
	wall func() time.Duration
	// addresses is where a router's virtual addresses are wished for.
	addresses func(r vip.Router) addresses
	// hooks is who is told of a router's changes.
	hooks func(r role.Router) hooks
	// services runs what is bound to the router's group.
	services func(c config.Router, r role.Router) services
	// publish takes what the node looks like from outside. It is not changed
	// any more.
	publish func(s *snapshot)
	// announce tells the webhooks of an event.
	announce func(e webhook.Event)
	// event keeps an event for those who ask what has happened: see events.add.
	event func(kind control.EventKind, name, what, text string)
	// readdress tells the address worker what is new of routers, all in one step.
	readdress func(changes []addressChange)
	// retire lets the hooks of a group end when those that were told of something have
	// run, and its services when they are stopped; either may be nil.
	retire func(h hooks, s services)
	// relinked has the sockets of an uplink follow what its routers need of it.
	relinked func(u *uplink)
	// structure says that there are other groups than before.
	structure func()
	// keep has written down what is in standby.
	keep func(s savedStandby)
	// record keeps what a process has to know that takes over from this one.
	record func(election string, s record.State)
	// confirm asks a previous master whether its services have stopped, until an
	// answer says so or the time is over, and has confirmed called.
	confirm func(q confirmation, within time.Duration)
	// reboot reboots this host for a service of a group that does not stop, and
	// has rebootFailed called where it cannot.
	reboot func(group string)
}

// addresses is the wish for one router's virtual addresses: see vip.Handle.
type addresses interface {
	Hold(seq uint64)
	Lend()
	Release(addrs ...netip.Addr)
	Announced(addr netip.Addr) (times int, last time.Duration)
}

// hooks is told what one router has become: see role.Queue.
type hooks interface {
	Tell(t role.Transition)
	Resume(s role.State)
	Reconfigure(r role.Router)
}

// unsentKey is where an advertisement failed.
type unsentKey struct {
	iface    string
	src, dst netip.Addr
}

// uplink is an interface that routers advertise on.
type uplink struct {
	number int
	name   string
	state  link.Interface
	exists bool
	// problem says, for each family, why its sockets could not be opened.
	problem map[bool]string
	routers []*router
	known   map[bool]link.Known    // by whether IPv6: the families that are wanted
	virtual map[bool]bool          // by whether IPv6: advertisements come from a virtual MAC
	byVRID  map[bool]*[256]*router // by whether IPv6
	survey  vrrp.Survey            // who speaks for virtual routers that are not ours
}

// add notes what a router needs of the link.
func (u *uplink) add(r *router) {
	u.routers = append(u.routers, r)
	k := u.known[r.cfg.IPv6]
	set := &k.V3
	switch {
	case r.cfg.Version == 2 && len(r.cfg.Peers) > 0:
		set = &k.UnicastV2
	case r.cfg.Version == 2:
		set = &k.V2
	case len(r.cfg.Peers) > 0:
		set = &k.UnicastV3
	}
	*set = set.With(r.cfg.VRID)
	u.known[r.cfg.IPv6] = k
	if r.mac != (link.MAC{}) {
		u.virtual[r.cfg.IPv6] = true
	}
	if u.byVRID[r.cfg.IPv6] == nil {
		u.byVRID[r.cfg.IPv6] = new([256]*router)
	}
	u.byVRID[r.cfg.IPv6][r.cfg.VRID] = r
}

// heard notes who is master, where an advertisement was accepted that says so.
func (u *uplink) heard(now time.Duration, p link.Packet) {
	r := u.byVRID[p.Src.Is6()][p.Payload[1]]
	r.heardFrom(now, p.Src, p.Payload[2])
	st := r.node.set.State(r.id)
	if st.Role == vrrp.Master {
		return
	}
	if st.Master != r.shown { // also when it is the same as before a change of role, which forgets it
		r.group.touch()
	}
	r.group.awaited()
	if st.Master == r.follows {
		return
	}
	another := st.Master.Addr != r.follows.Addr
	r.follows = st.Master
	if another && st.Master.Addr.IsValid() {
		r.master = st.Master
		r.group.followMaster()
	}
}

// newNode builds the routers of a configuration, all in INIT.
func newNode(cfg *config.Config, log *slog.Logger, out outlets) (*node, error) {
	n := &node{
		cfg:      cfg,
		log:      log,
		set:      vrrp.NewSet(),
		out:      out,
		byCheck:  make(map[string][]*group),
		quorums:  make(map[string]bool),
		verdicts: make(map[string]health.Change),
		counters: newCounters(),
		buf:      make([]byte, 0, vrrp.MaxAdvertisementLen),
		evalAt:   vrrp.Never,
		leaveBy:  vrrp.Never,
		keptTill: vrrp.Never,
	}
	n.refused = newRefusals(log, n.counters)
	for _, c := range cfg.Checks {
		n.quorums[c.Name] = c.Type == config.QuorumCheck
	}
	for _, c := range cfg.Routers {
		r, err := n.newRouter(c)
		if err != nil {
			return nil, err
		}
		n.routers = append(n.routers, r)
	}
	for _, g := range n.groups {
		g.complete()
	}
	return n, nil
}

// uplink returns the link with the name, new where it is not known yet.
func (n *node) uplink(name string) *uplink {
	for _, u := range n.links {
		if u.name == name {
			return u
		}
	}
	u := newUplink(name)
	n.connect(u)
	return u
}

func newUplink(name string) *uplink {
	return &uplink{
		name:    name,
		problem: make(map[bool]string),
		known:   make(map[bool]link.Known),
		virtual: make(map[bool]bool),
		byVRID:  make(map[bool]*[256]*router),
	}
}

// connect makes a link one of the node's, with a number that no other has.
func (n *node) connect(u *uplink) {
	for slices.ContainsFunc(n.links, func(o *uplink) bool { return o.number == u.number }) {
		u.number++
	}
	n.links = append(n.links, u)
}

// start evaluates every group for the first time.
func (n *node) start(now time.Duration) {
	for _, g := range n.groups {
		g.startAt = now + g.routers[0].cfg.StartDelay
		g.begin(now)
	}
	n.dirty = append(n.dirty, n.groups...)
	n.settle(now)
}

// linkChanged takes the newest state of an uplink.
func (n *node) linkChanged(now time.Duration, u *uplink, state link.Interface, exists bool, problem map[bool]string) {
	u.state, u.exists, u.problem = state, exists, problem
	for _, r := range u.routers {
		src := r.source()
		if src.IsValid() && src != n.set.State(r.id).Local {
			n.do(now, n.set.Step(now, r.id, vrrp.Event{Kind: vrrp.Readdressed, Addr: src}))
		}
		n.dirty = append(n.dirty, r.group)
	}
	n.settle(now)
}

// verdict takes a check's changed verdict.
func (n *node) verdict(now time.Duration, c health.Change) {
	if n.forgotten[c.Check] {
		return // it was removed a moment ago
	}
	n.verdicts[c.Check] = c
	n.noteVerdict(c)
	n.out.announce(webhook.Check{Check: c.Check, From: c.From.String(), To: c.To.String(), Text: c.Text})
	n.dirty = append(n.dirty, n.byCheck[c.Check]...)
	n.settle(now)
}

// reading is what is known of a check.
func (n *node) reading(check string) health.Reading { return n.verdicts[check].Reading() }

// packet takes a packet of the VRRP protocol from a link.
func (n *node) packet(now time.Duration, u *uplink, p link.Packet) {
	packet := vrrp.Packet{Src: p.Src, Dst: p.Dst, TTL: p.TTL, Message: p.Payload, Wall: n.out.wall()}
	actions, refusal := n.set.Receive(now, u.number, packet)
	n.do(now, actions)
	if refusal != vrrp.Accepted {
		n.refused.count(now, u.name, p, refusal)
	} else {
		u.heard(now, p)
	}
	if refusal == vrrp.RefusedVRID {
		u.survey.Hear(now, packet)
	}
	n.settle(now)
}

// announcement takes somebody else's claim to an address on a link.
func (n *node) announcement(now time.Duration, u *uplink, addr netip.Addr) {
	for _, r := range u.routers {
		if n.set.State(r.id).Addresses == vrrp.AddressesLent {
			n.do(now, n.set.Step(now, r.id, vrrp.Event{Kind: vrrp.Announced, Addr: addr}))
		}
	}
	n.settle(now)
}

// addressEvent takes what the address worker has to say.
func (n *node) addressEvent(now time.Duration, e vip.Event) {
	if e.Kind == vip.Stuck {
		n.log.Error("the kernel does not answer a request for addresses", "after", round(e.After), "err", e.Err)
		return
	}
	i := slices.IndexFunc(n.routers, func(r *router) bool { return r.name == e.Router })
	if i < 0 {
		return
	}
	n.routers[i].addressEvent(now, e)
	n.settle(now)
}

// expire handles what is due.
func (n *node) expire(now time.Duration) {
	n.do(now, n.set.Expire(now))
	if now >= n.keptTill {
		n.keptTill = vrrp.Never
		for _, r := range n.routers {
			if now >= r.keptTill {
				r.sendKept()
			}
			n.keptTill = min(n.keptTill, r.keptTill)
		}
	}
	if now >= n.evalAt {
		for _, g := range n.groups {
			if now >= g.evalAt {
				n.dirty = append(n.dirty, g)
			}
		}
	}
	n.settle(now)
}

// deadline is when expire has something to do next.
func (n *node) deadline() time.Duration { return min(n.set.Deadline(), n.evalAt, n.keptTill) }

// leave takes every router out of the election for good.
func (n *node) leave(now time.Duration) {
	n.leaving, n.leaveBy = true, now
	for _, g := range n.groups {
		g.leave(now)
	}
	n.settle(now)
}

// gone tells whether every group has left the election and nothing is held, nor
// left to be stopped.
func (n *node) gone() bool {
	return !slices.ContainsFunc(n.groups, func(g *group) bool { return !g.left || !g.free() }) && len(n.holding()) == 0
}

// stuck tells whether a group stays master, though it was told to leave, since a
// service of it does not stop.
func (n *node) stuck() bool {
	return slices.ContainsFunc(n.groups, func(g *group) bool { return g.bound != nil && g.bound.stuck != "" && !g.leaving })
}

// holding names the routers whose addresses are, or may be, on this host.
func (n *node) holding() []string {
	var names []string
	for _, r := range n.routers {
		if r.on {
			names = append(names, r.name)
		}
	}
	return names
}

// let lets everything go now, whether or not a successor was heard and services
// have stopped.
func (n *node) let(now time.Duration) {
	for _, g := range n.groups {
		g.abort("baton stops")
		if !g.leaving { // it stayed for a service's sake
			g.leaving = true
			g.tell(role.Transition{To: role.Stop, From: state(g.role), Reason: "baton stops"})
		}
		if !g.left {
			g.depart(now)
		}
		if g.bound != nil {
			g.bound.stopped = true // nobody waits for it any more
		}
	}
	for _, r := range n.routers {
		r.addresses.Release()
	}
	n.settle(now)
}

// do carries out actions. Advertisements go first, also before the addresses
// of other routers: an old master must hear the new one before it sees its
// announcement.
func (n *node) do(now time.Duration, actions []vrrp.Action) {
	n.foretell(actions)
	sent := false
	for _, a := range actions {
		if a.Kind == vrrp.Send && !n.byID[a.Router].keepBack(now, a, actions) {
			queued := n.send(a)
			sent = queued || sent
			if a.Priority == 0 {
				n.byID[a.Router].leftWord = queued
			}
		}
	}
	if sent {
		n.out.flush()
	}
	for _, a := range actions {
		n.byID[a.Router].do(now, a)
	}
}

// send queues one advertisement, to each peer where the router has some, and tells
// whether there is anything to flush.
func (n *node) send(a vrrp.Action) (queued bool) {
	r := n.byID[a.Router]
	src := n.set.State(a.Router).Local
	switch {
	case !src.IsValid():
		return false // no address to speak from: the router is in FAULT for it
	case r.deaf():
		return false // a last word that its group has it say, and nobody hears
	}
	for _, dst := range n.set.Destinations(a.Router) {
		if dst == src {
			continue // one list for all nodes
		}
		n.buf = n.set.AppendAdvertisement(n.buf[:0], a.Router, a.Priority, dst, n.out.wall())
		n.out.send(r.link, r.mac, src, dst, n.buf, a.Priority == 0)
		queued = true
	}
	return queued
}

// sendFailed notes that the kernel refused advertisements.
func (n *node) sendFailed(now time.Duration, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range all.Unwrap() {
			n.sendFailed(now, e)
		}
		return
	}
	var key unsentKey
	if failed := (*link.SendError)(nil); errors.As(err, &failed) {
		key = unsentKey{failed.Interface, failed.Source, failed.Destination}
	}
	if n.unsent.allow(now, key) {
		n.log.Warn("advertisement not sent", "err", err)
	}
}

// settle evaluates the groups for which something has changed, until
// nothing changes any more: a changed role can change what a check means.
func (n *node) settle(now time.Duration) {
	if len(n.dirty) > 0 {
		for len(n.dirty) > 0 {
			g := n.dirty[len(n.dirty)-1]
			n.dirty = n.dirty[:len(n.dirty)-1]
			g.evaluate(now)
		}
		n.evalAt = vrrp.Never
		for _, g := range n.groups {
			n.evalAt = min(n.evalAt, g.evalAt)
		}
	}
	if n.stale {
		n.stale = false
		for _, g := range n.groups {
			g.note()
		}
		n.out.publish(n.status(now))
	}
	n.bury(now)
}
