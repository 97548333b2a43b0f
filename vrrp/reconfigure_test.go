package vrrp_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"baton/vrrp"
)

// another gives the router another configuration.
func (n *node) another(priority uint8, options ...option) []string {
	n.t.Helper()
	for _, o := range options {
		o(&n.cfg)
	}
	actions, err := n.set.Reconfigure(n.now, []vrrp.Reconfiguration{{ID: n.id, Config: n.cfg, Priority: priority}})
	if err != nil {
		n.t.Fatal(err)
	}
	return texts(actions)
}

func TestReconfigure_PriorityOfAMasterFallsQuietly(t *testing.T) {
	n := newMaster(t)
	n.after(300 * ms)
	check(t, n.another(50, priority(50)))
	n.is(vrrp.Master)
	n.due(700 * ms)
	check(t, n.expire(), "send priority 50")
}

func TestReconfigure_PriorityOfABackupMovesItsSkew(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 200)
	n.another(200, priority(200))
	n.due(3*second + 56*second/256)
}

func TestReconfigure_IntervalOfAMaster(t *testing.T) {
	for _, test := range []struct {
		name      string
		was, is   time.Duration
		after     time.Duration
		due, next time.Duration
	}{
		{"longer: after the advertisement that is due", second, 3 * second, 400 * ms, 600 * ms, 2 * second}, // 1001 s, then 1003 s: the phase
		{"shorter: sooner", 3 * second, second, 400 * ms, 600 * ms, second},
		{"shorter, and it is overdue by now: at once, and no stall", 10 * second, second, 8 * second, 0, second},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newMaster(t, interval(test.was))
			for n.now%test.was != 0 {
				n.expire()
			}
			n.after(test.after)
			check(t, n.another(0, interval(test.is)))
			n.due(test.due)
			check(t, n.expire(), "send priority 100")
			if got := n.set.Deadline() - n.now; got > test.is {
				t.Errorf("the advertisement after it comes after %s, the interval is %s", got, test.is)
			}
			if n.set.Deadline()%test.is != 0 {
				t.Errorf("the advertisement after it comes at %s, which is not in phase", n.set.Deadline())
			}
		})
	}
}

func TestReconfigure_IntervalOfABackup(t *testing.T) {
	n := newBackup(t)
	n.another(0, interval(2*second))
	n.due(6*second + 2*156*second/256) // nobody was heard: our own counts
	n.hear(upper, 200, every(second))
	n.another(0, interval(3*second))
	n.due(3*second + 156*second/256) // the master's counts
}

func TestReconfigure_ShorterIntervalOfABackupListensFirst(t *testing.T) {
	n := newBackup(t, interval(10*second))
	n.after(20 * second)
	n.another(0, interval(second))
	n.due(second + 156*second/256)
}

func TestReconfigure_AddressesOfAMaster(t *testing.T) {
	n := newMaster(t)
	check(t, n.another(0, addresses(vip2, vip)))
	n.is(vrrp.Master)
	n.holds(vrrp.AddressesHeld)
	n.expire()
	var a vrrp.Advertisement
	b := n.set.AppendAdvertisement(nil, n.id, 100, vrrp.IPv4.Group(), n.wall())
	if refusal := a.Parse(b, self, vrrp.IPv4.Group()); refusal != vrrp.Accepted || !slices.Equal(a.Addresses, []netip.Addr{vip2, vip}) {
		t.Errorf("%s: advertised are %v", refusal, a.Addresses)
	}
}

func TestReconfigure_AddressesThatAreLent(t *testing.T) {
	n := newMaster(t, addresses(vip, vip2))
	n.hear(upper, 200)
	n.holds(vrrp.AddressesLent)
	check(t, n.another(0, addresses(vip, addr("192.0.2.102"))))
	n.holds(vrrp.AddressesLent)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}), "release 192.0.2.100")
	n.holds(vrrp.AddressesOff) // the new one has never been on
}

func TestReconfigure_NoPreemptEndsADelay(t *testing.T) {
	n := newBackup(t, priority(200), func(c *vrrp.Config) { c.PreemptDelay = 2 * second })
	n.hear(lower, 100)
	if n.state().PreemptAt == vrrp.Never {
		t.Fatal("no delay to end")
	}
	n.another(0, noPreempt)
	if n.state().PreemptAt != vrrp.Never {
		t.Error("the delay goes on")
	}
}

func TestReconfigure_Refuses(t *testing.T) {
	n := newMaster(t)
	for name, change := range map[string]option{
		"link":     func(c *vrrp.Config) { c.Link++ },
		"VRID":     func(c *vrrp.Config) { c.VRID++ },
		"version":  version2,
		"interval": interval(0),
	} {
		cfg := n.cfg
		change(&cfg)
		good := n.cfg
		good.Preempt = false
		if _, err := n.set.Reconfigure(n.now, []vrrp.Reconfiguration{{ID: n.id, Config: good, Priority: 7}, {ID: n.id, Config: cfg}}); err == nil {
			t.Errorf("another %s is accepted", name)
		}
	}
	if got := n.state().Priority; got != 100 {
		t.Errorf("priority %d after a change that was refused as a whole", got)
	}
}

func (g *team) regroup(numbers ...int) []string {
	g.t.Helper()
	var all []vrrp.Reconfiguration
	for i, n := range numbers {
		g.cfgs[i].Group = n
		all = append(all, vrrp.Reconfiguration{ID: g.ids[i], Config: g.cfgs[i]})
	}
	actions, err := g.set.Reconfigure(g.now, all)
	if err != nil {
		g.t.Fatal(err)
	}
	return texts(actions)
}

func TestReconfigure_MastersJoinAndPartAsMasters(t *testing.T) {
	g := newTeam(t, 3).masters()
	check(t, g.regroup(7, 8, 0))
	check(t, g.regroup(9, 9, 9))
	for i := range g.ids {
		if g.state(i).Role != vrrp.Master {
			t.Errorf("router %d is %s", i, g.state(i).Role)
		}
	}
}

func TestReconfigure_MasterThatJoinsABackupStepsBack(t *testing.T) {
	g := newTeam(t, 2).masters()
	g.regroup(0, 0)
	a := vrrp.Advertisement{VRID: 20, Priority: 200, Interval: second, Addresses: g.cfgs[1].Addresses}
	if _, refusal := g.set.Receive(g.now, g.cfgs[1].Link, packet(&a, upper)); refusal != vrrp.Accepted {
		t.Fatal(refusal)
	}
	if g.state(0).Role != vrrp.Master || g.state(1).Role != vrrp.Backup {
		t.Fatal("they are not on their own")
	}
	check(t, g.regroup(7, 7), "send priority 0", "change MASTER to BACKUP: group, regrouped of router 1")
}

func TestReconfigure_NewMemberOfMastersIsMaster(t *testing.T) {
	g := newTeam(t, 2).masters()
	c := g.cfgs[1]
	c.Link, c.VRID, c.Addresses = 32, 30, []netip.Addr{vip}
	g.add(c)
	check(t, g.step(2, vrrp.Event{Kind: vrrp.Startup}), "2 send priority 100", "2 hold", "2 change INIT to MASTER: startup")
	if got := g.state(2).Role; got != vrrp.Master {
		t.Errorf("it is %s", got)
	}
}

func TestReconfigure_WhoWaitedForAMemberTakesOverWhenThatLeaves(t *testing.T) {
	g := newTeam(t, 2).start()
	g.now += second
	g.hear(1, upper, 200)
	g.expire()
	if !g.state(0).Ready {
		t.Fatal("it waits for nobody")
	}
	g.regroup(0, 0)
	if got := g.state(0).Role; got != vrrp.Master {
		t.Errorf("it is %s", got)
	}
}

func TestReconfigure_FaultStaysWithWhoHasTheReason(t *testing.T) {
	g := newTeam(t, 2).masters()
	g.step(1, vrrp.Event{Kind: vrrp.Faulty, Reason: "test"})
	g.regroup(0, 0)
	if g.state(0).Role != vrrp.Backup || g.state(1).Role != vrrp.Fault {
		t.Errorf("%s and %s, want BACKUP and FAULT", g.state(0).Role, g.state(1).Role)
	}
	g.regroup(7, 7)
	if g.state(0).Role != vrrp.Fault {
		t.Errorf("%s beside one that has a reason for FAULT", g.state(0).Role)
	}
}

func TestRemove(t *testing.T) {
	s := vrrp.NewSet()
	add := func(vrid uint8) vrrp.ID {
		c := config()
		c.VRID = vrid
		id, err := s.Add(c)
		if err != nil {
			t.Fatal(err)
		}
		s.Step(epoch, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self})
		s.Step(epoch, id, vrrp.Event{Kind: vrrp.Startup})
		return id
	}
	a, b := add(1), add(2)
	s.Step(epoch, a, vrrp.Event{Kind: vrrp.Shutdown})
	s.Remove(a)
	if _, refusal := s.Receive(epoch, 0, packet(&vrrp.Advertisement{VRID: 1, Priority: 1, Interval: second, Addresses: []netip.Addr{vip}}, lower)); refusal != vrrp.RefusedVRID {
		t.Errorf("an advertisement of it is %s", refusal)
	}
	if c := add(1); c != a {
		t.Errorf("its ID is not used again: %d", c)
	}
	for range 100 { // as many bursts as if they were all there would be
		id := add(3)
		s.Step(epoch, id, vrrp.Event{Kind: vrrp.Shutdown})
		s.Remove(id)
	}
	for id := add(3); s.State(id).Role != vrrp.Master || s.State(b).Role != vrrp.Master; {
		s.Expire(s.Deadline())
	}
	if sent := s.Expire(s.Deadline()); len(sent) != 3 {
		t.Errorf("%d of 3 advertise together: the place of those that were removed is not used", len(sent))
	}
}

// After any sequence of changes the timers are in order, groups are of one role,
// and every master advertises within its interval.
func TestReconfigure_AnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now := vrrp.NewSet(), epoch
		cfgs := map[vrrp.ID]vrrp.Config{}
		sent := map[vrrp.ID]time.Duration{}
		took := func(actions []vrrp.Action) {
			for _, a := range actions {
				if a.Kind == vrrp.Send {
					sent[a.Router] = now
				}
			}
		}
		draw := func(vrid int) vrrp.Config {
			c := config()
			c.VRID = uint8(vrid)
			c.Link = vrid % 2
			c.Interval = rapid.SampledFrom([]time.Duration{100 * ms, second, 2 * second}).Draw(t, "interval")
			c.Group = rapid.IntRange(0, 3).Draw(t, "group")
			c.Preempt = rapid.Bool().Draw(t, "preempt")
			return c
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			var ids []vrrp.ID
			for id := range cfgs {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what == 0:
				c := draw(rapid.IntRange(1, 8).Draw(t, "VRID"))
				if id, err := s.Add(c); err == nil {
					cfgs[id] = c
					took(s.Step(now, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self}))
					took(s.Step(now, id, vrrp.Event{Kind: vrrp.Startup}))
				}
			case what == 1 && len(ids) > 0:
				id := rapid.SampledFrom(ids).Draw(t, "remove")
				c := cfgs[id]
				c.Group = 0
				actions, err := s.Reconfigure(now, []vrrp.Reconfiguration{{ID: id, Config: c}})
				if err != nil {
					t.Fatal(err)
				}
				took(actions)
				took(s.Step(now, id, vrrp.Event{Kind: vrrp.Shutdown, Alone: true}))
				s.Remove(id)
				delete(cfgs, id)
				delete(sent, id)
			case what == 2:
				var all []vrrp.Reconfiguration
				for _, id := range ids {
					if rapid.Bool().Draw(t, "changed") {
						c := draw(int(cfgs[id].VRID))
						cfgs[id] = c
						all = append(all, vrrp.Reconfiguration{ID: id, Config: c})
					}
				}
				actions, err := s.Reconfigure(now, all)
				if err != nil {
					t.Fatal(err)
				}
				took(actions)
			default:
				until := now + time.Duration(rapid.IntRange(0, 5000).Draw(t, "ms"))*ms
				for s.Deadline() <= until {
					if s.Deadline() < now {
						t.Fatalf("the deadline %s is before now, %s", s.Deadline(), now)
					}
					now = max(now, s.Deadline())
					took(s.Expire(now))
				}
				now = until
			}
			roles := map[int]vrrp.Role{}
			for id, c := range cfgs {
				st := s.State(id)
				if st.Role == vrrp.Master && now-sent[id] > 2*second {
					t.Fatalf("router %d has been silent for %s", id, now-sent[id])
				}
				if r, ok := roles[c.Group]; c.Group != 0 && ok && r != st.Role {
					t.Fatalf("group %d is %s and %s", c.Group, r, st.Role)
				}
				roles[c.Group] = st.Role
			}
		}
	})
}
