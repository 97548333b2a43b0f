package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/control"
	"baton/vip"
	"baton/vrrp"
)

// A planned move: priority 0, the addresses until the successor has announced them,
// and then the standby is in force, and written down.
func TestOperate_Standby(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	at := s.clockText()
	got := s.ordered(control.Order{Kind: control.StandbyOrder, Reason: "kernel update", For: 2 * time.Hour})
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
	if r := s.status.Routers[0]; r.Ready || r.Role != "MASTER" || r.Why != "priority 200; master, leaving: standby since "+at+" by root: kernel update" {
		t.Errorf("meanwhile %+v", r)
	}
	s.now += 258 * time.Millisecond
	s.hear(peerAddr, 190)
	s.wantRole(vrrp.Fault, "standby since "+at+" by root: kernel update; b was heard after 258ms")
	if strings.Contains(s.log.String(), "reasons for FAULT changed") {
		t.Error("the reason is told twice")
	}
	s.wantDone("tell web FAULT")
	s.now += 13 * time.Millisecond
	s.n.announcement(s.now, s.n.uplink("eth0"), virtual)
	s.wantDone("release web [10.0.0.100]")
	s.wantOutcomes(got)
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "web MASTER to FAULT: b was heard after 258ms; the address was held for 271ms")
	if s.saved.Node == nil || s.saved.Node.Reason != "kernel update" || s.saved.Node.By != "root" || s.saved.Node.Until.Sub(s.saved.Node.Since) != 2*time.Hour {
		t.Errorf("saved %+v", s.saved)
	}
	if s.status.Standby == nil || s.status.Routers[0].Standby == nil || s.status.Routers[0].Role != "FAULT" {
		t.Errorf("status %+v", s.status)
	}
	last := s.kept[len(s.kept)-1]
	want := control.Event{Kind: control.OperatorEvent, Name: "web", What: "standby by root", Text: "MASTER to FAULT: b was heard after 258ms; the address was held for 271ms"}
	if diff := cmp.Diff(want, last); diff != "" {
		t.Error(diff)
	}
	s.wantLog(`msg="order carried out" router=web interface=eth0 family=IPv4 vrid=51 what="standby by root"`)

	// The master leaves, and this node does not take over.
	s.hear(peerAddr, 0)
	s.advance(30 * time.Second)
	if s.router("web").role != vrrp.Fault {
		t.Error("it did not stay out")
	}
	s.wantLog("nobody holds the role, and this node is in standby")

	got = s.ordered(ask(control.ResumeOrder))
	s.wantOutcomes(got)
	s.hear(peerAddr, 190)
	s.wantOutcomes(got, "web FAULT to BACKUP: b is master with 190: this node takes the role back by itself (preempt)")
	if !s.saved.empty() || s.status.Standby != nil || s.status.Routers[0].Standby != nil {
		t.Errorf("saved %+v", s.saved)
	}
}

// Of a standby of the whole node a router is an exception that nobody takes over.
func TestOperate_StandbyExcept(t *testing.T) {
	db := webRouter()
	db.Name, db.VRID = "db", 52
	other := webRouter()
	other.Name, other.VRID = "other", 53
	s := newStage(t, pair(webRouter(), db, other))
	s.start()
	s.hearVRID(peerAddr, 53, 210)
	s.advance(900 * time.Millisecond)
	for range 4 {
		s.hearVRID(peerAddr, 53, 210)
		s.advance(900 * time.Millisecond)
	}
	s.on("web")
	s.on("db")
	got := s.ordered(ask(control.StandbyOrder))
	s.wantOutcomes(got, "other BACKUP to FAULT: held out")
	s.hearVRID(peerAddr, 52, 190)
	s.n.addressEvent(s.now, vip.Event{Router: "db", Kind: vip.Off, Seq: s.router("db").holds})
	if diff := cmp.Diff([]string{"web"}, s.saved.Except); diff != "" || s.saved.Node == nil {
		t.Errorf("saved before all is known: %+v", s.saved)
	}
	s.advance(4 * time.Second)
	s.wantOutcomes(got, "other BACKUP to FAULT: held out", "db MASTER to FAULT: b was heard after 0s; the address was held for 0s",
		"!web stays MASTER: nobody took over within 3.258s, the address never left: does eth0 work on b, and is baton well there?")
	if diff := cmp.Diff([]string{"web"}, s.saved.Except); diff != "" || s.status.Standby == nil {
		t.Error(diff)
	}
	// It starts so again.
	again := newStage(t, pair(webRouter(), db, other))
	again.now = s.now
	again.n.restore(again.now, s.saved)
	again.start()
	for name, want := range map[string]vrrp.Role{"web": vrrp.Backup, "db": vrrp.Fault, "other": vrrp.Fault} {
		if got := again.router(name).role; got != want {
			t.Errorf("%s is %s after a restart, want %s", name, got, want)
		}
	}
	if diff := cmp.Diff(s.saved, again.n.saved()); diff != "" {
		t.Error(diff)
	}
	// One of them takes part again.
	s.ordered(ask(control.ResumeOrder, "db"))
	if diff := cmp.Diff([]string{"db", "web"}, s.saved.Except); diff != "" {
		t.Error(diff)
	}
	s.ordered(ask(control.ResumeOrder, "other"))
	if !s.saved.empty() || s.status.Standby != nil {
		t.Errorf("a standby of nothing: %+v", s.saved)
	}
}

func TestOperate_StandbyForced(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	got := s.ordered(control.Order{Kind: control.StandbyOrder, Force: true})
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")
	s.advance(3258 * time.Millisecond)
	s.wantDone("release web")
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "web MASTER to FAULT: nobody was heard: no node holds the address; the address was held for 3.258s")
	if s.saved.Node == nil {
		t.Error("not saved")
	}
}

// It ends when the wall clock says so, or when its time is over, whatever becomes of
// the wall clock: whichever is first.
func TestOperate_StandbyEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		jump time.Duration // of the wall clock, after a minute
		ends time.Duration
	}{
		"in time":                  {0, 10 * time.Minute},
		"the clock is set back":    {-time.Hour, 10 * time.Minute},
		"the clock is set forward": {time.Hour, time.Minute + standbyLook},
		"a little forward":         {time.Minute, 9 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pair())
			jump := time.Duration(0)
			s.n.out.wall = func() time.Duration { return s.now + jump }
			s.start()
			s.hear(peerAddr, 210)
			begun := s.now
			s.wantOutcomes(s.ordered(control.Order{Kind: control.StandbyOrder, For: 10 * time.Minute, Reason: "move"}), "web BACKUP to FAULT: held out")
			s.advance(time.Minute)
			jump = tt.jump
			for s.router("web").role == vrrp.Fault && s.now < begun+time.Hour {
				s.advance(time.Second)
			}
			if got := s.now - begun; got != tt.ends {
				t.Errorf("over after %s, want %s", got, tt.ends)
			}
			if !s.saved.empty() || s.status.Standby != nil {
				t.Errorf("saved %+v", s.saved)
			}
			s.wantLog(`msg="standby is over"`)
		})
	}
}

// After a restart what is left of it counts, at most its whole length: the clock of
// this host may not be right yet.
func TestOperate_StandbyRestored(t *testing.T) {
	for name, tt := range map[string]struct {
		since time.Duration // how long before the start, by the wall clock
		ends  time.Duration
	}{
		"some time is left":  {4 * time.Minute, 6 * time.Minute},
		"its time is over":   {10 * time.Minute, 0},
		"the clock is wrong": {-24 * 365 * time.Hour, 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pair())
			since := time.Unix(0, int64(s.now-tt.since))
			one := control.Standby{Since: since, Until: since.Add(10 * time.Minute), By: "root"}
			s.n.restore(s.now, savedStandby{Routers: map[string]control.Standby{"web": one, "gone": one}})
			begun := s.now
			s.start()
			for s.router("web").role == vrrp.Fault && s.now < begun+time.Hour {
				s.advance(time.Second)
			}
			if got := s.now - begun; got != tt.ends {
				t.Errorf("over after %s, want %s", got, tt.ends)
			}
			if tt.ends > 0 {
				s.wantLog("standby of a router that this node does not run any more is forgotten")
			}
		})
	}
}

// A backup that has heard nobody may be about to take the role: it is known first
// whether somebody else has it.
func TestOperate_StandbyOfABackup(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	got := s.ordered(ask(control.StandbyOrder))
	s.wantOutcomes(got)
	s.advance(time.Second)
	s.hear(peerAddr, 210)
	s.wantOutcomes(got, "web BACKUP to FAULT: held out")

	s = newStage(t, pair())
	s.start()
	got = s.ordered(ask(control.StandbyOrder))
	s.advance(3300 * time.Millisecond)
	s.on("web")
	s.advance(4 * time.Second)
	s.wantOutcomes(got, "!web stays MASTER: nobody took over within 3.258s, the address never left: does eth0 work on b, and is baton well there?")
	if !s.saved.empty() {
		t.Errorf("saved %+v", s.saved)
	}

	s = newStage(t, pair())
	s.start()
	got = s.ordered(ask(control.StandbyOrder))
	s.ordered(ask(control.ResumeOrder))
	s.wantOutcomes(got, "!web stays BACKUP: called off by root")
}
