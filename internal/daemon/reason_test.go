package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/role"
	"baton/vrrp"
)

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
