package link

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// A full queue gives up what is oldest and not urgent, and keeps the order.
func TestSend_FullQueue(t *testing.T) {
	src, dst := netip.MustParseAddr("10.0.0.1"), Group(false)
	full := fullSocket(t)
	c := &Conn{receive: &reader{fd: full}}
	c.out.prepare(false, 1)
	for i := range c.out.hdrs { // a local socket knows no addresses of IP
		c.out.hdrs[i].hdr.Name, c.out.hdrs[i].hdr.Namelen = nil, 0
		c.out.hdrs[i].hdr.Control = nil
		c.out.hdrs[i].hdr.SetControllen(0)
	}
	// 0 is urgent, then 1 ... 255 ordinary ones but for 2.
	for n := range queueSize {
		c.Send(src, dst, []byte{byte(n)}, n == 0 || n == 2)
	}
	if c.Stats().SendDropped != 0 || c.Pending() != queueSize {
		t.Fatalf("%+v, %d pending", c.stats, c.Pending())
	}
	c.Send(src, dst, []byte("late 1"), false) // in place of 1
	c.Send(src, dst, []byte("late 2"), true)  // in place of 3
	var got []string
	for _, m := range c.out.queue[:c.Pending()] {
		got = append(got, string(m.payload))
	}
	want := []string{"\x00", "\x02"}
	for n := 4; n < queueSize; n++ {
		want = append(want, string([]byte{byte(n)}))
	}
	want = append(want, "late 1", "late 2")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("queue (-want +got):\n%s", diff)
	}
	if c.stats.SendDropped != 2 {
		t.Errorf("%+v", c.stats)
	}

	// With nothing but urgent ones, the new one must go.
	for range queueSize {
		c.Send(src, dst, []byte("bye"), true)
	}
	before := c.stats.SendDropped
	c.Send(src, dst, []byte("one more"), true)
	c.Send(src, dst, []byte("one more"), false)
	for _, m := range c.out.queue {
		if !m.urgent || string(m.payload) == "one more" {
			t.Errorf("%q is in the queue", m.payload)
		}
	}
	if c.stats.SendDropped != before+2 {
		t.Errorf("%+v", c.stats)
	}
}

// fullSocket is a socket that has no room for any message.
func fullSocket(t *testing.T) int {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	for range 100000 {
		if _, err := unix.Write(pair[0], []byte{0}); err == unix.EAGAIN {
			return pair[0]
		}
	}
	t.Fatal("the socket takes everything")
	return -1
}

// More messages than the queue has places, all of them urgent, as when many
// routers with several peers leave: all go out, and what was refused on the way is
// told in the end.
func TestSend_MoreThanQueue(t *testing.T) {
	l := newLAN(t)
	a, i := l.a.open(t, "eth0", false)
	b, _ := l.b.open(t, "eth0", false)
	must(t, b.SetKnown(Known{V3: VRIDs{}.With(51)}))
	src := sourceOf(t, i, false)
	const messages = 3*queueSize + 10
	gone := netip.MustParseAddr("10.0.0.99")
	var want []string
	for n := range messages {
		payload := advert(51, byte(n), byte(n>>8))
		if n == 10 || n == messages-1 {
			a.Send(gone, Group(false), payload, true)
			continue
		}
		a.Send(src, Group(false), payload, true)
		want = append(want, string(payload))
	}
	var failure *SendError
	if err := a.Flush(); !errors.As(err, &failure) || failure.Source != gone || failure.Refused != 2 {
		t.Errorf("error %v", err)
	}
	must(t, a.Flush()) // told once
	received, _ := collect(t, b, len(want))
	var got []string
	for _, p := range received {
		got = append(got, p.Payload)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := a.Stats(); s.Sent != messages-2 || s.SendFailed != 2 || s.SendDropped != 0 {
		t.Errorf("%+v", s)
	}
}

// One peer that cannot be reached does not hide another one.
func TestFlush_TellsOfEachDestination(t *testing.T) {
	c := &Conn{name: "eth0"}
	src := netip.MustParseAddr("10.0.0.1")
	to := func(n int) *message { return &message{src: src, dst: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})} }
	c.refuse(to(2), unix.ENETUNREACH)
	c.refuse(to(3), unix.EPERM)
	c.refuse(to(2), unix.EPERM)
	const want = "send from 10.0.0.1 to 10.0.0.2 on eth0: network is unreachable (is the interface up, and the source address on it, and does a route lead there by it?) (2 messages lost)\n" +
		"send from 10.0.0.1 to 10.0.0.3 on eth0: operation not permitted (does a firewall rule forbid it?)"
	if err := c.Flush(); err == nil || err.Error() != want {
		t.Errorf("error %q\nwant  %q", err, want)
	}
	for n := range 255 {
		c.refuse(to(n), unix.EPERM)
	}
	if err := c.Flush(); strings.Count(err.Error(), "send from") != mostRefusals || c.stats.SendFailed != 258 {
		t.Errorf("%d failed; error %q", c.stats.SendFailed, err)
	}
	must(t, c.Flush())
}

func TestSend_WrongFamily(t *testing.T) {
	c := &Conn{}
	c.out.prepare(false, 1)
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1")
	c.Send(v6, Group(false), advert(1), false)
	c.Send(v4, Group(true), advert(1), false)
	c.Send(netip.Addr{}, Group(false), advert(1), false)
	c.Send(v4, Group(false), nil, false)
	if c.Pending() != 0 || c.stats.SendFailed != 4 {
		t.Errorf("%d pending, %+v", c.Pending(), c.stats)
	}
}

// What the kernel has no room for waits, in order, and goes out later.
func TestFlush_NoRoom(t *testing.T) {
	l := newLAN(t)
	must(t, l.a.LinkSetMTU(l.a.link(t, "eth0"), 296))
	a, i := l.a.open(t, "eth0", false)
	b, _ := l.b.open(t, "eth0", false)
	must(t, b.SetKnown(Known{V3: VRIDs{}.With(1).With(2).With(3)}))
	src := sourceOf(t, i, false)

	// The fragments of a long message do not fit into the smallest send buffer.
	must(t, unix.SetsockoptInt(a.receive.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1))
	a.Send(src, Group(false), advert(1), false)
	a.Send(src, Group(false), advert(2, bytes.Repeat([]byte{7}, 4000)...), false)
	a.Send(src, Group(false), advert(3), true)
	must(t, a.Flush())
	if s := a.Stats(); s.Sent != 1 || s.SendDeferred != 1 || a.Pending() != 2 {
		t.Fatalf("%+v, %d pending", s, a.Pending())
	}
	must(t, a.Flush())
	if s := a.Stats(); s.Sent != 1 || s.SendDeferred != 2 || a.Pending() != 2 {
		t.Fatalf("%+v, %d pending", s, a.Pending())
	}
	must(t, unix.SetsockoptInt(a.receive.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer))
	must(t, a.Flush())
	received, _ := collect(t, b, 3)
	var got []byte
	for _, p := range received {
		got = append(got, p.Payload[1])
	}
	if !bytes.Equal(got, []byte{1, 2, 3}) || a.Pending() != 0 {
		t.Errorf("VRIDs %v, %d pending", got, a.Pending())
	}
}
