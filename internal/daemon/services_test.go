package daemon

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vrrp"
)

// served is the router web with a service, and its addresses before it; with
// marked behind it.
func served(marked bool) *config.Config {
	web := webRouter()
	web.Preempt = false
	web.Services = []config.Service{{Name: "osc", Kind: config.UnitService, Unit: "osc.service", StopTimeout: time.Minute}}
	web.PromoteAfter = 10 * time.Second
	web.Track = []config.Track{track("osc", config.Fault, 0, config.Always)}
	if marked {
		web.AddressesAt = 1
	}
	return pair(web)
}

// serving goes on to where the services run.
func (s *stage) serving() {
	s.t.Helper()
	s.start()
	s.verdict("osc", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	if s.n.cfg.Routers[0].AddressesAt > 0 {
		s.report(role.AddressesOn, "", "")
	}
	s.on("web")
	s.report(role.Ready, "", "")
	if r := s.status.Routers[0]; r.Role != "MASTER" || !r.Ready {
		s.t.Fatalf("%s, ready %t: want a master that is", r.Role, r.Ready)
	}
	s.forget()
}

func TestServices_AddressesFirst(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.forget()
	s.advance(3300 * time.Millisecond)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "hold web 1", "start services of web after 10s")
	if s.asked.To != role.Master || s.asked.Takeover != "silence" || s.asked.Master != "a" {
		t.Errorf("the services are told %+v", s.asked)
	}
	s.on("web")
	s.wantDone("tell web MASTER")
	if s.status.Routers[0].Ready {
		t.Error("ready before the services are")
	}
	if got, want := s.status.Routers[0].Why, "priority 200; master, its services start"; got != want {
		t.Errorf("why %q, want %q", got, want)
	}
	s.report(role.Ready, "", "")
	if !s.status.Routers[0].Ready {
		t.Error("not ready though the services are")
	}
	s.wantLog("ready: every service runs")
}

// What was stopped while this node was a backup is no reason to leave.
func TestServices_WhyOfANewMaster(t *testing.T) {
	c := served(false)
	c.Routers[0].Track = append(c.Routers[0].Track, track("synced", config.Weight, -100, config.Backup))
	s := newStage(t, c)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.verdict("synced", health.Fail, "stale")
	s.peerServes(time.Second, 190) // its services are to be stopped
	s.report(role.Stopped, "", "")
	s.forget()
	s.advance(5 * time.Second)
	s.wantLog(`msg=priority router=web interface=eth0 family=IPv4 vrid=51 from=100 to=200 why="priority 200; master, its services start"`)
}

func TestServices_AddressesLast(t *testing.T) {
	s := newStage(t, served(true))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.forget()
	s.advance(3300 * time.Millisecond)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "start services of web after 10s")
	s.report(role.AddressesOn, "", "")
	s.wantDone("hold web 1")
	s.on("web")
	s.wantDone("placed web", "tell web MASTER")
}

// What belongs to an earlier wish says nothing of this one.
func TestServices_OldReports(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.n.serviceReport(s.now, "web", role.Report{Order: s.order - 1, Kind: role.Lost, Text: "died"})
	s.n.serviceReport(s.now, "other", role.Report{Order: s.order, Kind: role.Lost, Text: "died"})
	s.wantDone()
	s.wantLogEmpty()
}

// wantLogEmpty fails where something was logged since the last forget.
func (s *stage) wantLogEmpty() {
	s.t.Helper()
	if s.log.Len() > 0 {
		s.t.Errorf("logged:\n%s", s.log.String())
	}
}

// A master stops its services before it says that it leaves, and keeps the
// addresses until the successor has them.
func TestServices_Fault(t *testing.T) {
	for _, marked := range []bool{false, true} {
		s := newStage(t, served(marked))
		s.serving()
		s.verdict("osc", health.Fail, "connection refused")
		s.wantDone("stop services of web, chosen false")
		if s.asked.To != role.Fault || s.asked.Reason != "osc fails: connection refused" {
			t.Errorf("the services are told %+v", s.asked)
		}
		if got, want := s.status.Routers[0].Why, "priority 200; master, leaving: osc fails: connection refused"; got != want {
			t.Errorf("why %q, want %q", got, want)
		}
		s.advance(900 * time.Millisecond)
		s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush")
		s.report(role.Stopped, "", "")
		s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")
		s.wantRole(vrrp.Fault, "osc fails: connection refused")
		s.advance(4 * time.Second)
		s.wantDone("release web")
		if got, want := s.status.Routers[0].Why, "priority 200; out of the election: osc fails: connection refused"; got != want {
			t.Errorf("why %q, want %q", got, want)
		}
	}
}

// A reason that ends before the services have stopped moves no role.
func TestServices_FaultThatEnds(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.verdict("osc", health.Fail, "connection refused")
	s.verdict("osc", health.Pass, "")
	s.wantDone("stop services of web, chosen false", "start services of web after 0s")
	if got := s.n.set.State(s.router("web").id).Role; got != vrrp.Master {
		t.Errorf("role %s", got)
	}
}

// What is waited for is the old master, since this one took over: a fault that
// comes and goes meanwhile does not shorten it.
func TestServices_FaultDoesNotShortenPromoteAfter(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.advance(3300 * time.Millisecond) // master since 3.219s
	s.verdict("osc", health.Fail, "connection refused")
	s.forget()
	s.verdict("osc", health.Pass, "")
	s.wantDone("start services of web after 9.91875s")
}

// A fence has been there once the services are ready. If it were started again,
// it would switch off a standby that is well.
func TestServices_FencedOnce(t *testing.T) {
	causes := map[string]func(*stage){
		"a fault that ends": func(s *stage) {
			s.verdict("osc", health.Fail, "connection refused")
			s.verdict("osc", health.Pass, "")
		},
		"a service that does not stop": func(s *stage) {
			s.n.leave(s.now)
			s.report(role.StopFailed, "osc", "no")
		},
	}
	for name, cause := range causes {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, served(false))
			s.serving()
			cause(s)
			if s.asked.To != role.Master || s.asked.Takeover != "" {
				t.Errorf("started again to %s after %q, want MASTER after nothing", s.asked.To, s.asked.Takeover)
			}
		})
	}
	t.Run("before they were ready", func(t *testing.T) {
		s := newStage(t, served(false))
		s.start()
		s.verdict("osc", health.Pass, "")
		s.advance(3300 * time.Millisecond)
		causes["a fault that ends"](s)
		if s.asked.Takeover != "silence" {
			t.Errorf("started again after %q, want silence: nobody knows whether the fence was", s.asked.Takeover)
		}
	})
}

func TestServices_BetterMaster(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.hear(peerAddr, 210)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", // its last word, see vrrp
		"tell web BACKUP", "services of web follow b", "stop services of web, chosen false")
	if s.asked.To != role.Backup || s.asked.Master != "b" || s.asked.PreviousMaster != "a" {
		t.Errorf("the services are told %+v", s.asked)
	}
	s.report(role.Stopped, "", "")
	s.wantDone()
	if got, want := s.status.Routers[0].Why, "priority 200; backup to b (210)"; got != want {
		t.Errorf("why %q, want %q", got, want)
	}
}

func TestServices_LinkLost(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.link(eth(false))
	s.wantDone("release web", "tell web FAULT", "stop services of web, chosen false")
}

// A node that has lost the majority waits for nothing: the others take over
// already.
func TestServices_MajorityLost(t *testing.T) {
	cfg := served(false)
	cfg.Routers[0].Track = []config.Track{track("osc", config.Fault, 0, config.Always), track("majority", config.Fault, 0, config.Always)}
	cfg.Checks = []config.Check{{Name: "majority", Type: config.QuorumCheck}, {Name: "osc", Type: config.HTTPCheck}}
	s := newStage(t, cfg)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.verdict("majority", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.on("web")
	s.forget()
	s.verdict("majority", health.Fail, "1 of 3 nodes")
	s.wantDone("stop services of web, chosen false", "release web", "tell web FAULT")
}

func TestServices_StartFails(t *testing.T) {
	for kind, what := range map[role.ReportKind]string{role.StartFailed: "service did not start", role.Lost: "service cannot be brought back"} {
		s := newStage(t, served(false))
		s.serving()
		s.report(kind, "osc", "osc.service: job failed")
		s.wantLog(what)
		s.wantDone("stop services of web, chosen false")
		s.report(role.Stopped, "", "")
		s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT")
		s.wantRole(vrrp.Fault, "osc.service: job failed (held: it failed as master)")
		// Another node has the role: the hold lasts.
		for range 250 {
			s.advance(time.Second)
			s.hear(peerAddr, 190)
		}
		s.did = nil
		if got := s.n.set.State(s.router("web").id).Role; got != vrrp.Fault {
			t.Errorf("role %s within retry_after", got)
		}
		for range 60 {
			s.advance(time.Second)
			s.hear(peerAddr, 190)
		}
		s.wantRole(vrrp.Backup, "no reason for FAULT is left")
	}
}

// A node whose fence fails says nothing: who hears that it leaves would leave the
// fence out, and start what may still run on the old master.
func TestServices_FenceFailsWithoutAWord(t *testing.T) {
	for name, fenced := range map[string]bool{"fence": true, "no fence": false} {
		t.Run(name, func(t *testing.T) {
			cfg := served(true)
			if fenced {
				cfg.Routers[0].Services = append([]config.Service{{Name: "fence", OnlyAfterSilence: true, StopTimeout: time.Minute}}, cfg.Routers[0].Services...)
			}
			s := newStage(t, cfg)
			s.start()
			s.verdict("osc", health.Pass, "")
			s.advance(3700 * time.Millisecond)
			s.forget()
			s.report(role.StartFailed, "fence", "the power switch does not answer")
			s.report(role.Stopped, "", "")
			want := []string{"stop services of web, chosen false", "release web", "tell web FAULT"}
			if !fenced {
				want = []string{"stop services of web, chosen false", "send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web FAULT"}
			}
			s.wantDone(want...)
		})
	}
}

// What makes sure that a silent master is off may fail: the next time it is told
// of the same one, until the services run.
func TestServices_FenceAgain(t *testing.T) {
	s := newStage(t, served(true))
	s.n.cfg.Routers[0].RetryAfter = time.Second
	s.start()
	s.verdict("osc", health.Pass, "")
	s.hear(peerAddr, 190)
	again := func(want string) {
		t.Helper()
		s.advance(20 * time.Second)
		if r := s.asked; r.To != role.Master || r.Takeover != "silence" || r.PreviousMaster != want {
			t.Fatalf("the services are told %+v, want a takeover from %q", r, want)
		}
	}
	fail := func() {
		s.report(role.StartFailed, "fence", "the power switch does not answer")
		s.report(role.Stopped, "", "")
	}
	again("b")
	fail()
	again("b")
	s.report(role.AddressesOn, "", "")
	s.on("web")
	s.report(role.Ready, "", "")
	s.report(role.Lost, "osc", "died")
	s.report(role.Stopped, "", "")
	again("") // since then it was master itself
}

// A service that is brought back has the grace of its checks anew, each time; one
// that is not costs the role.
func TestServices_DiedWithinGrace(t *testing.T) {
	cfg := served(false)
	serves := track("osc", config.Fault, 0, config.Master)
	serves.Grace = 4 * time.Minute
	cfg.Routers[0].Track = []config.Track{serves}
	s := newStage(t, cfg)
	s.serving()
	s.advance(5 * time.Minute)
	s.report(role.Died, "osc", "osc.service died")
	s.advance(time.Second)
	s.verdict("osc", health.Fail, "connection refused")
	s.advance(3 * time.Minute)
	s.report(role.Died, "osc", "osc.service did not start")
	s.advance(3 * time.Minute)
	s.verdict("osc", health.Pass, "")
	s.verdict("osc", health.Fail, "connection refused")
	if got := s.n.set.State(s.router("web").id).Role; got != vrrp.Master || s.asked.To != role.Master {
		t.Errorf("role %s, told %+v while the service is brought back", got, s.asked)
	}
	s.advance(time.Minute + time.Second)
	if s.asked.To != role.Fault || s.asked.Reason != "osc fails: connection refused" {
		t.Errorf("told %+v after the grace", s.asked)
	}
}

// Before it is certain who is master nothing is touched.
func TestServices_Decide(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.wantDone("begin services of web")
	s.verdict("osc", health.Pass, "")
	s.wantDone("tell web BACKUP")
	s.advance(time.Second)
	s.hear(peerAddr, 190)
	s.wantDone("services of web follow b", "stop services of web, chosen false")
	s.report(role.Stopped, "", "")
	for range 10 {
		s.advance(time.Second)
		s.hear(peerAddr, 190)
	}
	s.wantDone()
	s.hear(thirdAddr, 195)
	s.wantDone("services of web follow 10.0.0.3")

	s = newStage(t, served(false))
	s.start()
	s.forget()
	s.verdict("osc", health.Fail, "no")
	s.wantDone("tell web FAULT", "stop services of web, chosen false")
}

// After it was master itself, a node tells who is also where it is the one that
// it followed before.
func TestServices_FollowAgain(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.hear(peerAddr, 190)
	s.advance(4 * time.Second) // b is silent
	if got := s.n.set.State(s.router("web").id).Role; got != vrrp.Master {
		t.Fatalf("role %s", got)
	}
	s.forget()
	s.hear(peerAddr, 210)
	s.wantDone("tell web BACKUP", "services of web follow b", "stop services of web, chosen false")
}

// What was down while the node was in FAULT may have forgotten whom it follows.
func TestServices_FollowAfterFault(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.hear(peerAddr, 190)
	s.report(role.Stopped, "", "")
	s.verdict("osc", health.Fail, "connection refused")
	s.forget()
	s.verdict("osc", health.Pass, "")
	s.wantDone("tell web BACKUP", "services of web follow b")

	s = newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Fail, "connection refused")
	s.forget()
	s.verdict("osc", health.Pass, "") // nobody was heard
	s.wantDone("tell web BACKUP")
}

// What is said of a service that died is over when the services are stopped.
func TestServices_WhyAfterADeath(t *testing.T) {
	cfg := served(false)
	cfg.Routers[0].Track = append(cfg.Routers[0].Track, track("synced", config.Weight, -100, config.Backup))
	s := newStage(t, cfg)
	s.verdict("synced", health.Fail, "stale")
	s.serving()
	s.report(role.Died, "osc", "osc.service died")
	s.peerServes(time.Second, 210)
	s.report(role.Stopped, "", "")
	s.forget()
	s.advance(5 * time.Second)
	s.wantLog(`from=100 to=200 why="priority 200; master, its services start"`)
}

// How often a service is asked, and how long it may take to answer, is its kind's.
func TestItems_Status(t *testing.T) {
	h := newHost(t.TempDir(), nil, slog.New(slog.DiscardHandler))
	defer h.close()
	d := &daemon{cfg: &config.Config{}, host: h}
	items := d.items([]config.Service{
		{Kind: config.UnitService, Unit: "a.service", StartTimeout: time.Minute},
		{Kind: config.OCFService, AtStart: config.AtStartStop},
		{Kind: config.CommandService, Start: &config.Command{Argv: []string{"a"}}, Status: &config.Command{Argv: []string{"b"}, Timeout: 7 * time.Second}, AtStart: config.AtStartLeave},
	}, role.Router{}, nil)
	for i, want := range []role.Item{
		{StartTimeout: time.Minute},
		{StatusTimeout: 20 * time.Second, AtStart: role.StopFirst},
		{StatusEvery: time.Second, StatusTimeout: 7 * time.Second, AtStart: role.Leave},
	} {
		got := items[i]
		got.Control = nil
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(role.Item{}, "Ready", "What")); diff != "" {
			t.Errorf("%d (-want +got):\n%s", i, diff)
		}
	}
}
