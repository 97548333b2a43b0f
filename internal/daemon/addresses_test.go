package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

var errNoRoom = errors.New("add 10.0.0.100/24 to eth0: no buffer space")

func TestAddressFailed_ForASecondAsMasterIsAFault(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(3300 * time.Millisecond)
	s.forget()
	s.event(vip.Failed, errNoRoom)
	s.wantLog(`level=ERROR msg="virtual address could not be put in place" router=web interface=eth0 family=IPv4 vrid=51 address=10.0.0.100`)
	s.advance(time.Second - 1)
	if got := s.router("web").role; got != vrrp.Master {
		t.Fatalf("%s before a second is over, want MASTER", got)
	}
	s.did = nil
	s.advance(1)
	s.wantRole(vrrp.Fault, "add 10.0.0.100/24 to eth0: no buffer space (held: it failed as master)")
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")
}

func TestAddressFailed_RecoveredInTime(t *testing.T) {
	for _, kind := range []vip.EventKind{vip.Recovered, vip.On} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newStage(t, pair())
			s.start()
			s.advance(3300 * time.Millisecond)
			s.event(vip.Failed, errNoRoom)
			s.advance(900 * time.Millisecond)
			s.event(vip.Failed, errors.New("another error of the same address"))
			s.advance(99 * time.Millisecond)
			s.event(kind, nil)
			s.advance(time.Minute)
			if strings.Contains(s.log.String(), "to=FAULT") {
				t.Errorf("FAULT though the address is in place:\n%s", s.log.String())
			}
		})
	}
}

// The interface is the matter of whoever watches it: there the link's fault has
// its own words, and no address is at fault.
func TestAddressFailed_ForWantOfTheInterface(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	gone := vip.Event{Router: "web", Kind: vip.Failed, Err: fmt.Errorf("hold addresses on eth0: %w", vip.ErrLinkDown), Seq: 1}
	s.n.addressEvent(s.now, gone)
	s.wantLog(`level=INFO msg="virtual addresses wait for their interface"`)
	s.advance(100 * time.Millisecond)
	s.link(eth(false, "10.0.0.1/24"))
	s.wantRole(vrrp.Fault, "interface eth0 is down")
	s.link(eth(true, "10.0.0.1/24"))
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
}

// One that fails again has its whole second again.
func TestAddressFailed_AgainAfterRecovering(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(3300 * time.Millisecond)
	s.event(vip.Failed, errNoRoom)
	s.advance(900 * time.Millisecond)
	s.event(vip.Recovered, nil)
	s.event(vip.Failed, errNoRoom)
	s.advance(900 * time.Millisecond)
	if got := s.router("web").role; got != vrrp.Master {
		t.Errorf("%s, want MASTER", got)
	}
}

// What an earlier role left behind in the queue of events says nothing of
// this one.
func TestAddressEvents_OfAnEarlierHoldCountForNothing(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(4 * time.Second)  // MASTER, Hold 1
	s.hear(peerAddr, 250)       // BACKUP
	s.advance(10 * time.Second) // MASTER, Hold 2
	s.forget()
	earlier := func(kind vip.EventKind) {
		s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: kind, Address: virtual, Err: errNoRoom, Seq: 1})
	}
	earlier(vip.On)
	if len(s.told) > 0 {
		t.Errorf("hooks were told %s before its addresses are on", s.told[0].To)
	}
	earlier(vip.Off)
	if got := s.n.holding(); !cmp.Equal(got, []string{"web"}) {
		t.Errorf("holding %q, want web: the daemon would end with its addresses on", got)
	}
	earlier(vip.Failed)
	s.advance(2 * time.Second)
	if got := s.router("web").role; got != vrrp.Master {
		t.Errorf("%s, want MASTER", got)
	}
	s.on("web")
	if len(s.told) != 1 || s.told[0].To != role.Master {
		t.Errorf("told %v, want MASTER", s.told)
	}
}

// An interface that is made anew takes the addresses along, and they are put
// on again: then leaving must hand them over.
func TestAddressEvents_OffAndOnWithinOneHold(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.event(vip.Off, nil)
	if s.status.Routers[0].Ready {
		t.Error("ready without the addresses")
	}
	s.event(vip.On, nil)
	if !s.status.Routers[0].Ready {
		t.Error("not ready though the addresses are back")
	}
	if got := s.n.holding(); !cmp.Equal(got, []string{"web"}) {
		t.Errorf("holding %q, want web", got)
	}
	if len(s.told) != 0 {
		t.Errorf("hooks were told %v, want nothing: the role is the same", s.told)
	}
}

func TestAddressEvents_AreLogged(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: vip.Repaired, Address: virtual, After: 2 * time.Millisecond, Seq: 1})
	s.wantLog(`level=WARN msg="virtual address was removed by others: put back and announced" router=web interface=eth0 family=IPv4 vrid=51 address=10.0.0.100 after=2ms`)
	s.event(vip.Removed, nil)
	s.wantLog(`msg="virtual address was removed by others, and stays away as repair is false"`)
	s.event(vip.Contested, errNoRoom)
	s.wantLog(`level=ERROR msg="virtual address is removed again and again"`)
	for kind, want := range map[vip.EventKind]string{
		vip.Failed: `level=ERROR msg="route or rule could not be put in place"`, vip.Recovered: `msg="route or rule is in place"`,
		vip.Repaired: `level=WARN msg="route or rule was removed by others: put back"`, vip.Removed: `msg="route or rule was removed by others, and stays away as repair is false"`,
		vip.Contested: `level=ERROR msg="route or rule is removed again and again"`,
	} {
		s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: kind, Object: "route default via 10.0.0.254", Err: errNoRoom, Seq: 1})
		s.wantLog(want + ` router=web interface=eth0 family=IPv4 vrid=51 object="route default via 10.0.0.254"`)
	}
	s.wantDone()
	s.advance(time.Minute)
	if got := s.router("web").role; got != vrrp.Master {
		t.Errorf("%s, want MASTER", got)
	}
}

// What keeps the interface of a virtual MAC from being made is a fault of the
// master, as of an address.
func TestVirtualMAC_ThatCannotBeMadeIsAFault(t *testing.T) {
	web := webRouter()
	web.VirtualMAC = &config.VirtualMAC{Name: "vrrp.51"}
	s := newStage(t, pair(web))
	s.start()
	s.advance(3300 * time.Millisecond)
	for kind, want := range map[vip.EventKind]string{
		vip.Repaired:  `level=WARN msg="interface of the virtual MAC was changed by others: made anew"`,
		vip.Contested: `level=ERROR msg="interface of the virtual MAC is changed again and again"`,
	} {
		s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: kind, Err: errNoRoom, Seq: 1})
		s.wantLog(want + ` router=web interface=eth0 family=IPv4 vrid=51 name=vrrp.51`)
	}
	s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: vip.Failed, Err: errors.New("make vrrp.51: busy"), Seq: 1})
	s.wantLog(`level=ERROR msg="virtual addresses cannot be put in place"`)
	s.advance(time.Second)
	s.wantRole(vrrp.Fault, "make vrrp.51: busy (held: it failed as master)")

}

func TestAddressFailed_OfTheRouterAsAWhole(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("hold addresses on eth0: %w", vip.ErrNoInterface), `level=INFO msg="virtual addresses wait for their interface"`},
		{fmt.Errorf("hold addresses on eth0: %w", vip.ErrLinkDown), `level=INFO msg="virtual addresses wait for their interface"`},
		{errors.New("refuse packets by nftables: no"), `level=ERROR msg="virtual addresses cannot be put in place"`},
	} {
		s.log.Reset()
		s.n.addressEvent(s.now, vip.Event{Router: "web", Kind: vip.Failed, Err: tt.err})
		s.wantLog(tt.want)
	}
}
