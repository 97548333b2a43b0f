package daemon

import (
	"slices"
	"strings"
	"testing"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// What a master must not wait for counts also while its services are stopped as
// it was told to leave.
func TestLeaving_WhatIsNotWaitedFor(t *testing.T) {
	tests := map[string]struct {
		happens func(*stage)
		want    []string
	}{
		"the link is lost":     {func(s *stage) { s.link(eth(false)) }, []string{"release web"}},
		"the majority is lost": {func(s *stage) { s.verdict("majority", health.Fail, "1 of 3 nodes") }, []string{"release web"}},
		"the majority is lost, and its grace ends": {func(s *stage) {
			s.n.groups[0].tracks[1].Effect.Grace = 10 * time.Minute
			s.verdict("majority", health.Fail, "1 of 3 nodes")
			s.wantDone()
			s.advance(10 * time.Minute)
			s.did = s.did[len(s.did)-1:] // after its advertisements
		}, []string{"release web"}},
		"a check fails": {func(s *stage) { s.verdict("osc", health.Fail, "connection refused") }, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := served(false)
			cfg.Routers[0].Track = append(cfg.Routers[0].Track, track("majority", config.Fault, 0, config.Always))
			cfg.Checks = []config.Check{{Name: "majority", Type: config.QuorumCheck}, {Name: "osc", Type: config.HTTPCheck}}
			s := newStage(t, cfg)
			s.start()
			s.verdict("osc", health.Pass, "")
			s.verdict("majority", health.Pass, "")
			s.advance(3700 * time.Millisecond)
			s.on("web")
			s.report(role.Ready, "", "")
			s.n.leave(s.now)
			s.forget()
			tt.happens(s)
			s.wantDone(tt.want...)
			s.link(eth(true, "10.0.0.1/24"))
			s.verdict("majority", health.Pass, "")
			s.advance(900 * time.Millisecond)
			if got := s.n.set.State(s.router("web").id).Role; tt.want != nil && got != vrrp.Init {
				t.Errorf("role %s: one that leaves must not come back", got)
			}
			s.report(role.Stopped, "", "")
			s.event(vip.Off, nil)
			if !s.n.groups[0].left {
				t.Error("it has not left")
			}
		})
	}
}

// In FAULT nobody holds, whoever stops baton meanwhile.
func TestLeaving_NoHoldInFault(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.verdict("osc", health.Fail, "connection refused")
	s.n.leave(s.now)
	s.forget()
	s.report(role.StopFailed, "osc", "osc did not stop within 1m")
	s.wantDone("abandon services of web")
	if s.n.stuck() {
		t.Error("stuck in FAULT")
	}
	s.report(role.Stopped, "", "")
	s.advance(10 * time.Second)
	s.event(vip.Off, nil)
	if !s.n.gone() {
		t.Error("not gone")
	}
}

// That a check asks a service in vain which is being stopped, or started again, is
// no failure.
func TestLeaving_ChecksOfStoppedServices(t *testing.T) {
	start := func() *stage {
		cfg := served(false)
		serves := track("serves", config.Fault, 0, config.Master)
		serves.Grace = time.Minute
		cfg.Routers[0].Track = append(cfg.Routers[0].Track, serves)
		s := newStage(t, cfg)
		s.serving()
		s.advance(5 * time.Minute)
		return s
	}
	s := start()
	s.n.leave(s.now)
	s.verdict("serves", health.Fail, "connection refused")
	s.report(role.StopFailed, "osc", "no")
	s.advance(50 * time.Second)
	if s.asked.To != role.Master || !s.n.stuck() {
		t.Errorf("told %+v within the grace of a check", s.asked)
	}
	s.advance(20 * time.Second)
	if s.asked.To != role.Fault {
		t.Errorf("told %+v after the grace of a check", s.asked)
	}

	s = start()
	s.verdict("osc", health.Fail, "no")
	s.verdict("serves", health.Fail, "connection refused")
	s.report(role.Stopped, "", "")
	s.verdict("osc", health.Pass, "")
	s.wantRole(vrrp.Backup, "no reason for FAULT is left")
}

// A backup whose services still stop does not take the role once more, though its
// master falls silent.
func TestLeaving_BackupWhoseServicesStop(t *testing.T) {
	cfg := served(false)
	fence := config.Service{Name: "fence", OnlyAfterSilence: true}
	cfg.Routers[0].Services = append([]config.Service{fence}, cfg.Routers[0].Services...)
	s := newStage(t, cfg)
	s.serving()
	s.hear(peerAddr, 210)
	s.forget()
	s.n.leave(s.now)
	s.wantDone("tell web STOP") // and the addresses wait for the successor, as before
	s.advance(20 * time.Second)
	s.wantDone("release web")
	s.event(vip.Off, nil)
	if s.n.gone() {
		t.Error("gone while a service is stopped")
	}
	s.report(role.Stopped, "", "")
	if !s.n.gone() {
		t.Error("not gone")
	}
}

// MASTER is never told after STOP.
func TestLeaving_BeforeTheAddressesAreOn(t *testing.T) {
	s := newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.advance(3300 * time.Millisecond)
	s.n.leave(s.now)
	s.on("web")
	if last := s.told[len(s.told)-1].To; last != role.Stop {
		t.Errorf("told %s at last, want STOP", last)
	}
}

// Who stays master with a service that does not stop says so once the addresses
// are on again, and leaves when the role is gone, or at a second signal.
func TestLeaving_Hold(t *testing.T) {
	start := func() *stage {
		s := newStage(t, served(true))
		s.serving()
		s.n.leave(s.now)
		s.report(role.AddressesOff, "", "")
		s.event(vip.Off, nil)
		s.forget()
		s.report(role.StopFailed, "osc", "osc did not stop within 1m")
		s.wantDone("start services of web after 0s")
		s.report(role.AddressesOn, "", "")
		s.wantDone("hold web 2")
		s.on("web")
		s.wantDone("placed web", "tell web MASTER")
		if last := s.told[0]; last.From != role.Stop || last.Reason != "osc did not stop within 1m" {
			t.Errorf("told %+v", last)
		}
		s.report(role.Ready, "", "")
		if r := s.status.Routers[0]; !r.Ready || !strings.Contains(r.Why, "master, since osc did not stop") {
			t.Errorf("ready %t, why %q", r.Ready, r.Why)
		}
		s.advance(10 * time.Minute)
		if !s.n.stuck() {
			t.Error("not stuck")
		}
		s.forget()
		return s
	}
	s := start()
	s.n.let(s.now)
	if len(s.told) != 1 || s.told[0].To != role.Stop {
		t.Errorf("told %+v at the second signal, want STOP", s.told)
	}
	s.event(vip.Off, nil)
	if s.n.stuck() || !s.n.gone() {
		t.Errorf("after a second signal: stuck %t, gone %t", s.n.stuck(), s.n.gone())
	}

	s = start()
	s.hear(peerAddr, 210)
	if len(s.told) != 2 || s.told[0].To != role.Backup || s.told[1].To != role.Stop {
		t.Errorf("told %+v, want BACKUP and STOP", s.told)
	}
	if s.n.stuck() {
		t.Error("stuck without the role")
	}
	if s.n.leaveBy < s.now+time.Minute {
		t.Errorf("%s to leave, and the service may need a minute", s.n.leaveBy-s.now)
	}
	s.report(role.StopFailed, "osc", "no")
	s.report(role.Stopped, "", "")
	s.advance(10 * time.Second)
	s.event(vip.Off, nil)
	if !s.n.gone() {
		t.Error("not gone")
	}
}

// A service that is dead is not ready, nor is a master with an address that is
// away.
func TestServices_NotReadyMeanwhile(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.report(role.Died, "osc", "osc.service died")
	if r := s.status.Routers[0]; r.Ready || r.Why != "priority 200; master, osc died and is brought back" {
		t.Errorf("ready %t, why %q with a dead service", r.Ready, r.Why)
	}
	s.report(role.Ready, "", "")
	if r := s.status.Routers[0]; !r.Ready || r.Why != "priority 200; master" {
		t.Errorf("ready %t, why %q when it is back", r.Ready, r.Why)
	}
	s.event(vip.Failed, errNoRoom)
	if s.status.Routers[0].Ready {
		t.Error("ready without an address")
	}
	s.event(vip.Recovered, nil)
	if !s.status.Routers[0].Ready {
		t.Error("not ready though the address is back")
	}
}

// Where the addresses wait for their turn, the first advertisement does not wait
// for them.
func TestServices_VirtualMACAndMark(t *testing.T) {
	cfg := served(true)
	cfg.Routers[0].VirtualMAC = &config.VirtualMAC{Name: "vrrp.51"}
	s := newStage(t, cfg)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.forget()
	s.advance(3219 * time.Millisecond)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1 by 00005e000133", "flush", "start services of web after 10s")
}

// A conflict that is won while services are stopped is healed as any other.
func TestServices_AnnouncedWhileTheyStop(t *testing.T) {
	s := newStage(t, served(true))
	s.serving()
	s.verdict("osc", health.Fail, "no")
	s.forget()
	s.hear(peerAddr, 100)
	if !slices.Contains(s.did, "hold web 2") {
		t.Errorf("did %q: the addresses are not announced again", s.did)
	}
	s.n.leave(s.now)
	s.forget()
	s.report(role.Stopped, "", "")
	s.advance(10 * time.Second)
	s.event(vip.Off, nil)
	if !s.n.gone() {
		t.Error("not gone")
	}
}

// The role moves also where there is no hold, or one that is shorter than the stop.
func TestServices_FailureWithoutHold(t *testing.T) {
	for _, hold := range []time.Duration{0, 5 * time.Second} {
		cfg := served(false)
		cfg.Routers[0].RetryAfter = hold
		s := newStage(t, cfg)
		s.serving()
		s.report(role.Lost, "osc", "osc died")
		s.wantDone("stop services of web, chosen false")
		s.advance(20 * time.Second)
		s.forget()
		s.report(role.Stopped, "", "")
		if want := "send eth0 vrid 51 priority 0 from 10.0.0.1"; len(s.did) == 0 || s.did[0] != want {
			t.Errorf("hold %s: did %q, want %q first", hold, s.did, want)
		}
	}
}

// Both families are cut off: neither says that it leaves while services still stop.
func TestServices_MajorityLostByTwoFamilies(t *testing.T) {
	cfg := families()
	for i := range cfg.Routers {
		cfg.Routers[i].Track = []config.Track{track("majority", config.Fault, 0, config.Always)}
		cfg.Routers[i].Services = []config.Service{{Name: "osc", Kind: config.UnitService, StopTimeout: time.Minute}}
	}
	cfg.Checks = []config.Check{{Name: "majority", Type: config.QuorumCheck}}
	s := newStage(t, cfg)
	s.link(eth(true, "10.0.0.1/24", "fe80::1/64"))
	s.n.start(s.now)
	s.verdict("majority", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.on("web IPv4")
	s.on("web IPv6")
	s.report(role.Ready, "", "")
	s.forget()
	s.verdict("majority", health.Fail, "1 of 3 nodes")
	s.wantDone("stop services of web, chosen false", "release web IPv4", "release web IPv6", "tell web FAULT")
}

// servedEdge is the group edge with a service, its addresses behind it.
func servedEdge() *config.Config {
	cfg := edge()
	for i := range cfg.Routers {
		cfg.Routers[i].Services = []config.Service{{Name: "osc", Kind: config.UnitService, StopTimeout: time.Minute}}
		cfg.Routers[i].AddressesAt, cfg.Routers[i].Preempt = 1, false
	}
	return cfg
}

// One of two routers loses its link while the services start, or stop: nothing that
// was asked for before comes to pass any more.
func TestServices_GroupLosesALink(t *testing.T) {
	start := func() *stage {
		s := newStage(t, servedEdge())
		s.link(eth(true, "10.0.0.1/24"))
		s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
		s.n.start(s.now)
		s.verdict("upstream", health.Pass, "")
		s.advance(3700 * time.Millisecond)
		return s
	}
	report := func(s *stage, order uint64, kind role.ReportKind) {
		s.n.serviceReport(s.now, "edge", role.Report{Order: order, Kind: kind})
	}
	s := start()
	begun := s.order
	report(s, begun, role.AddressesOn)
	s.on("lan")
	s.forget()
	s.linkNamed("eth1", eth(false))
	report(s, begun, role.AddressesOn)
	report(s, begun, role.Ready)
	s.on("wan") // had been on its way
	s.wantDone("send eth0 vrid 10 priority 0 from 10.0.0.1", "flush", "release lan", "tell edge FAULT", "stop services of edge, chosen false")
	if s.status.Routers[0].Ready {
		t.Error("ready in FAULT")
	}
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.advance(4 * time.Second)
	if slices.ContainsFunc(s.did, func(d string) bool { return strings.HasPrefix(d, "hold") || strings.HasPrefix(d, "placed") }) {
		t.Errorf("did %q: the addresses wait for the services in each mastership", s.did)
	}

	s = start()
	report(s, s.order, role.AddressesOn)
	s.on("lan")
	s.on("wan")
	report(s, s.order, role.Ready)
	s.verdict("upstream", health.Fail, "no")
	stop := s.order
	s.forget()
	s.linkNamed("eth1", eth(false))
	s.wantDone("send eth0 vrid 10 priority 0 from 10.0.0.1", "flush", "release lan", "tell edge FAULT")
	report(s, stop, role.Stopped)
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.verdict("upstream", health.Pass, "")
	if r := s.status.Routers[0]; r.Role != "BACKUP" || s.order != stop {
		t.Errorf("%s, order %d, want BACKUP and %d", r.Role, s.order, stop)
	}
}

// An owner whose service fails is out for its hold, and does not come back within
// one turn.
func TestServices_OwnerFails(t *testing.T) {
	cfg := served(false)
	cfg.Routers[0].Priority, cfg.Routers[0].Priorities = 255, map[string]uint8{"a": 255, "b": 190}
	cfg.Routers[0].RetryAfter = 0
	s := newStage(t, cfg)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.on("web")
	s.forget()
	s.report(role.StartFailed, "osc", "no")
	s.report(role.Stopped, "", "")
	s.wantRole(vrrp.Fault, "no (held: it failed as master)")
	s.advance(999 * time.Millisecond)
	s.wantRole(vrrp.Fault, "no (held: it failed as master)")
	s.advance(time.Millisecond)
	s.wantRole(vrrp.Master, "owns the addresses (priority 255)")
}

// Nobody holds the role, and this node's turn comes later and later: the log says
// so once each time.
func TestServices_VacantIsLoggedOnce(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	for range 4 {
		s.report(role.Lost, "osc", "osc died")
		s.report(role.Stopped, "", "")
		s.forget()
		for range 200 {
			s.advance(time.Second)
			if s.n.set.State(s.router("web").id).Role == vrrp.Master {
				break
			}
		}
		if n := strings.Count(s.log.String(), "ends early"); n != 1 {
			t.Fatalf("logged %d times:\n%s", n, s.log.String())
		}
	}
}
