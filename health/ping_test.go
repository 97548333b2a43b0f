package health

import (
	"context"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestPing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := newPeer(t, "eth0")
	p.address(t, "10.0.0.2/24")
	p.address(t, "fd00::2/64")
	p.address(t, "fe80::2/64")
	address(t, "eth0", "10.0.0.1/24")
	address(t, "eth0", "fd00::1/64")
	address(t, "eth0", "fe80::1/64")
	newPeer(t, "eth1")
	address(t, "eth1", "fe80::1/64")
	for _, name := range []string{"eth0", "eth1"} {
		eventually(t, name+" runs", func() bool {
			return probeIn(t, NewPingProbe(Ping{addr("fe80::1"), name}), time.Second).OK
		})
	}
	tests := map[string]struct {
		ping Ping
		want Answer
	}{
		"IPv4":            {Ping{Address: addr("10.0.0.2")}, Answer{OK: true, Text: "reply from 10.0.0.2"}},
		"IPv4 as IPv6":    {Ping{Address: addr("::ffff:10.0.0.2")}, Answer{OK: true, Text: "reply from 10.0.0.2"}},
		"IPv6":            {Ping{Address: addr("fd00::2")}, Answer{OK: true, Text: "reply from fd00::2"}},
		"itself":          {Ping{Address: addr("10.0.0.1")}, Answer{OK: true, Text: "reply from 10.0.0.1"}},
		"on eth0":         {Ping{Address: addr("10.0.0.2"), Interface: "eth0"}, Answer{OK: true, Text: "reply from 10.0.0.2 on eth0"}},
		"link-local":      {Ping{Address: addr("fe80::2"), Interface: "eth0"}, Answer{OK: true, Text: "reply from fe80::2 on eth0"}},
		"link-local zone": {Ping{Address: addr("fe80::2%eth0")}, Answer{OK: true, Text: "reply from fe80::2 on eth0"}},
		"link-local nowhere": {Ping{Address: addr("fe80::2")}, Answer{
			Text: "ping fe80::2: invalid argument", Hint: "a link-local address needs an interface"}},
		"nobody":       {Ping{Address: addr("10.0.0.3")}, Answer{Text: "ping 10.0.0.3: no reply"}},
		"wrong link":   {Ping{Address: addr("fe80::2"), Interface: "eth1"}, Answer{Text: "ping fe80::2 on eth1: no reply"}},
		"no interface": {Ping{Address: addr("10.0.0.2"), Interface: "eth9"}, Answer{Text: "ping 10.0.0.2: no interface eth9"}},
		"no route":     {Ping{Address: addr("192.0.2.1")}, Answer{Text: "ping 192.0.2.1: network is unreachable", Hint: "this host, or a router on the way, has no route there"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			within := 3 * time.Second // a packet is lost where an interface is not quite up
			if strings.HasSuffix(tt.want.Text, "no reply") {
				within = 200 * time.Millisecond
			}
			if got := probeIn(t, NewPingProbe(tt.ping), within); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// A router that refuses is named.
func TestPing_Unreachable(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	// Two routers, since one does not say it a second time so soon.
	tests := map[string]struct {
		kind int // of the router's own route there
		want Answer
	}{
		"1": {unix.RTN_THROW, Answer{Text: "ping 192.0.1.1: network is unreachable", Hint: "this host, or a router on the way, has no route there"}},
		"2": {unix.RTN_UNREACHABLE, Answer{Text: "ping 192.0.2.1: no route to host", Hint: "it is down, or not on this network"}},
	}
	for n, tt := range tests {
		router := newPeer(t, "eth"+n)
		router.address(t, "10.0."+n+".2/24")
		address(t, "eth"+n, "10.0."+n+".1/24")
		route(t, "192.0."+n+".0/24", "10.0."+n+".2")
		router.do(t, func() {
			must(t, writeSysctl("net/ipv4/ip_forward", "1"))
			_, to, _ := net.ParseCIDR("192.0." + n + ".0/24")
			must(t, netlink.RouteAdd(&netlink.Route{Dst: to, Type: tt.kind}))
		})
		if got := probeIn(t, NewPingProbe(Ping{Address: addr("192.0." + n + ".1")}), 3*time.Second); got != tt.want {
			t.Errorf("got  %+v\nwant %+v", got, tt.want)
		}
	}
}

// Many at once do not take each other's replies: those that ask nobody get none.
func TestPing_Many(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	p := newPeer(t, "eth0")
	p.address(t, "10.0.0.2/24")
	address(t, "eth0", "10.0.0.1/24")
	must(t, writeSysctl("net/ipv4/icmp_msgs_per_sec", "100000"))
	var wg sync.WaitGroup
	for i := range 200 {
		to, want := "10.0.0.2", true
		if i%2 == 1 {
			to, want = "10.0.0.3", false
		}
		wg.Go(func() {
			if a := probeIn(t, NewPingProbe(Ping{Address: addr(to)}), 2*time.Second); a.OK != want {
				t.Errorf("%s: %v", to, a)
			}
		})
	}
	wg.Wait()
}

// fakeHost answers echo requests in place of the peer's kernel, as answer says.
func fakeHost(t *testing.T, p *peer, answer func(n int, e *icmp.Echo) []icmp.Message) {
	var conn net.PacketConn
	p.do(t, func() {
		must(t, writeSysctl("net/ipv4/icmp_echo_ignore_all", "1"))
		var err error
		conn, err = net.ListenPacket("ip4:icmp", "10.0.0.2")
		must(t, err)
	})
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for n := 0; ; {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			m, err := icmp.ParseMessage(1, buf[:size])
			if err != nil || m.Type != ipv4.ICMPTypeEcho {
				continue
			}
			n++
			for _, m := range answer(n, m.Body.(*icmp.Echo)) {
				b, _ := m.Marshal(nil)
				_, _ = conn.WriteTo(b, from)
			}
		}
	}()
}

func TestPing_Replies(t *testing.T) {
	echo := func(id, seq int, data []byte) icmp.Message {
		return icmp.Message{Type: ipv4.ICMPTypeEchoReply, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}
	}
	about, err := (&ipv4.Header{Version: 4, Len: 20, TotalLen: 84, TTL: 64, Protocol: 1, Src: net.IPv4(10, 0, 0, 1), Dst: net.IPv4(10, 0, 0, 2)}).Marshal()
	must(t, err)
	refusal := icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 1, Body: &icmp.DstUnreach{Data: append(about, 8, 0, 0, 0, 0, 0, 0, 0)}}
	tests := map[string]struct {
		want   string
		answer func(n int, e *icmp.Echo) []icmp.Message
	}{
		"the first is lost": {"reply from 10.0.0.2", func(n int, e *icmp.Echo) []icmp.Message {
			if n == 1 {
				return nil
			}
			return []icmp.Message{echo(e.ID, e.Seq, e.Data)}
		}},
		"the first is refused": {"reply from 10.0.0.2", func(n int, e *icmp.Echo) []icmp.Message {
			if n == 1 {
				return []icmp.Message{refusal}
			}
			return []icmp.Message{echo(e.ID, e.Seq, e.Data)}
		}},
		"the second is lost": {"ping 10.0.0.2: no route to host", func(n int, e *icmp.Echo) []icmp.Message {
			if n == 1 {
				return []icmp.Message{refusal}
			}
			return nil
		}},
		"another's": {"ping 10.0.0.2: no reply", func(_ int, e *icmp.Echo) []icmp.Message {
			return []icmp.Message{echo(e.ID+1, e.Seq, e.Data), echo(e.ID, e.Seq, make([]byte, 56)), echo(e.ID, e.Seq, nil)}
		}},
		"another's, then ours": {"reply from 10.0.0.2", func(_ int, e *icmp.Echo) []icmp.Message {
			return []icmp.Message{echo(e.ID+1, e.Seq, e.Data), echo(e.ID, e.Seq, e.Data)}
		}},
	}
	if !inNamespace(t) {
		return
	}
	p := newPeer(t, "eth0")
	p.address(t, "10.0.0.2/24")
	address(t, "eth0", "10.0.0.1/24")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fakeHost(t, p, tt.answer)
			if a := probeIn(t, NewPingProbe(Ping{Address: addr("10.0.0.2")}), time.Second); a.Text != tt.want {
				t.Error(a)
			}
		})
	}
}

func TestPing_NotAllowed(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	answer := make(chan Answer)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread, which may do nothing now, ends
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capset(&header, &make([]unix.CapUserData, 2)[0]); err != nil {
			t.Error(err)
		}
		answer <- NewPingProbe(Ping{Address: addr("127.0.0.1")}).Probe(context.Background())
	}()
	want := Answer{
		Text: "ping 127.0.0.1: open a raw socket: operation not permitted",
		Hint: "baton needs AmbientCapabilities=CAP_NET_RAW in its unit",
	}
	if got := <-answer; got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
