package keepalived

import (
	"net/netip"
	"slices"
	"strconv"
)

// unicast is to whom an instance sends in place of all.
type unicast struct {
	said  *Block // a keyword of unicast
	peers []peer
}

type peer struct {
	addr        netip.Addr
	least, most int // of its TTL; 0: any
	pos         Pos
}

// readPeers reads unicast_peer.
func (c *conversion) readPeers(in *instance, b *Block) {
	if args := b.Arguments(); len(args) > 0 {
		c.report.words(Ignored, "unicast_peer has a block, and no words before it", args...)
	}
	c.report.words(Converted, "baton believes nobody else, as with check_unicast_src; only_peers: false believes others too", b.Words[0])
	in.unicast.said = b
	for _, line := range b.Children {
		c.readPeer(in, line)
	}
	if len(b.Children) == 0 {
		c.report.amend(b.Pos(), Ignored, "it names no peer: keepalived sends to all by multicast")
	}
}

func (c *conversion) readPeer(in *instance, b *Block) {
	c.stray(b)
	a, ok := address(b.Words[0].Text)
	switch {
	case !ok || a.IsMulticast() || a.IsUnspecified() || a.Is4In6() || a.IsLoopback():
		c.report.line(Ignored, b, "it is no address of a host")
		return
	case !in.takes(a):
		c.report.line(Ignored, b, "it is of another family than the instance: keepalived leaves it out")
		return
	case slices.ContainsFunc(in.unicast.peers, func(p peer) bool { return p.addr == a }):
		c.report.line(NotNeeded, b, "it stands there already")
		return
	}
	p := peer{addr: a, pos: b.Pos()}
	c.report.words(Converted, "", b.Words[0])
	for words := b.Arguments(); len(words) > 0; {
		word := words[0].Text
		if word != "min_ttl" && word != "max_ttl" {
			c.report.words(Ignored, "keepalived knows no such word behind a peer", words[0])
			words = words[1:]
			continue
		}
		if len(words) < 2 {
			c.report.words(Ignored, "it lacks its value: keepalived refuses the file, or does without", words[0])
			break
		}
		n, err := strconv.Atoi(words[1].Text)
		switch {
		case err != nil || n < 0 || n > 255:
			c.report.words(Ignored, "keepalived wants a number from 0 to 255", words[:2]...)
		case n == 0:
			c.report.words(NotNeeded, "it bounds nothing", words[:2]...)
		default:
			if word == "min_ttl" {
				p.least = n
			} else {
				p.most = n
			}
			c.report.words(Converted, "", words[:2]...)
		}
		words = words[2:]
	}
	in.unicast.peers = append(in.unicast.peers, p)
}

// bounds are the widest of the TTL that all peers may have; 0 is any.
func (c *conversion) bounds(peers []peer) (least, most int) {
	for i, p := range peers {
		if i == 0 {
			least, most = p.least, p.most
			continue
		}
		if p.least != peers[0].least || p.most != peers[0].most {
			c.report.amend(p.pos, Approximated, "min_ttl and max_ttl hold for all peers of a router: the widest bounds are taken")
		}
		least = min(least, p.least)
		if most == 0 || p.most == 0 {
			most = 0
		} else {
			most = max(most, p.most)
		}
	}
	if most == 255 {
		most = 0
	}
	return least, most
}

// send writes peers and source_address.
func (c *conversion) send(in *instance) {
	m := in.router
	if s := in.source; s.IsValid() {
		switch {
		case s.Is6() != in.six:
			c.report.amend(in.sourceAt.Pos(), Ignored, "it is of another family than the addresses")
		case in.six && !s.IsLinkLocalUnicast() && len(in.unicast.peers) == 0:
			c.report.amend(in.sourceAt.Pos(), Approximated, "IPv6 advertisements come from a link-local address: baton takes that of the interface")
		case in.priority != 255 && slices.ContainsFunc(in.addresses, func(v vip) bool { return v.prefix.Addr() == s }):
			c.report.amend(in.sourceAt.Pos(), Unsupported, "it is a virtual address of this instance: baton takes an own address of the interface")
		case s.IsMulticast() || s.IsUnspecified() || s.IsLoopback() || s.Is4In6():
			c.report.amend(in.sourceAt.Pos(), Ignored, "no advertisement can come from it")
		default:
			m.set("source_address", s.String())
			in.sourceKept = true
		}
	}
	u := &in.unicast
	u.peers = slices.DeleteFunc(u.peers, func(p peer) bool {
		if p.addr.Is6() != in.six {
			c.report.amend(p.pos, Ignored, "it is of another family than the addresses")
			return true
		}
		own := in.priority != 255 && slices.ContainsFunc(in.addresses, func(v vip) bool { return v.prefix.Addr() == p.addr })
		if own {
			c.report.amend(p.pos, Unsupported, "it is a virtual address of this instance: name the peer by an address of its own")
		}
		return own
	})
	others := slices.DeleteFunc(slices.Clone(u.peers), func(p peer) bool { return p.addr == in.source })
	if len(others) == 0 {
		for _, p := range u.peers {
			c.report.amend(p.pos, Unsupported, "no peer is left but this node itself: it sends to all by multicast")
		}
		u.peers = nil
		return
	}
	peers := list(true)
	for _, p := range u.peers {
		peers.Content = append(peers.Content, valueNode(p.addr.String()))
	}
	m.set("peers", peers)
	least, most := c.bounds(others)
	if most != 0 && most < least {
		c.report.add(Unsupported, u.said.Pos(), "max_ttl", "it is below min_ttl, and nobody would be believed")
		most = 0
	}
	if least > 0 {
		m.set("min_ttl", least)
	}
	if most > 0 {
		m.set("max_ttl", most)
	}
}
