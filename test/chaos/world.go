package main

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"baton/internal/lab"
	"baton/test/site"
)

const (
	interval = 100 * time.Millisecond
	// patience is how long it may take until everything is in its place again: far more than the protocol's time, on a
	// machine with much else to do.
	patience = 15 * time.Second
	command  = 10 * time.Second // bounds a command such as ip
	bad      = "/run/bad"       // there: the check fails. A host's /run is its own
)

// outline is what a world is made of.
type outline struct {
	name    string
	kinds   []site.Kind // of a, b, c
	config  func() site.Config
	virtual bool // the addresses are on a virtual MAC
	route   string
	table   string // of nftables, which a daemon has while it runs
}

func worlds() []outline {
	pair := func(addresses ...string) func() site.Config {
		return func() site.Config { return tracked(site.Pair(interval, addresses...)) }
	}
	baton := site.Baton
	return []outline{
		{name: "pair", kinds: []site.Kind{baton, baton}, config: pair(site.Addresses(3, false)...)},
		{name: "ipv6", kinds: []site.Kind{baton, baton}, config: pair(site.Addresses(3, true)...)},
		{name: "three", kinds: []site.Kind{baton, baton, baton}, config: grouped},
		{name: "peer", kinds: []site.Kind{baton, site.Keepalived}, config: pair(site.Addresses(2, false)...)},
		{name: "virtual", kinds: []site.Kind{baton, baton}, config: virtual, virtual: true, route: "192.0.2.0/24", table: "table inet baton"},
	}
}

// tracked adds a check that fails where the file `bad` is.
func tracked(c site.Config) site.Config {
	c.Checks = []site.Check{{Name: "good", Command: "/usr/bin/test ! -e " + bad, Interval: time.Second, Rise: 1, Fall: 1}}
	for i := range c.Routers {
		c.Routers[i].Track = []site.Effect{{Check: "good"}}
	}
	return c
}

// grouped is a group of two families on three nodes.
func grouped() site.Config {
	c := site.Pair(interval, site.Addresses(2, false)...)
	six := c.Routers[0]
	six.Name, six.Addresses = "six", site.Addresses(2, true)
	c.Routers = append(c.Routers, six)
	c = tracked(c)
	for i := range c.Routers {
		c.Routers[i].Track = nil
	}
	c.Groups = []site.Group{{
		Name: "edge", Members: []string{"web", "six"}, Priority: map[string]int{"a": 200, "b": 190, "c": 180}, Track: []site.Effect{{Check: "good"}},
	}}
	return c
}

func virtual() site.Config {
	c := tracked(site.Pair(interval, site.Addresses(2, false)...))
	c.Routers[0].VirtualMAC = true
	c.Routers[0].More = "accept: false\nroutes: [{to: 192.0.2.0/24, via: 10.99.0.200}]\n"
	return c
}

// world is a site under faults.
type world struct {
	outline
	site      *site.Site
	nodes     []*site.Node // the best first
	config    site.Config
	addresses []netip.Addr
	usage     map[int]usage // by process: what it had when it came to rest for the first time
}

func (o outline) build(dir, binary string) (*world, error) {
	dir, err := os.MkdirTemp(dir, o.name+"-")
	if err != nil {
		return nil, err
	}
	names := []string{"a", "b", "c"}[:len(o.kinds)]
	s, err := site.New(dir, names...)
	if err != nil {
		return nil, err
	}
	w := &world{outline: o, site: s, config: o.config(), usage: make(map[int]usage)}
	for _, r := range w.config.Routers {
		for _, a := range r.Addresses {
			w.addresses = append(w.addresses, site.Address(a))
		}
	}
	w.config.More = "listen: {address: 127.0.0.1:9112}\n"
	for i, name := range names {
		if err := w.add(name, o.kinds[i], binary); err != nil {
			s.Close()
			return nil, err
		}
		s.Wire(name).Close() // nobody reads it
	}
	s.Wire("client").Close()
	return w, nil
}

// add puts a daemon on a host, with a small disk for its runtime directory.
func (w *world) add(name string, kind site.Kind, binary string) error {
	n, err := w.site.Add(name, kind, binary, w.config)
	if err != nil {
		return err
	}
	w.nodes = append(w.nodes, n)
	run := filepath.Join(n.Dir, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		return err
	}
	if _, err := n.Host.Run(command, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", run); err != nil {
		return err
	}
	return n.Start()
}

// choose returns a fault, and a node that it is for.
func (w *world) choose(choice *rand.Rand) (fault, *site.Node) {
	for {
		n := w.nodes[choice.IntN(len(w.nodes))]
		f := faults[choice.IntN(len(faults))]
		if f.baton && n.Kind != site.Baton || f.plain && w.virtual {
			continue
		}
		return f, n
	}
}

// settle waits until the best node alone has all addresses, a client is answered there, and nothing of them is
// anywhere else.
func (w *world) settle() (time.Duration, error) {
	begin := time.Now()
	best := w.nodes[0]
	if err := w.site.Holders.Await(best.Name, patience, w.addresses...); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	var wrong error
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if wrong = w.look(best); wrong == nil {
			break
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%v after the addresses are in their place: %w", round(time.Since(begin)), wrong)
		}
	}
	// It is no rest if it does not last.
	time.Sleep(3 * interval)
	if err := w.site.Holders.Await(best.Name, time.Millisecond, w.addresses...); err != nil {
		return 0, fmt.Errorf("it did not last: %w", err)
	}
	return took, w.grown()
}

// look finds what is not as it should be.
func (w *world) look(best *site.Node) error {
	for _, n := range w.nodes {
		left, err := w.leftovers(n)
		if err != nil {
			return err
		}
		if n == best {
			continue
		}
		if len(left) > 0 {
			return fmt.Errorf("on %s, which is not master: %s", n.Name, strings.Join(left, ", "))
		}
	}
	for _, a := range w.addresses {
		if err := w.answers(a); err != nil {
			return err
		}
	}
	return nil
}

// answers asks an address as a client.
func (w *world) answers(a netip.Addr) error {
	p, err := w.site.Client.Probe(lab.ProbeOptions{To: netip.AddrPortFrom(a, 0), Timeout: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond)
	r, err := p.Stop()
	if err != nil {
		return err
	}
	if !w.virtual && r.Lost == r.Sent { // accept: false answers no echo
		return fmt.Errorf("%s does not answer a client", a)
	}
	return nil
}

// end stops all daemons, and looks whether anything is left.
func (w *world) end() error {
	for _, n := range w.nodes {
		if err := n.Stop(); err != nil {
			return err
		}
		n.Process = nil
	}
	for _, n := range w.nodes {
		left, err := w.leftovers(n)
		if err != nil {
			return err
		}
		links, err := n.Host.Run(command, "ip", "-o", "link", "show", "type", "macvlan")
		if err != nil {
			return err
		}
		if links != "" {
			left = append(left, "interface "+links)
		}
		if len(left) > 0 {
			return fmt.Errorf("left on %s at the end: %s", n.Name, strings.Join(left, ", "))
		}
	}
	return nil
}

func (w *world) isVirtual(a netip.Addr) bool { return slices.Contains(w.addresses, a) }

// own is the address that a node sends from; IPv6 advertisements come from another one, which stays.
func (w *world) own(n *site.Node) (netip.Prefix, error) {
	held, err := n.Host.Addresses(site.Interface)
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, p := range held {
		if p.Addr().Is4() && !w.isVirtual(p.Addr()) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%s has no address of its own", n.Name)
}
