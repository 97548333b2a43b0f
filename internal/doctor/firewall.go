package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"baton/internal/config"
)

// Where advertisements go that are told to all (RFC 9568 section 5.1).
var (
	allIPv4 = netip.AddrFrom4([4]byte{224, 0, 0, 18})
	allIPv6 = netip.MustParseAddr("ff02::12")
)

// question is a packet of which a router depends, and what its loss is called.
type question struct {
	id     string
	packet packet
}

// asks are the packets that a router depends on.
func asks(r config.Router, index int, me config.Node) []question {
	all := allIPv4
	if r.IPv6 {
		all = allIPv6
	}
	own := r.Source
	for _, a := range r.Known {
		if me.Has(a) {
			own = a
		}
	}
	in := func(id string, p packet, what string, to addressKind) question {
		p.what, p.in, p.iface, p.index, p.to = what, true, r.Interface, index, to
		return question{id, p}
	}
	out := func(id string, p packet, what string, to addressKind) question {
		p.what, p.iface, p.index, p.to = what, r.Interface, index, to
		return question{id, p}
	}
	var qs []question
	advertisement := func(from, to netip.Addr) packet { return ipPacket(r.IPv6, protocolVRRP, from, to) }
	if len(r.Peers) > 0 {
		for _, peer := range r.Peers {
			qs = append(qs, in("firewall-in", advertisement(peer, own), fmt.Sprintf("advertisements from %s that come in on %s", peer, r.Interface), toUs),
				out("firewall-out", advertisement(own, peer), fmt.Sprintf("advertisements to %s that go out on %s", peer, r.Interface), toOthers))
		}
	} else {
		var others []netip.Addr
		for _, a := range r.Known {
			if !me.Has(a) {
				others = append(others, a)
			}
		}
		if len(others) == 0 {
			others = []netip.Addr{{}}
		}
		for _, a := range others {
			what := "advertisements"
			if a.IsValid() {
				what += " from " + a.String()
			}
			qs = append(qs, in("firewall-in", advertisement(a, all), what+" that come in on "+r.Interface, toMulticast))
		}
		sent := out("firewall-out", advertisement(own, all), "advertisements that go out on "+r.Interface, toMulticast)
		if v := r.VirtualMAC; v != nil && !v.FromInterface {
			sent.packet.iface, sent.packet.index = v.Name, 0 // it may not be there yet
			sent.packet.what = "advertisements that go out on " + v.Name
		}
		qs = append(qs, sent)
	}
	if len(r.Addresses) == 0 {
		return qs
	}
	vip := r.Addresses[0].Prefix.Addr()
	if r.IPv6 {
		b := vip.As16()
		group := netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
		return append(qs, in("firewall-nd", discovery(135, netip.Addr{}, group, vip), fmt.Sprintf("neighbour solicitations for %s that come in on %s", vip, r.Interface), toMulticast),
			out("firewall-nd", discovery(136, vip, netip.Addr{}, vip), fmt.Sprintf("neighbour advertisements of %s that go out on %s", vip, r.Interface), toOthers))
	}
	return append(qs, in("firewall-arp", arpPacket(1, netip.Addr{}, vip), fmt.Sprintf("ARP requests for %s that come in on %s", vip, r.Interface), toMulticast),
		out("firewall-arp", arpPacket(2, vip, netip.Addr{}), fmt.Sprintf("ARP answers of %s that go out on %s", vip, r.Interface), toOthers))
}

// firewall finds what drops advertisements, or what clients and switches need to find
// an address.
func firewall(f *facts) []Finding {
	if f.rules == nil {
		return nil
	}
	var found []Finding
	judged := make(map[string]verdict) // a thousand routers on one link have one kind of advertisement
	for _, r := range f.cfg.Routers {
		for _, q := range asks(r, f.indexOf(r.Interface), f.me()) {
			key := q.packet.what + string(q.packet.network.b)
			v, known := judged[key]
			if !known {
				v = f.rules.judge(q.packet)
				judged[key] = v
			}
			if !v.dropped && !v.unclear {
				continue
			}
			n := Finding{ID: q.id, Level: Problem, Routers: []string{r.Name}, Mend: mendFirewall(v.chain, q.packet)}
			n.Text = fmt.Sprintf("%s are dropped: %s", q.packet.what, v.where)
			answer := q.packet
			answer.state = expr.CtStateBitESTABLISHED
			switch {
			case v.unclear:
				n.ID, n.Level = "firewall-unclear", Advice
				n.Text = fmt.Sprintf("%s may be dropped, by %s: that depends on what cannot be known here", q.packet.what, v.where)
			case q.id == "firewall-in" && !f.rules.judge(answer).dropped:
				n.ID = "firewall-answers"
				n.Text = fmt.Sprintf("%s are let in only as answers: a backup sends nothing that they could answer; else %s drops them", q.packet.what, v.where)
			}
			found = addFinding(found, n)
		}
	}
	return found
}

// addFinding adds one, or its routers to the same one.
func addFinding(found []Finding, n Finding) []Finding {
	for i, o := range found {
		if o.ID == n.ID && o.Text == n.Text {
			for _, r := range n.Routers {
				if !slices.Contains(o.Routers, r) {
					found[i].Routers = append(found[i].Routers, r)
				}
			}
			return found
		}
	}
	return append(found, n)
}

// mendFirewall is the command that lets a packet through, in the terms of whoever has
// made the table.
func mendFirewall(c *chain, p packet) string {
	if c == nil {
		return ""
	}
	protocol := "meta l4proto 112"
	if p.arp {
		return fmt.Sprintf("nft list chain arp %s %s, and accept ARP for the virtual addresses there", c.table.name, c.name)
	}
	icmp := p.protocol() == protocolICMPv6
	if icmp {
		protocol = "meta l4proto ipv6-icmp"
	}
	iptables := c.table.program
	switch {
	case iptables != "":
	case p.v6:
		iptables = "ip6tables"
	default:
		iptables = "iptables"
	}
	switch legacy := c.table.program != "" || c.table.family != nftables.TableFamilyINet && c.table.name == "filter" && strings.ToUpper(c.name) == c.name; {
	case c.table.name == "firewalld" && icmp:
		return "firewall-cmd --permanent --add-protocol=ipv6-icmp && firewall-cmd --reload"
	case c.table.name == "firewalld":
		return "firewall-cmd --permanent --zone=ZONE --add-protocol=vrrp && firewall-cmd --reload; ZONE: firewall-cmd --get-zone-of-interface=" + p.iface
	case strings.HasPrefix(c.name, "ufw"), legacy && strings.Contains(c.where(), "ufw"):
		return "add to /etc/ufw/before.rules, before its COMMIT: -A ufw-before-input -p vrrp -j ACCEPT; then: ufw reload"
	case legacy:
		direction := "OUTPUT -o "
		if p.in {
			direction = "INPUT -i "
		}
		return fmt.Sprintf("%s -I %s%s -p %s -j ACCEPT, and in the file that it is loaded from at boot", iptables, direction, p.iface, map[bool]string{true: "ipv6-icmp", false: "vrrp"}[icmp])
	}
	name := "oifname"
	if p.in {
		name = "iifname"
	}
	if c.table.family == nftables.TableFamilyNetdev {
		return fmt.Sprintf("nft insert rule %s %s %s accept, and in the file that it is loaded from at boot", c.table, c.name, protocol)
	}
	return fmt.Sprintf("nft insert rule %s %s %s %s %s accept, and in the file that it is loaded from at boot", c.table, c.name, name, p.iface, protocol)
}

// where names tables and chains that are called from the chain.
func (c *chain) where() string {
	var names []string
	for _, r := range c.rules {
		for _, e := range r.exprs {
			if v, ok := e.(*expr.Verdict); ok && v.Chain != "" {
				names = append(names, v.Chain)
			}
		}
	}
	return strings.Join(names, " ")
}

// leftTable finds the table with which a dead daemon refuses packets to its addresses.
func leftTable(f *facts) []Finding {
	if f.rules == nil || f.running {
		return nil
	}
	for _, c := range f.rules.chains {
		if c.table.name == "baton" && c.table.family == nftables.TableFamilyINet {
			return []Finding{{ID: "leftovers", Level: Problem, Text: "no baton runs here, and its table inet baton of nftables is there: it drops what comes for virtual addresses with `accept: false`",
				Mend: "start baton, which removes it; or: nft delete table inet baton"}}
		}
	}
	return nil
}
