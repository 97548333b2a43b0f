package vip

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// fits reports whether what the kernel has of the address has the options that
// are wished: the peer always, and of IPv4 the scope and whether there is a
// prefix route. A label or a broadcast address is compared where one is wished:
// the kernel makes up labels when an interface gets another name. Of IPv6, the
// kernel finds the scope itself, and a prefix route that is missing is the
// worker's choice beside an address of the host. What each renewal sets anyway,
// lifetimes and Source, is not compared.
func (a *address) fits(e entry) bool {
	switch {
	case e.peer != a.Peer.Addr():
		return false
	case e.prefix.Addr().Is6():
		return e.noRoute || !a.NoPrefixRoute
	}
	return e.noRoute == a.NoPrefixRoute && e.scope == a.Scope &&
		(a.Label == "" || e.label == a.Label) && (!a.Broadcast.IsValid() || e.broadcast == a.Broadcast)
}

// form is the address as the kernel has it once it is set.
func (a *address) form() entry {
	return entry{
		prefix: a.Prefix, peer: a.Peer.Addr(), proto: Protocol, assumed: true, permanent: a.router.Lifetime <= 0,
		label: a.Label, scope: a.Scope, broadcast: a.Broadcast, noRoute: a.NoPrefixRoute,
	}
}

// options adds to a message that puts the address on what IPv4 has beside it.
func (a *Address) options(m *nl.NetlinkRequest) {
	if a.Prefix.Addr().Is6() {
		return
	}
	if a.Label != "" {
		m.AddData(nl.NewRtAttr(unix.IFA_LABEL, nl.ZeroTerminated(a.Label)))
	}
	if a.Broadcast.IsValid() {
		m.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, a.Broadcast.AsSlice()))
	}
}
