package health

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Presence is something that this host's network must have.
type Presence struct {
	Interface string       // of an InterfaceCheck; else empty: any
	Address   netip.Addr   // of an AddressCheck
	To        netip.Prefix // of a RouteCheck
	Via       netip.Addr   // invalid: any
	Table     uint32       // 254: main
}

// NewInterfaceProbe passes while an interface is up and running: somebody wants it
// up, its link is there, and its operational state (RFC 2863) is up, or not known
// to its driver.
func NewInterfaceProbe(name string) Probe {
	return &presenceProbe{Presence{Interface: name}, interfaceAnswer}
}

// NewAddressProbe passes while this host has an address that it may use: duplicate
// address detection has let it pass. A deprecated one counts, since an IPv6 address
// that is to be no source is made so.
func NewAddressProbe(p Presence) Probe {
	p.Address = p.Address.Unmap()
	if zone := p.Address.Zone(); zone != "" {
		if p.Interface == "" {
			p.Interface = zone
		}
		p.Address = p.Address.WithZone("")
	}
	return &presenceProbe{p, addressAnswer}
}

// NewRouteProbe passes while the kernel has a route to exactly that destination,
// whose link is there; a route that refuses (unreachable, blackhole, ...) is none.
// Each run lists the routes of the table, which is dear where these are very many.
func NewRouteProbe(p Presence) Probe {
	p.To, p.Via = p.To.Masked(), p.Via.Unmap().WithZone("")
	if p.Table == 0 {
		p.Table = unix.RT_TABLE_MAIN
	}
	return &presenceProbe{p, routeAnswer}
}

// presenceProbe asks the kernel, in the calling thread's network namespace.
type presenceProbe struct {
	Presence
	answer func(Presence, *netlink.Handle) (Answer, error)
}

func (p *presenceProbe) Probe(ctx context.Context) Answer {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return Answer{Text: fmt.Sprintf("ask the kernel for its network: open a netlink socket: %v", err)}
	}
	defer h.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = h.SetSocketTimeout(max(time.Until(deadline), time.Millisecond)) // it answers at once
	}
	err = netlink.ErrDumpInterrupted
	for try := 0; try < maxTries && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		var a Answer
		if a, err = p.answer(p.Presence, h); a.OK || err == nil {
			return a
		}
	}
	return Answer{Text: fmt.Sprintf("ask the kernel for its network: %v", err)}
}

// maxTries is how often a list is read that changes while it is, as at a takeover:
// what is missing in it may be there.
const maxTries = 5

// interfaceAnswer looks at an interface.
func interfaceAnswer(p Presence, h *netlink.Handle) (Answer, error) {
	a, err := attributes(h, p.Interface)
	if a == nil {
		return missing(p.Interface), err
	}
	name := p.Interface
	switch {
	case a.RawFlags&unix.IFF_UP == 0:
		return Answer{Text: name + " is down: nobody has set it up", Hint: "ip link set " + name + " up"}, nil
	case a.OperState == netlink.OperLowerLayerDown:
		return Answer{Text: name + " is set up, but the interface beneath it is down"}, nil
	case a.RawFlags&unix.IFF_LOWER_UP == 0:
		return Answer{Text: name + " is set up, but has no carrier", Hint: "the cable, the switch, or the other end is down"}, nil
	case a.OperState != netlink.OperUp && a.OperState != netlink.OperUnknown, a.RawFlags&unix.IFF_RUNNING == 0:
		return Answer{Text: fmt.Sprintf("%s has a carrier, but its state is %v", name, a.OperState)}, nil
	}
	return Answer{OK: true, Text: name + " is up and running"}, nil
}

// attributes are those of an interface; nil without an error where it is missing.
func attributes(h *netlink.Handle, name string) (*netlink.LinkAttrs, error) {
	link, err := h.LinkByName(name)
	switch {
	case errors.As(err, &netlink.LinkNotFoundError{}), errors.Is(err, syscall.ENODEV):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for interface %s: %w", name, err)
	}
	return link.Attrs(), nil
}

func missing(name string) Answer {
	return Answer{Text: "no interface " + name, Hint: "is the name right, and its driver loaded?"}
}

// index is the number of the interface asked for; 0: any will do.
func (p Presence) index(h *netlink.Handle) (index int, found bool, err error) {
	if p.Interface == "" {
		return 0, true, nil
	}
	a, err := attributes(h, p.Interface)
	if a == nil {
		return 0, false, err
	}
	return a.Index, true, nil
}

// addressAnswer looks for an address.
func addressAnswer(p Presence, h *netlink.Handle) (Answer, error) {
	only, there, err := p.index(h)
	if !there {
		return missing(p.Interface), err
	}
	family := netlink.FAMILY_V4
	if p.Address.Is6() {
		family = netlink.FAMILY_V6
	}
	all, err := h.AddrList(nil, family)
	if err != nil {
		err = fmt.Errorf("list addresses: %w", err)
	}
	no := Answer{Text: fmt.Sprintf("no address %v on this host", p.Address)}
	if p.Interface != "" {
		no.Text = fmt.Sprintf("no address %v on %s", p.Address, p.Interface)
	}
	for _, a := range all {
		if addr, _ := netip.AddrFromSlice(a.IP); addr.Unmap() != p.Address {
			continue
		}
		name := interfaceName(h, a.LinkIndex)
		if only != 0 && a.LinkIndex != only {
			no.Text = fmt.Sprintf("no address %v on %s: it is on %s", p.Address, p.Interface, name)
			continue
		}
		switch {
		case a.Flags&unix.IFA_F_DADFAILED != 0:
			no = Answer{
				Text: fmt.Sprintf("%v is on %s, but duplicate address detection failed", p.Address, name),
				Hint: "another host has it; once that is mended, delete it and add it again",
			}
		case a.Flags&unix.IFA_F_TENTATIVE != 0:
			no = Answer{Text: fmt.Sprintf("%v is on %s, but tentative: duplicate address detection is running", p.Address, name)}
		case a.Flags&unix.IFA_F_DEPRECATED != 0:
			return Answer{OK: true, Text: fmt.Sprintf("%v is on %s (deprecated: no source address)", p.Address, name)}, nil
		default:
			return Answer{OK: true, Text: fmt.Sprintf("%v is on %s", p.Address, name)}, nil
		}
	}
	return no, err
}

// routeAnswer looks for a route.
func routeAnswer(p Presence, h *netlink.Handle) (Answer, error) {
	only, there, err := p.index(h)
	if !there {
		return missing(p.Interface), err
	}
	routes, err := p.routes(h)
	to, table, down := "route to "+p.To.String(), "", ""
	if p.To.Bits() == 0 {
		to = "default route"
	}
	if p.Table != unix.RT_TABLE_MAIN {
		table = " in table " + strconv.Itoa(int(p.Table))
	}
	var others []string
	for _, r := range routes {
		for _, hop := range hops(r) {
			via, text := gateway(hop), "on "+interfaceName(h, hop.LinkIndex)
			if via.IsValid() {
				text = fmt.Sprintf("via %v %s", via, text)
			}
			switch {
			case p.Via.IsValid() && via != p.Via, only != 0 && hop.LinkIndex != only:
				others = append(others, text)
			case hop.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0:
				down = text
			default:
				return Answer{OK: true, Text: to + " " + text + table}, nil
			}
		}
	}
	if down != "" {
		return Answer{Text: fmt.Sprintf("%s %s%s: the link is down", to, down, table)}, err
	}
	text := "no " + to
	if p.Via.IsValid() {
		text += " via " + p.Via.String()
	}
	if p.Interface != "" {
		text += " on " + p.Interface
	}
	if text += table; len(others) > 0 {
		text += ": it goes " + some(others)
	}
	return Answer{Text: text}, err
}

// routes are those that lead to where the check asks for.
func (p Presence) routes(h *netlink.Handle) (found []netlink.Route, err error) {
	family := netlink.FAMILY_V4
	if p.To.Addr().Is6() {
		family = netlink.FAMILY_V6
	}
	_ = h.SetStrictCheck(true) // the kernel then lists that table alone; an old one lists all
	err = h.RouteListFilteredIter(family, &netlink.Route{Table: int(p.Table)}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
		if destination(r) == p.To && (r.Type == unix.RTN_UNICAST || r.Type == unix.RTN_LOCAL) {
			found = append(found, r)
		}
		return true
	})
	switch {
	case errors.Is(err, syscall.ENOENT): // no such table
		return nil, nil
	case err != nil:
		err = fmt.Errorf("list routes: %w", err)
	}
	return found, err
}

// destination is where a route leads.
func destination(r netlink.Route) netip.Prefix {
	if r.Dst == nil {
		if r.Family == unix.AF_INET6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	addr, _ := netip.AddrFromSlice(r.Dst.IP)
	bits, _ := r.Dst.Mask.Size()
	if r.Family == unix.AF_INET {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, bits)
}

// hops are a route's next hops, of which it has one unless it is multipath.
func hops(r netlink.Route) []*netlink.NexthopInfo {
	if len(r.MultiPath) > 0 {
		return r.MultiPath
	}
	return []*netlink.NexthopInfo{{LinkIndex: r.LinkIndex, Gw: r.Gw, Via: r.Via, Flags: r.Flags}}
}

// gateway is the router of a next hop; invalid: the destination is on the link.
func gateway(hop *netlink.NexthopInfo) netip.Addr {
	ip := hop.Gw
	if via, ok := hop.Via.(*netlink.Via); ok && ip == nil { // of the other family
		ip = via.Addr
	}
	addr, _ := netip.AddrFromSlice(slices.Clone([]byte(ip)))
	return addr.Unmap()
}

// interfaceName is the name of an interface, or its number where it is gone.
func interfaceName(h *netlink.Handle, index int) string {
	if link, err := h.LinkByIndex(index); err == nil {
		return link.Attrs().Name
	}
	return "interface " + strconv.Itoa(index)
}
