package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
)

// Host is a machine of the laboratory: a network namespace, and a mount namespace with a /run of its own. The rest
// of the file system is shared.
type Host struct {
	Name  string
	lab   *Lab
	space *space
	ipv6  bool

	mu        sync.Mutex
	processes []*Process
}

// prepare sets what must be set before the first interface appears.
func (h *Host) prepare() error {
	_, err := os.Stat("/proc/sys/net/ipv6")
	h.ipv6 = err == nil
	settings := []struct{ key, value string }{
		// An address is usable at once; and nothing is sent that a test did not ask for.
		{"net/ipv6/conf/all/accept_dad", "0"},
		{"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv6/conf/default/router_solicitations", "0"},
		{"net/ipv6/conf/default/accept_ra", "0"},
	}
	for _, s := range settings {
		if err := h.space.sysctl(s.key, s.value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	lo, err := h.space.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := h.space.nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// Do runs f on a thread inside the host's network namespace, and ends that thread afterwards. Sockets that f opens
// stay in the host; goroutines that it starts, and whatever resolves names in the background, do not.
func (h *Host) Do(f func() error) error {
	return h.space.do(f)
}

// Sysctl sets a kernel setting of the host's network; slashes stand where `sysctl` writes dots.
func (h *Host) Sysctl(key, value string) error {
	if err := h.space.sysctl(key, value); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// Path returns the name by which this process reaches a file of the host, such as one under its /run.
func (h *Host) Path(file string) string {
	return h.space.root + file
}

// Netlink returns a handle to the host's interfaces, addresses and routes. It belongs to the host.
func (h *Host) Netlink() *netlink.Handle {
	return h.space.nl
}

// Addresses returns the addresses on one interface, with their prefix lengths, in order.
func (h *Host) Addresses(ifname string) ([]netip.Prefix, error) {
	link, err := h.space.nl.LinkByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("host %s: find %s: %w", h.Name, ifname, err)
	}
	list, err := h.space.nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("host %s: list the addresses of %s: %w", h.Name, ifname, err)
	}
	var prefixes []netip.Prefix
	for _, a := range list {
		prefixes = append(prefixes, prefixOf(a.IPNet))
	}
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	return prefixes, nil
}

// Holds reports whether the address is on the interface.
func (h *Host) Holds(ifname string, addr netip.Addr) (bool, error) {
	prefixes, err := h.Addresses(ifname)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Addr() == addr }), nil
}

// AddAddress puts an address on an interface, as an operator would by hand.
func (h *Host) AddAddress(ifname string, prefix netip.Prefix) error {
	return h.change(ifname, prefix, "add", h.space.nl.AddrAdd)
}

// RemoveAddress takes an address off an interface, as an operator would by hand.
func (h *Host) RemoveAddress(ifname string, prefix netip.Prefix) error {
	return h.change(ifname, prefix, "remove", h.space.nl.AddrDel)
}

func (h *Host) change(ifname string, prefix netip.Prefix, verb string, f func(netlink.Link, *netlink.Addr) error) error {
	link, err := h.space.nl.LinkByName(ifname)
	if err == nil {
		err = f(link, &netlink.Addr{IPNet: &net.IPNet{
			IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
		}})
	}
	if err != nil {
		return fmt.Errorf("host %s: %s %v on %s: %w", h.Name, verb, prefix, ifname, err)
	}
	return nil
}

// started returns the processes of the host, newest first.
func (h *Host) started() []*Process {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.processes)
	slices.Reverse(list)
	return list
}

func prefixOf(n *net.IPNet) netip.Prefix {
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}
