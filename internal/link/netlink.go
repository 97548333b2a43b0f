package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attribute walks over the attributes in b and calls yield with the type (without
// its flag bits) and the content of each. What is cut or broken ends the walk.
func attributes(b []byte, yield func(kind uint16, content []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		kind := binary.NativeEndian.Uint16(b[2:])
		yield(kind&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:size])
		b = b[min((size+3)&^3, len(b)):]
	}
}

func text(b []byte) string {
	return unix.ByteSliceToString(b)
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

// Operational states of RFC 2863 in which an interface carries traffic. Drivers
// that know no states leave it at unknown.
const (
	operUnknown = 0
	operUp      = 6
)

// parseLink reads the body of an RTM_NEWLINK message.
func parseLink(b []byte) (Interface, bool) {
	if len(b) < unix.SizeofIfInfomsg {
		return Interface{}, false
	}
	m := (*unix.IfInfomsg)(unsafe.Pointer(&b[0]))
	i := Interface{
		Index:    int(m.Index),
		AdminUp:  m.Flags&unix.IFF_UP != 0,
		Carrier:  m.Flags&unix.IFF_LOWER_UP != 0,
		Loopback: m.Flags&unix.IFF_LOOPBACK != 0,
	}
	running := m.Flags&unix.IFF_RUNNING != 0
	state := byte(operUnknown)
	attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, content []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			i.Name = text(content)
		case unix.IFLA_ADDRESS:
			i.MAC = net.HardwareAddr(append([]byte(nil), content...))
		case unix.IFLA_MTU:
			i.MTU = int(number(content))
		case unix.IFLA_OPERSTATE:
			if len(content) > 0 {
				state = content[0]
			}
		case unix.IFLA_PROP_LIST:
			attributes(content, func(kind uint16, content []byte) {
				if kind == unix.IFLA_ALT_IFNAME {
					i.AltNames = append(i.AltNames, text(content))
				}
			})
		}
	})
	i.Up = i.AdminUp && i.Carrier && running && (state == operUp || state == operUnknown)
	return i, i.Name != ""
}

// parseAddress reads the body of an RTM_NEWADDR message.
func parseAddress(b []byte) (index int, a Address, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return 0, Address{}, false
	}
	m := (*unix.IfAddrmsg)(unsafe.Pointer(&b[0]))
	var address, local netip.Addr
	flags := uint32(m.Flags)
	attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, content []byte) {
		switch kind {
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(content)
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(content)
		case unix.IFA_FLAGS: // all of them; the header has room for eight
			flags = number(content)
		}
	})
	if local.IsValid() { // then the other one is the peer of a point-to-point link
		address = local
	}
	a = Address{
		Prefix:     netip.PrefixFrom(address, int(m.Prefixlen)),
		Secondary:  m.Family == unix.AF_INET && flags&unix.IFA_F_SECONDARY != 0,
		Tentative:  flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0,
		Deprecated: flags&unix.IFA_F_DEPRECATED != 0,
		Permanent:  flags&unix.IFA_F_PERMANENT != 0,
	}
	return int(m.Index), a, a.Prefix.IsValid()
}

// dump asks the kernel for all interfaces and their addresses. When something
// changed while it answered, the error is nl.ErrDumpInterrupted and the Table may
// lack something or hold it twice.
func (m *Monitor) dump() (*Table, error) {
	links := m.request(unix.RTM_GETLINK)
	// Statistics are most of an answer, and nobody here reads them.
	const skipStatistics = 1 << 3 // RTEXT_FILTER_SKIP_STATS
	links.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(skipStatistics)))
	var interfaces []Interface
	at := make(map[int]int) // index of an interface: its place
	err := links.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(b []byte) bool {
		if i, ok := parseLink(b); ok {
			i.Generation = m.generation(i.Index)
			at[i.Index] = len(interfaces)
			interfaces = append(interfaces, i)
		}
		return true
	})
	interrupted := errors.Is(err, nl.ErrDumpInterrupted)
	if err != nil && !interrupted {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	err = m.request(unix.RTM_GETADDR).ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWADDR, func(b []byte) bool {
		index, a, ok := parseAddress(b)
		if place, known := at[index]; ok && known {
			interfaces[place].Addresses = append(interfaces[place].Addresses, a)
		}
		return true
	})
	interrupted = interrupted || errors.Is(err, nl.ErrDumpInterrupted)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	if interrupted {
		return newTable(interfaces), nl.ErrDumpInterrupted
	}
	return newTable(interfaces), nil
}

// generation is that of the same interface in the last Table, or a new one.
func (m *Monitor) generation(index int) uint64 {
	if t := m.table.Load(); t != nil && !m.gone[index] {
		if i, ok := t.ByIndex(index); ok {
			return i.Generation
		}
	}
	m.born++
	return m.born
}

func (m *Monitor) request(kind int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, unix.NLM_F_DUMP)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.Sockets = m.requests
	return r
}
