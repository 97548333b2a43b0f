package vrrptest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"baton/vrrp"
)

// Node is one host on the LAN.
type Node struct {
	Name string

	lan     *LAN
	set     *vrrp.Set
	addrs   []netip.Addr
	routers []*Router // by vrrp.ID
	ahead   time.Duration
	drift   int64
	paused  bool
	frozen  bool     // paused, and packets are lost meanwhile
	waiting []func() // for the end of the pause
}

// Router is one virtual router on one node.
type Router struct {
	Node   *Node
	Config vrrp.Config

	id vrrp.ID
	// on tells, by index of Config.Addresses, what is on this host. wish
	// counts what was asked for, so that a later wish overtakes a slow one.
	on   []bool
	wish []int
}

// Clock sets the node's clock: how far it is ahead of the LAN's at time zero,
// and how many millionths faster it goes. It is called before the first Add.
func (n *Node) Clock(ahead time.Duration, drift int64) { n.ahead, n.drift = ahead, drift }

// Add puts a router on the node, in INIT, on a link from 0 to 3.
func (n *Node) Add(cfg vrrp.Config) (*Router, error) {
	if cfg.Link < 0 || cfg.Link >= links {
		return nil, fmt.Errorf("add router %d to node %s: there is no link %d", cfg.VRID, n.Name, cfg.Link)
	}
	src := n.source(cfg)
	if !src.IsValid() {
		return nil, fmt.Errorf("add router %d to node %s: the node has no %s address", cfg.VRID, n.Name, cfg.Family)
	}
	id, err := n.set.Add(cfg)
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", n.Name, err)
	}
	r := &Router{Node: n, Config: cfg, id: id, on: make([]bool, len(cfg.Addresses)), wish: make([]int, len(cfg.Addresses))}
	n.routers = append(n.routers, r)
	r.Step(vrrp.Event{Kind: vrrp.Readdressed, Addr: src})
	return r, nil
}

// source is the node's address on the router's link.
func (n *Node) source(cfg vrrp.Config) netip.Addr {
	var src netip.Addr
	link := 0
	for _, a := range n.addrs {
		if a.Is4() == (cfg.Family == vrrp.IPv4) && link <= cfg.Link {
			src = a
			link++
		}
	}
	return src
}

// Routers returns the node's routers in the order in which they were added.
func (n *Node) Routers() []*Router { return n.routers }

// Paused tells whether the node stands still.
func (n *Node) Paused() bool { return n.paused }

// Pause makes the node stand still. Packets wait for it, as in the socket of
// a stopped process, or are lost, as when the whole host stands still. Its
// addresses stay on.
func (n *Node) Pause(lose bool) { n.paused, n.frozen = true, lose }

// Resume ends a pause.
func (n *Node) Resume() {
	n.paused, n.frozen = false, false
	waiting := n.waiting
	n.waiting = nil
	for _, f := range waiting {
		f()
	}
}

// Step hands an event to the router.
func (r *Router) Step(e vrrp.Event) {
	n := r.Node
	n.do(func() { n.carryOut(n.set.Step(n.clock(n.lan.now), r.id, e), false) })
}

// State returns what the router is now.
func (r *Router) State() vrrp.State { return r.Node.set.State(r.id) }

func (r *Router) has(addr netip.Addr) bool {
	i := slices.Index(r.Config.Addresses, addr)
	return i >= 0 && r.on[i]
}

// do does something on the node, or leaves it for the end of a pause.
func (n *Node) do(f func()) {
	if n.paused {
		n.waiting = append(n.waiting, f)
		return
	}
	f()
}

// clock is the node's reading at a time of the LAN.
func (n *Node) clock(at time.Duration) time.Duration {
	return n.ahead + at + at/1e6*time.Duration(n.drift) + at%1e6*time.Duration(n.drift)/1e6
}

// wall is the node's wall clock, which is ahead as its other clock is.
func (n *Node) wall() time.Duration { return 1_700_000_000*time.Second + n.clock(n.lan.now) }

// due is when the node has to act, in the LAN's time.
func (n *Node) due() time.Duration {
	deadline := n.set.Deadline()
	if n.paused || deadline == vrrp.Never {
		return vrrp.Never
	}
	at := time.Duration(float64(deadline-n.ahead) / (1 + float64(n.drift)/1e6))
	for n.clock(at) >= deadline {
		at--
	}
	for n.clock(at) < deadline {
		at++
	}
	return at
}

func (n *Node) expire() { n.carryOut(n.set.Expire(n.clock(n.lan.now)), true) }

func (n *Node) receive(link int, p vrrp.Packet) {
	p.Wall = n.wall()
	actions, _ := n.set.Receive(n.clock(n.lan.now), link, p)
	n.carryOut(actions, false)
}

// carryOut does what the daemon does with actions: advertisements first.
func (n *Node) carryOut(actions []vrrp.Action, expired bool) {
	actions = slices.Clone(actions)
	alone := make(map[vrrp.ID]int)
	for _, a := range actions {
		alone[a.Router]++
		if a.Kind == vrrp.Send {
			n.send(n.routers[a.Router], a.Priority)
		}
	}
	for _, a := range actions {
		r := n.routers[a.Router]
		n.lan.trace(Record{
			Router: r, Action: a,
			Periodic: expired && a.Kind == vrrp.Send && a.Priority > 0 && alone[a.Router] == 1,
		})
		switch a.Kind {
		case vrrp.Hold:
			for i := range r.on {
				r.install(i)
			}
		case vrrp.Announce:
			for i, on := range r.on {
				if on {
					r.announce(i)
				}
			}
		case vrrp.Release:
			for i, addr := range r.Config.Addresses {
				if !a.Addr.IsValid() || a.Addr == addr {
					r.wish[i]++
					r.put(i, false)
				}
			}
		}
	}
}

func (n *Node) send(r *Router, priority uint8) {
	for _, dst := range n.set.Destinations(r.id) {
		p := vrrp.Packet{
			Src: r.State().Local, Dst: dst, TTL: 255,
			Message: n.set.AppendAdvertisement(nil, r.id, priority, dst, n.wall()),
		}
		n.lan.send(n, r.Config.Link, dst, func(to *Node) { to.receive(r.Config.Link, p) })
	}
}

// install puts an address on after a while and announces it.
func (r *Router) install(i int) {
	r.wish[i]++
	wish := r.wish[i]
	r.Node.lan.After(r.Node.lan.Install, func() {
		r.Node.do(func() {
			if r.wish[i] == wish {
				r.put(i, true)
				r.announce(i)
			}
		})
	})
}

func (r *Router) put(i int, on bool) {
	if r.on[i] != on {
		r.on[i] = on
		r.Node.lan.trace(Record{Router: r, Addr: r.Config.Addresses[i], On: on})
	}
}

// announce tells the others, by gratuitous ARP or neighbour advertisement.
func (r *Router) announce(i int) {
	addr := r.Config.Addresses[i]
	r.Node.lan.send(r.Node, r.Config.Link, r.Config.Family.Group(), func(to *Node) {
		for _, other := range to.routers {
			if other.Config.Link == r.Config.Link && slices.Contains(other.Config.Addresses, addr) {
				other.Step(vrrp.Event{Kind: vrrp.Announced, Addr: addr})
			}
		}
	})
}
