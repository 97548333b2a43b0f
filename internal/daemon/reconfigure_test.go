package daemon

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"baton/health"
	"baton/internal/config"
	"baton/internal/link"
	"baton/internal/role"
	"baton/vip"
	"baton/vrrp"
)

// reload makes the node one of another configuration, as the daemon does.
func (s *stage) reload(cfg *config.Config) {
	for _, c := range cfg.Routers {
		s.n.uplink(c.Interface)
	}
	s.n.reconfigure(s.now, cfg, sameRouters(s.n.cfg, cfg))
}

// changed is a configuration like another one in which web is changed.
func changed(cfg *config.Config, change func(*config.Router)) *config.Config {
	next := *cfg
	next.Routers = slices.Clone(cfg.Routers)
	for i := range next.Routers {
		if next.Routers[i].Name == "web" {
			change(&next.Routers[i])
		}
	}
	return &next
}

func prefixes(list ...string) (all []config.Address) {
	for _, p := range list {
		all = append(all, config.Address{Prefix: netip.MustParsePrefix(p), Repair: true, Advertise: true})
	}
	return all
}

func unitServices(names ...string) (all []config.Service) {
	for _, name := range names {
		all = append(all, config.Service{Kind: config.UnitService, Name: name, Unit: name})
	}
	return all
}

// What a change of one key of a live master does, and nothing else.
func TestReconfigure_LiveMaster(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*config.Router)
		want   []string
	}{
		{"nothing", func(*config.Router) {}, nil},
		{"its name", func(c *config.Router) { c.Name = "www" }, []string{
			"addresses of web are [10.0.0.100/24] of www", "hooks of web are those of www"}},
		{"a lower priority", func(c *config.Router) {
			c.Priority, c.BestRival, c.Priorities = 180, 200, map[string]uint8{"a": 180, "b": 200}
		}, nil},
		{"an address more", func(c *config.Router) { c.Addresses = prefixes("10.0.0.100/24", "10.0.0.101/24") }, []string{
			"addresses of web are [10.0.0.100/24 10.0.0.101/24] of web", "hooks of web are those of web"}},
		{"the interval", func(c *config.Router) { c.Interval = 2 * time.Second }, nil},
		{"a hook", func(c *config.Router) { c.Notify.Any = []config.Command{{Argv: []string{"hook"}}} }, []string{"hooks of web are those of web"}},
		{"a check that is unknown", func(c *config.Router) { c.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)} }, nil},
		{"services", func(c *config.Router) { c.Services = unitServices("db") }, []string{
			"begin services of web", "start services of web after 0s"}},
		{"routes", func(c *config.Router) { c.Routes = []config.Route{{To: netip.MustParsePrefix("0.0.0.0/0")}} }, []string{
			"addresses of web are [10.0.0.100/24] of web"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := pair()
			s := newStage(t, cfg)
			s.master()
			due := s.n.deadline()
			s.reload(changed(cfg, test.change))
			s.wantDone(test.want...)
			if r := s.n.routers[0]; s.n.set.State(r.id).Role != vrrp.Master {
				t.Fatalf("it is %s", s.n.set.State(r.id).Role)
			}
			if got := s.n.deadline(); got != due {
				t.Errorf("the next advertisement is due in %s, and was in %s", got-s.now, due-s.now)
			}
			if len(s.told) > 0 {
				t.Errorf("the hooks are told %v", s.told)
			}
		})
	}
}

func TestReconfigure_PriorityIsToldWithTheNextAdvertisement(t *testing.T) {
	cfg := pair()
	s := newStage(t, cfg)
	s.master()
	s.reload(changed(cfg, func(c *config.Router) {
		c.Priority, c.BestRival, c.Priorities = 180, 200, map[string]uint8{"a": 180, "b": 200}
	}))
	s.advance(time.Second)
	s.wantDone("send eth0 vrid 51 priority 180 from 10.0.0.1", "flush")
}

// A check that fails at once counts at once, as ever.
func TestReconfigure_ATrackedCheckThatFails(t *testing.T) {
	cfg := pair()
	cfg.Checks = []config.Check{{Name: "haproxy"}}
	s := newStage(t, cfg)
	s.master()
	s.verdict("haproxy", health.Fail, "no")
	s.wantDone()
	s.reload(changed(cfg, func(c *config.Router) { c.Track = []config.Track{track("haproxy", config.Fault, 0, config.Always)} }))
	s.wantRole(vrrp.Fault, "haproxy fails: no")
}

func TestReconfigure_ForgetsAVerdict(t *testing.T) {
	cfg := pair()
	cfg.Checks = []config.Check{{Name: "haproxy"}}
	s := newStage(t, cfg)
	s.master()
	s.verdict("haproxy", health.Fail, "no")
	next := pair()
	s.reload(next)
	s.verdict("haproxy", health.Fail, "late")
	if len(s.n.verdicts) > 0 {
		t.Errorf("verdicts: %v", s.n.verdicts)
	}
}

// A master that is not configured any more says that it leaves, and keeps the address
// until it is announced by another one.
func TestReconfigure_RemovesAMaster(t *testing.T) {
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24")
	s := newStage(t, pair(webRouter(), other))
	s.master()
	s.reload(pair(other))
	s.wantDone("addresses of web are [10.0.0.100/24] of web (removed)", "send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web STOP")
	s.wantRole(vrrp.Init, "it is not configured any more")
	s.hear(peerAddr, 190)
	s.n.announcement(s.now, s.n.uplink("eth0"), virtual)
	s.wantDone("release web (removed) [10.0.0.100]")
	s.off("web (removed)")
	s.wantDone("addresses of web (removed) end", "hooks of web end")
	if len(s.n.routers) != 1 || len(s.n.groups) != 1 || len(s.status.Routers) != 1 {
		t.Errorf("%d routers, %d groups, %d in the status", len(s.n.routers), len(s.n.groups), len(s.status.Routers))
	}
	s.advance(time.Second)
	s.wantDone("send eth0 vrid 52 priority 200 from 10.0.0.1", "flush")
}

func TestReconfigure_RemovesABackup(t *testing.T) {
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24")
	s := newStage(t, pair(webRouter(), other))
	s.start()
	s.hear(peerAddr, 250)
	s.forget()
	s.reload(pair(other))
	s.wantDone("addresses of web are [10.0.0.100/24] of web (removed)", "tell web STOP", "addresses of web (removed) end", "hooks of web end")
}

// Services stop before the role goes.
func TestReconfigure_RemovesAMasterWithServices(t *testing.T) {
	web := webRouter()
	web.Services = unitServices("db")
	s := newStage(t, pair(web))
	s.master()
	s.report(role.Ready, "", "")
	s.forget()
	cfg := pair(web)
	cfg.Routers = nil
	s.reload(cfg)
	s.wantDone("addresses of web are [10.0.0.100/24] of web (removed)", "stop services of web, chosen true", "tell web STOP")
	s.n.serviceReport(s.now, "web (removed)", role.Report{Order: s.order, Kind: role.Stopped})
	s.wantDone("send eth0 vrid 51 priority 0 from 10.0.0.1", "flush")
}

// One with another version waits until the old one has gone.
func TestReconfigure_AnotherVersion(t *testing.T) {
	cfg := pair()
	s := newStage(t, cfg)
	s.master()
	s.reload(changed(cfg, func(c *config.Router) { c.Version = 2 }))
	s.wantDone("addresses of web are [10.0.0.100/24] of web (removed)", "send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web STOP")
	s.advance(10 * time.Second)
	s.wantDone("release web (removed)")
	s.off("web (removed)")
	s.wantDone("addresses of web (removed) end", "hooks of web end", "tell web BACKUP")
	if got := s.n.set.State(s.router("web").id).Role; got != vrrp.Backup {
		t.Errorf("the new one is %s", got)
	}
}

func TestReconfigure_MovesAnAddress(t *testing.T) {
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24", "10.0.0.201/24")
	s := newStage(t, pair(webRouter(), other))
	s.master()
	web := webRouter()
	web.Addresses = prefixes("10.0.0.100/24", "10.0.0.201/24")
	other.Addresses = prefixes("10.0.0.200/24")
	s.reload(pair(web, other))
	s.wantDone("addresses of web are [10.0.0.100/24 10.0.0.201/24] of web", "addresses of db are [10.0.0.200/24] of db",
		"hooks of web are those of web", "hooks of db are those of db")
}

// An address of a router that is removed stays where the one is master that gets it.
func TestReconfigure_MovesTheAddressOfARouterThatLeaves(t *testing.T) {
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24")
	s := newStage(t, pair(webRouter(), other))
	s.master()
	other.Addresses = prefixes("10.0.0.200/24", "10.0.0.100/24")
	s.reload(pair(other))
	s.wantDone("addresses of web are [] of web (removed)", "addresses of db are [10.0.0.200/24 10.0.0.100/24] of db",
		"hooks of db are those of db", "send eth0 vrid 51 priority 0 from 10.0.0.1", "flush", "tell web STOP")
}

// group makes routers a group.
func inGroup(name string, routers ...config.Router) []config.Router {
	for i := range routers {
		routers[i].Group = name
	}
	return routers
}

func TestReconfigure_MastersBecomeAGroupAndPart(t *testing.T) {
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24")
	s := newStage(t, pair(webRouter(), other))
	s.master()
	both := inGroup("edge", webRouter(), other)
	s.reload(pair(both...))
	s.wantDone("hooks of db end", "hooks of web are those of edge")
	for _, name := range []string{"web", "db"} {
		if r := s.router(name); r.group.name != "edge" || !r.group.isMaster() {
			t.Errorf("%s is in %s, which is master: %t", name, r.group.name, r.group.isMaster())
		}
	}
	s.on("web")
	s.on("db")
	s.wantDone()
	s.reload(pair(webRouter(), other))
	s.wantDone("tell db MASTER", "hooks of edge are those of web")
	s.advance(time.Second)
	s.wantDone("send eth0 vrid 51 priority 200 from 10.0.0.1", "send eth0 vrid 52 priority 200 from 10.0.0.1", "flush")
}

// A second family of a master is one at once.
func TestReconfigure_ASecondFamilyJoins(t *testing.T) {
	web := webRouter()
	s := newStage(t, pair(web))
	s.master()
	state := eth(true, "10.0.0.1/24", "fe80::1/64")
	s.link(state)
	six := webRouter()
	six.IPv6, six.Addresses = true, prefixes("2001:db8::100/64")
	s.reload(pair(web, six))
	if !s.n.groups[0].isMaster() || len(s.n.groups[0].routers) != 2 || s.n.set.State(s.n.routers[1].id).Role != vrrp.Master {
		t.Fatalf("%v, want two masters", s.did)
	}
	if len(s.told) > 0 {
		t.Errorf("told %v", s.told)
	}
	s.forget()
	s.reload(pair(web))
	if !s.n.groups[0].isMaster() || s.n.set.State(s.router("web").id).Role != vrrp.Master {
		t.Error("without its second family it is no master")
	}
	if !slices.Contains(s.did, "send eth0 vrid 51 priority 0 from fe80::1") {
		t.Errorf("the family that leaves has not said so: %v", s.did)
	}
}

func TestReconfigure_Services(t *testing.T) {
	web := webRouter()
	web.Services = unitServices("db")
	s := newStage(t, pair(web))
	s.master()
	s.report(role.Ready, "", "")
	s.forget()
	next := web
	next.Services = unitServices("db", "app")
	s.reload(pair(next))
	s.wantDone("services of web are [db app] of web")
	if s.n.groups[0].ready() {
		t.Error("ready before the new service is")
	}
	s.report(role.Ready, "", "")
	s.on("web")
	s.forget()
	next.Services = unitServices("app")
	s.reload(pair(next))
	s.wantDone("services of web are [app] of web")
	if !s.n.groups[0].ready() {
		t.Error("not ready because a service has gone")
	}
	s.reload(pair(webRouter()))
	s.wantDone("services of web end")
	s.reload(pair(web))
	s.wantDone("begin services of web", "start services of web after 0s")
}

// The standby of a node holds new routers as well.
func TestReconfigure_Standby(t *testing.T) {
	s := newStage(t, pair())
	s.n.standby = &standby{endBy: vrrp.Never}
	s.n.groups[0].standby = s.n.standby
	s.start()
	other := webRouter()
	other.Name, other.VRID, other.Addresses = "db", 52, prefixes("10.0.0.200/24")
	s.reload(pair(webRouter(), other))
	if got := s.n.set.State(s.router("db").id).Role; got != vrrp.Fault {
		t.Errorf("a router that comes in standby is %s", got)
	}
}

func (s *stage) off(name string) {
	for _, r := range s.n.routers {
		if r.name == name {
			s.n.addressEvent(s.now, vip.Event{Router: name, Kind: vip.Off, Seq: r.holds})
			return
		}
	}
	s.t.Fatalf("no router %s", name)
}

// After any sequence of reloads the node is what one is that was made with the last
// configuration, but for its roles; and who is configured the same all the time has
// missed nothing.
func TestReconfigure_AnySequence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func() *config.Config {
			cfg := pair()
			cfg.Routers = nil
			for i := range 4 {
				c := webRouter()
				c.Name = fmt.Sprintf("r%d", i)
				c.VRID = uint8(10 + rapid.IntRange(0, 5).Draw(rt, "VRID"))
				c.Version = rapid.SampledFrom([]int{3, 3, 3, 2}).Draw(rt, "version")
				c.Interface = rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(rt, "interface")
				c.Priority = uint8(rapid.IntRange(1, 3).Draw(rt, "priority")) * 50
				c.Addresses = prefixes(fmt.Sprintf("10.0.%d.%d/24", i, rapid.IntRange(1, 2).Draw(rt, "address")))
				if rapid.Bool().Draw(rt, "services") {
					c.Services = unitServices(rapid.SampledFrom([]string{"db", "app"}).Draw(rt, "service"))
				}
				if rapid.Bool().Draw(rt, "track") {
					c.Track = []config.Track{track("haproxy", config.Weight, -20, config.Always)}
				}
				if rapid.IntRange(0, 2).Draw(rt, "group") == 0 && c.Services == nil && c.Track == nil {
					c.Group, c.Priority = "edge", 100
				}
				there := func(o config.Router) bool { return keyOf(o) == keyOf(c) }
				if rapid.IntRange(0, 3).Draw(rt, "there") > 0 && !slices.ContainsFunc(cfg.Routers, there) {
					cfg.Routers = append(cfg.Routers, c)
				}
			}
			fixed := webRouter()
			fixed.Interface, fixed.Addresses = "eth2", prefixes("10.9.0.1/24")
			cfg.Routers = append(cfg.Routers, fixed)
			return cfg
		}
		links := func(s *stage) {
			for _, u := range s.n.links {
				s.linkNamed(u.name, eth(true, "10.0.0.1/24"))
			}
		}
		s := newStage(t, draw())
		links(s)
		s.n.start(s.now)
		s.advance(3700 * time.Millisecond)
		next := s.n.set.State(s.router("web").id)
		for range rapid.IntRange(1, 8).Draw(rt, "reloads") {
			s.did = nil
			cfg := draw()
			s.reload(cfg)
			links(s)
			s.settleAll()
			s.advance(time.Duration(rapid.IntRange(0, 20000).Draw(rt, "ms")) * time.Millisecond)
			s.settleAll()
			if got := s.n.set.State(s.router("web").id); got.Since != next.Since || got.Role != vrrp.Master {
				rt.Fatalf("web was %v and is %v", next, got)
			}
		}
		for range 20 { // all that leaves is gone
			s.advance(10 * time.Second)
			s.settleAll()
		}
		if len(s.n.cfg.Routers) == 0 {
			return
		}
		fresh := newStage(t, s.n.cfg)
		if diff := cmp.Diff(shapeOf(fresh.n), shapeOf(s.n)); diff != "" {
			rt.Fatalf("after the reloads (-fresh +got):\n%s\n%s", diff, s.log.String())
		}
	})
}

// settleAll has the world answer what was asked of it.
func (s *stage) settleAll() {
	for range 10 {
		for _, r := range slices.Clone(s.n.routers) {
			if r.wanted && r.on && !r.inPlace {
				s.n.addressEvent(s.now, vip.Event{Router: r.name, Kind: vip.On, Seq: r.holds})
			}
			if !r.wanted && r.on {
				s.n.addressEvent(s.now, vip.Event{Router: r.name, Kind: vip.Off, Seq: r.holds})
			}
		}
		for _, g := range slices.Clone(s.n.groups) {
			switch b := g.bound; {
			case b == nil:
			case b.wish == stop && !b.stopped:
				s.n.serviceReport(s.now, g.name, role.Report{Order: b.order, Kind: role.Stopped})
			case b.wish == run && !b.ready:
				s.n.serviceReport(s.now, g.name, role.Report{Order: b.order, Kind: role.Ready})
			}
		}
	}
}

// shapeOf is a node but for its roles, in words.
func shapeOf(n *node) map[string]string {
	all := map[string]string{}
	groups := map[string]bool{}
	for _, r := range n.routers {
		g := r.group
		var tracks, bound []string
		for _, t := range g.tracks {
			tracks = append(tracks, fmt.Sprintf("%+v", t))
		}
		if g.bound != nil {
			for _, s := range g.bound.services {
				bound = append(bound, s.Name)
			}
		}
		var members []string
		for _, m := range g.routers {
			members = append(members, m.name)
		}
		groups[g.name] = true
		all[r.name] = fmt.Sprintf("%+v on %s, group %s %v, tracks %v, services %v, byID %t, hooked %s", r.cfg, r.link.name, g.name, members, tracks, bound, n.byID[r.id] == r, g.hooked.Name)
	}
	var names []string
	for _, g := range n.groups {
		names = append(names, g.name)
		if !groups[g.name] {
			names = append(names, "(empty)")
		}
	}
	slices.Sort(names)
	all["groups"] = strings.Join(names, " ")
	for _, u := range n.links {
		known := map[bool]link.Known{}
		maps.Copy(known, u.known)
		vrids := 0
		for _, table := range u.byVRID {
			for _, r := range table {
				if r != nil {
					vrids++
				}
			}
		}
		all["link "+u.name] = fmt.Sprintf("%v, %d routers, %d VRIDs, virtual %v", known, len(u.routers), vrids, u.virtual)
	}
	var checks []string
	for name, groups := range n.byCheck {
		checks = append(checks, fmt.Sprintf("%s %d", name, len(groups)))
	}
	slices.Sort(checks)
	all["checks"] = strings.Join(checks, ", ")
	return all
}
