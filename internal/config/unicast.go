package config

import (
	"net/netip"
	"slices"
)

// unicast is whom a router tells in place of all, before it is known which of them are of its family.
type unicast struct {
	at      *node  // nil: it tells all
	network string // the nodes' addresses in it; or else
	peers   []peer // these, in the order of the file
	broken  bool   // a part of it could not be read
}

type peer struct {
	addr netip.Addr
	at   place
}

// unicast reads `unicast` and `peers`.
func (rr *routerReader) unicast(f fields) (u unicast) {
	w := rr.walk
	p, n := f.get("peers"), f.get("unicast")
	if p != nil && n != nil {
		later := p
		if n.line > p.line || n.line == p.line && n.column > p.column {
			later = n
		}
		w.errorAt(later.place, f.path, "unicast takes the addresses of the other nodes from `nodes`", "unicast and peers are two ways to say one thing: write one of them")
	}
	switch {
	case p != nil:
		u = rr.peers(p)
	case n != nil:
		u = rr.network(f)
	}
	if u.at == nil {
		for _, name := range []string{"only_peers", "min_ttl", "max_ttl"} {
			if n := f.own[name]; n != nil && !f.has("peers") {
				w.errorAt(n.place, n.path, "unicast: true, or peers: [ADDRESS, ...]", "has a meaning only where advertisements go to peers; here they go to all")
			}
		}
	}
	return u
}

func (rr *routerReader) peers(n *node) unicast {
	w := rr.walk
	u := unicast{at: n}
	if n.kind != list {
		hint := "peers: [ADDRESS, ADDRESS]"
		if n.kind == scalar && isAddress(n.text) {
			hint = "peers: [" + n.text + "]"
		}
		w.errorAt(n.place, n.path, hint, "is %s, want a list of addresses", n.kind)
		u.broken = true
		return u
	}
	for _, item := range n.items {
		if item.kind != scalar {
			w.errorAt(item.place, n.path, "min_ttl and max_ttl stand beside peers, and hold for all of them", "is %s, want an address", item.kind)
			u.broken = true
			continue
		}
		a := w.address(item)
		if !a.IsValid() {
			u.broken = true
			continue
		}
		if slices.ContainsFunc(u.peers, func(p peer) bool { return p.addr == a }) {
			w.errorAt(item.place, n.path, "", "%s stands here twice", a)
			continue
		}
		u.peers = append(u.peers, peer{a, item.place})
	}
	return u
}

// network finds the network of `nodes` that `unicast` means.
func (rr *routerReader) network(f fields) unicast {
	w := rr.walk
	n := f.scalar("unicast")
	if n == nil {
		return unicast{broken: true}
	}
	u := unicast{at: n, network: n.text}
	if n.boolean && !n.quoted() {
		if !f.boolean("unicast") {
			return unicast{}
		}
		u.network = "cluster"
	}
	switch {
	case u.network == "true" || u.network == "false":
		f.wrong("unicast", n, "write it without quotes")
		u.broken = true
	case w.noNodes:
		w.errorAt(n.place, n.path, "peers: [ADDRESS, ...], or `nodes`", "takes the addresses of the others from `nodes`, and there is none")
		u.broken = true
	case len(w.nodes) == 0: // broken, which has been said
		u.broken = true
	case !w.nodes[0].hasNetwork(u.network):
		w.errorAt(n.place, n.path, didYouMean(u.network, append(w.nodes[0].networks(), "true")), "`nodes` have no network %q", short(u.network))
		u.broken = true
	}
	return u
}

// sendTo fills in the peers of a router of one family, and the address that it talks to them from.
func (rr *routerReader) sendTo(r *reading, u unicast, nodes []Node) {
	w := rr.walk
	if u.at == nil {
		r.OnlyPeers, r.MinTTL, r.MaxTTL = false, 0, 0
		return
	}
	var mine []netip.Addr
	if u.network != "" && !u.broken {
		if !rr.networkHas(r, u) {
			return
		}
		for _, n := range nodes {
			if n.Name != rr.me.Name {
				r.Peers = append(r.Peers, n.Address(u.network))
			}
		}
		mine = []netip.Addr{rr.me.Address(u.network)}
	}
	var listed []netip.Addr
	for _, p := range u.peers {
		_, own := rr.shared.owners[p.addr] // an owner's own address is a virtual one too
		switch {
		case p.addr.Is6() != r.IPv6:
			if !r.both && r.complete {
				w.errorAt(p.at, u.at.path, "", "%s is of another family than the addresses of the router", p.addr)
			}
			continue
		case slices.ContainsFunc(r.addresses, func(a placedAddress) bool { return a.Prefix.Addr() == p.addr }) && !own && r.Priority != owner:
			w.errorAt(p.at, u.at.path, "an address that the peer always has", "%s is a virtual address of this router", p.addr)
		case p.addr == r.Source || rr.me.Has(p.addr): // one list for all nodes has each of them in it
			mine = append(mine, p.addr)
		default:
			r.Peers = append(r.Peers, p.addr)
		}
		listed = append(listed, p.addr)
	}
	if len(mine) == 0 {
		if network := rr.networkOf(listed); network != "" {
			mine = []netip.Addr{rr.me.Address(network)}
		}
	}
	if !r.Source.IsValid() && len(mine) == 1 && mine[0].IsValid() {
		r.Source = mine[0]
		w.config.ask(question{kind: askAddress, at: u.at.place, path: u.at.path, addr: r.Source})
	}
	if len(r.Peers) > 0 || u.broken || !rr.here || !r.complete {
		return
	}
	if r.both && len(listed) == 0 && u.network == "" {
		w.errorAt(u.at.place, u.at.path, "add the peers' "+family(r.IPv6)+" addresses", "the router has %s addresses, and no peer has one: nobody would hear of them", family(r.IPv6))
		return
	}
	w.errorAt(u.at.place, u.at.path, "the addresses of the other nodes that run this router; without unicast and peers, advertisements go to all", "no peer is left: nobody takes over")
}

func family(six bool) string {
	if six {
		return "IPv6"
	}
	return "IPv4"
}

// networkHas tells whether the nodes' addresses in a network are of a router's family, and reports where they are not.
func (rr *routerReader) networkHas(r *reading, u unicast) bool {
	for _, n := range rr.nodes {
		a := n.Address(u.network)
		if !a.IsValid() { // which has been said
			return false
		}
		if a.Is6() == r.IPv6 {
			continue
		}
		hint := "peers: [ADDRESS, ...], or the name of a network with " + family(r.IPv6) + " addresses"
		if r.both {
			hint = "peers: [...] with addresses of both families, or two routers, each with its network"
		}
		if r.complete {
			rr.errorAt(u.at.place, u.at.path, hint, "%s has %s in the network %q: the router's %s addresses need peers with such", n.Name, a, u.network, family(r.IPv6))
		}
		return false
	}
	return true
}

// networkOf finds the network of `nodes` that all of some addresses are in; it is empty where there is none.
func (rr *routerReader) networkOf(addrs []netip.Addr) string {
	if len(rr.nodes) == 0 || len(addrs) == 0 {
		return ""
	}
	for _, network := range rr.nodes[0].networks() {
		in := func(a netip.Addr) bool {
			return slices.ContainsFunc(rr.nodes, func(n Node) bool { return n.Address(network) == a })
		}
		if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return !in(a) }) {
			return network
		}
	}
	return ""
}

// known finds the addresses that the nodes' advertisements come from, where that is certain.
func (rr *routerReader) known(r Router, f fields) []netip.Addr {
	if !r.Source.IsValid() {
		return nil
	}
	var all []netip.Addr
	add := func(a netip.Addr) {
		if a.IsValid() && a.Is6() == r.IPv6 && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if network := rr.networkOf([]netip.Addr{r.Source}); network != "" && rr.me.Address(network) == r.Source {
		for _, n := range rr.nodes {
			add(n.Address(network))
		}
		return all
	}
	if n := f.raw("source_address"); n != nil && n.kind == mapping {
		for _, node := range rr.nodes {
			if v := pick(n, node.Name); v != nil && v.kind == scalar {
				if a, err := netip.ParseAddr(v.text); err == nil {
					add(a)
				}
			}
		}
	}
	return all
}
