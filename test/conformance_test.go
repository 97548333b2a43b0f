package test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"baton/internal/lab"
	"baton/test/frame"
	"baton/test/site"
)

// What RFC 9568 wants of a host beside the election: who answers, who forwards, what is never sent. Much of it is the
// kernel's doing, with the addresses and interfaces that baton gives it. docs/protocol.md has the items.

// ear hears all that an interface of a host receives and sends; the site's own captures hear some protocols only.
type ear struct {
	fd     int
	frames []sound
}

// sound is a frame in an ear.
type sound struct {
	data []byte
	sent bool // by the host itself
}

func listen(t *testing.T, h *lab.Host, ifname string) *ear {
	t.Helper()
	e := &ear{fd: packetSocket(t, h, ifname, unix.ETH_P_ALL)}
	t.Cleanup(func() { unix.Close(e.fd) })
	return e
}

// packetSocket opens a packet socket on an interface of a host.
func packetSocket(t *testing.T, h *lab.Host, ifname string, protocol uint16) (fd int) {
	t.Helper()
	must(t, h.Do(func() (err error) {
		i, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index, Protocol: protocol>>8 | protocol<<8})
	}))
	return fd
}

// count returns how many frames that match have been heard so far.
func (e *ear) count(t *testing.T, match func(sound) bool) int {
	t.Helper()
	for b := make([]byte, 2000); ; {
		n, from, err := unix.Recvfrom(e.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		must(t, err)
		if n < 34 {
			continue
		}
		e.frames = append(e.frames, sound{bytes.Clone(b[:n]), from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING})
	}
	total := 0
	for _, f := range e.frames {
		if match(f) {
			total++
		}
	}
	return total
}

// await waits for a frame that matches.
func (e *ear) await(t *testing.T, what string, match func(sound) bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); e.count(t, match) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not heard: %s", what)
		}
	}
}

func (s sound) from() string { return net.HardwareAddr(s.data[6:12]).String() }

// dest is where an IP packet goes; the zero address of anything else.
func (s sound) dest() netip.Addr {
	switch {
	case binary.BigEndian.Uint16(s.data[12:]) == unix.ETH_P_IP:
		return netip.AddrFrom4([4]byte(s.data[30:34]))
	case binary.BigEndian.Uint16(s.data[12:]) == unix.ETH_P_IPV6 && len(s.data) >= 54:
		return netip.AddrFrom16([16]byte(s.data[38:54]))
	}
	return netip.Addr{}
}

// icmp is the source of an ICMP message and its type, IPv6 with 1000 added; else -1.
func (s sound) icmp() (source netip.Addr, kind int) {
	switch {
	case s.dest().Is4() && s.data[23] == unix.IPPROTO_ICMP && len(s.data) > 34:
		return netip.AddrFrom4([4]byte(s.data[26:30])), int(s.data[34])
	case s.dest().Is6() && s.data[20] == unix.IPPROTO_ICMPV6 && len(s.data) > 54:
		return netip.AddrFrom16([16]byte(s.data[22:38])), int(s.data[54]) + 1000
	}
	return netip.Addr{}, -1
}

// ICMP types (RFC 792; RFC 4443, RFC 4861).
const (
	echoReply4, echoReply6 = 0, 1129
	redirect4, redirect6   = 5, 1137
	routerAdvertisement    = 1134
)

func repliesFrom(addr netip.Addr) func(sound) bool {
	return func(s sound) bool {
		source, kind := s.icmp()
		return source == addr && (kind == echoReply4 || kind == echoReply6)
	}
}

func ofType(kinds ...int) func(sound) bool {
	return func(s sound) bool {
		_, kind := s.icmp()
		return kind == kinds[0] || kind == kinds[len(kinds)-1]
	}
}

// say sends frames from an interface of a host.
func say(t *testing.T, h *lab.Host, ifname string, frames ...[]byte) {
	t.Helper()
	fd := packetSocket(t, h, ifname, 0)
	defer unix.Close(fd)
	for _, f := range frames {
		_, err := unix.Write(fd, f)
		must(t, err)
	}
}

// ipFrame is a frame with an IP packet, whose payload has an even length.
func ipFrame(to, from net.HardwareAddr, source, dest netip.Addr, ttl, protocol byte, payload []byte) []byte {
	b := append(bytes.Clone(to), from...)
	if source.Is4() {
		header := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0, 0, ttl, protocol, 0, 0}
		header = append(append(header, source.AsSlice()...), dest.AsSlice()...)
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		return append(append(append(b, 8, 0), header...), payload...)
	}
	header := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), protocol, ttl}
	header = append(append(header, source.AsSlice()...), dest.AsSlice()...)
	return append(append(append(b, 0x86, 0xdd), header...), payload...)
}

// icmpFrame is a frame with an ICMP message, of IPv4 or IPv6 as the addresses are.
func icmpFrame(to, from net.HardwareAddr, source, dest netip.Addr, message []byte) []byte {
	m := bytes.Clone(message)
	if source.Is4() {
		binary.BigEndian.PutUint16(m[2:], checksum(m))
		return ipFrame(to, from, source, dest, 255, unix.IPPROTO_ICMP, m)
	}
	pseudo := append(append(source.AsSlice(), dest.AsSlice()...), 0, 0, 0, byte(len(m)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(m[2:], checksum(append(pseudo, m...)))
	return ipFrame(to, from, source, dest, 255, unix.IPPROTO_ICMPV6, m)
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	sum = sum>>16 + sum&0xffff
	return ^uint16(sum + sum>>16)
}

// echo is an echo request from the client to an address, in a frame to a MAC address.
func echo(s *site.Site, to net.HardwareAddr, dest netip.Addr) []byte {
	kind := byte(8)
	if dest.Is6() {
		kind = 128
	}
	return icmpFrame(to, s.Ports["client"].MAC, clientAddress(dest.Is6()), dest, []byte{kind, 0, 0, 0, 0x62, 0x61, 0, 1})
}

// question is an ARP request, or a neighbour solicitation, of the client.
func question(s *site.Site, addr netip.Addr) []byte {
	from, source := s.Ports["client"].MAC, clientAddress(addr.Is6())
	if addr.Is4() {
		b := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from...)
		b = append(append(b, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1), from...)
		b = append(append(b, source.AsSlice()...), 0, 0, 0, 0, 0, 0)
		return append(b, addr.AsSlice()...)
	}
	group, a := netip.MustParseAddr("ff02::1:ff00:0").As16(), addr.As16()
	copy(group[13:], a[13:])
	to := append(net.HardwareAddr{0x33, 0x33}, group[12:]...)
	message := append(append(append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, a[:]...), 1, 1), from...)
	return icmpFrame(to, from, source, netip.AddrFrom16(group), message)
}

// clientAddress is the client's own address on the first switch.
func clientAddress(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr("fd99::c8")
	}
	return netip.MustParseAddr("10.99.0.200")
}

// claims reports whether a packet says where an address is: as the sender of ARP, or as the target of an advertisement.
func claims(p frame.Packet, addr netip.Addr) (mac net.HardwareAddr, ok bool) {
	switch {
	case p.ARP != nil && p.ARP.SenderIP == addr:
		return p.ARP.SenderMAC, true
	case p.Neighbour != nil && p.Neighbour.Type == 136 && p.Neighbour.Target == addr:
		return p.Neighbour.LinkAddress, true
	case p.Neighbour != nil && p.Neighbour.Type == 135 && p.Source == addr:
		return p.Neighbour.LinkAddress, true
	}
	return nil, false
}

// answerTo is the first answer to the client about where an address is, from a time on.
func answerTo(t *testing.T, s *site.Site, addr netip.Addr, from time.Time) frame.Packet {
	t.Helper()
	say(t, s.Client, site.Interface, question(s, addr))
	p, err := s.Wire("client").Wait(from, patience, func(p frame.Packet) bool {
		_, ok := claims(p, addr)
		return ok && !p.Sent && (p.ARP != nil && p.ARP.Op == 2 || p.Neighbour != nil && p.Neighbour.Solicited)
	})
	must(t, err)
	return p
}

// forwarding makes a host send on what is for others, or not.
func forwarding(t *testing.T, h *lab.Host, on string) {
	t.Helper()
	must(t, h.Sysctl("net/ipv4/ip_forward", on))
	must(t, h.Sysctl("net/ipv6/conf/all/forwarding", on))
}

// inBothPlaces runs a test with the addresses on the router's interface, and with a virtual MAC.
func inBothPlaces(t *testing.T, f func(t *testing.T, ipv6, virtual bool)) {
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		for name, virtual := range map[string]bool{"on the interface": false, "virtual MAC": true} {
			t.Run(name, func(t *testing.T) { f(t, ipv6, virtual) })
		}
	})
}

// The master alone answers for the addresses, takes what comes for them and is in their solicited-node groups, whoever
// is asked; and it says where it is asked for them where they are. Items 61 to 63, 65, 77 to 80, 92, 96, 98 to 102, 104, 107.
func TestConformance_OnlyTheMasterAnswers(t *testing.T) {
	t.Parallel()
	inBothPlaces(t, func(t *testing.T, ipv6, virtual bool) {
		s := newSite(t)
		forwarding(t, s.Ports["a"].Host, "1") // so it has the router flag; a backup must drop what it does not take
		client := listen(t, s.Client, site.Interface)
		c := site.Pair(interval, site.Addresses(1, ipv6)...)
		c.Routers[0].VirtualMAC = virtual
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		vip := site.Address(c.Routers[0].Addresses[0])
		macs := map[string]net.HardwareAddr{"a": a.Port.MAC, "b": b.Port.MAC}
		if virtual {
			macs = map[string]net.HardwareAddr{"a": virtualMAC(ipv6), "b": virtualMAC(ipv6)}
		}
		other := map[string]string{"a": "b", "b": "a"}
		begun := time.Now()
		for _, master := range []string{"a", "b"} {
			from := time.Now()
			for range 3 {
				p := answerTo(t, s, vip, from)
				if mac, _ := claims(p, vip); mac.String() != macs[master].String() || p.From.String() != macs[master].String() {
					t.Errorf("%s is master, and its MAC address is %v: %v of %v", master, macs[master], p, p.From)
				}
				if p.Neighbour != nil && p.Neighbour.Router != (master == "a") {
					t.Errorf("%s has the wrong router flag: %v", master, p)
				}
				from = p.At.Add(1)
			}
			if ipv6 {
				inGroup(t, s.Ports[master].Host, vip, true)
				inGroup(t, s.Ports[other[master]].Host, vip, false)
			}
			// What comes to the backup by mistake it does not take. One that the master takes shows that the other had time.
			mine := repliesFrom(vip)
			before := client.count(t, mine)
			say(t, s.Client, site.Interface, echo(s, s.Ports[other[master]].MAC, vip), echo(s, macs[master], vip))
			for deadline := time.Now().Add(patience); client.count(t, mine) == before && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(interval)
			if got := client.count(t, mine) - before; got != 1 {
				t.Errorf("%s is master: %d replies, want 1 of 2", master, got)
			}
			// Each node has an address of its own at its own MAC address.
			for _, node := range []string{"a", "b"} {
				own := nodeAddress(node, ipv6)
				if mac, _ := claims(answerTo(t, s, own, begun), own); mac.String() != s.Ports[node].MAC.String() {
					t.Errorf("%v of %s is at %v, want %v", own, node, mac, s.Ports[node].MAC)
				}
			}
			// Asked for a neighbour, in the name of the address: the address stays where it is.
			speakFrom(t, s, s.Ports[master].Host, vip)
			if master == "a" {
				for _, p := range s.Wire("b").Since(begun) {
					if _, ok := claims(p, vip); ok && p.Sent {
						t.Errorf("the backup says where the address is: %v", p)
					}
				}
				must(t, a.Stop())
				settled(t, s, "b", c)
				forwarding(t, a.Host, "0")
			}
		}
		for _, p := range s.Wire("client").Packets() {
			if mac, ok := claims(p, vip); ok && virtual && mac.String() != virtualMAC(ipv6).String() {
				t.Errorf("the address is at a MAC address that is not the virtual one: %v", p)
			}
		}
		// baton sends no router advertisements. One of the client's shows that the ear would have heard them.
		if n := client.count(t, ofType(routerAdvertisement)); n != 0 {
			t.Errorf("%d router advertisements", n)
		}
		if ipv6 {
			say(t, s.Client, site.Interface, icmpFrame(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, s.Ports["client"].MAC,
				netip.MustParseAddr("fe80::99"), netip.MustParseAddr("ff02::1"), []byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}))
			client.await(t, "the client's own router advertisement", ofType(routerAdvertisement))
		}
	})
}

// nodeAddress is a node's own address on the first switch.
func nodeAddress(node string, ipv6 bool) netip.Addr {
	number := int(node[0]-'a') + 1
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd99::%x", number))
	}
	return netip.MustParseAddr(fmt.Sprintf("10.99.0.%d", number))
}

// inGroup fails the test when a host is not, or is, in the solicited-node group of an address (RFC 4291, section 2.7.1).
func inGroup(t *testing.T, h *lab.Host, addr netip.Addr, want bool) {
	t.Helper()
	groups, err := h.Run(patience, "cat", "/proc/net/igmp6")
	must(t, err)
	a := addr.As16()
	if got := strings.Contains(groups, fmt.Sprintf("ff0200000000000000000001ff%x", a[13:])); got != want {
		t.Errorf("%s is in the solicited-node group of %v: %v, want %v:\n%s", h.Name, addr, got, want, groups)
	}
}

// speakFrom has a host that does not know the client send it something from an address, and waits until it has asked.
func speakFrom(t *testing.T, s *site.Site, h *lab.Host, source netip.Addr) {
	t.Helper()
	client := clientAddress(source.Is6())
	_, err := h.Run(patience, "ip", "neigh", "flush", "to", client.String())
	must(t, err)
	from := time.Now()
	must(t, h.Do(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, 0))}
		c, err := d.Dial("udp", netip.AddrPortFrom(client, 9).String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	}))
	_, err = s.Wire(h.Name).Wait(from, patience, func(p frame.Packet) bool {
		return p.Sent && (p.ARP != nil && p.ARP.TargetIP == client || p.Neighbour != nil && p.Neighbour.Type == 135 && p.Neighbour.Target == client)
	})
	must(t, err)
}

// An owner answers at the virtual MAC alone, from its start on, and takes what comes for its address whatever accept
// says. Items 55 to 58, 82, 93 to 95, 98, 100 to 102.
func TestConformance_Owner(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		c := virtualPair(ipv6)
		c.Routers[0].Priority["a"] = 255
		c.Routers[0].More = "accept: false"
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		vip := site.Address(c.Routers[0].Addresses[0])
		takes := func(want bool) {
			t.Helper()
			client := listen(t, s.Client, site.Interface)
			say(t, s.Client, site.Interface, echo(s, virtualMAC(ipv6), vip))
			answerTo(t, s, vip, time.Now()) // it is there, and what came before has been looked at
			time.Sleep(interval)
			if got := client.count(t, repliesFrom(vip)) == 1; got != want {
				t.Errorf("takes what comes for the address: %v, want %v", got, want)
			}
		}
		takes(true)
		must(t, a.Stop())
		settled(t, s, "b", c)
		takes(false)
		must(t, a.Start())
		settled(t, s, "a", c)
		announced := 0
		for _, p := range s.Wire("client").Packets() {
			mac, ok := claims(p, vip)
			if ok && mac.String() != virtualMAC(ipv6).String() {
				t.Errorf("not at the virtual MAC: %v", p)
			}
			if p.Announces() == vip {
				announced++
			}
		}
		if announced < 3 {
			t.Errorf("announced %d times by three masters", announced)
		}
	})
}

// Without accept a master answers for its addresses and takes nothing, nor does it send on what came for them. With it,
// which is the default here and not in the RFC, it takes it. Items 52, 53, 82, 83, 108.
func TestConformance_AcceptMode(t *testing.T) {
	t.Parallel()
	inBothPlaces(t, func(t *testing.T, ipv6, virtual bool) {
		s := newSite(t)
		forwarding(t, s.Ports["a"].Host, "1")
		c := site.Pair(interval, site.Addresses(2, ipv6)...)
		open, closed := c.Routers[0], c.Routers[0]
		open.Addresses, closed.Addresses = open.Addresses[:1], closed.Addresses[1:]
		open.VirtualMAC, closed.VirtualMAC = virtual, virtual
		closed.Name, closed.VRID, closed.More = "closed", 52, "accept: false"
		c.Routers = []site.Router{open, closed}
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		client, sent := listen(t, s.Client, site.Interface), listen(t, a.Host, site.Interface)
		refused, taken := site.Address(closed.Addresses[0]), site.Address(open.Addresses[0])
		begun := time.Now()
		for range 3 {
			for _, vip := range []netip.Addr{refused, taken} { // the second one last: its replies show that the first had time
				p := answerTo(t, s, vip, begun)
				mac, _ := claims(p, vip)
				say(t, s.Client, site.Interface, echo(s, mac, vip))
			}
		}
		for deadline := time.Now().Add(patience); client.count(t, repliesFrom(taken)) < 3 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(interval)
		if got := client.count(t, repliesFrom(taken)); got != 3 {
			t.Errorf("%d replies from %v, want 3", got, taken)
		}
		if got := client.count(t, repliesFrom(refused)); got != 0 {
			t.Errorf("%d replies from %v, want none", got, refused)
		}
		to := func(sent bool) func(sound) bool {
			return func(s sound) bool { return s.sent == sent && s.dest() == refused }
		}
		if in, out := sent.count(t, to(false)), sent.count(t, to(true)); in != 3 || out != 0 {
			t.Errorf("%d packets came for %v and %d were sent on, want 3 and 0", in, refused, out)
		}
	})
}

// marked is a packet from the client that forwarders send on to its other interface, with a number to know it by.
func marked(s *site.Site, to net.HardwareAddr, dest netip.Addr, protocol, number byte) []byte {
	payload := []byte{0x62, 0x61, 0x74, 0x6f, 0x6e, 0, 0, number}
	return ipFrame(to, s.Ports["client"].MAC, clientAddress(dest.Is6()), dest, 255, protocol, payload)
}

func isMarked(s sound) bool { return bytes.Contains(s.data, []byte("baton\x00\x00")) }

// elsewhere is an address of the client on the second switch.
func elsewhere(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr("fd97::c8")
	}
	return netip.MustParseAddr("10.97.0.200")
}

// Of two routers that both get what is for the virtual MAC the master alone sends it on. What is for the protocol's own
// group nobody does. Items 8, 9, 10, 64, 81, 97.
func TestConformance_OnlyTheMasterForwards(t *testing.T) {
	t.Parallel()
	inFamilies(t, func(t *testing.T, ipv6 bool) {
		s := newSite(t)
		must(t, s.AddLink())
		forwarding(t, s.Ports["a"].Host, "1")
		forwarding(t, s.Ports["b"].Host, "1")
		c := virtualPair(ipv6)
		c.Routers[0].Interval = time.Second // the switch has to forget a for a moment, and b must not take over
		a, b := startPair(t, s, site.Baton, site.Baton, c)
		mac, port := virtualMAC(ipv6), a.Port
		awaitMacvlan(t, b.Host, mac, false)
		arrives, leaves := listen(t, b.Host, site.Interface), listen(t, s.Client, site.Second)

		// The switch sends to all ports what is for an address that it does not know.
		number := byte(0)
		for arrives.count(t, isMarked) == 0 {
			if number++; number > 100 {
				t.Fatal("nothing for the virtual MAC reached the backup: the test shows nothing")
			}
			must(t, port.Cut())
			must(t, port.Mend())
			say(t, s.Client, site.Interface, marked(s, mac, elsewhere(ipv6), unix.IPPROTO_UDP, number))
			time.Sleep(10 * time.Millisecond)
		}
		settled(t, s, "a", c)

		group, groupMAC := netip.MustParseAddr("224.0.0.18"), net.HardwareAddr{1, 0, 0x5e, 0, 0, 0x12}
		if ipv6 {
			group, groupMAC = netip.MustParseAddr("ff02::12"), net.HardwareAddr{0x33, 0x33, 0, 0, 0, 0x12}
		}
		for _, to := range []net.HardwareAddr{groupMAC, mac, a.Port.MAC, b.Port.MAC} {
			for _, protocol := range []byte{112, unix.IPPROTO_UDP} {
				say(t, s.Client, site.Interface, marked(s, to, group, protocol, 0))
			}
		}
		say(t, s.Client, site.Interface, marked(s, mac, elsewhere(ipv6), unix.IPPROTO_UDP, 255)) // after all others
		last := func(s sound) bool {
			return isMarked(s) && bytes.HasSuffix(bytes.TrimRight(s.data, "\x00"), []byte{255})
		}
		leaves.await(t, "what is forwarded last", last)
		time.Sleep(interval)
		by := map[string]int{}
		for _, name := range []string{"a", "b"} {
			by[name] = leaves.count(t, func(f sound) bool { return isMarked(f) && f.from() == s.Seconds[name].MAC.String() })
		}
		if by["a"] == 0 || by["a"] > int(number)+1 || by["b"] != 0 {
			t.Errorf("forwarded by a %d times, by b %d: want %d at most, and never", by["a"], by["b"], number+1)
		}
		if got := leaves.count(t, func(s sound) bool { return isMarked(s) && s.dest() == group }); got != 0 {
			t.Errorf("%d packets to %v were forwarded", got, group)
		}
		if ipv6 {
			return
		}
		// Proxy ARP is not baton's, but where an administrator wants it on the virtual MAC's interface, that answers.
		must(t, a.Host.Sysctl("net/ipv4/conf/"+macvlans(t, a.Host, mac)[0].name+"/proxy_arp", "1"))
		absent := netip.MustParseAddr("10.97.0.77")
		if p := answerTo(t, s, absent, time.Now()); p.From.String() != mac.String() || p.ARP.SenderMAC.String() != mac.String() {
			t.Errorf("proxy ARP answers with another MAC address: %v of %v", p, p.From)
		}
	})
}

// With a virtual MAC the kernel redirects nobody who uses it; without one it does so in the name of the interface's own
// address, which a host that uses the virtual one does not believe. Item 106.
func TestConformance_Redirects(t *testing.T) {
	t.Parallel()
	inBothPlaces(t, func(t *testing.T, ipv6, virtual bool) {
		s := newSite(t)
		forwarding(t, s.Ports["a"].Host, "1")
		c := site.Pair(interval, site.Addresses(1, ipv6)...)
		c.Routers[0].VirtualMAC = virtual
		a, _ := startPair(t, s, site.Baton, site.Baton, c)
		mac := a.Port.MAC
		if virtual {
			mac = virtualMAC(ipv6)
		}
		client := listen(t, s.Client, site.Interface)
		sent := listen(t, a.Host, site.Interface)
		dest := nodeAddress("b", ipv6) // it is on the client's own link
		say(t, s.Client, site.Interface, marked(s, mac, dest, unix.IPPROTO_UDP, 1))
		sent.await(t, "the packet, sent on", func(f sound) bool { return f.sent && isMarked(f) && f.dest() == dest })
		time.Sleep(interval)
		redirects := ofType(redirect4, redirect6)
		own := func(f sound) bool {
			source, _ := f.icmp()
			return redirects(f) && source != site.Address(c.Routers[0].Addresses[0])
		}
		want := 1
		if virtual {
			want = 0
		}
		if all, by := client.count(t, redirects), client.count(t, own); all != want || by != want {
			t.Errorf("%d redirects, %d of them by an address that is not the virtual one; want %d", all, by, want)
		}
	})
}

// Master and backup both believe an unsolicited neighbour advertisement. Item 105.
func TestConformance_NeighbourAdvertisement(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := site.Pair(interval, site.Addresses(1, true)...)
	startPair(t, s, site.Baton, site.Baton, c)
	moved, client := net.HardwareAddr{2, 0, 0, 9, 9, 9}, clientAddress(true)
	for _, node := range []string{"a", "b"} {
		speakFrom(t, s, s.Ports[node].Host, nodeAddress(node, true))
	}
	target := client.As16()
	message := append(append(append([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target[:]...), 2, 1), moved...)
	knows := func(node string) string {
		text, err := s.Ports[node].Host.Run(patience, "ip", "neigh", "show", "to", client.String())
		must(t, err)
		return text
	}
	for _, node := range []string{"a", "b"} {
		for deadline := time.Now().Add(patience); !strings.Contains(knows(node), "lladdr"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not know the client: %s", node, knows(node))
			}
		}
	}
	say(t, s.Client, site.Interface, icmpFrame(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, s.Ports["client"].MAC, client, netip.MustParseAddr("ff02::1"), message))
	for _, node := range []string{"a", "b"} {
		for deadline := time.Now().Add(patience); !strings.Contains(knows(node), moved.String()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s does not believe it: %s", node, knows(node))
			}
		}
	}
}

// Nodes have link-local addresses of their own on the virtual MAC's interface, which have nothing of that MAC in them:
// by it they would all have the same. Item 107.
func TestConformance_LinkLocal(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := virtualPair(true)
	a, b := startPair(t, s, site.Baton, site.Baton, c)
	mac := virtualMAC(true)
	of := func(n *site.Node) (list []string) {
		prefixes, err := n.Host.Addresses(macvlans(t, n.Host, mac)[0].name)
		must(t, err)
		for _, p := range prefixes {
			if p.Addr().IsLinkLocalUnicast() {
				list = append(list, p.Addr().String())
			}
		}
		return list
	}
	first := of(a)
	must(t, a.Stop())
	settled(t, s, "b", c)
	second := of(b)
	if len(first) != 1 || len(second) != 1 || first[0] == second[0] {
		t.Fatalf("link-local addresses are %v and %v: want one each, that differ", first, second)
	}
	for _, addr := range append(first, second...) {
		if last := netip.MustParseAddr(addr).As16(); [3]byte(last[13:]) == [3]byte(mac[3:]) {
			t.Errorf("%s is made from the virtual MAC", addr)
		}
	}
}
