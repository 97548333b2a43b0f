package vip

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestWorker_LinkDownAndUp(t *testing.T) {
	l := newLab(t)
	h := l.start(
		Router{Name: "four", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/24")},
		Router{Name: "six", Interface: "left", Lifetime: time.Minute, Addresses: addresses("2001:db8::100/64")},
	)
	h[0].Hold(1)
	l.expect(On)
	h[1].Hold(1)
	l.expect(On)
	l.check(l.kernel.LinkSetDown(l.link("left")))
	if e := l.expect(Failed); e.Router != "six" || !errors.Is(e.Err, ErrLinkDown) {
		t.Errorf("event %+v, want six's link down", e)
	}
	if e := l.expect(Off); e.Router != "six" {
		t.Errorf("event %+v, want off of six, which the kernel flushes", e)
	}
	l.silence()
	l.check(l.kernel.LinkSetUp(l.link("left")))
	l.expect(Recovered)
	if e := l.expect(On); e.Router != "six" {
		t.Errorf("event %+v, want on of six", e)
	}
	got := make(map[string]bool)
	for len(got) < 2 {
		a, ok := l.hear(patience)
		if !ok {
			t.Fatalf("announced %v, want both addresses", got)
		}
		got[a.addr.String()] = true
	}
	if !l.has("2001:db8::100") || !l.has("10.0.0.100") {
		t.Error("they are not both on")
	}
	// The carrier alone: nothing is lost, but the neighbours may have missed us.
	l.silence()
	l.check(l.kernel.LinkSetDown(l.link("right")))
	l.until("carrier lost", func() bool { return l.link("left").Attrs().RawFlags&unix.IFF_RUNNING == 0 })
	l.check(l.kernel.LinkSetUp(l.link("right")))
	if _, ok := l.hear(patience); !ok {
		t.Error("nothing is announced when the carrier is back")
	}
}

func TestWorker_InterfaceGoneAndBack(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Lifetime: time.Minute, Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	h.Hold(1)
	l.expect(On)
	l.check(l.kernel.LinkDel(l.link("left")))
	for off, gone := false, false; !off || !gone; { // it goes down first, which may be seen
		switch e := l.event(); {
		case e.Kind == Off:
			off = true
		case e.Kind == Failed && errors.Is(e.Err, ErrNoInterface):
			gone = true
		case e.Kind != Failed || !errors.Is(e.Err, ErrLinkDown):
			t.Errorf("event %+v, want no interface", e)
		}
	}
	l.veth()
	l.expectUp()
	l.expect(On)
	if len(l.on("left")) != 2 {
		t.Errorf("on: %v, want both addresses", l.on("left"))
	}
	if _, ok := l.hear(patience); !ok {
		t.Error("nothing is announced on the new interface")
	}
}

func TestWorker_InterfaceMissingAtStart(t *testing.T) {
	l := newLab(t)
	l.check(l.kernel.LinkDel(l.link("left")))
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0]
	h.Hold(1)
	if e := l.expect(Failed); !errors.Is(e.Err, ErrNoInterface) || e.Address.IsValid() {
		t.Errorf("event %+v, want no interface", e)
	}
	l.veth()
	l.expectUp()
	l.expect(On)
}

func TestWorker_InterfaceRenamed(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0]
	h.Hold(1)
	l.expect(On)
	left := l.link("left")
	l.check(l.kernel.LinkSetDown(left))
	l.check(l.kernel.LinkSetName(left, "elsewhere"))
	l.expect(Failed)
	l.expect(Off)
	l.until("no address is left behind", func() bool { return len(l.on("elsewhere")) == 0 })
	l.check(l.kernel.LinkSetName(left, "left"))
	if e := l.expect(Failed); !errors.Is(e.Err, ErrLinkDown) {
		t.Errorf("event %+v, want the link down", e)
	}
	l.check(l.kernel.LinkSetUp(left))
	l.expect(Recovered)
	l.expect(On)
}

func TestWorker_MACChanged(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24", "2001:db8::100/64")})[0]
	h.Hold(1)
	l.expect(On)
	l.silence()
	mac := []byte{2, 0, 0, 0, 0, 9}
	l.check(l.kernel.LinkSetHardwareAddr(l.link("left"), mac))
	for range 2 {
		a, ok := l.hear(patience)
		if !ok {
			t.Fatal("not announced")
		}
		if diff := cmp.Diff(mac, a.raw[6:12]); diff != "" {
			t.Errorf("%s is announced from another address:\n%s", a.addr, diff)
		}
	}
}

// TestWorker_BridgePort has the interface leave a bridge, which the kernel tells
// as the deletion of a link, of another family.
func TestWorker_BridgePort(t *testing.T) {
	l := newLab(t)
	h := l.start(Router{Name: "web", Interface: "left", Addresses: addresses("10.0.0.100/24")})[0]
	h.Hold(1)
	l.expect(On)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "bridge"}}
	l.check(l.kernel.LinkAdd(bridge))
	l.check(l.kernel.LinkSetMaster(l.link("left"), bridge))
	l.silence()
	l.check(l.kernel.LinkSetNoMaster(l.link("left")))
	if a, ok := l.hear(100 * time.Millisecond); ok {
		t.Errorf("%s was put on anew, as if the interface had gone", a.addr)
	}
	if len(l.events) > 0 {
		t.Errorf("event %+v", l.event())
	}
}
