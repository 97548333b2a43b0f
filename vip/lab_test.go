package vip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test.
const patience = 10 * time.Second

// lab is a network namespace with a veth pair: the worker serves "left", and
// "right" hears what it sends.
type lab struct {
	t      testing.TB
	ns     *os.File
	kernel *netlink.Handle
	ear    int // packet socket on right
	events chan Event
	worker *Worker
	end    func() // ends the worker and waits for it
}

// newLab makes a namespace, which ends with the test's last socket in it.
func newLab(t testing.TB) *lab {
	t.Helper()
	l := newHost(t)
	l.veth()
	return l
}

// newHost makes a namespace without interfaces.
func newHost(t testing.TB) *lab {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("CI") == "" {
		t.Skip("needs root for network namespaces")
	}
	l := &lab{t: t, ear: -1, events: make(chan Event, 1<<16)}
	runtime.LockOSThread()
	home := openNS(t)
	defer home.Close()
	l.check(unix.Unshare(unix.CLONE_NEWNET))
	l.ns = openNS(t)
	l.check(unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
	runtime.UnlockOSThread()
	t.Cleanup(func() { l.ns.Close() })
	l.within(func() {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		l.check(err)
		l.kernel = h
	})
	t.Cleanup(l.kernel.Close)
	for _, s := range []string{"all", "default"} {
		l.sysctl("ipv6/conf/"+s+"/accept_dad", "0")
		l.sysctl("ipv6/conf/"+s+"/router_solicitations", "0")
	}
	return l
}

func openNS(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (l *lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// within runs f on a thread of the namespace.
func (l *lab) within(f func()) {
	l.t.Helper()
	runtime.LockOSThread()
	home := openNS(l.t)
	l.check(unix.Setns(int(l.ns.Fd()), unix.CLONE_NEWNET))
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // the thread stays locked and dies with its goroutine
		}
		home.Close()
		runtime.UnlockOSThread()
	}()
	f()
}

// sysctl writes a setting of the namespace, by its path below net.
func (l *lab) sysctl(path, value string) {
	l.t.Helper()
	l.within(func() { l.check(os.WriteFile("/proc/sys/net/"+path, []byte(value), 0)) })
}

func (l *lab) sysctlValue(path string) string {
	l.t.Helper()
	var b []byte
	l.within(func() {
		var err error
		b, err = os.ReadFile("/proc/sys/net/" + path)
		l.check(err)
	})
	return string(b[:len(b)-1])
}

// veth makes the pair, up, and opens the ear.
func (l *lab) veth() {
	l.t.Helper()
	l.check(l.kernel.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "left"}, PeerName: "right"}))
	l.sysctl("ipv6/conf/right/disable_ipv6", "1")
	l.check(l.kernel.LinkSetUp(l.link("right")))
	l.within(func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		l.check(err)
		l.check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20))
		l.check(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: l.link("right").Attrs().Index})) // ETH_P_ALL
		if l.ear >= 0 {
			unix.Close(l.ear)
		} else {
			l.t.Cleanup(func() { unix.Close(l.ear) })
		}
		l.ear = fd
	})
	l.check(l.kernel.LinkSetUp(l.link("left")))
	l.until("left has a carrier", func() bool { return l.link("left").Attrs().RawFlags&unix.IFF_RUNNING != 0 })
}

func (l *lab) link(name string) netlink.Link {
	l.t.Helper()
	k, err := l.kernel.LinkByName(name)
	l.check(err)
	return k
}

func (l *lab) mac() net.HardwareAddr { return l.link("left").Attrs().HardwareAddr }

// newWorker opens a worker in the namespace.
func (l *lab) newWorker() *Worker {
	l.t.Helper()
	var w *Worker
	l.within(func() {
		var err error
		w, err = New(Options{
			Log:    slog.New(slog.NewTextHandler(l.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})),
			Report: func(e Event) { l.events <- e },
		})
		l.check(err)
	})
	l.worker = w
	return w
}

// run runs the worker until end or the end of the test.
func (l *lab) run() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.worker.Run(ctx) }()
	ended := false
	l.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				l.t.Errorf("run: %v", err)
			}
		case <-time.After(patience):
			l.t.Error("the worker does not end")
		}
	}
	l.t.Cleanup(l.end)
}

// start runs a new worker with the routers, and waits until what was left of
// their addresses is gone.
func (l *lab) start(routers ...Router) []*Handle {
	l.t.Helper()
	l.newWorker()
	var handles []*Handle
	for _, r := range routers {
		handles = append(handles, l.worker.Add(r))
	}
	l.run()
	for range routers {
		l.expect(Off)
	}
	return handles
}

// event returns the next event.
func (l *lab) event() Event {
	l.t.Helper()
	select {
	case e := <-l.events:
		return e
	case <-time.After(patience):
		l.t.Fatal("no event")
		return Event{}
	}
}

// expect returns the next event, which has to be of that kind.
func (l *lab) expect(k EventKind) Event {
	l.t.Helper()
	e := l.event()
	for e.Kind == Stuck && k != Stuck { // the machine's: namespaces that end hold the lock
		e = l.event()
	}
	if e.Kind != k {
		l.t.Fatalf("event %v %+v, want %v", e.Kind, e, k)
	}
	return e
}

// expectUp waits for Recovered, after the interface has perhaps been seen down.
func (l *lab) expectUp() {
	l.t.Helper()
	e := l.event()
	if e.Kind == Failed && errors.Is(e.Err, ErrLinkDown) {
		e = l.event()
	}
	if e.Kind != Recovered {
		l.t.Fatalf("event %+v, want recovered", e)
	}
}

// until polls a condition on the kernel's state.
func (l *lab) until(what string, f func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); !f(); {
		if time.Now().After(deadline) {
			l.t.Fatalf("not in time: %s", what)
		}
		runtime.Gosched()
	}
}

// dumpedAddr is an address as a dump by another program shows it.
type dumpedAddr struct {
	Prefix           string
	Valid, Preferred int // seconds
	Flags            int // without IFA_F_PERMANENT and IFA_F_DEPRECATED, which say no more than the lifetimes
	Proto            uint8
	Broadcast        string
	Scope            int
}

// on returns the addresses of an interface, less the kernel's link-local one.
func (l *lab) on(name string) map[netip.Addr]dumpedAddr {
	l.t.Helper()
	index := l.link(name).Attrs().Index
	list, err := l.kernel.AddrList(l.link(name), unix.AF_UNSPEC)
	l.check(err)
	protos := l.protocols(index)
	out := make(map[netip.Addr]dumpedAddr)
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		bits, _ := a.Mask.Size()
		if ip.IsLinkLocalUnicast() && protos[ip] != Protocol {
			continue
		}
		d := dumpedAddr{
			Prefix: netip.PrefixFrom(ip, bits).String(), Valid: a.ValidLft, Preferred: a.PreferedLft,
			Flags: a.Flags &^ (unix.IFA_F_PERMANENT | unix.IFA_F_DEPRECATED), Proto: protos[ip], Scope: a.Scope,
		}
		if a.Broadcast != nil {
			d.Broadcast = a.Broadcast.String()
		}
		out[ip] = d
	}
	return out
}

// protocols reads what the library's dump leaves out.
func (l *lab) protocols(index int) map[netip.Addr]uint8 {
	l.t.Helper()
	out := make(map[netip.Addr]uint8)
	l.within(func() {
		fd, err := openNetlink(1 << 20)
		l.check(err)
		defer unix.Close(fd)
		var d dump
		for changed := true; changed; {
			d = dump{}
			changed, err = (&requests{fd: fd}).dump(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC), d.address)
			l.check(err)
		}
		for _, a := range d.addresses {
			if a.index == index {
				out[a.prefix.Addr()] = a.proto
			}
		}
	})
	return out
}

// routes6 returns the IPv6 prefix routes of left and in how many seconds they
// expire; 0 means never.
func (l *lab) routes6() map[netip.Prefix]int {
	l.t.Helper()
	index := l.link("left").Attrs().Index
	out := make(map[netip.Prefix]int)
	l.within(func() {
		fd, err := openNetlink(1 << 20)
		l.check(err)
		defer unix.Close(fd)
		body := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6}}
		_, err = (&requests{fd: fd}).dump(unix.RTM_GETROUTE, body, func(m syscall.NetlinkMessage) {
			r := nl.DeserializeRtMsg(m.Data)
			attrs, err := nl.ParseRouteAttr(m.Data[unix.SizeofRtMsg:])
			l.check(err)
			var dst netip.Addr
			oif, expires := 0, 0
			for _, a := range attrs {
				switch a.Attr.Type {
				case unix.RTA_DST:
					dst, _ = netip.AddrFromSlice(a.Value)
				case unix.RTA_OIF:
					oif = int(binary.NativeEndian.Uint32(a.Value))
				case unix.RTA_CACHEINFO:
					expires = int(binary.NativeEndian.Uint32(a.Value[8:])) / 100
				}
			}
			if oif == index && r.Protocol == unix.RTPROT_KERNEL && r.Table == unix.RT_TABLE_MAIN {
				out[netip.PrefixFrom(dst, int(r.Dst_len))] = expires
			}
		})
		l.check(err)
	})
	return out
}

func (l *lab) has(a string) bool {
	l.t.Helper()
	_, ok := l.on("left")[netip.MustParseAddr(a)]
	return ok
}

// add and del change an address as another program would.
func (l *lab) add(prefix string) {
	l.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	l.check(err)
	l.check(l.kernel.AddrAdd(l.link("left"), a))
}

func (l *lab) del(prefix string) {
	l.t.Helper()
	a, err := netlink.ParseAddr(prefix)
	l.check(err)
	l.check(l.kernel.AddrDel(l.link("left"), a))
}

// heard is an announcement as right received it.
type heard struct {
	at   time.Time
	addr netip.Addr
	raw  []byte
}

// hear returns the next announcement within the time; ok is false when there
// is none. Everything else on the wire is passed over.
func (l *lab) hear(within time.Duration) (h heard, ok bool) {
	l.t.Helper()
	b := make([]byte, 2048)
	for deadline := time.Now().Add(within); ; {
		n, _, err := unix.Recvfrom(l.ear, b, 0)
		if err == nil {
			if a := announcedBy(b[:n]); a.IsValid() {
				return heard{at: time.Now(), addr: a, raw: append([]byte(nil), b[:n]...)}, true
			}
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENETDOWN) {
			l.t.Fatal(err)
		}
		left := time.Until(deadline)
		if left <= 0 {
			return heard{}, false
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(l.ear), Events: unix.POLLIN}}, int(left/time.Millisecond)+1)
	}
}

// announcedBy returns the address that a frame announces; none when it is no announcement.
func announcedBy(b []byte) netip.Addr {
	var a netip.Addr
	switch {
	case len(b) >= 42 && b[12] == 0x08 && b[13] == 0x06:
		a, _ = netip.AddrFromSlice(b[28:32])
	case len(b) >= 78 && b[12] == 0x86 && b[13] == 0xdd && b[20] == unix.IPPROTO_ICMPV6 && b[54] == 136:
		a, _ = netip.AddrFromSlice(b[62:78])
	}
	return a
}

// silence forgets what has been heard so far.
func (l *lab) silence() {
	for {
		if _, ok := l.hear(0); !ok {
			return
		}
	}
}

// many returns n IPv4 or IPv6 addresses, to be repaired.
func many(n int, six bool) []Address {
	var out []Address
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i / 250), byte(i%250 + 1)}), 16)
		if six {
			p = netip.MustParsePrefix(fmt.Sprintf("2001:db8:1::%x/64", i+1))
		}
		out = append(out, Address{Prefix: p, Repair: true})
	}
	return out
}

func addresses(prefixes ...string) []Address {
	var out []Address
	for _, p := range prefixes {
		out = append(out, Address{Prefix: netip.MustParsePrefix(p), Repair: true})
	}
	return out
}
