package daemon

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"baton/internal/link"
	"baton/vrrp"
)

// cable makes a pair of interfaces, both up and without duplicate address
// detection; both go with the test. The far end does not answer for the
// addresses of the near one, which are this host's as well.
func cable(t *testing.T, name, other string) {
	t.Helper()
	for _, which := range []string{"all", "default"} {
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0))
	}
	must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0))
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: other}))
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(other); err == nil {
			_ = netlink.LinkDel(l) // the namespace ends soon
		}
	})
	must(t, netlink.LinkSetUp(iface(t, name)))
	must(t, netlink.LinkSetUp(iface(t, other)))
}

func iface(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func rename(t *testing.T, name, to string) {
	t.Helper()
	l := iface(t, name)
	must(t, netlink.LinkSetDown(l))
	must(t, netlink.LinkSetName(l, to))
	must(t, netlink.LinkSetUp(l))
}

func addAddress(t *testing.T, name, address string) {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, netlink.AddrAdd(iface(t, name), a))
}

// following runs links for one interface and returns their updates.
func following(t *testing.T, u *uplink) <-chan linkUpdate {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	m, err := link.NewMonitor(quiet)
	must(t, err)
	k := newLinks(m, []*uplink{u}, quiet)
	updates := make(chan linkUpdate, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	k.changed(nil) // what is there already
	parts.Go(func() {
		if err := m.Run(ctx, k.changed); err != nil {
			t.Error(err)
		}
	})
	parts.Go(func() {
		k.run(ctx, func(up linkUpdate) {
			select {
			case updates <- up:
			case <-ctx.Done():
			}
		})
	})
	t.Cleanup(func() {
		cancel()
		parts.Wait()
		for len(updates) > 0 {
			closeAll((<-updates).conns)
		}
	})
	return updates
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		_ = c.Close() // of a test
	}
}

// seen is what came of updates up to one that was waited for.
type seen struct {
	last   linkUpdate
	gone   bool // any of them said so
	opened int  // sockets, all together
}

// await waits for an update that done accepts.
func await(t *testing.T, updates <-chan linkUpdate, what string, done func(seen) bool) seen {
	t.Helper()
	timeout := time.After(patience)
	var s seen
	for {
		select {
		case s.last = <-updates:
			s.gone = s.gone || s.last.gone
			s.opened += len(s.last.conns)
			closeAll(s.last.conns)
		case <-timeout:
			t.Fatalf("%s: nothing within %s; last update %+v", what, patience, s.last)
		}
		if done(s) {
			return s
		}
	}
}

func TestLinks_AnInterfaceThatComesAndGoes(t *testing.T) {
	needNamespace(t)
	u := &uplink{name: "late0", known: map[bool]link.Known{false: {V3: link.VRIDs{}.With(51)}}}
	updates := following(t, u)
	await(t, updates, "at first", func(s seen) bool { return !s.last.exists && !s.gone })

	usable := func(s seen) bool { return s.last.exists && s.last.state.Up && s.opened > 0 }
	absent := func(s seen) bool { return !s.last.exists }
	cable(t, "late0", "late1")
	s := await(t, updates, "appears", usable)
	if s.opened != 1 || s.gone || len(s.last.problem) != 0 {
		t.Errorf("appears: %d sockets, gone %t, problems %v; want 1 and no more", s.opened, s.gone, s.last.problem)
	}

	must(t, netlink.LinkSetDown(iface(t, "late0")))
	s = await(t, updates, "down", func(s seen) bool { return s.last.exists && !s.last.state.Up })
	must(t, netlink.LinkSetUp(iface(t, "late0")))
	up := await(t, updates, "up", func(s seen) bool { return s.last.state.Up })
	if s.gone || up.gone || s.opened+up.opened != 0 {
		t.Error("an interface that goes down and up lost its sockets")
	}

	rename(t, "late0", "other0")
	if s = await(t, updates, "renamed", absent); !s.gone {
		t.Error("renamed: the sockets of another interface are kept")
	}
	rename(t, "other0", "late0")
	await(t, updates, "named again", usable)

	must(t, netlink.LinkDel(iface(t, "late0")))
	if s = await(t, updates, "deleted", absent); !s.gone {
		t.Error("deleted: its sockets are kept")
	}
	cable(t, "late0", "late1")
	await(t, updates, "made anew", usable)
}

// A monitor that is slow sees nothing but that it is another one.
func TestLinks_AnInterfaceMadeAnewAtOnce(t *testing.T) {
	needNamespace(t)
	quiet := slog.New(slog.DiscardHandler)
	u := &uplink{name: "anew0", known: map[bool]link.Known{false: {V3: link.VRIDs{}.With(51)}}}
	k := newLinks(nil, []*uplink{u}, quiet)
	for _, want := range []struct {
		name string
		gone bool
	}{{"first", false}, {"second", true}} {
		cable(t, "anew0", "anew1")
		m, err := link.NewMonitor(quiet) // sees what is there now
		must(t, err)
		defer m.Close()
		k.monitor = m
		up := k.updates()[0]
		closeAll(up.conns)
		if up.gone != want.gone || len(up.conns) != 1 {
			t.Errorf("%s: gone %t and %d sockets, want %t and 1", want.name, up.gone, len(up.conns), want.gone)
		}
		if again := k.updates()[0]; again.gone || len(again.conns) != 0 {
			t.Errorf("%s: looked at again without a change: gone %t and %d sockets", want.name, again.gone, len(again.conns))
		}
		must(t, netlink.LinkDel(iface(t, "anew0")))
	}
}

func TestLinks_WhatCouldNotBeOpenedIsTriedAgain(t *testing.T) {
	needNamespace(t)
	cable(t, "half0", "half1")
	limit := "/proc/sys/net/ipv4/igmp_max_memberships"
	before, err := os.ReadFile(limit)
	must(t, err)
	must(t, os.WriteFile(limit, []byte("0"), 0))
	t.Cleanup(func() { must(t, os.WriteFile(limit, before, 0)) })

	u := &uplink{name: "half0", known: map[bool]link.Known{false: {V3: link.VRIDs{}.With(51)}, true: {V3: link.VRIDs{}.With(51)}}}
	updates := following(t, u)
	s := await(t, updates, "one family", func(s seen) bool { return s.last.problem[false] != "" })
	if !strings.HasPrefix(s.last.problem[false], "no sockets: ") || s.last.problem[true] != "" || s.opened != 1 {
		t.Errorf("problems %v and %d sockets, want those of IPv4 alone to fail", s.last.problem, s.opened)
	}
	must(t, os.WriteFile(limit, before, 0))
	s = await(t, updates, "the other", func(s seen) bool { return s.opened > 0 })
	if len(s.last.problem) != 0 || s.opened != 1 {
		t.Errorf("problems %v and %d sockets, want none and 1", s.last.problem, s.opened)
	}
}

// wire speaks from the far end of a cable as another host, by whole frames.
type wire struct {
	t  *testing.T
	fd int
	to unix.SockaddrLinklayer
}

var farMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

func newWire(t *testing.T, name string) *wire {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	to := unix.SockaddrLinklayer{Ifindex: iface(t, name).Attrs().Index, Protocol: bits.ReverseBytes16(unix.ETH_P_IP)}
	must(t, unix.Bind(fd, &to))
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}))
	return &wire{t, fd, to}
}

// advertisements reads the next n that arrive, and returns them.
func (w *wire) advertisements(n int) []vrrp.Advertisement {
	w.t.Helper()
	var heard []vrrp.Advertisement
	frame := make([]byte, 2048)
	for len(heard) < n {
		size, from, err := unix.Recvfrom(w.fd, frame, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			w.t.Fatalf("after %d advertisements of %d: %v", len(heard), n, err)
		}
		f := frame[:size]
		if ll, ok := from.(*unix.SockaddrLinklayer); !ok || ll.Pkttype == unix.PACKET_OUTGOING || size < 34 || f[23] != vrrp.Protocol {
			continue
		}
		var a vrrp.Advertisement
		if r := a.Parse(f[34:], netip.AddrFrom4([4]byte(f[26:30])), netip.AddrFrom4([4]byte(f[30:34]))); r != vrrp.Accepted {
			w.t.Errorf("an advertisement that a peer refuses: %s", r)
		}
		heard = append(heard, a)
	}
	return heard
}

func (w *wire) frame(to net.HardwareAddr, kind uint16, payload []byte) {
	w.t.Helper()
	must(w.t, unix.Sendto(w.fd, ethernet(to, kind, payload), 0, &w.to))
}

// advertise sends an advertisement from src with the TTL.
func (w *wire) advertise(src netip.Addr, ttl uint8, a vrrp.Advertisement) {
	w.t.Helper()
	must(w.t, unix.Sendto(w.fd, advertisementFrame(src, ttl, a), 0, &w.to))
}

func ethernet(to net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append(append([]byte{}, to...), farMAC...), byte(kind>>8), byte(kind))
	return append(f, payload...)
}

func advertisementFrame(src netip.Addr, ttl uint8, a vrrp.Advertisement) []byte {
	dst := vrrp.IPv4.Group()
	message := a.AppendTo(nil, src, dst)
	s, d := src.As4(), dst.As4()
	h := []byte{0x45, 0xc0, 0, byte(20 + len(message)), 0, 0, 0, 0, ttl, vrrp.Protocol, 0, 0}
	h = append(append(h, s[:]...), d[:]...)
	var sum uint32
	for i := 0; i < len(h); i += 2 {
		sum += uint32(h[i])<<8 | uint32(h[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum&0xffff + sum>>16)
	h[10], h[11] = byte(sum>>8), byte(sum)
	return ethernet(net.HardwareAddr{1, 0, 0x5e, 0, 0, 18}, unix.ETH_P_IP, append(h, message...))
}

// announce sends a gratuitous ARP.
func (w *wire) announce(addr netip.Addr) {
	w.t.Helper()
	ip := addr.As4()
	p := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	p = append(append(p, farMAC...), ip[:]...)
	p = append(append(p, 0, 0, 0, 0, 0, 0), ip[:]...)
	w.frame(net.HardwareAddr{255, 255, 255, 255, 255, 255}, unix.ETH_P_ARP, p)
}

// lines is a log that a test waits for.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until all pieces stand in one line, after those of the calls before.
func (l *lines) await(t *testing.T, from *int, pieces ...string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		text := l.String()
		at := *from
		for line := range strings.Lines(text[at:]) {
			at += len(line)
			if strings.HasSuffix(line, "\n") && containsAll(line, pieces) {
				*from = at
				return
			}
		}
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("no line with %q within %s:\n%s", pieces, patience, text[*from:])
		}
	}
}

func containsAll(line string, pieces []string) bool {
	for _, p := range pieces {
		if !strings.Contains(line, p) {
			return false
		}
	}
	return true
}
