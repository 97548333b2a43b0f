package vip

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// passed is a frame that went through a switch's port.
type passed struct {
	port int
	out  bool // away from the switch
	data []byte
}

// watchPorts records what passes through the ports of a host that is a switch,
// in the kernel's order, until the returned function is called.
func (l *lab) watchPorts() (stop func() []passed) {
	l.t.Helper()
	fd := -1
	l.within(func() {
		var err error
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		l.check(err)
		l.check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		l.check(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300})) // ETH_P_ALL
	})
	return func() []passed {
		defer unix.Close(fd)
		var out []passed
		b := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if errors.Is(err, unix.EAGAIN) {
				return out
			}
			l.check(err)
			k := from.(*unix.SockaddrLinklayer)
			out = append(out, passed{k.Ifindex, k.Pkttype == unix.PACKET_OUTGOING, append([]byte(nil), b[:n]...)})
		}
	}
}

// asking sends an echo request each millisecond and counts them, until stop,
// which returns how many were answered.
func (l *lab) asking(addr string) (asked *atomic.Int64, stop func() (answered int)) {
	l.t.Helper()
	var c net.Conn
	ip := netip.MustParseAddr(addr)
	l.within(func() {
		var err error
		c, err = net.Dial(map[bool]string{true: "ip4:icmp", false: "ip6:ipv6-icmp"}[ip.Is4()], addr)
		l.check(err)
	})
	end := make(chan struct{})
	var all sync.WaitGroup
	asked = new(atomic.Int64)
	answered := 0
	all.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				l.check(c.SetReadDeadline(time.Now().Add(300 * time.Millisecond)))
				return
			case <-tick.C:
			}
			p := []byte{128, 0, 0, 0, 0, 1, 0, 1}
			if ip.Is4() {
				p = []byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1}
			}
			if _, err := c.Write(p); err == nil {
				asked.Add(1)
			}
		}
	})
	all.Go(func() {
		b := make([]byte, 1500)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			p := b[:n]
			if ip.Is4() && n > 20 && p[0]>>4 == 4 {
				p = p[20:]
			}
			if p[0] == 0 || p[0] == 129 {
				answered++
			}
		}
	})
	return asked, func() int {
		close(end)
		all.Wait()
		c.Close()
		return answered
	}
}

// TestMacvlan_HandoverLosesNothing moves a virtual MAC with its addresses between
// two ports of a switch while a client asks each millisecond: first one takes
// it, then the other lets go.
func TestMacvlan_HandoverLosesNothing(t *testing.T) {
	for _, addr := range []string{"10.0.0.100", "2001:db8::100"} {
		t.Run(addr, func(t *testing.T) {
			sw, client, hosts := newHost(t), newHost(t), [2]*lab{newHost(t), newHost(t)}
			bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
			sw.sysctl("ipv6/conf/default/disable_ipv6", "1")
			sw.check(sw.kernel.LinkAdd(bridge))
			sw.check(sw.kernel.LinkSetUp(bridge))
			port := func(name string, l *lab, ifname string) int {
				cable(sw, name, l, ifname)
				sw.check(sw.kernel.LinkSetMaster(sw.link(name), bridge))
				return sw.link(name).Attrs().Index
			}
			port("client", client, "wire")
			client.put("wire", "10.0.0.9/24", "2001:db8::9/64")
			var ports [2]int
			var handles [2]*Handle
			for i, l := range hosts {
				ports[i] = port("host"+string(rune('0'+i)), l, "left")
				own := string(rune('1' + i))
				l.put("left", "10.0.0."+own+"/24", "2001:db8::"+own+"/64")
				handles[i] = l.start(virtualRouter("web", 51, "10.0.0.100/24", "2001:db8::100/64"))[0]
			}
			handles[0].Hold(1)
			hosts[0].expect(On)
			sw.until("the client is answered", func() bool { return client.pings(addr, 1) })
			at := 0
			for round := range 4 {
				old, next := at, 1-at
				asked, stop := client.asking(addr)
				record := sw.watchPorts()
				handles[next].Hold(uint64(round + 2))
				hosts[next].expect(On)
				handles[old].Release()
				hosts[old].expect(Off)
				afterwards := sw.watchPorts()
				already := asked.Load()
				client.until("it asks on", func() bool { return asked.Load() > already+100 })
				answered := stop()
				sent := int(asked.Load())
				announced, wrong, spoke := false, 0, 0
				for _, p := range record() {
					if !p.out && p.port == ports[next] && announcedBy(p.data) == netip.MustParseAddr(addr) && [6]byte(p.data[6:12]) == virtual {
						announced = true
					}
					switch {
					case !announced:
					case p.port == ports[old] && p.out && [6]byte(p.data[:6]) == virtual:
						wrong++
					case p.port == ports[old] && !p.out && [6]byte(p.data[6:12]) == virtual:
						spoke++ // while both have the address, a broadcast question reaches both
					}
				}
				t.Logf("asked %d, answered %d; after the announcement %d to the old port, %d from the virtual MAC there", sent, answered, wrong, spoke)
				for _, p := range afterwards() {
					if p.port == ports[old] && !p.out && [6]byte(p.data[6:12]) == virtual {
						t.Errorf("from the virtual MAC at the old port, after the release: %x", p.data)
					}
				}
				if !announced || sent == 0 {
					t.Fatal("this tests nothing")
				}
				// What was under way to the old one, on a busy machine.
				if wrong > 10 || spoke > 10 || sent-answered > 10 {
					t.Error("the move lost more than what was under way")
				}
				at = next
			}
		})
	}
}
