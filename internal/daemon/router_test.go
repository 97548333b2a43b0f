package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

func TestVerdict_FaultAndBack(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)}
	s := newStage(t, pair(web))
	s.verdict("haproxy", health.Pass, "")
	s.master()
	s.verdict("haproxy", health.Fail, "connection refused")
	s.wantRole(vrrp.Fault, "haproxy fails: connection refused")
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")

	// Its words may change, and another reason come: the role does not.
	s.link(eth(false, "10.0.0.1/24"))
	s.wantLog(`msg="reasons for FAULT changed"`)
	s.wantLog(`reason="interface eth0 is down; haproxy fails: connection refused"`)
	s.wantDone("release web")
	s.verdict("haproxy", health.Pass, "")
	s.wantDone()
	s.link(eth(true, "10.0.0.1/24"))
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
	s.wantDone("tell web BACKUP")
}

func TestVerdict_ReasonWithoutWords(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("c", config.Fault, 0, config.Always)}
	s := newStage(t, pair(web))
	s.start()
	s.verdict("c", health.Fail, "")
	s.wantRole(vrrp.Fault, "c fails")
}

// Each router has its own opinion on a check.
func TestVerdict_ReachesOnlyThoseThatTrackIt(t *testing.T) {
	web, db, other := webRouter(), webRouter(), webRouter()
	web.Track = []config.Track{track("c", config.Fault, 0, config.Always)}
	db.Name, db.VRID = "db", 52
	db.Track = []config.Track{track("c", config.Weight, -20, config.Always)}
	other.Name, other.VRID = "other", 53
	cfg := pair(web, db, other)
	s := newStage(t, cfg)
	s.verdict("c", health.Pass, "")
	s.master()
	s.verdict("c", health.Fail, "")
	for name, want := range map[string]vrrp.State{
		"web":   {Role: vrrp.Fault, Priority: 200},
		"db":    {Role: vrrp.Master, Priority: 180},
		"other": {Role: vrrp.Master, Priority: 200},
	} {
		if got := s.n.set.State(s.router(name).id); got.Role != want.Role || got.Priority != want.Priority {
			t.Errorf("%s is %s with %d, want %s with %d", name, got.Role, got.Priority, want.Role, want.Priority)
		}
	}
}

func TestVerdict_WeightYields(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("galera", config.Weight, -60, config.Always), track("disk", config.Weight, 5, config.Always)}
	s := newStage(t, pair(web))
	s.master()
	s.verdict("disk", health.Pass, "")
	s.wantLog(`msg=priority router=web interface=eth0 family=IPv4 vrid=51 from=200 to=205 why="priority 205 = 200 + 5 (disk); master"`)
	s.verdict("galera", health.Fail, "")
	s.wantLog(`from=205 to=145 why="priority 145 = 200 - 60 (galera) + 5 (disk); master"`)
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
	// Silent for its new skew, 433 ms, cut to 10 ms, less 1 ms; then it goes on.
	s.advance(428 * time.Millisecond)
	s.wantDone()
	s.advance(time.Millisecond)
	s.wantDone("send eth0 vrid 51 priority 145 from 10.0.0.1", "flush")
	s.wantLog(`msg="priority fell, and nobody took over"`)

	s.verdict("galera", health.Pass, "")
	s.wantLog(`from=145 to=205`)
}

// A weight that cannot move the role is no reason for silence.
// A change of role that finds weights in force says where the priority comes from.
func TestVerdict_WeightsStandBesideTheRole(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("galera", config.Weight, -60, config.Always)}
	s := newStage(t, pair(web))
	s.master()
	s.verdict("galera", health.Fail, "non-Primary")
	s.forget()
	s.hear(peerAddr, 190)
	s.wantLog(`to=BACKUP reason="b is higher: 190 above 140" priority=140 why="priority 140 = 200 - 60 (galera: non-Primary)"`)
}

func TestVerdict_WeightThatMovesNothing(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("c", config.Weight, -5, config.Always)}
	s := newStage(t, pair(web))
	s.master()
	s.verdict("c", health.Fail, "")
	s.wantDone()
	s.advance(time.Second)
	s.wantDone("send eth0 vrid 51 priority 195 from 10.0.0.1", "flush")
}

func TestVerdict_GraceIsWaitedFor(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{{Check: "serving", Effect: config.Fault, When: config.Master, Grace: 10 * time.Second}}
	s := newStage(t, pair(web))
	s.verdict("serving", health.Fail, "not yet")
	s.start()
	s.advance(4 * time.Second)
	since := s.n.set.State(s.router("web").id).Since
	s.advance(since + 10*time.Second - s.now - 1)
	if got := s.router("web").role; got != vrrp.Master {
		t.Fatalf("%s within the grace time, want MASTER", got)
	}
	s.advance(1)
	s.wantRole(vrrp.Fault, "serving fails: not yet")
}

// serving is a router with a check that only a master can fail, as master.
func serving(t *testing.T) *stage {
	web := webRouter()
	web.Track = []config.Track{track("serving", config.Fault, 0, config.Master)}
	s := newStage(t, pair(web))
	s.master()
	return s
}

// b advertises for d, each second.
func (s *stage) peerServes(d time.Duration, priority uint8) {
	for end := s.now + d; s.now < end; {
		s.hear(peerAddr, priority)
		s.advance(min(time.Second, end-s.now))
	}
}

func TestHold_AfterFailingAsMaster(t *testing.T) {
	s := serving(t)
	s.verdict("serving", health.Fail, "no answer")
	failed := s.now
	s.wantRole(vrrp.Fault, "serving fails: no answer")
	s.wantLog(`reason="serving fails: no answer (held: it failed as master)"`)
	s.verdict("serving", health.Pass, "") // out of the role it looks healthy
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")

	s.peerServes(5*time.Minute-time.Second, 190)
	if got := s.router("web").role; got != vrrp.Fault {
		t.Fatalf("%s within retry_after, want FAULT", got)
	}
	s.peerServes(time.Second, 190)
	if got := s.n.set.State(s.router("web").id).Since; got != failed+5*time.Minute {
		t.Errorf("FAULT ended after %s, want 5m", got-failed)
	}
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
}

func TestHold_EndsEarlyOnAVacantLink(t *testing.T) {
	s := serving(t)
	s.verdict("serving", health.Fail, "no answer")
	s.forget()
	s.advance(3218 * time.Millisecond)
	s.wantDone()
	s.advance(time.Millisecond)
	s.wantLog(`msg="nobody holds the role: the hold after a failure as master ends early"`)
	s.wantLog(`nobody_for=3.219s in=0s`)
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
	s.advance(4 * time.Second)
	// The check still fails: it is held anew, and the next vacancy has a price.
	s.wantRole(vrrp.Fault, "serving fails: no answer")
	s.forget()
	s.advance(3220 * time.Millisecond)
	s.wantLog(`nobody_for=3.219s in=6.781s`)
	if got := s.router("web").role; got != vrrp.Fault {
		t.Fatalf("%s at once after the second failure, want FAULT for 10s", got)
	}
	s.advance(6781 * time.Millisecond) // two more times nobody is heard
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
	if n := strings.Count(s.log.String(), "ends early"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
}

// Without a hold an owner would change between MASTER and FAULT in one turn
// of the loop, for ever.
func TestHold_OfAnOwnerLastsThoughRetryAfterIsZero(t *testing.T) {
	web := webRouter()
	web.Priority, web.Priorities["a"], web.RetryAfter = 255, 255, 0
	web.Track = []config.Track{track("serving", config.Fault, 0, config.Master)}
	s := newStage(t, pair(web))
	s.master()
	s.verdict("serving", health.Fail, "no answer")
	s.wantRole(vrrp.Fault, "serving fails: no answer")
	s.peerServes(time.Second-1, 190)
	s.verdict("serving", health.Pass, "")
	if got := s.router("web").role; got != vrrp.Fault {
		t.Fatalf("%s within a second, want FAULT", got)
	}
	s.advance(1)
	s.wantRole(vrrp.Master, "owns the addresses (priority 255)")
}

func TestHold_LastsWhenSomebodyTakesTheRoleAfterAll(t *testing.T) {
	s := serving(t)
	s.verdict("serving", health.Fail, "no answer")
	s.advance(8 * time.Second) // vacant, master again, failed again
	s.forget()
	s.advance(2 * time.Second) // vacant again: the hold would end 10 s after the failure
	s.wantLog("the hold after a failure as master ends early")
	s.peerServes(time.Minute, 190)
	if strings.Contains(s.log.String(), "from=FAULT") {
		t.Errorf("FAULT ended although another has the role:\n%s", s.log.String())
	}
}

// A vacant link is no reason to forget any other fault.
func TestVacant_DoesNotEndAnotherFault(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("c", config.Fault, 0, config.Always)}
	s := newStage(t, pair(web))
	s.start()
	s.verdict("c", health.Fail, "")
	s.forget()
	s.advance(time.Hour)
	s.wantDone()
	if got := s.router("web").role; got != vrrp.Fault {
		t.Errorf("%s, want FAULT", got)
	}
}

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

func TestHooks_AreToldOfMasterOnlyWithTheAddressesOn(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(4 * time.Second)
	s.wantDone("tell web BACKUP", "send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 1",
		"send eth0 vrid 51 priority 200 from 10.0.0.1", "flush")
	s.on("web")
	s.wantDone("tell web MASTER")
	s.on("web")
	s.wantDone()
}

// A master is ready when its addresses are on, though nothing else changes then.
func TestStatus_ReadyWithTheAddressesOn(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(4 * time.Second)
	if r := s.status.Routers[0]; r.Role != "MASTER" || r.Ready {
		t.Errorf("published %s, ready %v, before the addresses are on", r.Role, r.Ready)
	}
	s.on("web")
	if !s.status.Routers[0].Ready {
		t.Error("not ready with the addresses on")
	}
}

// Who is master is told as soon as it is known: in FAULT, after it, and when he is gone.
func TestStatus_Master(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)}
	web.Preempt = false
	s := newStage(t, pair(web))
	want := func(role, master string) {
		t.Helper()
		if r := s.status.Routers[0]; r.Role != role || r.Master != master {
			t.Errorf("published %s and master %q, want %s and %q", r.Role, r.Master, role, master)
		}
	}
	s.verdict("haproxy", health.Pass, "")
	s.master()
	want("MASTER", "a")
	s.verdict("haproxy", health.Fail, "")
	want("FAULT", "")
	s.hear(peerAddr, 190)
	want("FAULT", "b")
	s.verdict("haproxy", health.Pass, "")
	want("BACKUP", "")
	s.hear(peerAddr, 190)
	want("BACKUP", "b")
	s.verdict("haproxy", health.Fail, "")
	s.hear(peerAddr, 190)
	want("FAULT", "b")
	s.advance(8 * time.Second)
	want("FAULT", "")
}

func TestHooks_ARoleThatIsLostBeforeItsAddressesAreOnIsNotTold(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.advance(4 * time.Second)
	s.forget()
	s.hear(peerAddr, 250)
	s.on("web") // was on its way
	if len(s.told) != 1 || s.told[0].To != role.Backup {
		t.Errorf("told %v, want BACKUP alone", s.told)
	}
}

func TestHooks_WhatTheyAreTold(t *testing.T) {
	backup := func(s *stage) { s.start() }
	asMaster := func(s *stage) { s.master() }
	tests := map[string]struct {
		before func(s *stage)
		then   func(s *stage)
		want   role.Transition
	}{
		"start": {
			func(*stage) {}, backup,
			role.Transition{To: role.Backup, From: role.Init, Priority: 200, Reason: "started"},
		},
		"silence": {
			backup, func(s *stage) { s.advance(4 * time.Second); s.on("web") },
			role.Transition{To: role.Master, From: role.Backup, Priority: 200, Reason: "heard nobody for 3.219s",
				Master: "a", MasterAddress: "10.0.0.1", Takeover: "silence"},
		},
		"the master falls silent": {
			func(s *stage) { s.start(); s.hear(peerAddr, 210) }, func(s *stage) { s.advance(4 * time.Second); s.on("web") },
			role.Transition{To: role.Master, From: role.Backup, Priority: 200, Reason: "heard nobody for 3.219s",
				Master: "a", MasterAddress: "10.0.0.1", PreviousMaster: "b", Takeover: "silence"},
		},
		"handover": {
			func(s *stage) { s.start(); s.hear(peerAddr, 210); s.hear(peerAddr, 0) }, func(s *stage) { s.advance(time.Second); s.on("web") },
			role.Transition{To: role.Master, From: role.Backup, Priority: 200, Reason: "b left (priority 0); skew 219ms",
				Master: "a", MasterAddress: "10.0.0.1", PreviousMaster: "b", Takeover: "handover"},
		},
		"preemption": {
			backup, func(s *stage) { s.peerServes(4*time.Second, 190); s.on("web") },
			role.Transition{To: role.Master, From: role.Backup, Priority: 200, Reason: "200 beats 190 of b",
				Master: "a", MasterAddress: "10.0.0.1", PreviousMaster: "b", Takeover: "election"},
		},
		"a better one": {
			asMaster, func(s *stage) { s.hear(peerAddr, 210) },
			role.Transition{To: role.Backup, From: role.Master, Priority: 200, Reason: "b is higher: 210 above 200",
				Master: "b", MasterAddress: "10.0.0.2", PreviousMaster: "a"},
		},
		"fault as master": {
			asMaster, func(s *stage) { s.link(eth(false)) },
			role.Transition{To: role.Fault, From: role.Master, Priority: 200, Reason: "interface eth0 is down", PreviousMaster: "a"},
		},
		"fault as backup": {
			func(s *stage) { s.start(); s.hear(peerAddr, 210) }, func(s *stage) { s.link(eth(false)) },
			role.Transition{To: role.Fault, From: role.Backup, Priority: 200, Reason: "interface eth0 is down",
				Master: "b", MasterAddress: "10.0.0.2"},
		},
		"recovery": {
			func(s *stage) { s.start(); s.link(eth(false)); s.hear(peerAddr, 210) }, func(s *stage) { s.link(eth(true, "10.0.0.1/24")) },
			role.Transition{To: role.Backup, From: role.Fault, Priority: 200, Reason: "no reason for FAULT is left",
				Master: "b", MasterAddress: "10.0.0.2"},
		},
		"a third node took over meanwhile": {
			func(s *stage) { s.start(); s.hear(peerAddr, 210); s.hear(thirdAddr, 220) }, func(s *stage) { s.link(eth(false)) },
			role.Transition{To: role.Fault, From: role.Backup, Priority: 200, Reason: "interface eth0 is down",
				Master: "10.0.0.3", MasterAddress: "10.0.0.3"},
		},
		"fault of one who had taken the role from b": {
			func(s *stage) {
				s.start()
				s.hear(peerAddr, 210)
				s.link(eth(true, "10.0.0.1/24", "10.0.0.5/24")) // looked at anew, with b as master
				s.hear(peerAddr, 0)
				s.advance(time.Second)
				s.on("web")
			},
			func(s *stage) { s.link(eth(false)) },
			role.Transition{To: role.Fault, From: role.Master, Priority: 200, Reason: "interface eth0 is down", PreviousMaster: "a"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pair())
			tt.before(s)
			s.forget()
			tt.then(s)
			if diff := cmp.Diff([]role.Transition{tt.want}, s.told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReassert(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.hear(peerAddr, 190)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 2")
	s.wantLog(`msg="a peer is master as well: it is told that this node is better" router=web interface=eth0 family=IPv4 vrid=51 peer=b peer_priority=190`)
	s.advance(1400 * time.Millisecond)
	s.hear(peerAddr, 190)
	s.forget()
	s.advance(1500 * time.Millisecond) // an interval and a half without it
	want := []role.Transition{{To: role.Master, From: role.Master, Reassert: true, Priority: 200,
		Reason: "b was master as well", Master: "a", MasterAddress: "10.0.0.1"}}
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if got := s.did[len(s.did)-2:]; !cmp.Equal(got, []string{"hold web 3", "tell web reassert"}) {
		t.Errorf("ends with %q, want the addresses announced again, then the hooks", got)
	}
	s.wantLog(`msg="two masters: this node won and announced its addresses again" router=web interface=eth0 family=IPv4 vrid=51 rival=b rival_priority=190 for=1.4s`)
}

// Every cause has its words. The rival is b, the own priority 200.
func TestReasons(t *testing.T) {
	b := vrrp.Rival{Addr: peerAddr, Priority: 190}
	want := map[vrrp.Cause]struct {
		action vrrp.Action
		text   string
	}{
		vrrp.NoCause:          {vrrp.Action{}, ""},
		vrrp.CauseStartup:     {vrrp.Action{}, "started"},
		vrrp.CauseOwner:       {vrrp.Action{}, "owns the addresses (priority 255)"},
		vrrp.CauseSilence:     {vrrp.Action{Elapsed: 3218750 * time.Microsecond}, "heard nobody for 3.219s"},
		vrrp.CauseLeft:        {vrrp.Action{Rival: vrrp.Rival{Addr: peerAddr}, Elapsed: 40 * time.Microsecond}, "b left (priority 0); skew 40µs"},
		vrrp.CausePreempt:     {vrrp.Action{Rival: b}, "200 beats 190 of b"},
		vrrp.CauseBetter:      {vrrp.Action{Rival: vrrp.Rival{Addr: peerAddr, Priority: 210}}, "b is higher: 210 above 200"},
		vrrp.CauseTie:         {vrrp.Action{Rival: vrrp.Rival{Addr: thirdAddr, Priority: 200}}, "10.0.0.3 has priority 200 as well, and the higher address"},
		vrrp.CauseStalled:     {vrrp.Action{Rival: b, Elapsed: 7 * time.Second}, "this host stood still for 7s, and b took over"},
		vrrp.CauseFault:       {vrrp.Action{Reason: "haproxy fails"}, "haproxy fails"},
		vrrp.CauseRecovered:   {vrrp.Action{}, "no reason for FAULT is left"},
		vrrp.CauseShutdown:    {vrrp.Action{}, "baton stops"},
		vrrp.CauseAdopted:     {vrrp.Action{}, "adopted: the process before was master, and nobody can have missed it yet"},
		vrrp.CauseGroup:       {vrrp.Action{Of: vrrp.CauseLeft, Rival: vrrp.Rival{Addr: peerAddr}, Elapsed: time.Second}, "web: b left (priority 0); skew 1s"},
		vrrp.CauseHandover:    {vrrp.Action{Rival: b, Elapsed: 258 * time.Millisecond, Reason: "failover by root"}, "failover by root; b was heard after 258ms"},
		vrrp.CauseTakeover:    {vrrp.Action{Rival: b, Reason: "root"}, "200 beats 190 of b, and root ordered to take over"},
		vrrp.CauseRegrouped:   {vrrp.Action{}, "the configuration has given its group another shape"},
		vrrp.CauseUnelectable: {vrrp.Action{Rival: b, Reason: "it advertises 10.0.0.100 in version 2"}, "b holds addresses of ours and cannot be elected with: it advertises 10.0.0.100 in version 2"},
	}
	s := newStage(t, pair())
	for c := vrrp.NoCause; !strings.HasPrefix(c.String(), "cause("); c++ {
		w, ok := want[c]
		if !ok {
			t.Errorf("cause %s: no line here", c)
			continue
		}
		w.action.Cause = c
		if got := s.router("web").reason(w.action); got != w.text {
			t.Errorf("cause %s: %q, want %q", c, got, w.text)
		}
	}
}

// A host that has our addresses and that we cannot elect with holds a router
// that is just starting, for as long as it is heard.
func TestUnelectable(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.forget()
	s.hearVRID(peerAddr, 77, 190)
	s.wantRole(vrrp.Init, "b holds addresses of ours and cannot be elected with: it advertises 10.0.0.100 as VRID 77")
	s.wantDone() // INIT is told to nobody
	s.advance(3 * time.Second)
	if got := s.router("web").role; got != vrrp.Backup {
		t.Errorf("%s after 3s of silence, want BACKUP", got)
	}
}

func TestNotices(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	for note, want := range map[vrrp.Note]string{
		vrrp.NoteInterval:      "a peer has another advertisement interval",
		vrrp.NoteAddresses:     "a peer has other virtual addresses",
		vrrp.NoteChecksum:      "a peer sends the other IPv4 checksum",
		vrrp.NoteOwners:        "a peer has priority 255 as well",
		vrrp.NoteEqualPriority: "a peer has the same priority",
		vrrp.NoteConflict:      "a peer is master as well",
		vrrp.NoteLate:          "this process was late",
		vrrp.NoteCollision:     "VRID collision",
		vrrp.NoteStranger:      "is not among the nodes",
		vrrp.NoteClock:         "a peer's clock differs",
	} {
		s.log.Reset()
		s.router("web").notice(vrrp.Action{Note: note, Rival: vrrp.Rival{Addr: peerAddr, Priority: 190}, Elapsed: time.Second})
		s.wantLog(want)
	}
}

func TestTakeover(t *testing.T) {
	for cause, want := range map[vrrp.Cause]string{
		vrrp.CauseOwner: "election", vrrp.CausePreempt: "election", vrrp.CauseLeft: "handover", vrrp.CauseSilence: "silence",
	} {
		if got := takeover(cause); got != want {
			t.Errorf("takeover by %s is %q, want %q", cause, got, want)
		}
	}
}

func TestState_HasAWordForEachRole(t *testing.T) {
	for r, want := range map[vrrp.Role]role.State{
		vrrp.Init: role.Init, vrrp.Backup: role.Backup, vrrp.Master: role.Master, vrrp.Fault: role.Fault,
	} {
		if got := state(r); got != want {
			t.Errorf("%s is %q for the hooks, want %q", r, got, want)
		}
	}
}
