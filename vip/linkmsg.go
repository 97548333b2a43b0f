package vip

import (
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// linkMessage encodes a request about an interface.
func (q request) linkMessage() *nl.NetlinkRequest {
	kind, body := unix.RTM_SETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC)
	body.Index = int32(q.index)
	var attrs []*nl.RtAttr
	var flags uint16
	switch q.kind {
	case makeLink:
		kind, flags = unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL
		body.Index = 0
		attrs = append(q.macvlan.attributes(),
			nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(q.macvlan.Name)),
			nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(q.base.index))))
	case mendLink:
		kind, attrs = unix.RTM_NEWLINK, q.macvlan.attributes()
	case dropLink:
		kind = unix.RTM_DELLINK
	case upLink:
		body.Change, body.Flags = unix.IFF_UP, unix.IFF_UP
	case downLink:
		body.Change = unix.IFF_UP
	case tune:
		attrs = q.settings.attributes()
	}
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(kind), Flags: flags}}
	m.AddData(body)
	for _, a := range attrs {
		m.AddData(a)
	}
	return m
}

// attributes say what a macvlan is.
func (m *macvlan) attributes() []*nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(macvlanKind))
	info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_MACVLAN_MODE, nl.Uint32Attr(nl.MACVLAN_MODE_BRIDGE))
	return []*nl.RtAttr{nl.NewRtAttr(unix.IFLA_ADDRESS, m.MAC[:]), info}
}

func (s *settings) attributes() []*nl.RtAttr {
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	if len(s.inet) > 0 {
		conf := spec.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil)
		for _, c := range s.inet {
			conf.AddRtAttr(int(c.which), nl.Uint32Attr(c.value))
		}
	}
	if s.mode6 >= 0 {
		spec.AddRtAttr(unix.AF_INET6, nil).AddRtAttr(inet6AddrGenMode, nl.Uint8Attr(uint8(s.mode6)))
	}
	out := []*nl.RtAttr{spec}
	if s.alias != "" {
		out = append(out, nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(s.alias)))
	}
	return out
}

// kindOf reads an IFLA_LINKINFO attribute: what an interface is, and of a
// macvlan its mode.
func kindOf(info []byte) (kind string, mode uint32) {
	kind = unix.ByteSliceToString(nested(info, unix.IFLA_INFO_KIND))
	if kind != macvlanKind {
		return kind, 0
	}
	if b := nested(nested(info, unix.IFLA_INFO_DATA), nl.IFLA_MACVLAN_MODE); len(b) >= 4 {
		mode = binary.NativeEndian.Uint32(b)
	}
	return kind, mode
}

// nested returns the value of an attribute within another's; nil when it is not
// there.
func nested(b []byte, kind uint16) []byte {
	attrs, err := nl.ParseRouteAttr(b)
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Attr.Type&^unix.NLA_F_NESTED == kind {
			return a.Value
		}
	}
	return nil
}

// NETCONFA_RP_FILTER and NETCONFA_IFINDEX_ALL, linux/netconf.h.
const (
	netconfRPFilter = 3
	netconfAll      = -1
)

// parseFilter reads whether net.ipv4.conf.all.rp_filter is on from an
// RTM_NEWNETCONF message; ok is false when it does not tell.
func parseFilter(m syscall.NetlinkMessage) (on, ok bool) {
	const header = 4 // struct netconfmsg: the family, padded
	if len(m.Data) < header || m.Data[0] != unix.AF_INET {
		return false, false
	}
	index := nested(m.Data[header:], netconfIndex)
	filter := nested(m.Data[header:], netconfRPFilter)
	if len(index) < 4 || len(filter) < 4 || int32(binary.NativeEndian.Uint32(index)) != netconfAll {
		return false, false
	}
	return binary.NativeEndian.Uint32(filter) != 0, true
}

// filters asks whether net.ipv4.conf.all.rp_filter is on.
func (s *requests) filters() (on bool, err error) {
	m := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: unix.RTM_GETNETCONF}}
	m.AddData(rawData{unix.AF_INET, 0, 0, 0})
	all := int32(netconfAll)
	m.AddData(nl.NewRtAttr(netconfIndex, nl.Uint32Attr(uint32(all))))
	ok := false
	err = s.ask([]*nl.NetlinkRequest{m}, func(_ int, reply syscall.NetlinkMessage) {
		if reply.Header.Type == unix.RTM_NEWNETCONF {
			on, ok = parseFilter(reply)
		}
	})[0]
	if err == nil && !ok {
		err = errors.New("the kernel's answer does not tell")
	}
	return on, err
}

// rawData is a message's header as the kernel wants it.
type rawData []byte

func (b rawData) Len() int          { return len(b) }
func (b rawData) Serialize() []byte { return b }

// setFilters notes whether the kernel filters by the reverse path on all
// interfaces. Macvlans are tuned by it.
func (t *table) setFilters(on bool) {
	if on == t.filters {
		return
	}
	t.filters = on
	for _, r := range t.routers {
		if r.macvlan != nil {
			r.macvlan.tuned, r.dirty = 0, true
		}
	}
}
