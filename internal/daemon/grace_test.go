package daemon

import (
	"testing"
	"time"

	"baton/health"
	"baton/internal/config"
	"baton/vrrp"
)

// A grace that began anew with the FAULT that it led to would end that FAULT
// at once, and the router would go to and fro for ever.
func TestGrace_DoesNotBeginAnewInFault(t *testing.T) {
	web := webRouter()
	grace := track("app", config.Fault, 0, config.Always)
	grace.Grace = 2 * time.Second
	web.Track = []config.Track{grace}
	s := newStage(t, pair(web))
	s.start()
	s.verdict("app", health.Pass, "")
	s.advance(3300 * time.Millisecond)
	s.wantRole(vrrp.Master, "heard nobody for 3.219s")
	s.verdict("app", health.Fail, "no")
	if got := s.router("web").role; got != vrrp.Master {
		t.Fatalf("%s within the grace, want MASTER", got)
	}
	s.advance(2 * time.Second)
	s.wantRole(vrrp.Fault, "app fails: no")
	s.advance(time.Minute)
	if got := s.router("web").role; got != vrrp.Fault {
		t.Errorf("%s a minute later, want FAULT", got)
	}
}
