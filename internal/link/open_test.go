package link

import (
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Opened while it is down, it works once it is up.
func TestOpen_InterfaceDown(t *testing.T) {
	families(t, func(t *testing.T, ipv6 bool) {
		l := newLAN(t)
		must(t, l.a.LinkSetDown(l.a.link(t, "eth0")))
		a := l.a.openState(t, l.a.state(t, "eth0"), ipv6)
		must(t, a.SetKnown(Known{V3: VRIDs{}.With(51)}))
		must(t, l.a.LinkSetUp(l.a.link(t, "eth0")))
		eventually(t, "the link", func() bool { return l.a.state(t, "eth0").Up && l.b.state(t, "eth0").Up })
		p := packet4("224.0.0.18", 255, 0, advert(51)...)
		if ipv6 {
			p = header6("ff02::12", 255, advert(51)...)
		}
		l.sendPacket(t, p, 0)
		if received, _ := collect(t, a, 1); len(received) != 1 {
			t.Errorf("received %v", received)
		}
	})
}

func TestOpen_Errors(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() {
		_, err := Open(Interface{Index: 4711, Name: "eth9"}, false, quiet())
		if err == nil || !errors.Is(err, unix.ENODEV) || !strings.HasPrefix(err.Error(), "open eth9 for VRRP over IPv4: receive socket: join 224.0.0.18: ") {
			t.Errorf("missing interface: %v", err)
		}
	})
}

func TestOpen_MissingCapability(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() { // on a thread of its own: capabilities are the thread's
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var all, less [2]unix.CapUserData
		must(t, unix.Capget(&header, &all[0]))
		less = all
		less[0].Effective &^= 1 << unix.CAP_NET_RAW
		must(t, unix.Capset(&header, &less[0]))
		_, err := Open(Interface{Index: 1, Name: "lo"}, true, quiet())
		if back := unix.Capset(&header, &all[0]); back != nil {
			panic("cannot take the capability back: " + back.Error())
		}
		want := "open lo for VRRP over IPv6: receive socket: open a raw socket: the capability CAP_NET_RAW is missing: operation not permitted"
		if err == nil || err.Error() != want {
			t.Errorf("error %v\nwant  %s", err, want)
		}
	})
}

// A raw socket takes packets of every interface until it is bound. None of them
// may come out of a Conn.
func TestOpen_TakesNothingElse(t *testing.T) {
	l := newLAN(t)
	addPair(t, l.a, "eth1", l.b, "eth1")
	l.a.addAddress(t, "eth1", "10.0.1.1/24")
	other, i := l.a.open(t, "eth1", false)
	var done atomic.Bool
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		for !done.Load() {
			l.sendPacket(t, packet4("10.0.0.1", 255, 0, advert(51)...), 0)
			l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
		}
	}()
	defer func() { done.Store(true); <-flooded }()
	// The flood is on eth0, where nobody listens but this one:
	witness, _ := l.a.open(t, "eth0", false)
	must(t, witness.SetKnown(Known{V3: VRIDs{}.With(51)}))
	other.Close()
	for range 200 {
		c := l.a.openState(t, i, false)
		must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
		if got := slices.Concat(keep(c.Receive(batch)), keep(c.Survey(0, batch))); len(got) != 0 {
			t.Fatalf("eth1 yields %v", got)
		}
		must(t, c.Close())
	}
	if len(witness.Receive(batch)) == 0 {
		t.Error("there was no flood")
	}
}

// What came before anybody was known is yielded by neither socket.
func TestOpen_BeginsEmpty(t *testing.T) {
	l := newLAN(t)
	c, _ := l.a.open(t, "eth0", false)
	p := newPoller(t)
	must(t, c.Watch(p, 0))
	l.sendPacket(t, packet4("224.0.0.18", 255, 0, advert(51)...), 0)
	eventually(t, "the packet", func() bool { return slices.Contains(wait(t, p, 1), ReadySurvey) })
	must(t, c.SetKnown(Known{V3: VRIDs{}.With(51)}))
	if got := slices.Concat(keep(c.Receive(batch)), keep(c.Survey(0, batch))); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// Nothing is left open by an Open that failed.
func TestOpen_ClosesOnFailure(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() {
		count := func() int {
			entries, err := os.ReadDir("/proc/self/fd")
			must(t, err)
			return len(entries)
		}
		before := count()
		for range 20 {
			if _, err := Open(Interface{Index: 4711, Name: "eth9"}, true, quiet()); err == nil {
				t.Fatal("no error")
			}
		}
		if after := count(); after > before+5 {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
	})
}
