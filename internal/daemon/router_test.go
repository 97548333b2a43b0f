package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
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
