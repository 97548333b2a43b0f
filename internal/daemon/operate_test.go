package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// ordered gives an order and returns where its outcomes come, as "web MASTER to FAULT:
// text", with a ! before those that are not as wished.
func (s *stage) ordered(o control.Order) *[]string {
	s.t.Helper()
	o.By = "root"
	outcomes, err := s.tryOrder(o)
	if err != nil {
		s.t.Fatalf("%s: %v", o.Kind, err)
	}
	return outcomes
}

func (s *stage) tryOrder(o control.Order) (*[]string, error) {
	var outcomes []string
	_, _, err := s.n.obey(s.now, o, func(out control.Outcome) {
		text := out.Router + " " + changeText(out) + ": " + out.Text
		if !out.OK {
			text = "!" + text
		}
		outcomes = append(outcomes, text)
	})
	return &outcomes, err
}

func ask(kind control.OrderKind, routers ...string) control.Order {
	return control.Order{Kind: kind, Routers: routers}
}

// wantOutcomes compares what came of an order until now.
func (s *stage) wantOutcomes(got *[]string, want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, *got); diff != "" {
		s.t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// clockText is how a moment of the stage is shown.
func (s *stage) clockText() string { return time.Unix(0, int64(s.now)).Local().Format("15:04") }

// Backups are silent: only trying tells that there is none. The role never leaves.
func TestOperate_NobodyTakesOver(t *testing.T) {
	for _, kind := range []control.OrderKind{control.StandbyOrder, control.FailoverOrder} {
		s := newStage(t, pair())
		s.master()
		got := s.ordered(ask(kind, "web"))
		s.forget()
		if !s.lent["web"] {
			t.Errorf("%s: the address is announced while it is given away", kind)
		}
		s.advance(3258 * time.Millisecond) // of 190: 257.8 ms, one interval, 2 s
		s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush")
		s.wantOutcomes(got, "!web stays MASTER: nobody took over within 3.258s, the address never left: does eth0 work on b, and is baton well there?")
		if len(s.told) > 0 || !s.saved.empty() || s.status.Standby != nil || !s.status.Routers[0].Ready || s.lent["web"] {
			t.Errorf("%s: told %v, saved %v, status %+v", kind, s.told, s.saved, s.status)
		}
	}
}

// A node that handed over stays a backup though it preempts.
func TestOperate_Failover(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	got := s.ordered(ask(control.FailoverOrder, "web"))
	s.now += 300 * time.Millisecond
	s.hear(peerAddr, 190)
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "web MASTER to BACKUP: b was heard after 300ms; the address was held for 300ms")
	s.wantRole(vrrp.Backup, "failover by root; b was heard after 300ms")
	for range 20 {
		s.advance(time.Second)
		s.hear(peerAddr, 190)
	}
	if r := s.status.Routers[0]; r.Role != "BACKUP" || r.Why != "priority 200; backup to b (190), to which it was handed over: baton takeover web brings it home" {
		t.Errorf("%s: %s", r.Role, r.Why)
	}
	if !s.saved.empty() {
		t.Errorf("saved %+v", s.saved)
	}
	s.forget()
	got = s.ordered(ask(control.TakeoverOrder, "web"))
	s.wantDone("hold web 2")
	s.on("web")
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 3")
	s.wantOutcomes(got)
	s.on("web")
	s.wantOutcomes(got, "web BACKUP to MASTER: 200 beats 190 of b, and root ordered to take over; the address was on after 0s")
}

// The first word does not wait for ever for the addresses.
func TestOperate_TakeoverWithoutAddresses(t *testing.T) {
	c := webRouter()
	c.Preempt = false
	s := newStage(t, pair(c))
	s.start()
	s.hear(peerAddr, 190)
	s.forget()
	got := s.ordered(ask(control.TakeoverOrder, "web"))
	s.wantDone("hold web 1")
	s.advance(addressGrace)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush")
	s.hear(peerAddr, 210)
	s.wantOutcomes(got, "!web stays BACKUP: it took the role and lost it again: b is higher: 210 above 200")
}

func TestOperate_Refused(t *testing.T) {
	owner := webRouter()
	owner.Priority, owner.Priorities = 255, map[string]uint8{"a": 255, "b": 190}
	for name, tt := range map[string]struct {
		cfg   *config.Config
		do    func(*stage)
		order control.Order
		want  string
	}{
		"failover of a backup":    {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 210) }, ask(control.FailoverOrder, "web"), "web is BACKUP here: b is master"},
		"failover of an owner":    {pair(owner), (*stage).start, ask(control.FailoverOrder, "web"), "this node owns the addresses of web (priority 255) and would take the role back at once: baton standby web holds it out"},
		"takeover of a master":    {pair(), (*stage).master, ask(control.TakeoverOrder, "web"), "web is MASTER here already"},
		"takeover from a better":  {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 210) }, ask(control.TakeoverOrder, "web"), "b has priority 210, which is above 200 here: it would take the role back at once"},
		"takeover in a tie":       {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 200) }, ask(control.TakeoverOrder, "web"), "b has priority 200 as well, and the higher address: it would take the role back at once"},
		"takeover from nobody":    {pair(), (*stage).start, ask(control.TakeoverOrder, "web"), "nobody was heard as master of web: this node takes the role by itself if that stays so"},
		"takeover in FAULT":       {pair(), func(s *stage) { s.start(); s.link(eth(false)) }, ask(control.TakeoverOrder, "web"), "web is FAULT: interface eth0 is down"},
		"clear without a hold":    {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 210) }, ask(control.ClearOrder, "web"), "web is not held: it is BACKUP, 210 is higher"},
		"announce of a backup":    {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 210) }, ask(control.AnnounceOrder, "web"), "web is BACKUP here, and has nothing to announce: b is master"},
		"while another one is on": {pair(), func(s *stage) { s.master(); s.ordered(ask(control.StandbyOrder)) }, ask(control.FailoverOrder, "web"), "standby by root is under way for web"},
		"while baton stops":       {pair(), func(s *stage) { s.master(); s.n.leave(s.now) }, ask(control.FailoverOrder, "web"), "baton stops"},
		"standby while it stops":  {pair(), func(s *stage) { s.master(); s.n.leave(s.now) }, ask(control.StandbyOrder), "baton stops"},
		"takeover beside services": {func() *config.Config { c := served(false); c.Routers[0].PromoteAfter = 0; return c }(),
			func(s *stage) { s.start(); s.verdict("osc", health.Pass, ""); s.hear(peerAddr, 190) }, ask(control.TakeoverOrder, "web"),
			"services are bound to web, and without promote_after they would start here while those of b still stop: baton failover web on b stops them first"},
		"resume while it stops": {pair(), func(s *stage) { s.master(); s.n.leave(s.now) }, ask(control.ResumeOrder), "baton stops"},
		"takeover in standby":   {pair(), func(s *stage) { s.start(); s.hear(peerAddr, 210); s.ordered(ask(control.StandbyOrder)) }, ask(control.TakeoverOrder, "web"), "web is in standby since %s by root; baton resume ends that"},
		"of a fault that comes": {served(false), func(s *stage) { s.serving(); s.verdict("osc", health.Fail, "no") }, ask(control.FailoverOrder, "web"), "web leaves already: osc fails: no"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, tt.cfg)
			tt.do(s)
			s.forget()
			if strings.Contains(tt.want, "%s") {
				tt.want = fmt.Sprintf(tt.want, s.clockText())
			}
			tt.order.By = "root"
			got, err := s.tryOrder(tt.order)
			var e *control.Error
			if !errors.As(err, &e) || e.Kind != control.Refused || e.Text != tt.want {
				t.Errorf("%v, want %q", err, tt.want)
			}
			s.wantOutcomes(got)
			if len(s.did) > 0 {
				t.Errorf("and it did %q", s.did)
			}
		})
	}
}

func TestOperate_Announce(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	got := s.ordered(ask(control.AnnounceOrder, "web"))
	s.wantDone("hold web 2")
	s.wantOutcomes(got)
	s.on("web")
	s.wantOutcomes(got, "web stays MASTER: 1 address was announced again")
	if len(s.told) > 0 {
		t.Errorf("told %v", s.told)
	}
}

// The hold of retry_after ends, and what led to it is forgotten.
func TestOperate_Clear(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.report(role.Lost, "osc", "osc died")
	got, err := s.tryOrder(ask(control.ClearOrder, "web"))
	if err == nil || err.Error() != "web leaves still: osc died" {
		t.Errorf("%v while its services stop", err)
	}
	s.wantOutcomes(got)
	s.report(role.Stopped, "", "")
	s.event(vip.Off, nil)
	s.hear(peerAddr, 190)
	s.advance(2 * time.Second)
	s.hear(peerAddr, 190)
	s.wantOutcomes(s.ordered(ask(control.ClearOrder, "web")), "web FAULT to BACKUP: the hold is over and what led to it is forgotten: osc died")

	s = newStage(t, served(false))
	s.serving()
	s.report(role.Lost, "osc", "osc died")
	s.report(role.Stopped, "", "")
	s.verdict("osc", health.Fail, "connection refused")
	s.wantOutcomes(s.ordered(ask(control.ClearOrder, "web")), "!web stays FAULT: the hold is over, and another reason is left: osc fails")
}

// Services are stopped first, and started again where nobody takes over.
func TestOperate_Services(t *testing.T) {
	for _, marked := range []bool{false, true} {
		s := newStage(t, served(marked))
		s.serving()
		at := s.clockText()
		got := s.ordered(ask(control.StandbyOrder))
		s.wantDone("stop services of web, chosen true")
		if s.asked.To != role.Fault || s.asked.Reason != "standby since "+at+" by root" {
			t.Errorf("the services are told %+v", s.asked)
		}
		s.advance(2 * time.Second)
		s.forget()
		if marked {
			s.report(role.AddressesOff, "", "")
			s.event(vip.Off, nil)
			s.wantDone("release web")
		}
		s.report(role.Stopped, "", "")
		s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
		s.advance(3258 * time.Millisecond)
		s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "start services of web after 0s")
		never := ", the address never left"
		if marked {
			never = ""
		}
		s.wantOutcomes(got, "!web stays MASTER: osc stopped in 2s, then nobody took over within 3.258s"+never+": does eth0 work on b, and is baton well there?; what was stopped is started again")
		if marked {
			s.report(role.AddressesOn, "", "")
			s.wantDone("hold web 2")
			s.on("web")
		}
		s.report(role.Ready, "", "")
		if len(s.told) > 0 || !s.status.Routers[0].Ready {
			t.Errorf("told %v, ready %t: the role never left", s.told, s.status.Routers[0].Ready)
		}

		// Now with a successor.
		got = s.ordered(ask(control.FailoverOrder, "web"))
		if s.asked.To != role.Backup || s.asked.Reason != "failover by root" {
			t.Errorf("the services are told %+v", s.asked)
		}
		s.advance(time.Second)
		if marked {
			s.report(role.AddressesOff, "", "")
			s.event(vip.Off, nil)
		}
		s.report(role.Stopped, "", "")
		s.now += 250 * time.Millisecond
		s.hear(peerAddr, 190)
		text := "; the address went off in its place among the services"
		if !marked {
			s.now += 50 * time.Millisecond
			s.event(vip.Off, nil)
			text = "; the address was held for 300ms"
		}
		s.wantOutcomes(got, "web MASTER to BACKUP: osc stopped in 1s, then b was heard after 250ms"+text)
		what := "10.0.0.100/24 kept until a successor has it"
		if marked {
			what = "10.0.0.100/24 removed"
		}
		if !slices.ContainsFunc(s.kept, func(e control.Event) bool {
			return e.What == "MASTER to BACKUP" && strings.HasSuffix(e.Text, "; priority 0 sent, "+what)
		}) {
			t.Errorf("no event says that it is %s: %+v", what, s.kept)
		}
	}
}

// What happens while the services stop counts more than the order.
func TestOperate_Meanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		happens func(*stage)
		want    string
	}{
		"a better master": {func(s *stage) { s.hear(peerAddr, 210); s.event(vip.Off, nil) },
			"web MASTER to FAULT: b was heard after 0s; the address was held for 0s"},
		"baton stops":       {func(s *stage) { s.n.leave(s.now) }, "!web stays MASTER: baton stops"},
		"baton stops twice": {func(s *stage) { s.n.let(s.now) }, "!web stays MASTER: baton stops"},
		"it is called off":  {func(s *stage) { s.ordered(ask(control.ResumeOrder)) }, "!web stays MASTER: called off by root"},
		"a service that does not stop": {func(s *stage) { s.report(role.StopFailed, "osc", "osc did not stop within 1m") },
			"!web stays MASTER: osc did not stop within 1m: this node stays master (on_stop_failure: hold)"},
		"nothing": {func(s *stage) { s.advance(5 * time.Minute) }, "!web stays MASTER: it is not over after 1m16.516s: the log tells more"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, served(false))
			s.serving()
			got := s.ordered(ask(control.StandbyOrder))
			s.forget()
			tt.happens(s)
			s.wantOutcomes(got, tt.want)
			if s.n.groups[0].order != nil {
				t.Error("the order is there still")
			}
			if strings.HasPrefix(tt.want, "!") && !s.saved.empty() {
				t.Errorf("saved %+v", s.saved)
			}
			if s.n.stuck() {
				t.Error("stuck: nobody has told it to leave for good")
			}
		})
	}
}

// A fault in between takes the role away at once, and what was ordered holds.
func TestOperate_FaultMeanwhile(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	got := s.ordered(ask(control.StandbyOrder))
	s.link(eth(false))
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "!web MASTER to FAULT: the role went before anybody was heard (interface eth0 is down), and nobody was since")
	s.link(eth(true, "10.0.0.1/24"))
	s.advance(4 * time.Second)
	if s.router("web").role != vrrp.Master || !s.saved.empty() || s.status.Standby != nil {
		t.Errorf("%s, saved %+v: when the fault is mended there may be nobody else", s.router("web").role, s.saved)
	}

	// Somebody takes over after all.
	cfg := served(false)
	s = newStage(t, cfg)
	s.serving()
	got = s.ordered(ask(control.StandbyOrder))
	s.report(role.Stopped, "", "")
	s.advance(100 * time.Millisecond)
	s.verdict("osc", health.Fail, "no")
	s.advance(200 * time.Millisecond)
	s.hear(peerAddr, 190)
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "web MASTER to FAULT: b was heard after 300ms; the address was held for 300ms")
	if s.saved.Node == nil {
		t.Error("not saved")
	}
}

// Behind a fence nobody is to take a word for an orderly end that is none.
func TestOperate_Fence(t *testing.T) {
	fenced := func(policy config.OnStopFailure) *stage {
		cfg := served(false)
		cfg.Routers[0].OnStopFailure = policy
		cfg.Routers[0].Services = append([]config.Service{{Name: "fence", OnlyAfterSilence: true}}, cfg.Routers[0].Services...)
		return newStage(t, cfg)
	}
	s := fenced(config.StopFailureHold)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.advance(3300 * time.Millisecond)
	s.forget()
	s.wantOutcomes(s.ordered(ask(control.StandbyOrder)),
		"!web stays MASTER: web took over from a master that fell silent, and its services are not ready yet: handed over now, nobody would fence that one")
	s.wantDone()

	s = fenced(config.StopFailureRelease)
	s.serving()
	got := s.ordered(ask(control.FailoverOrder, "web"))
	s.report(role.StopFailed, "osc", "osc did not stop")
	s.wantOutcomes(got, "!web stays MASTER: osc did not stop: this node stays master, or the next one would fence it")
	s.wantDone("stop services of web, chosen true", "start services of web after 0s")
	s.report(role.Ready, "", "")

	// Forced it leaves, and without a word.
	got = s.ordered(control.Order{Kind: control.StandbyOrder, Force: true})
	s.report(role.StopFailed, "osc", "osc did not stop")
	s.report(role.Stopped, "", "")
	s.wantDone("stop services of web, chosen true", "abandon services of web", "release web", "tell web FAULT")
	s.event(vip.Off, nil)
	s.wantOutcomes(got, "web MASTER to FAULT: nobody was heard: no node holds the address; the address was held for 0s")
}

// A group is ordered by its own name or a member's, once, and moves as one.
func TestOperate_Group(t *testing.T) {
	s := newStage(t, edge())
	s.link(eth(true, "10.0.0.1/24"))
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.n.start(s.now)
	s.verdict("upstream", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.on("wan")
	s.on("lan")
	s.forget()
	got := s.ordered(ask(control.StandbyOrder, "lan", "edge", "wan"))
	s.advance(10 * time.Second)
	if len(*got) != 1 || !strings.Contains((*got)[0], "!edge stays MASTER: nobody took over within ") || !strings.Contains((*got)[0], "do eth") {
		t.Errorf("%q", *got)
	}
	if _, err := s.tryOrder(ask(control.StandbyOrder, "web")); err == nil || err.Error() != `this node runs no virtual router and no group "web"` {
		t.Error(err)
	}
	got = s.ordered(control.Order{Kind: control.StandbyOrder, Routers: []string{"wan"}, Force: true})
	for _, name := range []string{"wan", "lan"} {
		s.n.addressEvent(s.now, vip.Event{Router: name, Kind: vip.Off, Seq: s.router(name).holds})
	}
	if len(*got) != 1 || !strings.HasPrefix((*got)[0], "edge MASTER to FAULT: ") {
		t.Errorf("%q", *got)
	}
	if _, saved := s.saved.Routers["edge"]; !saved || s.saved.Node != nil {
		t.Errorf("saved %+v", s.saved)
	}
}
