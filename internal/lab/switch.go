package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// settleTimeout bounds the wait for an interface to have carrier and its link-local address.
const settleTimeout = 5 * time.Second

// Switch joins hosts as an unmanaged Ethernet switch would: no spanning tree, no multicast snooping.
type Switch struct {
	Name   string
	number int
	lab    *Lab
	space  *space
	bridge netlink.Link
	ports  int
}

// Switch makes a switch without ports.
func (l *Lab) Switch(name string) (*Switch, error) {
	s, err := l.space(name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.switches++
	sw := &Switch{Name: name, number: l.switches, lab: l, space: s}
	l.mu.Unlock()
	// The switch itself must not speak: its own multicast reports would be in every capture.
	err = s.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("switch %s: %w", name, err)
	}
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := s.nl.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("switch %s: add a bridge: %w", name, err)
	}
	if err := s.nl.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("switch %s: set the bridge up: %w", name, err)
	}
	sw.bridge = br
	return sw, nil
}

// Port is one host's cable to a switch.
type Port struct {
	Host      *Host
	Interface string // the host's end
	MAC       net.HardwareAddr
	sw        *Switch
	end       netlink.Link // the switch's end
	lossy     bool
}

// Attach lays a cable from the switch to the host, whose end gets the name, an address of the local MAC range and
// the prefixes ("10.99.0.1/24"), and returns once the link is up. IPv6 link-local addresses come by themselves, and
// there is no duplicate address detection. It is for the time before daemons start: not to be called concurrently
// on one switch.
func (sw *Switch) Attach(h *Host, ifname string, prefixes ...string) (*Port, error) {
	sw.ports++
	mac := net.HardwareAddr{0x02, 0, 0, byte(sw.number), 0, byte(sw.ports)}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("port%d", sw.ports)
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: ifname, PeerHardwareAddr: mac,
		PeerNamespace: netlink.NsFd(h.space.net.Fd()),
	}
	fail := func(what string, err error) (*Port, error) {
		return nil, fmt.Errorf("cable from %s to %s of %s: %s: %w", sw.Name, ifname, h.Name, what, err)
	}
	handle := sw.space.nl
	if err := handle.LinkAdd(veth); err != nil {
		return fail("add a veth", err)
	}
	end, err := handle.LinkByName(attrs.Name)
	if err != nil {
		return fail("find the switch's end", err)
	}
	p := &Port{Host: h, Interface: ifname, MAC: mac, sw: sw, end: end}
	if err := handle.LinkSetMaster(end, sw.bridge); err != nil {
		return fail("add to the bridge", err)
	}
	if err := handle.LinkSetUp(end); err != nil {
		return fail("set the switch's end up", err)
	}
	if err := h.addresses(ifname, prefixes); err != nil {
		return fail("prepare the host's end", err)
	}
	if err := h.settle(ifname); err != nil {
		return fail("wait for the link", err)
	}
	if err := p.forwards(); err != nil {
		return fail("wait for the switch", err)
	}
	return p, nil
}

// Cut takes the port out of the switch: nothing passes in either direction, and nobody notices by the carrier.
func (p *Port) Cut() error {
	if err := p.sw.space.nl.LinkSetNoMaster(p.end); err != nil {
		return fmt.Errorf("cut %s from %s: %w", p.Host.Name, p.sw.Name, err)
	}
	return nil
}

// Mend undoes Cut. The switch forwards when it returns.
func (p *Port) Mend() error {
	if err := p.sw.space.nl.LinkSetMaster(p.end, p.sw.bridge); err != nil {
		return fmt.Errorf("mend the link of %s to %s: %w", p.Host.Name, p.sw.Name, err)
	}
	return p.forwards()
}

// Down ends the link so that the host sees the loss of carrier.
func (p *Port) Down() error {
	if err := p.sw.space.nl.LinkSetDown(p.end); err != nil {
		return fmt.Errorf("take the link of %s to %s down: %w", p.Host.Name, p.sw.Name, err)
	}
	return nil
}

// Up undoes Down. The switch forwards when it returns.
func (p *Port) Up() error {
	if err := p.sw.space.nl.LinkSetUp(p.end); err != nil {
		return fmt.Errorf("bring the link of %s to %s up: %w", p.Host.Name, p.sw.Name, err)
	}
	return p.forwards()
}

// forwards waits until the switch has noticed the port's carrier. The kernel's work that tells it is shared by the
// whole machine and may be most of a second behind.
func (p *Port) forwards() error {
	for deadline := time.Now().Add(settleTimeout); ; time.Sleep(time.Millisecond) {
		state, err := p.state()
		if err != nil {
			return err
		}
		if state == portForwarding {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the port's state is %d after %v, want %d", state, settleTimeout, portForwarding)
		}
	}
}

// portForwarding is BR_STATE_FORWARDING of linux/if_bridge.h.
const portForwarding = 3

// state asks the bridge for the port's state.
func (p *Port) state() (int, error) {
	req := nl.NewNetlinkRequest(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(p.end.Attrs().Index)
	req.AddData(msg)
	var answer [][]byte
	err := p.sw.space.do(func() (err error) {
		answer, err = req.Execute(unix.NETLINK_ROUTE, 0)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the port's state: %w", err)
	}
	if len(answer) == 0 || len(answer[0]) < unix.SizeofIfInfomsg {
		return 0, errors.New("ask for the port's state: no answer")
	}
	data := answer[0][unix.SizeofIfInfomsg:]
	for _, kind := range []uint16{unix.IFLA_LINKINFO, nl.IFLA_INFO_SLAVE_DATA, nl.IFLA_BRPORT_STATE} {
		attrs, err := nl.ParseRouteAttr(data)
		if err != nil {
			return 0, fmt.Errorf("read the port's state: %w", err)
		}
		data = nil
		for _, a := range attrs {
			if a.Attr.Type&nl.NLA_TYPE_MASK == kind {
				data = a.Value
			}
		}
	}
	if len(data) == 0 {
		return 0, errors.New("read the port's state: it is not in the answer")
	}
	return int(data[0]), nil
}

// addresses brings an interface of the host up with the given addresses.
func (h *Host) addresses(ifname string, prefixes []string) error {
	link, err := h.space.nl.LinkByName(ifname)
	if err != nil {
		return fmt.Errorf("find %s: %w", ifname, err)
	}
	for _, s := range prefixes {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("read the prefix %q: %w", s, err)
		}
		if err := h.AddAddress(ifname, prefix); err != nil {
			return err
		}
	}
	if err := h.space.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", ifname, err)
	}
	return nil
}

// settle waits until an interface has carrier and, where the kernel speaks IPv6, a link-local address, and until
// every IPv6 address is in use: the kernel accepts one first and answers for it later, on a busy machine much later.
func (h *Host) settle(ifname string) error {
	for deadline := time.Now().Add(settleTimeout); ; time.Sleep(time.Millisecond) {
		link, err := h.space.nl.LinkByName(ifname)
		if err != nil {
			return fmt.Errorf("read %s: %w", ifname, err)
		}
		addrs, err := h.space.nl.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return fmt.Errorf("list the addresses of %s: %w", ifname, err)
		}
		linkLocal, tentative := !h.ipv6, false
		for _, a := range addrs {
			linkLocal = linkLocal || a.IP.IsLinkLocalUnicast()
			tentative = tentative || a.Flags&unix.IFA_F_TENTATIVE != 0
		}
		if linkLocal && !tentative && link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is %v with %v after %v", ifname, link.Attrs().OperState, addrs, settleTimeout)
		}
	}
}
