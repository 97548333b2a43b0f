package daemon

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"baton/health"
	"baton/internal/config"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

func TestInit_UntilEveryCheckThatCanFaultHasAnswered(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{
		track("always", config.Fault, 0, config.Always),
		track("promotable", config.Fault, 0, config.Backup),
		track("serving", config.Fault, 0, config.Master),
		track("weight", config.Weight, -20, config.Always),
		track("shown", config.ReportOnly, 0, config.Always),
	}
	s := newStage(t, pair(web))
	s.start()
	for _, check := range []string{"serving", "weight", "shown", "always"} {
		s.advance(10 * time.Second)
		s.verdict(check, health.Pass, "")
		if got := s.router("web").role; got != vrrp.Init {
			t.Fatalf("%s after %s has answered, want INIT", got, check)
		}
	}
	s.wantDone()
	s.verdict("promotable", health.Pass, "")
	s.wantRole(vrrp.Backup, "every check that could fault it has answered")
	s.wantDone("tell web BACKUP")
	if got := s.told[0]; got.From != role.Init || got.Priority != 200 {
		t.Errorf("told %+v, want from INIT with priority 200", got)
	}
}

func TestInit_WithoutChecksEndsAtOnce(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.wantRole(vrrp.Backup, "started")
}

func TestInit_AFailingCheckLeadsToFaultAtOnce(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("a", config.Fault, 0, config.Always), track("b", config.Fault, 0, config.Always)}
	s := newStage(t, pair(web))
	s.start()
	s.verdict("a", health.Fail, "no")
	if got := s.router("web").role; got != vrrp.Init {
		t.Fatalf("%s while b has not answered, want INIT", got)
	}
	s.verdict("b", health.Pass, "")
	s.wantRole(vrrp.Fault, "a fails: no")
	s.wantDone("tell web FAULT")
}

// INIT takes its priority along: it must not be advertised, nor compared, before.
func TestInit_PriorityOfTheFirstVerdictCounts(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("w", config.Weight, -60, config.Always), track("f", config.Fault, 0, config.Always)}
	s := newStage(t, pair(web))
	s.start()
	s.verdict("w", health.Fail, "")
	s.verdict("f", health.Pass, "")
	s.advance(4 * time.Second)
	if got := s.did[1]; got != "send eth0 vrid 51 priority 140 from 10.0.0.1" {
		t.Errorf("first sends %q", got)
	}
	if got := s.told[0]; got.To != role.Backup || got.Priority != 140 {
		t.Errorf("first told %+v, want BACKUP with 140", got)
	}
}

func TestLinkFault(t *testing.T) {
	v6 := webRouter()
	v6.IPv6 = true
	v6.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Advertise: true}}
	sourced := webRouter()
	sourced.Source = netip.MustParseAddr("10.0.0.7")
	healthy4, healthy6 := eth(true, "10.0.0.1/24"), eth(true, "fe80::1/64")
	tentative := eth(true, "fe80::1/64")
	tentative.Addresses[0].Tentative = true
	tests := map[string]struct {
		router  config.Router
		state   link.Interface
		missing bool
		problem map[bool]string
		healthy link.Interface
		want    string
	}{
		"missing":        {webRouter(), link.Interface{}, true, nil, healthy4, "interface eth0 does not exist"},
		"down":           {webRouter(), eth(false, "10.0.0.1/24"), false, nil, healthy4, "interface eth0 is down"},
		"no sockets":     {webRouter(), healthy4, false, map[bool]string{false: "no sockets: no buffer space"}, healthy4, "no sockets: no buffer space"},
		"no address":     {webRouter(), eth(true), false, nil, healthy4, "interface eth0 has no IPv4 address of its own"},
		"other family":   {webRouter(), healthy6, false, nil, healthy4, "interface eth0 has no IPv4 address of its own"},
		"only its VIP":   {webRouter(), eth(true, "10.0.0.100/24"), false, nil, healthy4, "interface eth0 has no IPv4 address of its own"},
		"IPv6":           {v6, eth(true, "2001:db8::1/64"), false, nil, healthy6, "interface eth0 has no link-local address"},
		"tentative":      {v6, tentative, false, nil, healthy6, "interface eth0 has no link-local address"},
		"source_address": {sourced, healthy4, false, nil, eth(true, "10.0.0.1/24", "10.0.0.7/24"), "source_address 10.0.0.7 is not on interface eth0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pair(tt.router))
			u := s.n.uplink("eth0")
			s.n.linkChanged(s.now, u, tt.state, !tt.missing, tt.problem)
			s.n.start(s.now)
			s.wantRole(vrrp.Fault, tt.want)
			s.advance(time.Minute)
			s.wantDone("tell web FAULT")

			s.link(tt.healthy)
			s.wantRole(vrrp.Backup, "no reason for FAULT is left")
			s.advance(4 * time.Second)
			s.wantRole(vrrp.Master, "heard nobody for 3.219s")
			s.on("web")
			s.forget()

			s.n.linkChanged(s.now, u, tt.state, !tt.missing, tt.problem)
			s.wantRole(vrrp.Fault, tt.want)
			if mute := !tt.missing && tt.state.Up && tt.problem == nil; mute {
				// It still hears who takes over, and keeps the addresses until then.
				s.wantDone("tell web FAULT")
				addr := tt.router.Addresses[0].Prefix.Addr()
				s.n.announcement(s.now, u, addr)
				s.wantDone("release web [" + addr.String() + "]")
				return
			}
			// Nobody can be heard, and priority 0 would not be: the addresses go at once.
			s.wantDone("release web", "tell web FAULT")
		})
	}
}

// A problem of one family's sockets is none of the other's.
func TestLinkFault_OfTheOtherFamily(t *testing.T) {
	s := newStage(t, pair())
	s.n.linkChanged(s.now, s.n.uplink("eth0"), eth(true, "10.0.0.1/24"), true, map[bool]string{true: "no sockets"})
	s.n.start(s.now)
	s.wantRole(vrrp.Backup, "started")
}

func TestSource_IsNeverAVirtualAddress(t *testing.T) {
	web, db := webRouter(), webRouter()
	db.Name, db.VRID = "db", 52
	db.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.101/24"), Advertise: true}}
	s := newStage(t, pair(web, db))
	s.link(eth(true, "10.0.0.100/24", "10.0.0.101/24", "10.0.0.1/24"))
	for _, r := range s.n.routers {
		if got := r.source(); got != ownAddr {
			t.Errorf("%s advertises from %s, want %s", r.cfg.Name, got, ownAddr)
		}
	}
}

func TestSource_OfAnOwnerIsItsAddress(t *testing.T) {
	web := webRouter()
	web.Priority = 255
	s := newStage(t, pair(web))
	s.link(eth(true, "10.0.0.100/24"))
	s.n.start(s.now)
	s.wantRole(vrrp.Master, "owns the addresses (priority 255)")
	s.wantDone("send eth0 vrid 51 priority 255 from 10.0.0.100", "flush", "hold web 1")
}

func TestSource_AsConfigured(t *testing.T) {
	web := webRouter()
	web.Source = netip.MustParseAddr("10.0.0.7")
	s := newStage(t, pair(web))
	s.link(eth(true, "10.0.0.1/24", "10.0.0.7/24"))
	if got := s.router("web").source(); got != web.Source {
		t.Errorf("advertises from %s, want %s", got, web.Source)
	}
}

func TestSource_ANewOneIsUsedFromNowOn(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.link(eth(true, "10.0.0.9/24"))
	s.advance(time.Second)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.9", "flush")
}

// An old master must hear the new one before it sees its announcement, and
// this goes for all routers of a turn: first every advertisement, then addresses.
func TestMaster_AdvertisesBeforeItHolds(t *testing.T) {
	web, db := webRouter(), webRouter()
	db.Name, db.VRID = "db", 52
	db.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.0.0.101/24"), Advertise: true}}
	s := newStage(t, pair(web, db))
	s.start()
	s.forget()
	s.advance(3500 * time.Millisecond)
	s.wantDone(
		"send eth0 vrid 51 priority 200 from 10.0.0.1",
		"send eth0 vrid 52 priority 200 from 10.0.0.1",
		"flush",
		"hold web 1",
		"hold db 1",
	)
}

func TestVIPs_AreKeptUntilTheSuccessorAnnouncesThem(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.hear(peerAddr, 250)
	s.wantRole(vrrp.Backup, "b is higher: 250 above 200")
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "flush", "tell web BACKUP")
	if !s.lent["web"] {
		t.Error("the address is announced beside the successor")
	}
	u := s.n.uplink("eth0")
	s.n.announcement(s.now, u, netip.MustParseAddr("10.0.0.77"))
	s.wantDone()
	s.n.announcement(s.now, u, virtual)
	s.wantDone("release web [10.0.0.100]")
	if got := s.n.holding(); len(got) != 1 {
		t.Errorf("holding %q before the worker says that the address is off", got)
	}
	s.event(vip.Off, nil)
	if got := s.n.holding(); len(got) != 0 {
		t.Errorf("holding %q, want nothing", got)
	}
}

// Somebody's claim to an address that we hold as master is none of a handover.
func TestVIPs_OfAMasterStayWhoeverAnnouncesThem(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.n.announcement(s.now, s.n.uplink("eth0"), virtual)
	s.wantDone()
}

func TestLeave_AsMaster(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	// skew of 190 (258 ms), one interval, a margin of 2 s
	s.n.leave(s.now)
	if got, want := s.n.leaveBy-s.now, 3257812500*time.Nanosecond+leaveMargin; got != want {
		t.Errorf("leaving takes at most %s, want %s", got, want)
	}
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web STOP")
	want := role.Transition{
		To: role.Stop, From: role.Master, Priority: 200, Reason: "baton stops", PreviousMaster: "a",
	}
	if diff := cmp.Diff([]role.Transition{want}, s.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if got := s.n.holding(); !cmp.Equal(got, []string{"web"}) {
		t.Errorf("holding %q until the successor has it, want web", got)
	}
	s.advance(3257 * time.Millisecond)
	s.wantDone()
	s.advance(time.Millisecond)
	s.wantDone("release web")
}

func TestLeave_Otherwise(t *testing.T) {
	web := webRouter()
	web.Track = []config.Track{track("c", config.Fault, 0, config.Always)}
	tests := map[string]struct {
		verdict health.Verdict
		from    role.State
		want    role.Transition
	}{
		"init":   {health.Unknown, role.Init, role.Transition{}},
		"backup": {health.Pass, role.Backup, role.Transition{Master: "b", MasterAddress: "10.0.0.2"}},
		"fault":  {health.Fail, role.Fault, role.Transition{Master: "b", MasterAddress: "10.0.0.2"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, pair(web))
			s.start()
			if tt.verdict != health.Unknown {
				s.verdict("c", tt.verdict, "")
			}
			if tt.from != role.Init {
				s.hear(peerAddr, 250)
			}
			s.forget()
			s.n.leave(s.now)
			s.wantDone("tell web STOP")
			tt.want.To, tt.want.From, tt.want.Priority, tt.want.Reason = role.Stop, tt.from, 200, "baton stops"
			if diff := cmp.Diff([]role.Transition{tt.want}, s.told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			// Nothing brings a router that has left back.
			s.link(eth(false))
			s.link(eth(true, "10.0.0.1/24"))
			s.verdict("c", health.Pass, "")
			s.advance(time.Hour)
			s.wantDone()
		})
	}
}

func TestLet_LetsEveryAddressGo(t *testing.T) {
	s := newStage(t, pair())
	s.master()
	s.n.leave(s.now)
	s.did = nil
	s.n.let(s.now)
	s.wantDone("release web")
}

func TestNames(t *testing.T) {
	tests := map[string]struct {
		nodes      []config.Node
		priorities map[string]uint8
		earlier    uint8 // a priority that the rival advertised before
		rival      vrrp.Rival
		want       string
	}{
		"nobody":             {nil, nil, 0, vrrp.Rival{}, ""},
		"by cluster address": {pair().Nodes, nil, 0, vrrp.Rival{Addr: peerAddr, Priority: 7}, "b"},
		"by another address": {
			[]config.Node{{Name: "b", Cluster: thirdAddr, Networks: map[string]netip.Addr{"lan": peerAddr}}}, nil, 0,
			vrrp.Rival{Addr: peerAddr, Priority: 7}, "b",
		},
		"by priority":          {nil, map[string]uint8{"a": 200, "b": 190, "c": 180}, 0, vrrp.Rival{Addr: thirdAddr, Priority: 180}, "c"},
		"address goes first":   {pair().Nodes, map[string]uint8{"a": 200, "b": 190, "c": 180}, 0, vrrp.Rival{Addr: peerAddr, Priority: 180}, "b"},
		"our own priority":     {nil, map[string]uint8{"a": 200, "b": 190}, 0, vrrp.Rival{Addr: thirdAddr, Priority: 200}, "10.0.0.3"},
		"priority of nobody":   {nil, map[string]uint8{"a": 200, "b": 190}, 0, vrrp.Rival{Addr: thirdAddr, Priority: 170}, "10.0.0.3"},
		"priority of two":      {nil, map[string]uint8{"a": 200, "b": 190, "c": 190}, 0, vrrp.Rival{Addr: thirdAddr, Priority: 190}, "10.0.0.3"},
		"who left, by earlier": {nil, map[string]uint8{"a": 200, "b": 190}, 190, vrrp.Rival{Addr: thirdAddr}, "b"},
		"who left, unheard of": {nil, map[string]uint8{"a": 200, "b": 190}, 0, vrrp.Rival{Addr: thirdAddr}, "10.0.0.3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			web := webRouter()
			web.Priorities = tt.priorities
			cfg := pair(web)
			cfg.Nodes = tt.nodes
			s := newStage(t, cfg)
			s.start()
			if tt.earlier > 0 {
				s.hear(tt.rival.Addr, tt.earlier)
			}
			if got := s.router("web").nameOf(tt.rival); got != tt.want {
				t.Errorf("nameOf = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLookupOf(t *testing.T) {
	cfg := pair()
	cfg.Nodes[1].Networks = map[string]netip.Addr{"lan": thirdAddr}
	lookup := lookupOf(cfg)
	for _, tt := range []struct {
		node, network, want string
		ok                  bool
	}{
		{"b", "lan", "10.0.0.3", true},
		{"b", "cluster", "10.0.0.2", true},
		{"b", "wan", "", false},
		{"c", "lan", "", false},
	} {
		got, ok := lookup(tt.node, tt.network)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s.%s is %q, %t; want %q, %t", tt.node, tt.network, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSendFailed_IsLoggedOnceAMinuteForEachDestination(t *testing.T) {
	s := newStage(t, pair())
	failed := func(name string, dsts ...netip.Addr) {
		var all []error
		for _, dst := range dsts {
			all = append(all, &link.SendError{Interface: name, Source: ownAddr, Destination: dst, Err: unix.ENETDOWN})
		}
		s.n.sendFailed(s.now, errors.Join(all...))
	}
	failed("eth0", peerAddr)
	failed("eth1", peerAddr)
	s.now += time.Minute - 1
	failed("eth0", peerAddr, thirdAddr)
	if got := strings.Count(s.log.String(), "advertisement not sent"); got != 3 {
		t.Errorf("%d lines within a minute, want one for each of 3 destinations:\n%s", got, s.log.String())
	}
	s.now++
	failed("eth0", thirdAddr, peerAddr)
	if got := strings.Count(s.log.String(), "advertisement not sent"); got != 4 {
		t.Errorf("%d lines after a minute, want 4:\n%s", got, s.log.String())
	}
	s.n.sendFailed(s.now, errors.New("another one"))
	s.wantLog(`msg="advertisement not sent" err="another one"`)
}

func TestAddressEvent_OfNobody(t *testing.T) {
	s := newStage(t, pair())
	s.start()
	s.forget()
	s.n.addressEvent(s.now, vip.Event{Router: "gone", Kind: vip.Failed, Err: errors.New("no")})
	s.wantDone()
	s.n.addressEvent(s.now, vip.Event{Kind: vip.Stuck, After: 3 * time.Second, Err: errors.New("no answer")})
	s.wantLog(`msg="the kernel does not answer a request for addresses" after=3s err="no answer"`)
}
