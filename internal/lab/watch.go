package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// AddressChange is an address that came into use on a host or went out of it.
type AddressChange struct {
	At        time.Time // when the kernel's message was read
	Host      string
	Interface int // index
	Prefix    netip.Prefix
	Present   bool
}

// WatchAddresses calls f for each address that is in use now, before it returns, and then for each change, one at a time,
// until the laboratory is closed. An address is in use while an interface has it that is up; a macvlan needs carrier too, which
// others take from it to put its addresses out of use (protodown). Renewals of an address, and a second interface with the
// same one, are not reported. Losing a message of the kernel calls failed, from then on nothing is known.
func (h *Host) WatchAddresses(f func(AddressChange), failed func(error)) error {
	fail := func(err error) error { return fmt.Errorf("host %s: watch addresses: %w", h.Name, err) }
	// One socket for both, so that the messages come in the order of the events.
	s, err := nl.SubscribeAt(netns.NsHandle(h.space.net.Fd()), netns.None(), unix.NETLINK_ROUTE,
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fail(err)
	}
	// To go beyond the machine's limit is not for the root of a user namespace.
	if err := s.SetReceiveBufferSize(8<<20, os.Getenv(entered) == ""); err != nil {
		s.Close()
		return fail(err)
	}
	w := &addressWatch{host: h.Name, socket: s, f: f, links: make(map[int]bool), on: make(map[addressKey]bool)}
	// The interfaces first: they say which addresses count.
	for _, what := range []int{unix.RTM_GETLINK, unix.RTM_GETADDR} {
		if err := w.list(what); err != nil {
			s.Close()
			return fail(err)
		}
	}
	stop := make(chan struct{})
	var once sync.Once
	h.lab.onClose(func() {
		once.Do(func() {
			close(stop)
			s.Close()
		})
	})
	go func() {
		var err error
		for err == nil {
			_, err = w.receive()
		}
		select {
		case <-stop: // the closed socket is the end, not a loss
		default:
			failed(fail(err))
		}
	}()
	return nil
}

// addressWatch follows the interfaces and addresses of one host.
type addressWatch struct {
	host   string
	socket *nl.NetlinkSocket
	f      func(AddressChange)
	links  map[int]bool        // by index: whether its addresses are in use
	on     map[addressKey]bool // the addresses that interfaces have
}

type addressKey struct {
	index  int
	prefix netip.Prefix
}

// list asks for all interfaces, or for all addresses, and takes the answer.
func (w *addressWatch) list(what int) error {
	req := nl.NewNetlinkRequest(what, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err := w.socket.Send(req); err != nil {
		return err
	}
	for {
		if done, err := w.receive(); done || err != nil {
			return err
		}
	}
}

// receive takes what the kernel has to say, and reports whether that was the end of a list.
func (w *addressWatch) receive() (done bool, err error) {
	messages, _, err := w.socket.Receive()
	if err != nil {
		return false, err
	}
	for _, m := range messages {
		switch m.Header.Type {
		case unix.NLMSG_ERROR:
			err = errors.New("the kernel answers with an error")
		case unix.NLMSG_DONE:
			done = true
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			header := unix.NlMsghdr(m.Header)
			err = w.link(&header, m.Data)
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			err = w.address(m.Header.Type == unix.RTM_NEWADDR, m.Data)
		}
		if err != nil {
			return false, err
		}
	}
	return done, nil
}

func (w *addressWatch) link(header *unix.NlMsghdr, data []byte) error {
	msg := nl.DeserializeIfInfomsg(data)
	if msg.Family != unix.AF_UNSPEC { // of a bridge's port
		return nil
	}
	link, err := netlink.LinkDeserialize(header, data)
	if err != nil {
		return fmt.Errorf("read an interface: %w", err)
	}
	attrs := link.Attrs()
	use := header.Type == unix.RTM_NEWLINK && attrs.RawFlags&unix.IFF_UP != 0
	if link.Type() == "macvlan" {
		use = use && attrs.RawFlags&unix.IFF_LOWER_UP != 0
	}
	w.change(attrs.Index, func() { w.links[attrs.Index] = use })
	return nil
}

func (w *addressWatch) address(present bool, data []byte) error {
	msg := nl.DeserializeIfAddrmsg(data)
	attrs, err := nl.ParseRouteAttr(data[msg.Len():])
	if err != nil {
		return fmt.Errorf("read an address: %w", err)
	}
	var prefix netip.Prefix
	for _, a := range attrs {
		// The local address is not the first one where a peer is given.
		if a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !prefix.IsValid() {
			addr, _ := netip.AddrFromSlice(a.Value)
			prefix = netip.PrefixFrom(addr, int(msg.Prefixlen))
		}
	}
	w.change(int(msg.Index), func() {
		k := addressKey{int(msg.Index), prefix}
		if present {
			w.on[k] = true
		} else {
			delete(w.on, k)
		}
	})
	return nil
}

// change makes a change to one interface and tells what came into use by it, and what went.
func (w *addressWatch) change(index int, f func()) {
	before := w.used()
	f()
	now := time.Now()
	after := w.used()
	for addr, prefix := range before {
		if _, ok := after[addr]; !ok {
			w.f(AddressChange{At: now, Host: w.host, Interface: index, Prefix: prefix})
		}
	}
	for addr, prefix := range after {
		if _, ok := before[addr]; !ok {
			w.f(AddressChange{At: now, Host: w.host, Interface: index, Prefix: prefix, Present: true})
		}
	}
}

// used returns the addresses in use.
func (w *addressWatch) used() map[netip.Addr]netip.Prefix {
	used := make(map[netip.Addr]netip.Prefix)
	for k := range w.on {
		if w.links[k.index] {
			used[k.prefix.Addr()] = k.prefix
		}
	}
	return used
}
