package vrrptest

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"baton/vrrp"
)

// LAN is simulated links, by vrrp.Config.Link, on which all nodes are. Its
// exported fields may be changed at any time.
type LAN struct {
	// A packet takes Delay, and up to Jitter longer: with jitter, packets
	// overtake one another.
	Delay, Jitter time.Duration
	// Loss and Duplicate are probabilities for each packet and receiver.
	Loss, Duplicate float64
	// Install is how long a node takes to put addresses on and announce them.
	Install time.Duration
	// Trace, where set, is told of all that happens.
	Trace func(Record)

	now    time.Duration
	random *rand.Rand
	nodes  []*Node
	cut    map[direction]bool
	queue  queue
	serial uint64
}

type direction struct {
	from, to *Node
	link     int
}

// links is how many links a LAN has at most.
const links = 4

// Record is one thing that happened to a router.
type Record struct {
	At     time.Duration // of the LAN
	Router *Router
	// Action is what the router asked for; NoAction where an address went on
	// or off.
	Action vrrp.Action
	// Periodic says that Action is an ordinary advertisement of a master.
	Periodic bool
	Addr     netip.Addr
	On       bool
}

// String returns what happened, without when and to whom.
func (r Record) String() string {
	switch {
	case r.Action.Kind != vrrp.NoAction:
		return r.Action.String()
	case r.On:
		return fmt.Sprintf("address %s on", r.Addr)
	}
	return fmt.Sprintf("address %s off", r.Addr)
}

// New returns a LAN without nodes at time zero.
func New(seed uint64) *LAN {
	return &LAN{
		random: rand.New(rand.NewPCG(seed, 0)),
		cut:    make(map[direction]bool),
	}
}

// Now is the LAN's own time.
func (l *LAN) Now() time.Duration { return l.now }

// Nodes returns the nodes in the order in which they were added.
func (l *LAN) Nodes() []*Node { return l.nodes }

// Node adds a node, with one address for each family that it speaks and each
// link. Where it has fewer of a family, the last is on the further links too.
func (l *LAN) Node(name string, addrs ...netip.Addr) *Node {
	n := &Node{Name: name, lan: l, addrs: addrs, set: vrrp.NewSet()}
	l.nodes = append(l.nodes, n)
	return n
}

// Cut lets nothing pass from one node to another, in this direction, on any
// link.
func (l *LAN) Cut(from, to *Node) {
	for link := range links {
		l.CutLink(link, from, to)
	}
}

// Heal mends what Cut cuts.
func (l *LAN) Heal(from, to *Node) {
	for link := range links {
		l.HealLink(link, from, to)
	}
}

// CutLink cuts one link, as Cut does all.
func (l *LAN) CutLink(link int, from, to *Node) { l.cut[direction{from, to, link}] = true }

// HealLink mends a cut of one link.
func (l *LAN) HealLink(link int, from, to *Node) { delete(l.cut, direction{from, to, link}) }

// Holders returns the nodes that have the address on.
func (l *LAN) Holders(addr netip.Addr) []*Node {
	var holders []*Node
	for _, n := range l.nodes {
		if slices.ContainsFunc(n.routers, func(r *Router) bool { return r.has(addr) }) {
			holders = append(holders, n)
		}
	}
	return holders
}

// After calls f when the LAN's time is d later.
func (l *LAN) After(d time.Duration, f func()) {
	l.serial++
	heap.Push(&l.queue, happening{at: l.now + d, serial: l.serial, do: f})
}

// Advance lets the time go on. At one moment packets arrive before timers
// expire, as the daemon reads its sockets before it looks at its timers.
func (l *LAN) Advance(d time.Duration) {
	end := l.now + d
	for {
		at, node := vrrp.Never, (*Node)(nil)
		for _, n := range l.nodes {
			if due := n.due(); due < at {
				at, node = due, n
			}
		}
		if len(l.queue) > 0 && l.queue[0].at <= at {
			at, node = l.queue[0].at, nil
		}
		if at > end {
			break
		}
		l.now = max(l.now, at)
		if node == nil {
			heap.Pop(&l.queue).(happening).do()
		} else {
			node.expire()
		}
	}
	l.now = end
}

// Inject delivers a packet to every node on the first link, as one that is no
// node of the LAN would send it.
func (l *LAN) Inject(p vrrp.Packet) { l.send(nil, 0, p.Dst, func(n *Node) { n.receive(0, p) }) }

// send delivers on a link to the node that has the destination, or to all
// other nodes where it is a group.
func (l *LAN) send(from *Node, link int, dst netip.Addr, deliver func(*Node)) {
	for _, to := range l.nodes {
		if to == from || l.cut[direction{from, to, link}] || !dst.IsMulticast() && !slices.Contains(to.addrs, dst) {
			continue
		}
		for range l.copies() {
			delay := l.Delay
			if l.Jitter > 0 {
				delay += time.Duration(l.random.Int64N(int64(l.Jitter)))
			}
			l.After(delay, func() {
				if !to.frozen {
					to.do(func() { deliver(to) })
				}
			})
		}
	}
}

func (l *LAN) copies() int {
	copies := 1
	if l.Loss > 0 && l.random.Float64() < l.Loss {
		copies--
	}
	if l.Duplicate > 0 && l.random.Float64() < l.Duplicate {
		copies++
	}
	return copies
}

func (l *LAN) trace(r Record) {
	if l.Trace != nil {
		r.At = l.now
		l.Trace(r)
	}
}

// happening is something that will be done at a time.
type happening struct {
	at     time.Duration
	serial uint64 // what was planned first happens first
	do     func()
}

type queue []happening

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].serial < q[j].serial
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(x any) { *q = append(*q, x.(happening)) }

func (q *queue) Pop() any {
	old := *q
	h := old[len(old)-1]
	*q = old[:len(old)-1]
	return h
}
