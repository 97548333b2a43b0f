package daemon

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/record"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// recordOf is what a stage's node would leave, if it were killed now; its last
// heartbeat was a moment ago.
func (s *stage) recordOf(ago time.Duration) *record.Record {
	rec := &record.Record{Beat: s.now - ago, States: make(map[string]record.State), Known: make(map[string]record.Check)}
	for _, g := range s.n.groups {
		rec.Elections = append(rec.Elections, g.election())
		st := s.recorded[g.name]
		for i := len(s.told) - 1; i >= 0 && st.Told == ""; i-- { // what the queue says of itself
			st.Told = string(s.told[i].To)
		}
		rec.States[g.name] = st
	}
	for name, c := range s.n.verdicts {
		rec.Known[name] = record.Check{Reading: c.Reading(), Text: c.Text}
	}
	return rec
}

func allThere(vip.Router) netip.Addr { return netip.Addr{} }

// restart starts a new node with what another one has left, after a while.
func (s *stage) restart(cfg *config.Config, after time.Duration, rec *record.Record, holds func(vip.Router) netip.Addr) *stage {
	s.t.Helper()
	next := newStage(s.t, cfg)
	next.now = s.now + after
	next.link(eth(true, "10.0.0.1/24"))
	next.n.resume(next.now, rec, holds)
	next.n.start(next.now)
	return next
}

// mastered is a stage with a master whose hooks have been told.
func mastered(t *testing.T, cfg *config.Config) *stage {
	t.Helper()
	s := newStage(t, cfg)
	s.master()
	s.told = []role.Transition{{To: role.Master}}
	return s
}

func TestAdopt(t *testing.T) {
	s := mastered(t, pair())
	next := s.restart(pair(), 300*time.Millisecond, s.recordOf(100*time.Millisecond), allThere)
	next.wantDone("resume web MASTER", "send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 1")
	next.wantRole(vrrp.Master, "adopted: the process before was master, and nobody can have missed it yet")
	next.on("web")
	next.wantDone() // nobody is told
	if len(next.events) > 0 {
		t.Errorf("webhooks are told %v", next.events)
	}
	st := next.n.set.State(next.router("web").id)
	if want := s.n.set.State(s.router("web").id).Since; st.Since != want {
		t.Errorf("master since %s, want %s", st.Since, want)
	}
	if got, want := next.recorded["web"], s.recorded["web"]; !cmp.Equal(want, got) {
		t.Errorf("record (-before +after):\n%s", cmp.Diff(want, got))
	}
	next.hear(peerAddr, 254) // a real master
	next.wantRole(vrrp.Backup, "b is higher: 254 above 200")
	if len(next.told) != 1 || next.told[0].To != role.Backup {
		t.Errorf("told %+v", next.told)
	}
}

// The hooks of a master that was killed before they had run are run.
func TestAdopt_HooksThatDidNotRun(t *testing.T) {
	s := mastered(t, pair())
	s.told = []role.Transition{{To: role.Backup}}
	next := s.restart(pair(), 300*time.Millisecond, s.recordOf(100*time.Millisecond), allThere)
	next.on("web")
	next.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 1", "tell web MASTER")
	if next.told[0].Takeover != "silence" || next.told[0].Master != "a" {
		t.Errorf("told %+v", next.told[0])
	}
}

func TestAdopt_Refused(t *testing.T) {
	other := func(change func(*config.Router)) *config.Config {
		web := webRouter()
		change(&web)
		return pair(web)
	}
	tests := map[string]struct {
		cfg   *config.Config // after; nil: the same
		after time.Duration
		rec   func(*record.Record)
		holds func(vip.Router) netip.Addr
		want  string
	}{
		"too late":         {after: 3300 * time.Millisecond, want: "it has been silent for 4s, and a backup waits for 3.258s at most"},
		"just in time":     {after: 2550 * time.Millisecond},
		"just too late":    {after: 2570 * time.Millisecond, want: "it has been silent for 3.27s, and a backup waits for 3.258s at most"},
		"a silent process": {rec: func(r *record.Record) { r.Beat -= 3 * time.Second }, want: "it has been silent for 3.7s, and a backup waits for 3.258s at most"},
		"made way":         {after: 3200 * time.Millisecond, rec: func(r *record.Record) { r.Succeeded = true }},
		"leaving": {rec: func(r *record.Record) {
			s := r.States["web"]
			s.Leaving = true
			r.States["web"] = s
		}, want: "it was giving the role away"},
		"another address": {cfg: other(func(r *config.Router) { r.Addresses[0].Prefix = netip.MustParsePrefix("10.0.0.101/24") }),
			want: "the record is of other addresses, or of another interface or VRID"},
		"one more address": {cfg: other(func(r *config.Router) {
			r.Addresses = append(r.Addresses, config.Address{Prefix: netip.MustParsePrefix("10.0.0.101/24")})
		}),
			want: "the record is of other addresses, or of another interface or VRID"},
		"another VRID": {cfg: other(func(r *config.Router) { r.VRID = 52 }), want: "the record is of other addresses, or of another interface or VRID"},
		"a virtual MAC": {cfg: other(func(r *config.Router) { r.VirtualMAC = &config.VirtualMAC{Name: "vrrp.51"} }),
			want: "the record is of other addresses, or of another interface or VRID"},
		"another priority":   {cfg: other(func(r *config.Router) { r.Priority = 180 })},
		"an address is gone": {holds: func(vip.Router) netip.Addr { return virtual }, want: "10.0.0.100 is not on this host any more"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := mastered(t, pair()) // 700 ms after an advertisement
			rec := s.recordOf(0)
			if tt.rec != nil {
				tt.rec(rec)
			}
			cfg, holds := tt.cfg, tt.holds
			if cfg == nil {
				cfg = pair()
			}
			if holds == nil {
				holds = allThere
			}
			next := s.restart(cfg, tt.after, rec, holds)
			if tt.want == "" {
				next.wantRole(vrrp.Master, "adopted: the process before was master, and nobody can have missed it yet")
				return
			}
			next.wantRole(vrrp.Backup, "started")
			next.wantLog(`reason="` + tt.want + `"`)
			if len(next.kept) == 0 || !strings.HasPrefix(next.kept[0].Text, tt.want) {
				t.Errorf("events %+v", next.kept)
			}
			if len(next.told) != 1 || next.told[0].To != role.Backup {
				t.Errorf("told %+v, want BACKUP", next.told)
			}
		})
	}
}

// The record says that the role is given away before the others are told.
func TestRecord_LeavingBeforePriority0(t *testing.T) {
	tests := map[string]func(s *stage){
		"stop":  func(s *stage) { s.n.leave(s.now) },
		"fault": func(s *stage) { s.verdict("osc", health.Fail, "refused") },
		"yield": func(s *stage) { s.verdict("weight", health.Fail, "refused") },
	}
	for name, happens := range tests {
		t.Run(name, func(t *testing.T) {
			web := webRouter()
			web.Track = []config.Track{track("osc", config.Fault, 0, config.Always), track("weight", config.Weight, -100, config.Always)}
			s := newStage(t, pair(web))
			s.start()
			s.verdict("osc", health.Pass, "")
			s.verdict("weight", health.Pass, "")
			s.advance(3700 * time.Millisecond)
			s.on("web")
			if s.recorded["web"].Role != "MASTER" || s.recorded["web"].Leaving {
				t.Fatalf("record %+v", s.recorded["web"])
			}
			sent := false
			s.n.out.flush = func() {
				sent = true
				if !s.recorded["web"].Leaving {
					t.Error("priority 0 is sent, and the record does not say so")
				}
				s.flush()
			}
			happens(s)
			if !sent {
				t.Fatal("no priority 0")
			}
			if name == "yield" {
				s.n.out.flush = s.flush
				s.advance(2 * time.Second) // nobody is better
				if s.recorded["web"].Role != "MASTER" || s.recorded["web"].Leaving {
					t.Errorf("goes on as master, and the record is %+v", s.recorded["web"])
				}
			}
		})
	}
}

// Nobody waits for the first answer of a check that the record knows, nor for
// start_delay; and what failed goes on to fail.
func TestResume_Verdicts(t *testing.T) {
	web := webRouter()
	web.StartDelay = time.Minute
	web.Track = []config.Track{track("osc", config.Fault, 0, config.Always)}
	s := newStage(t, pair(webRouter()))
	s.start()
	for verdict, want := range map[health.Verdict]vrrp.Role{health.Pass: vrrp.Backup, health.Fail: vrrp.Fault} {
		rec := s.recordOf(0)
		rec.States["web"] = record.State{Role: want.String(), Told: want.String()}
		rec.Known["osc"] = record.Check{Reading: health.Reading{Verdict: verdict}, Text: "refused"}
		next := s.restart(pair(web), time.Second, rec, allThere)
		if got := next.n.set.State(0).Role; got != want {
			t.Errorf("%s: %s, want %s", verdict, got, want)
		}
		next.wantDone("resume web " + want.String()) // which the hooks know
		if verdict == health.Fail {
			next.wantRole(vrrp.Fault, "osc fails: refused")
		}
	}
	late := s.recordOf(0)
	late.States["web"] = record.State{Role: "BACKUP", Told: "BACKUP"}
	next := s.restart(pair(web), time.Hour, late, allThere)
	if got := next.n.set.State(0).Role; got != vrrp.Init {
		t.Errorf("%s after an hour, want INIT", got)
	}
}

// A crash is no way around retry_after, however long ago it was.
func TestResume_Hold(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.report(role.Lost, "osc", "osc died")
	s.report(role.Stopped, "", "")
	s.hear(peerAddr, 190) // b has the role
	s.wantRole(vrrp.Fault, "osc died (held: it failed as master)")
	until := s.n.groups[0].hold.Until()
	next := s.restart(served(false), time.Minute, s.recordOf(0), allThere)
	next.verdict("osc", health.Pass, "")
	next.wantRole(vrrp.Fault, "osc died (held: it failed as master)")
	if got := next.n.groups[0].hold.Until(); got != until {
		t.Errorf("until %s, want %s", got, until)
	}
}

func TestAdopt_Services(t *testing.T) {
	for _, marked := range []bool{false, true} {
		s := newStage(t, served(marked))
		s.serving()
		s.told = []role.Transition{{To: role.Master}}
		rec := s.recordOf(0)
		if !marked {
			rec.Known["osc"] = record.Check{Reading: health.Reading{Verdict: health.Pass}}
		}
		next := s.restart(served(marked), time.Second, rec, allThere)
		next.wantDone("resume web MASTER", "send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 1", "adopt services of web")
		next.on("web")
		next.report(role.Ready, "", "")
		if r := next.status.Routers[0]; !r.Ready {
			t.Errorf("marked %t: %+v", marked, r)
		}
		if got, want := next.recorded["web"], s.recorded["web"]; !cmp.Equal(want, got) {
			t.Errorf("marked %t, record (-before +after):\n%s", marked, cmp.Diff(want, got))
		}
		next.forget()
		next.hear(peerAddr, 254)
		if !strings.Contains(strings.Join(next.did, "; "), "stop services of web, chosen false") {
			t.Errorf("marked %t: after a better master %q", marked, next.did)
		}
		// In the next mastership they are started, not adopted once more.
		next.report(role.Stopped, "", "")
		next.hear(peerAddr, 0)
		next.forget()
		next.advance(4 * time.Second)
		if !strings.Contains(strings.Join(next.did, "; "), "start services of web after") {
			t.Errorf("marked %t: as master again %q", marked, next.did)
		}
	}
}

// Services that were starting are started, and those of a role that is lost are
// stopped before anything else.
func TestResume_Services(t *testing.T) {
	s := newStage(t, served(true))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.told = []role.Transition{{To: role.Backup}}
	missing := func(vip.Router) netip.Addr { return virtual } // their turn has not come
	next := s.restart(served(true), 2*time.Second, s.recordOf(0), missing)
	next.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "start services of web after 7.51875s")
	if next.asked.Takeover != "silence" {
		t.Errorf("the services are told %+v", next.asked)
	}
	late := s.restart(served(true), time.Minute, s.recordOf(0), missing)
	if len(late.did) == 0 || late.did[0] != "stop left services of web" {
		t.Errorf("too late: %q", late.did)
	}
}

// A group is adopted as a whole.
func TestAdopt_Group(t *testing.T) {
	six := webRouter()
	six.IPv6, six.Addresses = true, []config.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Advertise: true}}
	both := pair(webRouter(), six)
	s := newStage(t, both)
	s.link(eth(true, "10.0.0.1/24", "fe80::1/64"))
	s.n.start(s.now)
	s.advance(3700 * time.Millisecond)
	for _, r := range s.n.routers {
		s.on(r.name)
	}
	s.told = []role.Transition{{To: role.Master}}
	for _, gone := range []bool{false, true} {
		next := newStage(t, both)
		next.now = s.now + time.Second
		next.link(eth(true, "10.0.0.1/24", "fe80::1/64"))
		next.n.resume(next.now, s.recordOf(0), func(r vip.Router) netip.Addr {
			if gone && r.Addresses[0].Prefix.Addr().Is6() {
				return r.Addresses[0].Prefix.Addr()
			}
			return netip.Addr{}
		})
		next.n.start(next.now)
		want := vrrp.Master
		if gone {
			want = vrrp.Backup
		}
		for _, r := range next.n.routers {
			if got := next.n.set.State(r.id).Role; got != want {
				t.Errorf("gone %t: %s is %s, want %s", gone, r.name, got, want)
			}
		}
	}
}

// Services are adopted once, by the mastership that the process before had.
func TestAdopt_ServicesOnce(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	rec := s.recordOf(0)
	rec.Known["osc"] = record.Check{Reading: health.Reading{Verdict: health.Pass}}
	next := s.restart(served(false), time.Second, rec, allThere)
	next.verdict("osc", health.Fail, "refused")
	next.verdict("osc", health.Pass, "") // before they have stopped
	if got := next.did[len(next.did)-1]; !strings.HasPrefix(got, "start services of web") {
		t.Errorf("in the same mastership: %q", next.did)
	}

	rec.Known["osc"] = record.Check{Reading: health.Reading{Verdict: health.Fail}} // while it was killed
	next = s.restart(served(false), time.Second, rec, allThere)
	next.link(eth(false)) // FAULT, without having stopped them
	next.verdict("osc", health.Pass, "")
	next.report(role.Stopped, "", "")
	next.link(eth(true, "10.0.0.1/24"))
	next.forget()
	next.advance(4 * time.Second)
	if !strings.Contains(strings.Join(next.did, "; "), "start services of web") {
		t.Errorf("in another mastership: %q", next.did)
	}
}
