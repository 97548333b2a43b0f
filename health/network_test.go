package health

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inside marks the process that inNamespace started.
const inside = "BATON_TEST_INSIDE"

// inNamespace runs the test once more, in a process of its own in a network
// namespace with nothing but lo, and reports there, and only there, true. All that
// the test starts is in that namespace, goroutines included.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		for _, which := range []string{"all", "default"} {
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0))
		}
		lo, err := netlink.LinkByName("lo")
		must(t, err)
		must(t, netlink.LinkSetUp(lo))
		return true
	}
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	}
	runtime.LockOSThread() // or the death of the thread is the parent's death
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit) && os.Getenv("CI") == "":
		t.Skipf("needs the privilege to make network namespaces: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case strings.Contains(string(out), "no tests to run"):
		t.Fatalf("ran nothing: %s", out)
	}
	return false
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// peer is another host, which is a network namespace, at the end of a cable.
type peer struct {
	fd int
	*netlink.Handle
}

// newPeer connects another host: its eth0 to this one's interface of that name.
func newPeer(t testing.TB, name string) *peer {
	t.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(home)
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for _, which := range []string{"all", "default"} {
		err = errors.Join(err, os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/accept_dad", []byte("0"), 0))
	}
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		panic("cannot leave the peer's namespace: " + back.Error())
	}
	runtime.UnlockOSThread()
	must(t, err)
	h, err := netlink.NewHandleAt(netns.NsHandle(fd), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { h.Close(); unix.Close(fd) })
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd),
	}))
	p := &peer{fd, h}
	p.up(t, "lo")
	p.up(t, "eth0")
	up(t, name)
	return p
}

func (p *peer) up(t testing.TB, name string) {
	t.Helper()
	l, err := p.LinkByName(name)
	must(t, err)
	must(t, p.LinkSetUp(l))
}

func (p *peer) address(t testing.TB, address string) {
	t.Helper()
	l, err := p.LinkByName("eth0")
	must(t, err)
	a, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, p.AddrAdd(l, a))
}

// do runs f in the peer's namespace, on the calling goroutine.
func (p *peer) do(t testing.TB, f func()) {
	t.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, unix.Setns(p.fd, unix.CLONE_NEWNET))
	defer func() {
		if err := unix.Setns(home, unix.CLONE_NEWNET); err != nil {
			panic("cannot leave the peer's namespace: " + err.Error())
		}
		unix.Close(home)
		runtime.UnlockOSThread()
	}()
	f()
}

// listen listens on the peer.
func (p *peer) listen(t testing.TB, address string) (l net.Listener) {
	t.Helper()
	p.do(t, func() {
		var err error
		l, err = net.Listen("tcp", address)
		must(t, err)
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func up(t testing.TB, name string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
}

func address(t testing.TB, name, address string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	a, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, netlink.AddrAdd(l, a))
}

// swallow has packets to an address go to the peer, which drops them.
func (p *peer) swallow(t testing.TB, name string, addresses ...string) {
	t.Helper()
	far, err := p.LinkByName("eth0")
	must(t, err)
	near, err := netlink.LinkByName(name)
	must(t, err)
	for _, a := range addresses {
		must(t, netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: near.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(a), HardwareAddr: far.Attrs().HardwareAddr,
		}))
	}
}

// fake listens and has each connection served until the test ends.
func fake(t testing.TB, l net.Listener, serve func(net.Conn)) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
				serve(conn)
			}()
		}
	}()
}

// fakeAt does so at an address of this host.
func fakeAt(t testing.TB, network, address string, serve func(net.Conn)) {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	fake(t, l, serve)
}

// probeMust makes a probe that can be made.
func probeMust(t testing.TB, p Probe, err error) Probe {
	t.Helper()
	must(t, err)
	return p
}

// route adds a route.
func route(t testing.TB, to, via string) {
	t.Helper()
	_, dst, err := net.ParseCIDR(to)
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

func writeSysctl(name, value string) error {
	return os.WriteFile("/proc/sys/"+name, []byte(value), 0)
}
