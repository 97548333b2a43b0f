package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"baton/internal/config"
)

// problem is a finding about a router.
func problem(id string, r config.Router, mend, format string, args ...any) Finding {
	return Finding{ID: id, Level: Problem, Text: fmt.Sprintf(format, args...), Mend: mend, Routers: []string{r.Name}}
}

func advice(id string, r config.Router, mend, format string, args ...any) Finding {
	f := problem(id, r, mend, format, args...)
	f.Level = Advice
	return f
}

// eachRouter joins what is found of the routers.
func eachRouter(f *facts, find func(r config.Router) []Finding) (found []Finding) {
	for _, r := range f.cfg.Routers {
		for _, n := range find(r) {
			found = addFinding(found, n)
		}
	}
	return found
}

// interfaces finds those that a router cannot speak on.
func interfaces(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		i, ok := f.iface(r.Interface)
		switch {
		case !ok:
			return []Finding{problem("interface-missing", r, "ip link; then put its name into `interface`, for this node {"+f.cfg.Node+": NAME}", "there is no interface %s", r.Interface)}
		case i.Loopback:
			return []Finding{problem("interface-down", r, "name the interface of the network in `interface`", "%s is the loopback interface: nobody else is there", r.Interface)}
		case !i.AdminUp:
			return []Finding{problem("interface-down", r, "ip link set "+r.Interface+" up", "%s is down", r.Interface)}
		case !i.Up:
			return []Finding{problem("interface-down", r, "the cable, the switch, the bond or the interface below: ip -s link show "+r.Interface, "%s has no link", r.Interface)}
		case r.IPv6 && f.number("net/ipv6/conf/"+r.Interface+"/disable_ipv6") == 1:
			return []Finding{problem("ipv6-disabled", r, "sysctl -w net/ipv6/conf/"+r.Interface+"/disable_ipv6=0, and in /etc/sysctl.d", "IPv6 is switched off on %s", r.Interface)}
		}
		return f.source(r)
	})
}

// source finds that a router has no address to advertise from.
func (f *facts) source(r config.Router) []Finding {
	i, _ := f.iface(r.Interface)
	for _, a := range i.Addresses {
		if addr := a.Prefix.Addr(); addr.Is6() && addr.Is4() != r.IPv6 && r.IPv6 && a.Tentative && (addr == r.Source || addr.IsLinkLocalUnicast()) {
			return []Finding{problem("ipv6-dad", r, "look for the other host: ip -6 neighbour; or wait, and look again: ip -6 address show "+r.Interface,
				"%s on %s cannot be used: another host has it, or its duplicate address detection is not over", addr, r.Interface)}
		}
	}
	if want := r.Source; want.IsValid() {
		for _, a := range i.Addresses {
			if a.Prefix.Addr() == want {
				return nil
			}
		}
		return []Finding{problem("no-address", r, fmt.Sprintf("put it on: ip address add %s/LEN dev %s; or mend `source_address`", want, r.Interface), "%s, from which it advertises, is not on %s", want, r.Interface)}
	}
	var ok bool
	if len(r.Peers) > 0 {
		_, ok = i.SourceTo(r.Peers[0], f.virtual)
	} else {
		_, ok = i.Source(r.IPv6, f.virtual)
	}
	switch {
	case ok:
		return nil
	case r.IPv6 && len(r.Peers) == 0:
		return []Finding{problem("no-address", r, "sysctl -w net/ipv6/conf/"+r.Interface+"/addr_gen_mode=0, and set the link down and up", "%s has no link-local address, from which advertisements come", r.Interface)}
	}
	return []Finding{problem("no-address", r, "give it one beside the virtual ones, for instance: ip address add 169.254.0.N/24 dev "+r.Interface,
		"%s has no address of its own to advertise from", r.Interface)}
}

// The parts of an advertisement, in bytes.
const (
	ipv4Header, ipv6Header = 20, 40
	vrrpHeader             = 8
	signature              = 28
)

// sizes finds advertisements that do not fit into one packet.
func sizes(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		i, ok := f.iface(r.Interface)
		size, each := ipv4Header+vrrpHeader, 4
		if r.IPv6 {
			size, each = ipv6Header+vrrpHeader, 16
		}
		for _, a := range r.Addresses {
			if a.Advertise {
				size += each
			}
		}
		if r.HMAC != nil {
			size += signature
		}
		if !ok || size <= i.MTU || i.MTU == 0 {
			return nil
		}
		return []Finding{problem("mtu", r, "split the router in two that a group binds; or `advertise: false` for some addresses, on all nodes; or a greater MTU on the whole link",
			"an advertisement has %d bytes, and %s takes %d: it cannot be sent", size, r.Interface, i.MTU)}
	})
}

// reversePath finds unicast peers whose packets the kernel takes for forged.
func reversePath(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		i, ok := f.iface(r.Interface)
		if !ok || r.IPv6 || f.ofInterface(r.Interface, "rp_filter") != 1 {
			return nil
		}
		for _, p := range r.Peers {
			near := false
			for _, a := range i.Addresses {
				near = near || a.Prefix.Contains(p)
			}
			if !near {
				return []Finding{advice("rp-filter", r, "ip route get "+p.String()+"; if that names another interface: sysctl -w net/ipv4/conf/"+r.Interface+"/rp_filter=2 and net.ipv4.conf.all.rp_filter=2, and in /etc/sysctl.d",
					"the peer %s is in no network of %s, and rp_filter is 1: the kernel drops what comes from it unless the way back is by %s as well", p, r.Interface, r.Interface)}
			}
		}
		return nil
	})
}

// arpAnswers finds addresses for which the kernel would not answer ARP.
func arpAnswers(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		if r.IPv6 || r.VirtualMAC != nil {
			return nil
		}
		ignore := f.ofInterface(r.Interface, "arp_ignore")
		setting := "sysctl -w net.ipv4.conf.all.arp_ignore=0 and net/ipv4/conf/" + r.Interface + "/arp_ignore=0, and in /etc/sysctl.d"
		for _, a := range r.Addresses {
			addr := a.Prefix.Addr()
			switch {
			case addr.Is6() || ignore <= 0:
			case a.Interface != "" && a.Interface != r.Interface && ignore <= 3:
				return []Finding{problem("arp-ignore", r, setting, "nobody would find %s: it goes on %s, and arp_ignore is %d on %s: the kernel answers for addresses of %s alone", addr, a.Interface, ignore, r.Interface, r.Interface)}
			case ignore == 2 && a.Prefix.IsSingleIP():
				return []Finding{problem("arp-ignore", r, setting+"; or give the address the length of its network", "nobody would find %s: arp_ignore is 2 on %s, so the kernel answers who is in the address's network alone, and /32 has none", a.Prefix, r.Interface)}
			case ignore == 3 && a.Scope == unix.RT_SCOPE_HOST, ignore == 8:
				return []Finding{problem("arp-ignore", r, setting, "nobody would find %s: arp_ignore is %d on %s", addr, ignore, r.Interface)}
			}
		}
		return nil
	})
}

// nonlocalBind finds that HAProxy cannot start while a VIP is elsewhere.
func nonlocalBind(f *facts) []Finding {
	return eachRouter(f, func(r config.Router) []Finding {
		var check string
		for _, t := range r.Track {
			for _, c := range f.cfg.Checks {
				if c.Name == t.Check && c.Type == config.HAProxyCheck {
					check = c.Name
				}
			}
		}
		setting := "net.ipv4.ip_nonlocal_bind"
		if r.IPv6 {
			setting = "net.ipv6.ip_nonlocal_bind"
		}
		var elsewhere []string
		for _, a := range r.Addresses {
			if addr := a.Prefix.Addr(); addr.Is6() == r.IPv6 && len(f.holders(addr)) == 0 {
				elsewhere = append(elsewhere, addr.String())
			}
		}
		if check == "" || f.sysctl(setting) != "0" || len(elsewhere) == 0 {
			return nil
		}
		text := fmt.Sprintf("%s is 0, and %s is not on this host: a HAProxy that binds it cannot start or reload here, and could not serve after a takeover", setting, join(elsewhere))
		mend := fmt.Sprintf("echo %s=1 > /etc/sysctl.d/60-baton-%s.conf && sysctl -w %s=1; not needed where HAProxy binds *: or `transparent`", setting, map[bool]string{false: "ipv4", true: "ipv6"}[r.IPv6], setting)
		if c, asked := f.check(check); asked && c.Verdict == "fail" {
			return []Finding{problem("nonlocal-bind", r, mend, "%s; %s fails", text, check)}
		}
		return []Finding{advice("nonlocal-bind", r, mend, "%s", text)}
	})
}

// join names some, and counts the rest.
func join(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func addresses(r config.Router) (all []netip.Addr) {
	for _, a := range r.Addresses {
		all = append(all, a.Prefix.Addr())
	}
	return all
}
