package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"baton/internal/config"
	"baton/internal/control"
)

// collisions finds masters on our links that are none of ours, or not as they should
// be.
func collisions(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) (found []Finding) {
		for _, h := range f.heard {
			if h.Interface == r.Interface && h.IPv6 == r.IPv6 && h.VRID == r.VRID && !f.ours(h.Source) {
				found = append(found, collision(f, r, h)...)
			}
		}
		return found
	})
}

// ours tells whether an address is one of this host's.
func (f *facts) ours(a netip.Addr) bool { return len(f.holders(a)) > 0 }

func collision(f *facts, r config.Router, h Heard) []Finding {
	who := h.Source.String()
	known := slices.Contains(r.Known, h.Source) || slices.Contains(r.Peers, h.Source)
	for _, n := range f.cfg.Nodes {
		if n.Has(h.Source) {
			who, known = n.Name+" ("+who+")", true
		}
	}
	same := sameAddresses(r, h.Addresses)
	switch {
	case h.Version != r.Version:
		return []Finding{problem("version", r, fmt.Sprintf("`version: %d` here, or the other version there: all speakers of a virtual router have the same", h.Version),
			"%s speaks VRRPv%d with VRID %d on %s, and this node VRRPv%d: they do not elect with each other, and both become master", who, h.Version, r.VRID, r.Interface, r.Version)}
	case !same && !known && disjoint(r, h.Addresses):
		return []Finding{problem("vrid", r, "another `vrid` on all nodes of one of them: baton scan "+r.Interface,
			"%s uses VRID %d on %s too, for %s: each takes the other's role", who, r.VRID, r.Interface, listed(h.Addresses))}
	case !same:
		return []Finding{advice("address-list", r, "give all nodes the same file; keepalived before 2.3.3 does not elect with a speaker of other addresses",
			"%s advertises %s for VRID %d on %s, and this node %s", who, listed(h.Addresses), r.VRID, r.Interface, listed(advertised(r)))}
	}
	want := "none"
	switch {
	case r.HMAC != nil && r.HMAC.Mode == config.HMACEnforce:
		want = "hmac"
	case r.Password != "":
		want = "pass"
	}
	if want != "none" && h.Signed != want {
		return []Finding{problem("authentication", r, "the same `authentication` on all nodes; to introduce keys: mode: permissive first",
			"%s, which is master of VRID %d on %s, advertises with authentication %s, and this node wants %s: both become master", who, r.VRID, r.Interface, h.Signed, want)}
	}
	return nil
}

// advertised are the addresses that the router has in its advertisements.
func advertised(r config.Router) (all []netip.Addr) {
	for _, a := range r.Addresses {
		if a.Advertise {
			all = append(all, a.Prefix.Addr())
		}
	}
	return all
}

func sameAddresses(r config.Router, other []netip.Addr) bool {
	mine := advertised(r)
	return len(mine) == len(other) && !slices.ContainsFunc(mine, func(a netip.Addr) bool { return !slices.Contains(other, a) })
}

func disjoint(r config.Router, other []netip.Addr) bool {
	return !slices.ContainsFunc(addresses(r), func(a netip.Addr) bool { return slices.Contains(other, a) })
}

func listed(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "no addresses"
	}
	var names []string
	for _, a := range addrs {
		names = append(names, a.String())
	}
	return join(names)
}

// otherPrograms finds others that put virtual addresses on this host.
func otherPrograms(f *facts) []Finding {
	var name string
	var pids []string
	for _, p := range f.processes {
		if slices.Contains([]string{"keepalived", "vrrpd", "ucarp", "corosync"}, p.name) && (name == "" || name == p.name) {
			name = p.name
			pids = append(pids, fmt.Sprint(p.pid))
		}
	}
	if name == "" {
		return nil
	}
	n := Finding{ID: "other-program", Level: Problem, Mend: "systemctl disable --now " + name + ", on a node that is a backup; of keepalived see docs/replacing-keepalived.md"}
	n.Text = name + " runs here, PID " + join(pids)
	var taken []string
	for _, r := range f.cfg.Routers {
		for _, a := range addresses(r) {
			if f.ours(a) && f.roleOf(r) != "MASTER" {
				taken = append(taken, a.String())
				if !slices.Contains(n.Routers, r.Name) {
					n.Routers = append(n.Routers, r.Name)
				}
			}
		}
	}
	if len(taken) == 0 {
		n.Level = Advice
		n.Text += ": that is well as long as its virtual addresses are not those of this node"
	} else {
		n.Text += ", and has most likely put " + join(taken) + " on, which are of this node's configuration"
	}
	return []Finding{n}
}

// cluster finds nodes that do not hear each other.
func cluster(f *facts) (found []Finding) {
	if f.cluster == nil || f.status == nil {
		return nil
	}
	for _, n := range f.cluster.Nodes {
		if n.Name == f.cluster.Node {
			continue
		}
		if n.Status == nil {
			found = append(found, Finding{ID: "node-silent", Level: Advice, Text: n.Name + " does not answer: " + n.Error, Mend: "look there: systemctl status baton; its listener: `listen`"})
			continue
		}
		for _, theirs := range n.Status.Routers {
			for _, mine := range f.status.Routers {
				if mine.Name == theirs.Name && mine.Role == "MASTER" && theirs.Role == "MASTER" && time.Since(theirs.Since) > settles && time.Since(mine.Since) > settles {
					found = addFinding(found, Finding{ID: "two-masters", Level: Problem, Routers: []string{mine.Name},
						Text: fmt.Sprintf("%s is master as well: neither node hears the other", n.Name),
						Mend: "baton doctor on both; tcpdump -ni INTERFACE ip proto 112 or ip6 proto 112: what is sent here must be seen there"})
				}
			}
		}
	}
	return found
}

// settles is how long two masters may be, until one has heard the other.
const settles = 10 * time.Second

// neverHeard finds masters that have heard nobody since they started.
func neverHeard(f *facts) []Finding {
	if f.status == nil {
		return nil
	}
	var found []Finding
	for _, s := range f.status.Routers {
		if s.Role != "MASTER" || f.answersAsBackup(s.Name) {
			continue
		}
		var never []string
		for _, p := range s.Parts {
			if p.Unicast || len(p.Peers) == 0 {
				continue
			}
			if !slices.ContainsFunc(p.Peers, func(o control.Peer) bool { return !o.LastHeard.IsZero() }) {
				never = append(never, p.Interface)
			}
		}
		if len(never) > 0 {
			found = addFinding(found, Finding{ID: "nobody-heard", Level: Advice, Routers: []string{s.Name},
				Text: fmt.Sprintf("nobody was ever heard on %s: that is how it is if no other node was master since baton was started here, and also if a switch or a firewall drops multicast", strings.Join(never, ", ")),
				Mend: "baton status --cluster; or on another node: baton scan INTERFACE, which must show this one"})
		}
	}
	return found
}

// answersAsBackup tells whether another node has said that it is a backup of the
// router: then it hears this one.
func (f *facts) answersAsBackup(router string) bool {
	return f.cluster != nil && slices.ContainsFunc(f.cluster.Nodes, func(n control.ClusterNode) bool {
		return n.Status != nil && slices.ContainsFunc(n.Status.Routers, func(r control.Router) bool { return r.Name == router && r.Role == "BACKUP" })
	})
}
