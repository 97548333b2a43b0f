package keepalived

import (
	"net/netip"
	"slices"
	"strconv"
)

// unicast is to whom an instance sends in place of all.
type unicast struct {
	said           *Block // a keyword of unicast
	peers          []netip.Addr
	minTTL, maxTTL int // 0: any
	differ         bool
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
	case slices.Contains(in.unicast.peers, a):
		c.report.line(NotNeeded, b, "it stands there already")
		return
	}
	first := len(in.unicast.peers) == 0
	in.unicast.peers = append(in.unicast.peers, a)
	c.report.words(Converted, "", b.Words[0])
	least, most := 0, 0
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
				least = n
			} else {
				most = n
			}
			c.report.words(Converted, "", words[:2]...)
		}
		words = words[2:]
	}
	u := &in.unicast
	if first {
		u.minTTL, u.maxTTL = least, most
		return
	}
	if least != u.minTTL || most != u.maxTTL {
		u.differ = true
		c.report.amend(b.Pos(), Approximated, "min_ttl and max_ttl hold for all peers of a router: the widest bounds are taken")
	}
	u.minTTL = min(u.minTTL, least) // 0, any, is the widest
	if most == 0 || u.maxTTL == 0 {
		u.maxTTL = 0
	} else {
		u.maxTTL = max(u.maxTTL, most)
	}
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
	u.peers = slices.DeleteFunc(u.peers, func(a netip.Addr) bool {
		if a.Is6() != in.six {
			return true
		}
		own := in.priority != 255 && slices.ContainsFunc(in.addresses, func(v vip) bool { return v.prefix.Addr() == a })
		if own {
			c.report.add(Unsupported, in.unicast.said.Pos(), a.String(), "it is a virtual address of this instance: name the peer by an address of its own")
		}
		return own
	})
	others := slices.DeleteFunc(slices.Clone(u.peers), func(a netip.Addr) bool { return a == in.source })
	if len(u.peers) > 0 && len(others) == 0 {
		c.report.add(Unsupported, u.said.Pos(), "unicast_peer", "no peer is left but this node itself: it sends to all by multicast")
		u.peers = nil
	}
	if len(u.peers) == 0 {
		return
	}
	peers := list(true)
	for _, a := range u.peers {
		peers.Content = append(peers.Content, valueNode(a.String()))
	}
	m.set("peers", peers)
	if u.minTTL > 0 {
		m.set("min_ttl", u.minTTL)
	}
	if u.maxTTL > 0 && u.maxTTL < 255 && u.maxTTL >= u.minTTL {
		m.set("max_ttl", u.maxTTL)
	}
}
