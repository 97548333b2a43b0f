package link

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// patience bounds every wait for the kernel.
const patience = 5 * time.Second

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// namespace is a network namespace without a name: it ends with its descriptor.
type namespace struct {
	fd int
	*netlink.Handle
}

// newNamespace makes a namespace for the test, without duplicate address
// detection. It needs privilege: without it a test is skipped, and in CI fails.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) && os.Getenv("CI") == "" {
			t.Skip("needs the privilege to make network namespaces")
		}
		t.Fatalf("make a network namespace: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for _, which := range []string{"all", "default"} {
		err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0))
	}
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		panic("cannot leave the test's namespace: " + back.Error()) // no other test may run on this thread
	}
	runtime.UnlockOSThread()
	if err != nil {
		t.Fatal(err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(); unix.Close(fd) })
	return &namespace{fd, h}
}

// do runs f in the namespace, on the calling goroutine.
func (n *namespace) do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(n.fd, unix.CLONE_NEWNET)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
			panic("cannot leave the test's namespace: " + err.Error())
		}
		unix.Close(home)
		runtime.UnlockOSThread()
	}()
	f()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (n *namespace) link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := n.LinkByName(name)
	must(t, err)
	return l
}

func (n *namespace) addAddress(t testing.TB, name, address string) {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	must(t, err)
	a.Flags = unix.IFA_F_NODAD
	must(t, n.AddrAdd(n.link(t, name), a))
}

func (n *namespace) delAddress(t testing.TB, name, address string) {
	t.Helper()
	a, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, n.AddrDel(n.link(t, name), a))
}

// addPair connects two namespaces by a pair of interfaces, both up.
func addPair(t testing.TB, a *namespace, nameA string, b *namespace, nameB string) {
	t.Helper()
	// Ends of different index: between equal ones the kernel reports a change of
	// the link up to a second late.
	links, err := a.LinkList()
	must(t, err)
	must(t, a.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA, Index: 1000 + len(links)},
		PeerName:  nameB, PeerNamespace: netlink.NsFd(b.fd),
	}))
	must(t, a.LinkSetUp(a.link(t, nameA)))
	must(t, b.LinkSetUp(b.link(t, nameB)))
}

// state reads an interface's state once.
func (n *namespace) state(t testing.TB, name string) Interface {
	t.Helper()
	m := n.monitor(t)
	defer m.Close()
	i, ok := m.Table().ByName(name)
	if !ok {
		t.Fatalf("no interface %s", name)
	}
	return i
}

// ready tells whether eth0 is up and has the address that the kernel gives it.
func (n *namespace) ready(t testing.TB) bool {
	t.Helper()
	i := n.state(t, "eth0")
	_, ok := i.Source(true, nil)
	return i.Up && ok
}

func (n *namespace) monitor(t testing.TB) *Monitor {
	t.Helper()
	var m *Monitor
	n.do(t, func() {
		var err error
		m, err = NewMonitor(quiet())
		must(t, err)
	})
	return m
}

// open opens a Conn on an interface that is already there, and waits until the
// interface has the address that adverts of the family come from.
func (n *namespace) open(t testing.TB, name string, ipv6 bool) (*Conn, Interface) {
	t.Helper()
	var i Interface
	eventually(t, "a source address on "+name, func() bool {
		i = n.state(t, name)
		_, ok := i.Source(ipv6, nil)
		return ok && i.Up
	})
	return n.openState(t, i, ipv6), i
}

func (n *namespace) openState(t testing.TB, i Interface, ipv6 bool) *Conn {
	t.Helper()
	var c *Conn
	n.do(t, func() {
		var err error
		c, err = Open(i, ipv6, quiet())
		must(t, err)
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually polls until the condition holds.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	p, err := NewPoller()
	must(t, err)
	defer p.Close()
	for end := p.Now() + patience; !condition(); {
		now := p.Now()
		if now > end {
			t.Fatalf("still waiting for %s", what)
		}
		if _, err := p.Wait(now+time.Millisecond, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// lan is two hosts, a and b, on one link, each with an address of either family.
type lan struct {
	a, b *namespace
	tap  int // a packet socket on b's interface, to send frames
	macA net.HardwareAddr
	macB net.HardwareAddr
}

func newLAN(t testing.TB) *lan {
	t.Helper()
	l := &lan{a: newNamespace(t), b: newNamespace(t)}
	addPair(t, l.a, "eth0", l.b, "eth0")
	l.a.addAddress(t, "eth0", "10.0.0.1/24")
	l.b.addAddress(t, "eth0", "10.0.0.2/24")
	l.macA = l.a.link(t, "eth0").Attrs().HardwareAddr
	l.macB = l.b.link(t, "eth0").Attrs().HardwareAddr
	eventually(t, "the link and its addresses", func() bool { return l.a.ready(t) && l.b.ready(t) })
	l.b.do(t, func() { l.tap = openTap(t, l.b.link(t, "eth0").Attrs().Index) })
	t.Cleanup(func() { unix.Close(l.tap) })
	return l
}

// openTap opens a socket that sends frames, in the namespace of the thread.
func openTap(t testing.TB, index int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}))
	return fd
}

// sendFrame puts a frame on the link from b.
func (l *lan) sendFrame(t testing.TB, frame []byte) {
	t.Helper()
	if _, err := unix.Write(l.tap, frame); err != nil {
		t.Fatalf("write frame: %v", err)
	}
}

// sendPacket puts an IP packet on the link from b, to the group's MAC address or,
// for a unicast destination, to a's. Padding comes after the packet.
func (l *lan) sendPacket(t testing.TB, packet []byte, padding int) {
	t.Helper()
	var frame []byte
	if packet[0]>>4 == 4 {
		header := packet[:int(packet[0]&0x0f)*4]
		header[10], header[11] = 0, 0
		binary.BigEndian.PutUint16(header[10:], checksum(header))
		dst := net.HardwareAddr{1, 0, 0x5e, header[17] & 0x7f, header[18], header[19]}
		if header[16] != 224 {
			dst = l.macA
		}
		frame = append(frame, dst...)
		frame = append(append(frame, l.macB...), 8, 0)
	} else {
		dst := net.HardwareAddr{0x33, 0x33, packet[36], packet[37], packet[38], packet[39]}
		if packet[24] != 0xff {
			dst = l.macA
		}
		frame = append(frame, dst...)
		frame = append(append(frame, l.macB...), 0x86, 0xdd)
	}
	frame = append(frame, packet...)
	l.sendFrame(t, append(frame, make([]byte, padding)...))
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// heard is a packet that outlives the next read.
type heard struct {
	Src, Dst string
	TTL      uint8
	Payload  string
}

func keep(packets []Packet) []heard {
	var all []heard
	for _, p := range packets {
		all = append(all, heard{p.Src.String(), p.Dst.String(), p.TTL, string(p.Payload)})
	}
	return all
}

// collect reads until n packets have come, sorted by the socket they came from.
func collect(t testing.TB, c *Conn, n int) (received, surveyed []heard) {
	t.Helper()
	now := time.Duration(0)
	eventually(t, "packets", func() bool {
		received = append(received, keep(c.Receive(batch))...)
		now += time.Second // so that the survey is never over its rate
		surveyed = append(surveyed, keep(c.Survey(now, surveyBatch))...)
		return len(received)+len(surveyed) >= n
	})
	return received, surveyed
}

func sourceOf(t testing.TB, i Interface, ipv6 bool) netip.Addr {
	t.Helper()
	a, ok := i.Source(ipv6, nil)
	if !ok {
		t.Fatalf("%s has no source address", i.Name)
	}
	return a
}

func families(t *testing.T, f func(t *testing.T, ipv6 bool)) {
	t.Run("IPv4", func(t *testing.T) { f(t, false) })
	t.Run("IPv6", func(t *testing.T) { f(t, true) })
}
