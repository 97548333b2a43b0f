package vrrp

import (
	"container/heap"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Routers of one link advertise in bursts of at most burst, burstGap apart:
// one batch costs a tenth of what as many single packets cost, and a default
// receive buffer holds 256 small advertisements.
const (
	burst    = 32
	burstGap = time.Millisecond
)

// Set is many virtual routers with one clock. It is for one goroutine. The
// slices of actions that its methods return are valid until the next call.
type Set struct {
	routers []*router // by ID; nil where one was removed
	lookup  map[network]*[256]*router
	groups  map[int]*group // by Config.Group
	bursts  map[int][]int  // by link: how many routers each burst has
	queue   queue
	actions []Action
	heard   Advertisement // reused for each packet
}

// network is where a VRID is unique (section 5.2.3).
type network struct {
	link   int
	family Family
}

// NewSet returns an empty set.
func NewSet() *Set {
	return &Set{
		lookup: make(map[network]*[256]*router),
		groups: make(map[int]*group),
		bursts: make(map[int][]int),
	}
}

// Add puts a router in the set, in INIT. It fails where the configuration is
// out of its documented ranges, or the VRID is taken on its link and family.
func (s *Set) Add(cfg Config) (ID, error) {
	if cfg.Version == 0 {
		cfg.Version = version3
	}
	if err := cfg.check(); err != nil {
		return 0, fmt.Errorf("add router VRID %d %s: %w", cfg.VRID, cfg.Family, err)
	}
	n := network{cfg.Link, cfg.Family}
	if s.lookup[n] == nil {
		s.lookup[n] = new([256]*router)
	}
	if s.lookup[n][cfg.VRID] != nil {
		return 0, fmt.Errorf("add router VRID %d %s: the VRID is taken on this link", cfg.VRID, cfg.Family)
	}
	r := &router{
		priority:       cfg.Priority,
		masterInterval: cfg.Interval,
		timer:          Never,
		preemptAt:      Never,
		holds:          slices.Concat(cfg.Addresses, cfg.Excluded),
		gone:           make([]bool, len(cfg.Addresses)+len(cfg.Excluded)),
		deadline:       Never,
		set:            s,
		signatures:     newSignatures(cfg.HMAC),
	}
	r.burst, r.offset = s.join(cfg.Link)
	r.configure(cfg)
	s.place(r)
	s.gather(r)
	s.lookup[n][cfg.VRID] = r
	heap.Push(&s.queue, r)
	return r.id, nil
}

func (c Config) check() error {
	switch {
	case c.Family != IPv4 && c.Family != IPv6:
		return fmt.Errorf("no family")
	case c.VRID == 0:
		return fmt.Errorf("VRID 0 is not in 1 to 255")
	case c.Priority == 0:
		return fmt.Errorf("priority 0 is not in 1 to 255")
	case len(c.Addresses) > 255:
		return fmt.Errorf("%d addresses are not in 0 to 255", len(c.Addresses))
	case c.PreemptDelay < 0:
		return fmt.Errorf("preempt delay %s is negative", c.PreemptDelay)
	}
	for _, a := range c.Addresses {
		if !c.Family.plain(a) {
			return fmt.Errorf("address %s is not plain %s", a, c.Family)
		}
	}
	if err := c.checkVersion(); err != nil {
		return err
	}
	if err := c.checkPeers(); err != nil {
		return err
	}
	if c.HMAC != nil {
		return c.HMAC.check()
	}
	return nil
}

// join finds the first burst of the link with room, and returns which it is and
// its phase. Links are spread over the millisecond, or all of them would speak at
// once.
func (s *Set) join(link int) (slot int, phase time.Duration) {
	counts := s.bursts[link]
	for slot < len(counts) && counts[slot] >= burst {
		slot++
	}
	if slot == len(counts) {
		counts = append(counts, 0)
	}
	counts[slot]++
	s.bursts[link] = counts
	spread := time.Duration(link%16) * burstGap / 16
	return slot, time.Duration(slot)*burstGap + spread
}

// Packet is a VRRP message with what the IP header said of it.
type Packet struct {
	Src, Dst netip.Addr // of one family
	TTL      uint8      // TTL or hop limit
	Message  []byte     // without the IP header
	// Wall is the wall clock when it came, since the Unix epoch. Nothing but
	// the freshness of a signature is judged by it.
	Wall time.Duration
}

// Receive handles a packet from a link. It returns Accepted and what is to be
// done, or why the packet was refused. A refused packet changes nothing, with
// one exception: a router that is just starting waits while it is refused a
// voice by a holder of its addresses (see Unelectable).
func (s *Set) Receive(now time.Duration, link int, p Packet) ([]Action, Refusal) {
	s.actions = s.actions[:0]
	p.Src = p.Src.WithZone("") // the link is known, and addresses are compared
	n := network{link, IPv6}
	if p.Src.Is4() {
		n.family = IPv4
	}
	r, refusal := s.read(n, p)
	if refusal == Accepted {
		refusal = r.admit(now, &s.heard, p)
	}
	if refusal != Accepted {
		if r != nil || refusal == RefusedVRID {
			s.foreign(now, n, p, refusal)
		}
		return s.actions, refusal
	}
	r.receive(now, &s.heard, p.Src)
	s.requeue(r)
	return s.actions, Accepted
}

// read parses a packet into s.heard and finds the router that it speaks to.
// With admit it has the order of checks that docs/protocol.md names: what is
// wrong for everybody, and then what is wrong for this router.
func (s *Set) read(n network, p Packet) (*router, Refusal) {
	if p.Dst.IsMulticast() && p.TTL != 255 {
		return nil, RefusedTTL // sections 5.1.1.3 and 5.1.2.3
	}
	if refusal := s.heard.Parse(p.Message, p.Src, p.Dst); refusal != Accepted {
		return nil, refusal
	}
	routers := s.lookup[n]
	if routers == nil || routers[s.heard.VRID] == nil {
		return nil, RefusedVRID
	}
	return routers[s.heard.VRID], Accepted
}

// admit checks whether an advertisement is one that the router may believe.
func (r *router) admit(now time.Duration, a *Advertisement, p Packet) Refusal {
	if p.Src == r.local {
		return RefusedOwn
	}
	if refusal := r.cfg.route(p); refusal != Accepted {
		return refusal
	}
	if a.Version != r.cfg.Version {
		return RefusedVersion // section 7.1
	}
	if refusal := r.authentic(now, a, p); refusal != Accepted {
		return refusal
	}
	if len(a.Addresses) == 0 && len(r.cfg.Addresses) > 0 {
		return RefusedCount // section 5.2.5, erratum 8299
	}
	return Accepted
}

// authentic checks that an advertisement comes from one that knows the
// router's secret, where it has one, and in version 2 its interval.
func (r *router) authentic(now time.Duration, a *Advertisement, p Packet) Refusal {
	switch {
	case r.signatures != nil:
		if refusal := r.signatures.verify(now, p, a.Signed); refusal != Accepted {
			return refusal
		}
	case a.Signed:
		return RefusedSigned
	}
	if r.cfg.Version == version2 {
		return r.cfg.agrees(a)
	}
	return Accepted
}

// Step handles an event of this host for one router.
func (s *Set) Step(now time.Duration, id ID, e Event) []Action {
	s.actions = s.actions[:0]
	r := s.routers[id]
	r.step(now, e)
	s.requeue(r)
	return s.actions
}

// Deadline is the earliest time at which Expire has something to do, or
// Never.
func (s *Set) Deadline() time.Duration {
	if len(s.queue) == 0 {
		return Never
	}
	return s.queue[0].deadline
}

// Expire handles every timer that is due at now. The caller drains its
// sockets before it calls: an advertisement that waits in the kernel must not
// become a false takeover.
func (s *Set) Expire(now time.Duration) []Action {
	s.actions = s.actions[:0]
	for len(s.queue) > 0 && s.queue[0].deadline <= now {
		r := s.queue[0]
		r.expire(now)
		s.requeue(r)
	}
	return s.actions
}

// Destinations are where the router's advertisements go: the group, or each of
// its peers. The slice must not be written to.
func (s *Set) Destinations(id ID) []netip.Addr {
	return s.routers[id].destinations
}

// AppendAdvertisement appends the router's advertisement with the priority to
// b, for a packet from its own address to dst. wall is the wall clock since
// the Unix epoch, which a signature carries. It is called once for each packet
// sent: no two signatures are the same.
func (s *Set) AppendAdvertisement(b []byte, id ID, priority uint8, dst netip.Addr, wall time.Duration) []byte {
	r := s.routers[id]
	a := Advertisement{
		Version:   r.cfg.Version,
		VRID:      r.cfg.VRID,
		Priority:  priority,
		Interval:  r.cfg.Interval,
		Addresses: r.cfg.Addresses,
		Checksum:  r.cfg.Checksum,
	}
	a.AuthType, a.Auth = r.cfg.authentication()
	start := len(b)
	b = a.AppendTo(b, r.local, dst)
	if r.signatures.signs() {
		b = r.signatures.appendTo(b, start, r.local, wall)
		if r.cfg.Family == IPv6 {
			a.putChecksum(b[start:], r.local, dst)
		}
	}
	return b
}

// State is what a router is at this moment.
type State struct {
	Role     Role
	Since    time.Duration // when the role began
	Priority uint8         // effective
	Local    netip.Addr    // where its advertisements come from
	// Phase is when a master's advertisements are due: whenever the time less Phase
	// is a multiple of the interval. It may advertise in between, too.
	Phase time.Duration
	// Master is who holds the role, as far as was heard; zero where that is
	// this node or not known.
	Master    Rival
	Addresses AddressState
	// Ready says that a backup would be master by now, but waits for the other
	// members of its group.
	Ready bool
	// PreemptAt is until when a backup follows a master of lower priority for
	// its PreemptDelay; Never where it follows none. It may be in the past: its
	// timer has to run out as well.
	PreemptAt time.Duration
	// Waived says that the router handed over and does not preempt until it has
	// been master again; see HandOver.
	Waived bool
}

// AddressState is how a router holds its virtual addresses.
type AddressState uint8

// The address states. Lent: this node is not master any more, and keeps them
// until its successor has them.
const (
	AddressesOff  = AddressState(released)
	AddressesHeld = AddressState(held)
	AddressesLent = AddressState(lent)
)

// State returns what the router is now.
func (s *Set) State(id ID) State {
	r := s.routers[id]
	return State{
		Role: r.role, Since: r.since, Priority: r.priority, Local: r.local, Master: r.master,
		Addresses: AddressState(r.grip), Ready: r.ready, PreemptAt: r.preemptAt, Phase: r.phase,
		Waived: r.waived,
	}
}

// HandoverBound is how long the router, when it leaves as master or is shut down,
// keeps its addresses at most while no successor is heard.
func (s *Set) HandoverBound(id ID) time.Duration { return s.routers[id].handoverBound() }

// Patience is how long the first backup that may take over bears the silence of
// this router as a master.
func (s *Set) Patience(id ID) time.Duration {
	r := s.routers[id]
	best := r.cfg.BestRival
	if best == 0 {
		best = 255
	}
	return r.missed()*r.cfg.Interval + r.skew(best, r.cfg.Interval)
}

// Peers returns the nodes that have advertised the router, at most the last
// eight.
func (s *Set) Peers(id ID) []Peer {
	return append([]Peer(nil), s.routers[id].peers.known...)
}

// requeue brings a router that something happened to, and the members of its
// group, to their places in the heap.
func (s *Set) requeue(r *router) {
	for _, m := range r.group.members {
		if d := m.next(); d != m.deadline {
			m.deadline = d
			heap.Fix(&s.queue, m.position)
		}
	}
}

// queue is a heap of routers by deadline, then by ID so that a run can be
// repeated.
type queue []*router

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].deadline != q[j].deadline {
		return q[i].deadline < q[j].deadline
	}
	return q[i].id < q[j].id
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].position, q[j].position = i, j
}

func (q *queue) Push(x any) {
	r := x.(*router)
	r.position = len(*q)
	*q = append(*q, r)
}

func (q *queue) Pop() any {
	old := *q
	r := old[len(old)-1]
	*q = old[:len(old)-1]
	return r
}
