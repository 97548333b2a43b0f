package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// families is the router web with addresses of both families.
func families() *config.Config {
	web, six := webRouter(), webRouter()
	web.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)}
	six.Track = web.Track
	six.IPv6 = true
	six.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Repair: true, Advertise: true}}
	return pair(web, six)
}

// edge is two routers on two links in a group.
func edge() *config.Config {
	wan, lan := webRouter(), webRouter()
	wan.Name, wan.Group, wan.VRID = "wan", "edge", 10
	lan.Name, lan.Group, lan.VRID, lan.Interface = "lan", "edge", 20, "eth1"
	wan.Track = []config.Track{track("upstream", config.Fault, 0, config.Always)}
	lan.Track = wan.Track
	lan.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("10.1.0.100/24"), Repair: true, Advertise: true}}
	return pair(lan, wan)
}

func TestGroup_TwoFamiliesAreOneChange(t *testing.T) {
	s := newStage(t, families())
	s.link(eth(true, "10.0.0.1/24", "fe80::1/64"))
	s.n.start(s.now)
	s.verdict("haproxy", health.Pass, "")
	s.advance(4 * time.Second)
	if diff := cmp.Diff([]role.Transition{{To: role.Backup, From: role.Init, Priority: 200, Reason: "every check that could fault it has answered"}}, s.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	s.forget()
	s.on("web IPv4")
	if len(s.told) > 0 {
		t.Errorf("told %v before the addresses of both families are on", s.told)
	}
	s.on("web IPv6")
	if len(s.told) != 1 || s.told[0].To != role.Master || s.told[0].Takeover != "silence" || s.told[0].From != role.Backup {
		t.Errorf("told %+v, want MASTER by silence, once", s.told)
	}
	s.forget()
	s.verdict("haproxy", health.Fail, "no")
	if len(s.told) != 1 || s.told[0].To != role.Fault || s.told[0].Reason != "haproxy fails: no" {
		t.Errorf("told %+v, want FAULT because haproxy fails, once", s.told)
	}
	for _, family := range []string{"IPv4", "IPv6"} {
		s.wantLog("msg=role router=web interface=eth0 family=" + family + ` vrid=51 from=MASTER to=FAULT reason="haproxy fails: no"`)
	}
}

func TestGroup_HooksAreThoseOfTheGroup(t *testing.T) {
	cfg := edge()
	cfg.Routers[0].Notify = config.Notify{Any: []config.Command{{Argv: []string{"hook"}}}}
	cfg.Routers[1].Notify = cfg.Routers[0].Notify
	n := newStage(t, cfg).n
	if len(n.groups) != 1 {
		t.Fatalf("%d groups, want 1", len(n.groups))
	}
	want := role.Router{
		Name: "edge", Group: true, Node: "a", Interfaces: []string{"eth1", "eth0"}, VRIDs: []uint8{20, 10},
		Addresses: []string{"10.1.0.100/24", "10.0.0.100/24"}, Hooks: role.Hooks{Any: []role.Hook{{Argv: []string{"hook"}}}},
	}
	if diff := cmp.Diff(want, n.groups[0].hookRouter()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// startEdge makes the group edge master.
func startEdge(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, edge())
	s.link(eth(true, "10.0.0.1/24"))
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.n.start(s.now)
	s.verdict("upstream", health.Pass, "")
	s.advance(3700 * time.Millisecond)
	s.on("wan")
	s.on("lan")
	for _, r := range s.n.routers {
		if r.role != vrrp.Master {
			t.Fatalf("%s is %s, want MASTER", r.name, r.role)
		}
	}
	if len(s.told) != 2 || s.told[1].To != role.Master {
		t.Fatalf("told %+v, want BACKUP and MASTER", s.told)
	}
	s.forget()
	return s
}

func TestGroup_ALostLinkIsAFaultOfAll(t *testing.T) {
	s := startEdge(t)
	s.linkNamed("eth1", eth(false))
	if len(s.told) != 1 || s.told[0].To != role.Fault || s.told[0].Reason != "lan: interface eth1 is down" {
		t.Errorf("told %+v, want FAULT because of lan, once", s.told)
	}
	s.wantLog(`router=wan interface=eth0 family=IPv4 vrid=10 from=MASTER to=FAULT reason="lan: interface eth1 is down"`)
	s.wantLog(`router=lan interface=eth1 family=IPv4 vrid=20 from=MASTER to=FAULT reason="interface eth1 is down"`)
	if did := strings.Join(s.did, "\n"); !strings.Contains(did, "send eth0 vrid 10 priority 0 from 10.0.0.1\nflush") || !strings.Contains(did, "release lan") || strings.Contains(did, "release wan") {
		t.Errorf("did %q: want priority 0 for wan, whose addresses are lent, and lan's released", s.did)
	}
	s.forget()
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	if len(s.told) != 1 || s.told[0].To != role.Backup || s.told[0].Reason != "no reason for FAULT is left" {
		t.Errorf("told %+v, want BACKUP, once", s.told)
	}
}

// Both families have lost the same link: one reason, and no last word into it.
func TestGroup_ALostLinkOfTwoFamilies(t *testing.T) {
	cfg := families()
	cfg.Routers[0].Track, cfg.Routers[1].Track = nil, nil
	s := newStage(t, cfg)
	s.link(eth(true, "10.0.0.1/24", "fe80::1/64"))
	s.n.start(s.now)
	s.advance(3700 * time.Millisecond)
	s.forget()
	s.link(eth(false, "10.0.0.1/24"))
	s.wantDone("release web IPv4", "tell web FAULT", "release web IPv6")
	if log := s.log.String(); strings.Contains(log, "reasons for FAULT changed") {
		t.Errorf("log tells of one change twice:\n%s", log)
	}
	s.forget()
	s.now += time.Second
	s.link(eth(true, "10.0.0.1/24"))
	s.wantLog(`msg="reasons for FAULT changed" router=web interface=eth0 family=IPv6 vrid=51 reason="interface eth0 has no link-local address"`)
}

// One that starts with a link that is down comes in when that has mended.
func TestGroup_StartsWithALinkThatIsDown(t *testing.T) {
	s := newStage(t, edge())
	s.link(eth(true, "10.0.0.1/24"))
	s.linkNamed("eth1", eth(false))
	s.n.start(s.now)
	s.verdict("upstream", health.Pass, "")
	if len(s.told) != 1 || s.told[0].To != role.Fault {
		t.Errorf("told %+v, want FAULT", s.told)
	}
	s.advance(10 * time.Second)
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.advance(4 * time.Second)
	s.on("wan")
	s.on("lan")
	if got := s.told[len(s.told)-1].To; got != role.Master {
		t.Errorf("told %s at last, want MASTER", got)
	}
}

func TestGroup_StepsBackAsOne(t *testing.T) {
	s := startEdge(t)
	s.hearVRID(peerAddr, 10, 250)
	if len(s.told) != 1 || s.told[0].To != role.Backup || s.told[0].Reason != "wan: b is higher: 250 above 200" || s.told[0].Master != "b" {
		t.Errorf("told %+v, want BACKUP since b is higher for wan", s.told)
	}
	s.wantLog(`router=lan interface=eth1 family=IPv4 vrid=20 from=MASTER to=BACKUP reason="wan: b is higher: 250 above 200"`)
}

// The master left on the link of the router that was not the last to change. Its
// address is no node's, so it goes by the priority that it had there.
func TestGroup_NamesTheOneThatLeft(t *testing.T) {
	cfg := edge()
	for i := range cfg.Routers {
		cfg.Routers[i].Interface, cfg.Routers[i].Preempt = "eth0", false
	}
	s := newStage(t, cfg)
	s.start()
	s.verdict("upstream", health.Pass, "")
	s.hearVRID(thirdAddr, 10, 190)
	other := netip.MustParseAddr("10.0.0.4")
	s.hearVRID(other, 20, 190)
	s.hearVRID(other, 20, 0)
	s.forget()
	s.advance(2 * time.Second)
	s.on("lan")
	s.on("wan")
	if len(s.told) != 1 || s.told[0].To != role.Master || s.told[0].PreviousMaster != "b" || s.told[0].Takeover != "handover" {
		t.Errorf("told %+v, want MASTER by handover from b", s.told)
	}
}

func TestGroup_HoldIsOfAll(t *testing.T) {
	cfg := edge()
	for i := range cfg.Routers {
		cfg.Routers[i].Track = []config.Track{track("serving", config.Fault, 0, config.Master)}
	}
	s := newStage(t, cfg)
	s.link(eth(true, "10.0.0.1/24"))
	s.linkNamed("eth1", eth(true, "10.1.0.1/24"))
	s.n.start(s.now)
	s.advance(3700 * time.Millisecond)
	s.verdict("serving", health.Fail, "no")
	s.verdict("serving", health.Pass, "")
	s.advance(time.Second)
	for _, r := range s.n.routers {
		if r.role != vrrp.Fault {
			t.Errorf("%s is %s, want FAULT: the group failed as master", r.name, r.role)
		}
	}
}

func TestUnicast_GoesToEachPeer(t *testing.T) {
	web := webRouter()
	web.Peers, web.OnlyPeers = []netip.Addr{peerAddr, thirdAddr}, true
	s := newStage(t, pair(web))
	s.start()
	s.advance(3700 * time.Millisecond)
	got := strings.Join(s.did, "\n")
	want := "send eth0 vrid 51 priority 200 from 10.0.0.1 to 10.0.0.2\nsend eth0 vrid 51 priority 200 from 10.0.0.1 to 10.0.0.3\nflush\nhold web 1"
	if !strings.Contains(got, want) {
		t.Errorf("did %q, want %q in it", got, want)
	}
	u := s.n.uplink("eth0")
	if diff := cmp.Diff(map[bool]link.Known{false: {UnicastV3: link.VRIDs{}.With(51)}}, u.known); diff != "" {
		t.Errorf("known on the link (-want +got):\n%s", diff)
	}
}

func TestVirtualMAC_AdvertisementsComeFromIt(t *testing.T) {
	for fromInterface, want := range map[bool]string{
		false: "send eth0 vrid 51 priority 200 from 10.0.0.1 by 00005e000133",
		true:  "send eth0 vrid 51 priority 200 from 10.0.0.1",
	} {
		web := webRouter()
		web.VirtualMAC = &config.VirtualMAC{Name: "vrrp.51", FromInterface: fromInterface}
		s := newStage(t, pair(web))
		s.start()
		s.advance(3700 * time.Millisecond)
		s.on("web")
		if got := s.did[slices.IndexFunc(s.did, func(d string) bool { return strings.HasPrefix(d, "send") })]; got != want {
			t.Errorf("from the interface %t: %q, want %q", fromInterface, got, want)
		}
		if got := s.n.uplink("eth0").virtual[false]; got == fromInterface {
			t.Errorf("from the interface %t: the link is told that it has a virtual MAC: %t", fromInterface, got)
		}
	}
}

// The first advertisement moves the virtual MAC to this host's port: it goes
// when the addresses answer.
func TestVirtualMAC_FirstAdvertisementWaitsForTheAddresses(t *testing.T) {
	web := webRouter()
	web.VirtualMAC = &config.VirtualMAC{Name: "vrrp6.51"}
	web.IPv6 = true
	web.Addresses = []config.Address{{Prefix: netip.MustParsePrefix("2001:db8::100/64"), Advertise: true}}
	const advertisement = "send eth0 vrid 51 priority 200 from fe80::1 by 00005e000233"
	start := func() *stage {
		s := newStage(t, pair(web))
		s.link(eth(true, "fe80::1/64"))
		s.n.start(s.now)
		s.advance(3218750*time.Microsecond + time.Millisecond)
		s.wantDone("tell web BACKUP", "hold web 1")
		return s
	}
	s := start()
	s.on("web")
	s.wantDone(advertisement, "flush", "tell web MASTER")
	s.advance(500 * time.Millisecond)
	s.wantDone()

	s = start() // they do not come
	s.advance(mostKept - time.Millisecond)
	s.wantDone(advertisement, "flush")
	s.on("web")
	s.wantDone("tell web MASTER")

	s = newStage(t, pair(web)) // the next one is due 6 ms later: routers of a link share a phase
	s.now += 775 * time.Millisecond
	s.link(eth(true, "fe80::1/64"))
	s.n.start(s.now)
	s.advance(3218750*time.Microsecond + 10*time.Millisecond)
	s.wantDone("tell web BACKUP", "hold web 1")
	s.on("web")
	s.wantDone(advertisement, "flush", "tell web MASTER")
	s.advance(900 * time.Millisecond)
	s.wantDone()

	s = start() // it has something better to say
	s.n.linkChanged(s.now, s.n.uplink("eth0"), eth(false), true, nil)
	s.n.leave(s.now)
	s.forget()
	s.advance(time.Second)
	s.wantDone()
}

// A third node must not take silence for the end of the second.
func TestVirtualMAC_FirstAdvertisementWaitsLessThanTheNextBackup(t *testing.T) {
	for _, tt := range []struct {
		priorities map[string]uint8
		interval   time.Duration
		want       time.Duration
	}{
		{map[string]uint8{"a": 200, "b": 190}, time.Second, mostKept},
		{map[string]uint8{"a": 200, "b": 190}, 10 * time.Millisecond, 5 * time.Millisecond},
		{map[string]uint8{"a": 200, "b": 210, "c": 190}, time.Second, 10 * time.Second / 512},
		{map[string]uint8{"a": 200, "b": 210, "c": 190}, 100 * time.Millisecond, time.Second / 512},
		{map[string]uint8{"a": 200, "b": 210, "c": 220}, time.Second, time.Second / 512},
		{nil, time.Second, time.Second / 512},
	} {
		web := webRouter()
		web.Priorities, web.Interval = tt.priorities, tt.interval
		if got := newStage(t, pair(web)).router("web").mayKeep(); got != tt.want {
			t.Errorf("%v each %s: %s, want %s", tt.priorities, tt.interval, got, tt.want)
		}
	}
}

func TestStartDelay(t *testing.T) {
	web := webRouter()
	web.StartDelay = time.Minute
	s := newStage(t, pair(web))
	s.start()
	s.advance(time.Minute - 1)
	if got := s.router("web").role; got != vrrp.Init {
		t.Fatalf("%s before the delay is over, want INIT", got)
	}
	s.advance(1)
	s.wantRole(vrrp.Backup, "started")
}

func TestTrackLink_OffIsMasterWithoutALink(t *testing.T) {
	web := webRouter()
	web.TrackLink = false
	s := newStage(t, pair(web))
	s.master()
	down := eth(false, "10.0.0.1/24")
	s.link(down)
	s.event(vip.Failed, errNoRoom)
	if got := s.router("web").role; got != vrrp.Master {
		t.Fatalf("%s with the link down, want MASTER", got)
	}
}
