package vip

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// key tells routes and rules from each other. The kernel has one route of a key,
// whoever made it, and one rule of a key for each program that made one.
type key struct {
	rule          bool
	six           bool         // IPv6
	from          netip.Prefix // of a rule; the zero Prefix: any
	to            netip.Prefix // the zero Prefix, of a rule: any
	table         uint32
	order         uint32 // a route's metric, a rule's priority
	mark, mask    uint32
	input, output string
}

// object is a route or a rule as the kernel has it, or should have it.
type object struct {
	key
	proto  uint8
	kind   uint8 // RTN_...; this and what follows: of routes only
	scope  uint8
	source netip.Addr
	mtu    uint32
	onLink bool
	hops   []hop
}

// hop is where a route leads.
type hop struct {
	via   netip.Addr // the zero Addr: on the link
	index int        // of the interface; 0: the kernel finds it by via
}

// metric6 is the metric that the kernel gives an IPv6 route without one.
const metric6 = 1024

func (r Route) object() object {
	o := object{
		key:   key{six: r.To.Addr().Is6(), to: r.To, table: r.Table, order: r.Metric},
		proto: Protocol, kind: r.Type, scope: r.Scope, source: r.Source, mtu: r.MTU, onLink: r.OnLink,
	}
	if o.six {
		o.scope = 0 // the kernel has none
		if o.order == 0 {
			o.order = metric6
		}
	}
	if o.kind == unix.RTN_UNICAST {
		o.hops = []hop{{via: r.Via}}
	}
	return o
}

func (r Rule) object() object {
	o := object{proto: Protocol, key: key{
		rule: true, six: r.IPv6, table: r.Table, order: r.Priority, mark: r.FwMark, mask: r.FwMask, input: r.Input, output: r.Output,
	}}
	if r.From.Bits() > 0 {
		o.from = r.From
	}
	if r.To.Bits() > 0 {
		o.to = r.To
	}
	if o.mark != 0 && o.mask == 0 {
		o.mask = ^uint32(0) // as the kernel does
	}
	return o
}

func (o object) family() uint8 {
	if o.six {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// message encodes that the object is to be put in place or removed. Putting it
// in place fails where a route of the same key is there already; removing it
// removes only what is this program's.
func (o object) message(kind requestKind) *nl.NetlinkRequest {
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr}}
	if kind == set {
		m.Flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	if o.rule {
		o.encodeRule(m, kind)
	} else {
		o.encodeRoute(m, kind)
	}
	return m
}

func (o object) encodeRoute(m *nl.NetlinkRequest, kind requestKind) {
	m.Type = unix.RTM_NEWROUTE
	body := o.header()
	body.Protocol, body.Scope, body.Type = Protocol, o.scope, o.kind
	if o.onLink {
		body.Flags = unix.RTNH_F_ONLINK
	}
	if kind == remove {
		m.Type, body.Scope = unix.RTM_DELROUTE, unix.RT_SCOPE_NOWHERE
	}
	m.AddData(body)
	m.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(o.table)))
	if o.to.Bits() > 0 {
		m.AddData(nl.NewRtAttr(unix.RTA_DST, o.to.Addr().AsSlice()))
	}
	if o.order != 0 {
		m.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(o.order)))
	}
	if len(o.hops) == 1 { // others than this program make routes with more
		if h := o.hops[0]; h.via.IsValid() {
			m.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, h.via.AsSlice()))
		}
		if h := o.hops[0]; h.index != 0 {
			m.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(h.index))))
		}
	}
	if kind == remove {
		return
	}
	if o.source.IsValid() {
		m.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, o.source.AsSlice()))
	}
	if o.mtu != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(o.mtu))
		m.AddData(metrics)
	}
}

func (o object) encodeRule(m *nl.NetlinkRequest, kind requestKind) {
	m.Type = unix.RTM_NEWRULE
	if kind == remove {
		m.Type = unix.RTM_DELRULE
	}
	body := o.header() // struct fib_rule_hdr, which has the action where routes have the type
	body.Type = unix.FR_ACT_TO_TBL
	m.AddData(body)
	m.AddData(nl.NewRtAttr(unix.FRA_TABLE, nl.Uint32Attr(o.table)))
	m.AddData(nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(o.order)))
	m.AddData(nl.NewRtAttr(unix.FRA_PROTOCOL, nl.Uint8Attr(Protocol)))
	if o.from.IsValid() {
		m.AddData(nl.NewRtAttr(unix.FRA_SRC, o.from.Addr().AsSlice()))
	}
	if o.to.IsValid() {
		m.AddData(nl.NewRtAttr(unix.FRA_DST, o.to.Addr().AsSlice()))
	}
	if o.mark != 0 || o.mask != 0 {
		m.AddData(nl.NewRtAttr(unix.FRA_FWMARK, nl.Uint32Attr(o.mark)))
		m.AddData(nl.NewRtAttr(unix.FRA_FWMASK, nl.Uint32Attr(o.mask)))
	}
	if o.input != "" {
		m.AddData(nl.NewRtAttr(unix.FRA_IIFNAME, nl.ZeroTerminated(o.input)))
	}
	if o.output != "" {
		m.AddData(nl.NewRtAttr(unix.FRA_OIFNAME, nl.ZeroTerminated(o.output)))
	}
}

// header is what the messages about routes and rules have in common: the
// family, the prefix lengths and, where it fits into a byte, the table.
func (o object) header() *nl.RtMsg {
	h := &nl.RtMsg{RtMsg: unix.RtMsg{Family: o.family(), Dst_len: uint8(max(0, o.to.Bits())), Src_len: uint8(max(0, o.from.Bits()))}}
	if o.table < 256 {
		h.Table = uint8(o.table)
	}
	return h
}

// parseObject reads a message about a route or a rule; ok is false when it is
// none that this program could have made.
func parseObject(m syscall.NetlinkMessage) (o object, ok bool) {
	if len(m.Data) < unix.SizeofRtMsg {
		return object{}, false
	}
	h := *nl.DeserializeRtMsg(m.Data)
	if h.Family != unix.AF_INET && h.Family != unix.AF_INET6 || h.Tos != 0 {
		return object{}, false
	}
	attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
	if err != nil {
		return object{}, false
	}
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return parseRoute(h, attrs)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return parseRule(h, attrs)
	}
	return object{}, false
}

func parseRoute(h nl.RtMsg, attrs []syscall.NetlinkRouteAttr) (object, bool) {
	if h.Src_len != 0 || h.Flags&unix.RTM_F_CLONED != 0 {
		return object{}, false
	}
	o := object{key: key{six: h.Family == unix.AF_INET6, table: uint32(h.Table)}, proto: h.Protocol, kind: h.Type, scope: h.Scope, onLink: h.Flags&unix.RTNH_F_ONLINK != 0}
	to := netip.IPv4Unspecified()
	if o.six {
		to = netip.IPv6Unspecified()
	}
	var one hop
	for _, a := range attrs {
		switch a.Attr.Type &^ unix.NLA_F_NESTED {
		case unix.RTA_DST:
			to = ipOf(a.Value)
		case unix.RTA_TABLE:
			o.table = number(a.Value)
		case unix.RTA_PRIORITY:
			o.order = number(a.Value)
		case unix.RTA_PREFSRC:
			o.source = ipOf(a.Value)
		case unix.RTA_METRICS:
			o.mtu = mtu(a.Value)
		case unix.RTA_GATEWAY:
			one.via = ipOf(a.Value)
		case unix.RTA_OIF:
			one.index = int(number(a.Value))
		case unix.RTA_MULTIPATH:
			o.hops = hops(a.Value)
		}
	}
	if o.hops == nil && o.kind == unix.RTN_UNICAST {
		o.hops = []hop{one}
	}
	o.to = netip.PrefixFrom(to, int(h.Dst_len))
	return o, o.to.IsValid()
}

// hops reads an RTA_MULTIPATH attribute.
func hops(b []byte) []hop {
	var out []hop
	for len(b) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			break
		}
		h := hop{index: int(binary.NativeEndian.Uint32(b[4:]))}
		attrs, err := nl.ParseRouteAttr(b[unix.SizeofRtNexthop:size])
		if err != nil {
			break
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.RTA_GATEWAY {
				h.via = ipOf(a.Value)
			}
		}
		out = append(out, h)
		b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return out
}

// mtu reads the MTU from an RTA_METRICS attribute; 0: none.
func mtu(metrics []byte) uint32 {
	attrs, err := nl.ParseRouteAttr(metrics)
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type == unix.RTAX_MTU {
			return number(a.Value)
		}
	}
	return 0
}

// parseRule refuses each rule with a condition or an action that no Rule has.
func parseRule(h nl.RtMsg, attrs []syscall.NetlinkRouteAttr) (object, bool) {
	if h.Type != unix.FR_ACT_TO_TBL || h.Flags&unix.FIB_RULE_INVERT != 0 {
		return object{}, false
	}
	o := object{key: key{rule: true, six: h.Family == unix.AF_INET6, table: uint32(h.Table)}}
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.FRA_SRC:
			o.from = netip.PrefixFrom(ipOf(a.Value), int(h.Src_len))
		case unix.FRA_DST:
			o.to = netip.PrefixFrom(ipOf(a.Value), int(h.Dst_len))
		case unix.FRA_TABLE:
			o.table = number(a.Value)
		case unix.FRA_PRIORITY:
			o.order = number(a.Value)
		case unix.FRA_FWMARK:
			o.mark = number(a.Value)
		case unix.FRA_FWMASK:
			o.mask = number(a.Value)
		case unix.FRA_IIFNAME:
			o.input = unix.ByteSliceToString(a.Value)
		case unix.FRA_OIFNAME:
			o.output = unix.ByteSliceToString(a.Value)
		case unix.FRA_PROTOCOL:
			if len(a.Value) > 0 {
				o.proto = a.Value[0]
			}
		case unix.FRA_SUPPRESS_PREFIXLEN:
			if number(a.Value) != ^uint32(0) {
				return object{}, false
			}
		case unix.FRA_PAD, unix.FRA_UNSPEC:
		default:
			return object{}, false
		}
	}
	return o, true
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func ipOf(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}
