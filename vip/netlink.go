package vip

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Kernel constants that golang.org/x/sys/unix lacks.
const (
	ifaProto                  = 11 // IFA_PROTO, linux/if_addr.h
	devconfPromote            = 20 // IPV4_DEVCONF_PROMOTE_SECONDARIES, linux/ip.h; counted from 1
	devconfForwarding         = 1  // IPV4_DEVCONF_FORWARDING
	devconfRPFilter           = 8  // IPV4_DEVCONF_RP_FILTER
	devconfARPAnnounce        = 18 // IPV4_DEVCONF_ARP_ANNOUNCE
	devconfARPIgnore          = 19 // IPV4_DEVCONF_ARP_IGNORE
	devconfForwarding6        = 0  // DEVCONF_FORWARDING, linux/ipv6.h; counted from 0
	addrGenModeNone           = 1  // IN6_ADDR_GEN_MODE_NONE, linux/if_link.h
	addrGenModeRandom         = 3  // IN6_ADDR_GEN_MODE_RANDOM
	inet6AddrGenMode          = 8  // IFLA_INET6_ADDR_GEN_MODE
	netconfIndex              = 1  // NETCONFA_IFINDEX, linux/netconf.h
	netconfForwarding         = 2  // NETCONFA_FORWARDING
	flagAckTLVs               = 0x200
	forever                   = ^uint32(0)
	deprecated         uint32 = 0 // preferred lifetime of what is no source address
)

// answerIn bounds the wait for the kernel's answers. They are in the socket
// when the send returns, so that a longer wait means that one is lost.
const answerIn = 2 * time.Second

// errNoAnswer is reported for requests without an answer.
var errNoAnswer = errors.New("the kernel did not answer")

// kernelError is a refusal by the kernel.
type kernelError struct {
	errno syscall.Errno
	text  string // the kernel's own explanation, often empty
}

func (e *kernelError) Error() string {
	if e.text == "" {
		return e.errno.Error()
	}
	return e.errno.Error() + " (" + e.text + ")"
}

func (e *kernelError) Unwrap() error { return e.errno }

// requests is the rtnetlink socket for requests. The client of
// vishvananda/netlink makes one system call pair per address; here a batch
// shares one, with its message types.
type requests struct {
	fd     int
	seq    uint32
	out    []byte
	answer [64 << 10]byte // more than the kernel puts into one datagram
}

// openNetlink opens an rtnetlink socket that is a member of the groups.
func openNetlink(receive int, groups ...uint) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// Without privilege the default remains; a full buffer costs a resync.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receive) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receive)
	}
	// Both only make answers shorter and clearer; kernels before 4.12 lack them.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(g))
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("set up rtnetlink socket: %w", err)
	}
	return fd, nil
}

// exchange sends the messages in one system call and returns the kernel's
// answer to each, nil for done. The messages ask for acknowledgement.
func (s *requests) exchange(msgs []*nl.NetlinkRequest) []error {
	return s.ask(msgs, nil)
}

// ask is exchange for messages that have more of an answer than that: f is
// called with the position of each question and what the kernel replied.
func (s *requests) ask(msgs []*nl.NetlinkRequest, f func(i int, reply syscall.NetlinkMessage)) []error {
	answers := make([]error, len(msgs))
	for i := range answers {
		answers[i] = errNoAnswer
	}
	first := s.seq + 1
	s.out = s.out[:0]
	for _, m := range msgs {
		s.seq++
		m.Seq = s.seq
		m.Flags |= unix.NLM_F_REQUEST | unix.NLM_F_ACK
		s.out = append(s.out, m.Serialize()...)
	}
	if err := s.send(s.out); err != nil {
		for i := range answers {
			answers[i] = err
		}
		return answers
	}
	until := now() + answerIn
	for open := len(msgs); open > 0; {
		batch, err := s.receive(until)
		if errors.Is(err, unix.ENOBUFS) {
			until = 0 // some are lost; the others are there
			continue
		}
		if err != nil {
			break
		}
		for _, m := range batch {
			i := m.Header.Seq - first
			switch {
			case i >= uint32(len(msgs)) || !errors.Is(answers[i], errNoAnswer):
			case m.Header.Type == unix.NLMSG_ERROR:
				answers[i] = answer(m)
				open--
			case f != nil:
				f(int(i), m)
			}
		}
	}
	return answers
}

// local reports for each IPv6 address whether this host takes packets to it as
// its own.
func (s *requests) local(addrs []*address) []bool {
	msgs := make([]*nl.NetlinkRequest, len(addrs))
	for i, a := range addrs {
		m := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
		m.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128}})
		m.AddData(nl.NewRtAttr(unix.RTA_DST, a.Prefix.Addr().AsSlice()))
		m.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(a.iface.link.index))))
		msgs[i] = m
	}
	yes := make([]bool, len(addrs))
	s.ask(msgs, func(i int, reply syscall.NetlinkMessage) {
		if reply.Header.Type == unix.RTM_NEWROUTE && len(reply.Data) >= unix.SizeofRtMsg {
			yes[i] = nl.DeserializeRtMsg(reply.Data).Type == unix.RTN_LOCAL
		}
	})
	return yes
}

// dump asks for all objects of a kind and calls f for each message. It reports
// whether they changed meanwhile, so that the answer may be inconsistent.
func (s *requests) dump(kind int, body nl.NetlinkRequestData, f func(syscall.NetlinkMessage)) (changed bool, err error) {
	m := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	s.seq++
	m.Seq = s.seq
	m.AddData(body)
	if err := s.send(m.Serialize()); err != nil {
		return false, err
	}
	for {
		batch, err := s.receive(now() + answerIn)
		if err != nil {
			return false, err
		}
		for _, m := range batch {
			if m.Header.Seq != s.seq {
				continue
			}
			changed = changed || m.Header.Flags&unix.NLM_F_DUMP_INTR != 0
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return changed, nil
			case unix.NLMSG_ERROR:
				return changed, answer(m)
			default:
				f(m)
			}
		}
	}
}

// send sends messages, after it has thrown away what is left of answers that
// were not waited for: a socket that was full once takes no more until it is
// empty.
func (s *requests) send(b []byte) error {
	for {
		if _, err := receive(s.fd, s.answer[:]); err != nil && !errors.Is(err, unix.ENOBUFS) {
			break // it is empty
		}
	}
	return os.NewSyscallError("sendto", unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// receive returns the next messages, waiting for them until a time. They are
// valid until the next call.
func (s *requests) receive(until time.Duration) ([]syscall.NetlinkMessage, error) {
	for {
		msgs, err := receive(s.fd, s.answer[:])
		if !errors.Is(err, unix.EAGAIN) {
			return msgs, err
		}
		left := until - now()
		if left <= 0 {
			return nil, errNoAnswer
		}
		wait := unix.NsecToTimespec(int64(left))
		_, err = unix.Ppoll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, &wait, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, os.NewSyscallError("ppoll", err)
		}
	}
}

// receive reads one datagram without waiting. The messages point into b.
func receive(fd int, b []byte) ([]syscall.NetlinkMessage, error) {
	for {
		n, from, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvfrom", err)
		}
		if k, ok := from.(*unix.SockaddrNetlink); !ok || k.Pid != 0 {
			continue // not from the kernel
		}
		return syscall.ParseNetlinkMessage(b[:n])
	}
}

// answer is the error that an NLMSG_ERROR message carries; nil for an
// acknowledgement.
func answer(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return errNoAnswer
	}
	errno := int32(binary.NativeEndian.Uint32(m.Data))
	if errno == 0 {
		return nil
	}
	e := &kernelError{errno: syscall.Errno(-errno)}
	if rest := 4 + unix.NLMSG_HDRLEN; m.Header.Flags&flagAckTLVs != 0 && len(m.Data) > rest {
		if attrs, err := nl.ParseRouteAttr(m.Data[rest:]); err == nil {
			for _, a := range attrs {
				if a.Attr.Type == unix.NLMSGERR_ATTR_MSG {
					e.text = unix.ByteSliceToString(a.Value)
				}
			}
		}
	}
	return e
}

// messages encodes a request: one message, or two where the kernel needs it.
func (q request) messages() []*nl.NetlinkRequest {
	if q.object != nil {
		return []*nl.NetlinkRequest{q.object.message(q.kind)}
	}
	switch q.kind {
	case makeLink, dropLink, mendLink, upLink, downLink, tune:
		return []*nl.NetlinkRequest{q.linkMessage()}
	case promote:
		return []*nl.NetlinkRequest{setPromote(q.index)}
	case remove:
		del := addressMessage(unix.RTM_DELADDR, q)
		if q.prefix.Addr().Is4() || q.noRoute {
			return []*nl.NetlinkRequest{del}
		}
		// The kernel takes the prefix route off only with a permanent address;
		// that of one with a lifetime would stay until the lifetime has passed.
		// Three times as dear as the removal alone, hence only for the last.
		q.lifetime = 0
		return []*nl.NetlinkRequest{q.addition(), del}
	case set:
		if q.mortal {
			// The kernel mistakes the lifetime for a time when it adds it to a prefix
			// route that had none, and that is then over. Hence first without the route.
			first := q
			first.noRoute, first.lifetime = true, 0
			return []*nl.NetlinkRequest{first.addition(), q.addition()}
		}
	}
	return []*nl.NetlinkRequest{q.addition()}
}

// addition encodes the installation or renewal of an address.
func (q request) addition() *nl.NetlinkRequest {
	m := addressMessage(unix.RTM_NEWADDR, q)
	m.Flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	valid := forever
	if q.lifetime > 0 {
		valid = uint32((q.lifetime + time.Second - 1) / time.Second)
	}
	info := unix.IfaCacheinfo{Valid: valid, Prefered: valid}
	var flags uint32
	if q.prefix.Addr().Is6() {
		// Not chosen as a source address unless that is wished; no duplicate
		// detection, which would hold it back for a second while the former master
		// may still have it.
		if q.address == nil || !q.address.Source {
			info.Prefered = deprecated
		}
		flags = unix.IFA_F_NODAD
	}
	if q.noRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if flags != 0 {
		m.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)))
	}
	if q.metric != 0 {
		m.AddData(nl.NewRtAttr(unix.IFA_RT_PRIORITY, nl.Uint32Attr(q.metric)))
	}
	if q.address != nil {
		q.address.options(m)
	}
	m.AddData(nl.NewRtAttr(unix.IFA_CACHEINFO, (&nl.IfaCacheInfo{IfaCacheinfo: info}).Serialize()))
	m.AddData(nl.NewRtAttr(ifaProto, nl.Uint8Attr(Protocol)))
	return m
}

func addressMessage(kind int, q request) *nl.NetlinkRequest {
	p, other := q.prefix, q.prefix.Addr()
	if q.peer.IsValid() {
		other = q.peer
	}
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(kind)}}
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	body := nl.NewIfAddrmsg(family)
	body.Prefixlen = uint8(p.Bits())
	body.Index = uint32(q.index)
	if q.kind == set && q.address != nil && p.Addr().Is4() {
		body.Scope = q.address.Scope
	}
	m.AddData(body)
	m.AddData(nl.NewRtAttr(unix.IFA_LOCAL, p.Addr().AsSlice()))
	m.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, other.AsSlice()))
	return m
}

// setPromote sets net.ipv4.conf.NAME.promote_secondaries, in this socket's
// network namespace and also where /proc/sys is read-only.
func setPromote(index int) *nl.NetlinkRequest {
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: unix.RTM_SETLINK}}
	body := nl.NewIfInfomsg(unix.AF_UNSPEC)
	body.Index = int32(index)
	m.AddData(body)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil)
	conf.AddRtAttr(devconfPromote, nl.Uint32Attr(1))
	m.AddData(spec)
	return m
}

// parseLink reads an RTM_NEWLINK or RTM_DELLINK message.
func parseLink(m syscall.NetlinkMessage) (link, error) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return link{}, unix.EBADMSG
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return link{}, err
	}
	l := link{index: int(info.Index), up: info.Flags&unix.IFF_UP != 0, running: info.Flags&unix.IFF_RUNNING != 0}
	elsewhere := false
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.IFLA_WIRELESS: // an event of a driver, which tells nothing else
			return link{}, unix.ENOMSG
		case unix.IFLA_IFNAME:
			l.name = unix.ByteSliceToString(a.Value)
		case unix.IFLA_ADDRESS:
			l.ethernet = info.Type == unix.ARPHRD_ETHER && copy(l.mac[:], a.Value) == len(l.mac)
		case unix.IFLA_PROP_LIST:
			l.others = alternatives(a.Value)
		case unix.IFLA_AF_SPEC:
			l.promote = devconf(a.Value, unix.AF_INET, unix.IFLA_INET_CONF, devconfPromote-1) != 0
			l.forward6 = devconf(a.Value, unix.AF_INET6, unix.IFLA_INET6_CONF, devconfForwarding6) != 0
			l.forward4 = devconf(a.Value, unix.AF_INET, unix.IFLA_INET_CONF, devconfForwarding-1) != 0
			l.opening.ignore = devconf(a.Value, unix.AF_INET, unix.IFLA_INET_CONF, devconfARPIgnore-1)
			l.opening.announce = devconf(a.Value, unix.AF_INET, unix.IFLA_INET_CONF, devconfARPAnnounce-1)
			l.six = nested(a.Value, unix.AF_INET6) != nil
		case unix.IFLA_LINK:
			l.base = int(int32(binary.NativeEndian.Uint32(a.Value)))
		case unix.IFLA_LINK_NETNSID:
			elsewhere = true
		case unix.IFLA_IFALIAS:
			l.alias = unix.ByteSliceToString(a.Value)
		case unix.IFLA_LINKINFO:
			l.kind, l.mode = kindOf(a.Value)
		}
	}
	if elsewhere {
		l.base = -l.base
	}
	return l, nil
}

// alternatives returns the names of an IFLA_PROP_LIST attribute.
func alternatives(list []byte) []string {
	attrs, err := nl.ParseRouteAttr(list)
	if err != nil {
		return nil
	}
	var names []string
	for _, a := range attrs {
		if a.Attr.Type == unix.IFLA_ALT_IFNAME {
			names = append(names, unix.ByteSliceToString(a.Value))
		}
	}
	return names
}

// devconf returns one per-interface setting of a family from an IFLA_AF_SPEC
// attribute; 0 when it is not there.
func devconf(spec []byte, family, conf uint16, index int) uint32 {
	for _, kind := range []uint16{family, conf} {
		attrs, err := nl.ParseRouteAttr(spec)
		if err != nil {
			return 0
		}
		spec = nil
		for _, a := range attrs {
			if a.Attr.Type&^unix.NLA_F_NESTED == kind {
				spec = a.Value
			}
		}
	}
	if len(spec) < 4*(index+1) {
		return 0
	}
	return binary.NativeEndian.Uint32(spec[4*index:])
}

// parseAddress reads an RTM_NEWADDR or RTM_DELADDR message.
func parseAddress(m syscall.NetlinkMessage) (dumped, error) {
	if len(m.Data) < unix.SizeofIfAddrmsg {
		return dumped{}, unix.EBADMSG
	}
	info := nl.DeserializeIfAddrmsg(m.Data)
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofIfAddrmsg:])
	if err != nil {
		return dumped{}, err
	}
	d := dumped{index: int(info.Index), entry: entry{
		secondary: info.Flags&unix.IFA_F_SECONDARY != 0, permanent: info.Flags&unix.IFA_F_PERMANENT != 0, scope: info.Scope,
	}}
	var local, addr netip.Addr
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_ADDRESS:
			addr, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_BROADCAST:
			d.broadcast, _ = netip.AddrFromSlice(a.Value)
		case unix.IFA_LABEL:
			d.label = unix.ByteSliceToString(a.Value)
		case unix.IFA_FLAGS: // the header has only the lowest eight
			d.noRoute = len(a.Value) >= 4 && binary.NativeEndian.Uint32(a.Value)&unix.IFA_F_NOPREFIXROUTE != 0
		case ifaProto:
			if len(a.Value) > 0 {
				d.proto = a.Value[0]
			}
		}
	}
	switch {
	case !local.IsValid(): // as with IPv6
		local = addr
	case addr.IsValid() && addr != local:
		d.peer = addr
	}
	if d.prefix = netip.PrefixFrom(local, int(info.Prefixlen)); !d.prefix.IsValid() {
		return dumped{}, unix.EBADMSG
	}
	return d, nil
}

func (d *dump) link(m syscall.NetlinkMessage) {
	if l, err := parseLink(m); err == nil && m.Header.Type == unix.RTM_NEWLINK {
		d.links = append(d.links, l)
	}
}

func (d *dump) address(m syscall.NetlinkMessage) {
	if a, err := parseAddress(m); err == nil && m.Header.Type == unix.RTM_NEWADDR {
		d.addresses = append(d.addresses, a)
	}
}

// parseForwarding reads whether an interface forwards IPv6 from an
// RTM_NEWNETCONF message; ok is false when it does not tell.
func parseForwarding(m syscall.NetlinkMessage) (index int, on, ok bool) {
	const header = 4 // struct netconfmsg: the family, padded
	if len(m.Data) < header || m.Data[0] != unix.AF_INET6 {
		return 0, false, false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[header:])
	if err != nil {
		return 0, false, false
	}
	for _, a := range attrs {
		if len(a.Value) < 4 {
			continue
		}
		v := int32(binary.NativeEndian.Uint32(a.Value))
		switch a.Attr.Type {
		case netconfIndex:
			index = int(v)
		case netconfForwarding:
			on, ok = v != 0, true
		}
	}
	return index, on, ok
}
