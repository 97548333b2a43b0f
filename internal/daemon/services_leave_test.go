package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/internal/role"
)

func TestServices_Leave(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.n.leave(s.now)
	// A minute for the service and 5 s around it, the handover of 3.2578125 s, and 5 s.
	if got, want := s.n.leaveBy-s.now, 73257812500*time.Nanosecond; got != want {
		t.Errorf("leaving takes at most %s, want %s", got, want)
	}
	s.wantDone("stop services of web, chosen true", "tell web STOP")
	s.advance(800 * time.Millisecond)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush")
	s.report(role.Stopped, "", "")
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
	if s.n.gone() {
		t.Error("gone while the address waits for its successor")
	}
	s.advance(4 * time.Second)
	s.wantDone("release web")
}

func TestServices_LeaveAddressesInTheirPlace(t *testing.T) {
	s := newStage(t, served(true))
	s.serving()
	s.n.leave(s.now)
	s.wantDone("stop services of web, chosen true", "tell web STOP")
	s.report(role.AddressesOff, "", "")
	s.wantDone("release web")
	s.report(role.Stopped, "", "")
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
}

func TestServices_LeaveAsBackup(t *testing.T) {
	s := newStage(t, served(true))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.hear(peerAddr, 190)
	s.report(role.Stopped, "", "")
	s.forget()
	s.n.leave(s.now)
	s.wantDone("tell web STOP")
	if !s.n.gone() {
		t.Error("a backup has nothing to wait for")
	}
}

func TestServices_StopFails(t *testing.T) {
	const text = "osc did not stop within 1m"
	leave := func(s *stage) { s.n.leave(s.now) }
	fault := func(s *stage) { s.verdict("osc", health.Fail, "no") }
	tests := map[string]struct {
		policy config.OnStopFailure
		cause  func(*stage)
		want   []string
		log    string
	}{
		"hold":             {config.StopFailureHold, leave, []string{"start services of web after 0s", "tell web MASTER"}, "stays master"},
		"a FAULT: no hold": {config.StopFailureHold, fault, []string{"abandon services of web"}, "given up nevertheless"},
		"release":          {config.StopFailureRelease, leave, []string{"abandon services of web"}, "given up nevertheless"},
		"reboot":           {config.StopFailureReboot, leave, []string{"reboot for web"}, "rebooted"},
		"reboot, FAULT":    {config.StopFailureReboot, fault, []string{"reboot for web"}, "rebooted"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := served(false)
			cfg.Routers[0].OnStopFailure = tt.policy
			s := newStage(t, cfg)
			s.serving()
			tt.cause(s)
			s.forget()
			s.report(role.StopFailed, "osc", text)
			s.wantDone(tt.want...)
			s.wantLog(tt.log)
			if tt.policy == config.StopFailureReboot {
				s.n.rebootFailed("web")
				s.wantDone("abandon services of web")
			}
			if got, want := s.n.stuck(), name == "hold"; got != want {
				t.Errorf("stuck %t", got)
			}
			if s.n.stuck() && !strings.Contains(s.status.Routers[0].Why, "master, since osc did not stop") {
				t.Errorf("why %q", s.status.Routers[0].Why)
			}
		})
	}
}

// Where there is a fence, a node on which something may still run says nothing when
// it goes: the next one hears silence, and fences.
func TestServices_LeavesWordless(t *testing.T) {
	for _, fence := range []bool{true, false} {
		for name, cause := range map[string]func(*stage){
			"a service that does not stop, FAULT": func(s *stage) {
				s.verdict("osc", health.Fail, "no")
				s.report(role.StopFailed, "osc", "no")
				s.report(role.Stopped, "", "")
			},
			"a service that does not stop, end": func(s *stage) {
				s.n.leave(s.now)
				s.report(role.StopFailed, "osc", "no")
				s.report(role.Stopped, "", "")
			},
			"a second signal": func(s *stage) {
				s.n.leave(s.now)
				s.n.let(s.now)
			},
		} {
			t.Run(fmt.Sprintf("%s, fence %t", name, fence), func(t *testing.T) {
				cfg := served(false)
				cfg.Routers[0].OnStopFailure = config.StopFailureRelease
				if fence {
					cfg.Routers[0].Services = append([]config.Service{{Name: "fence", OnlyAfterSilence: true}}, cfg.Routers[0].Services...)
				}
				s := newStage(t, cfg)
				s.serving()
				cause(s)
				if got := slices.Contains(s.did, "send eth0 vrid 51 priority 0 from 10.0.0.1"); got == fence {
					t.Errorf("said that it leaves: %t", got)
				}
				if got := slices.Contains(s.did, "release web"); !got && fence {
					t.Error("the addresses stay")
				}
			})
		}
	}
}

// That a service did not stop is past once the services have been started again.
func TestServices_StopFailedInAnEarlierMastership(t *testing.T) {
	cfg := served(false)
	cfg.Routers[0].Services = append([]config.Service{{Name: "fence", OnlyAfterSilence: true}}, cfg.Routers[0].Services...)
	s := newStage(t, cfg)
	s.serving()
	s.verdict("osc", health.Fail, "no")
	s.report(role.StopFailed, "osc", "no")
	s.report(role.Stopped, "", "")
	s.verdict("osc", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.on("web")
	s.report(role.Ready, "", "")
	s.forget()
	s.link(eth(true))                                                  // it hears, and cannot send
	s.wantDone("tell web FAULT", "stop services of web, chosen false") // the addresses wait for the successor
}

// A second signal ends even a node that stays master for a service's sake.
func TestServices_LetAfterHold(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.n.leave(s.now)
	s.report(role.StopFailed, "osc", "no")
	s.forget()
	s.n.let(s.now)
	s.wantDone("tell web STOP", "send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "release web")
	if s.n.stuck() {
		t.Error("still stuck")
	}
}
