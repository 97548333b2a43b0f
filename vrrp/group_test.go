package vrrp_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/vrrp"
)

// team drives one group: each member is on a link of its own, with VRID 10, 20
// and so on. Links 16 apart share a phase.
type team struct {
	t    *testing.T
	set  *vrrp.Set
	ids  []vrrp.ID
	cfgs []vrrp.Config
	now  time.Duration
}

func newTeam(t *testing.T, members int, options ...option) *team {
	t.Helper()
	g := &team{t: t, set: vrrp.NewSet(), now: epoch}
	for i := range members {
		c := config(options...)
		c.Link, c.VRID, c.Group = 16*i, uint8(10*(i+1)), 7
		c.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}
		g.add(c)
	}
	return g
}

func (g *team) add(c vrrp.Config) {
	g.t.Helper()
	id, err := g.set.Add(c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.ids, g.cfgs = append(g.ids, id), append(g.cfgs, c)
	g.set.Step(g.now, id, vrrp.Event{Kind: vrrp.Readdressed, Addr: self})
}

func (g *team) start() *team {
	for i := range g.ids {
		g.step(i, vrrp.Event{Kind: vrrp.Startup})
	}
	return g
}

// masters makes the group master by silence, and moves to the next whole
// second, when all members have just advertised.
func (g *team) masters() *team {
	g.t.Helper()
	g.start()
	for g.state(0).Role != vrrp.Master {
		g.expire()
	}
	end := g.now.Truncate(second) + second
	for g.set.Deadline() <= end {
		g.expire()
	}
	return g
}

func (g *team) step(i int, e vrrp.Event) []string {
	g.t.Helper()
	return g.done(g.set.Step(g.now, g.ids[i], e))
}

func (g *team) hear(i int, src netip.Addr, priority uint8) []string {
	g.t.Helper()
	c := g.cfgs[i]
	a := vrrp.Advertisement{VRID: c.VRID, Priority: priority, Interval: c.Interval, Addresses: c.Addresses}
	actions, refusal := g.set.Receive(g.now, c.Link, packet(&a, src))
	if refusal != vrrp.Accepted {
		g.t.Fatalf("advertisement was refused: %s", refusal)
	}
	return g.done(actions)
}

func (g *team) expire() []string {
	g.t.Helper()
	g.now = max(g.now, g.set.Deadline())
	return g.tick()
}

func (g *team) tick() []string {
	g.t.Helper()
	return g.done(g.set.Expire(g.now))
}

func (g *team) after(d time.Duration) *team { g.now += d; return g }

// done checks what holds after every call, and writes the actions with the
// number of their member.
func (g *team) done(actions []vrrp.Action) []string {
	g.t.Helper()
	var count [4]int
	for i := range g.ids {
		count[g.state(i).Role]++
	}
	for _, role := range []vrrp.Role{vrrp.Master, vrrp.Fault} {
		if n := count[role]; n != 0 && n+count[vrrp.Init] != len(g.ids) {
			g.t.Fatalf("%d of %d members are %s", n, len(g.ids), role)
		}
	}
	s := make([]string, 0, len(actions))
	for _, a := range actions {
		s = append(s, fmt.Sprintf("%d %s", a.Router, a))
	}
	return s
}

func (g *team) state(i int) vrrp.State { return g.set.State(g.ids[i]) }

func (g *team) are(want ...vrrp.Role) {
	g.t.Helper()
	var got []vrrp.Role
	for i := range g.ids {
		got = append(got, g.state(i).Role)
	}
	if len(want) == 1 {
		for range len(g.ids) - 1 {
			want = append(want, want[0])
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		g.t.Fatalf("roles (-want +got):\n%s", d)
	}
}

func (g *team) ready(want ...bool) {
	g.t.Helper()
	for i, w := range want {
		if got := g.state(i).Ready; got != w {
			g.t.Errorf("member %d: ready is %t", i, got)
		}
	}
}

func (g *team) due(want time.Duration) {
	g.t.Helper()
	if got := g.set.Deadline() - g.now; got != want {
		g.t.Errorf("deadline is in %s, want %s", got, want)
	}
}

// Who is asked to start waits in INIT for the other members.
func TestGroup_6_4_1_StartsTogether(t *testing.T) {
	g := newTeam(t, 3)
	check(t, g.step(2, vrrp.Event{Kind: vrrp.Startup}))
	check(t, g.step(0, vrrp.Event{Kind: vrrp.Startup}))
	check(t, g.step(0, vrrp.Event{Kind: vrrp.Startup}))
	g.are(vrrp.Init)
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Startup}),
		"0 change INIT to BACKUP: group, startup of router 1",
		"1 change INIT to BACKUP: startup",
		"2 change INIT to BACKUP: group, startup of router 1")
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Startup}))
	g.due(3609375 * time.Microsecond)
}

// Owners are master at once, all of them; where not every member owns its
// addresses none is.
func TestGroup_6_4_1_Owners(t *testing.T) {
	g := newTeam(t, 2, priority(255))
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Startup}))
	check(t, g.step(0, vrrp.Event{Kind: vrrp.Startup}),
		"0 send priority 255", "0 hold", "0 change INIT to MASTER: owner",
		"1 send priority 255", "1 hold", "1 change INIT to MASTER: group, owner of router 0")

	g = newTeam(t, 2, priority(255))
	g.step(0, reprioritised(100))
	g.start()
	g.are(vrrp.Backup)
}

// A member whose timer has run out is ready, and the last one makes all
// master, in the order of their IDs, each with the advertisement first.
func TestGroup_6_4_2_LastReadyMakesAllMaster(t *testing.T) {
	g := newTeam(t, 3).start()
	g.after(second).hear(2, upper, 150)
	g.hear(1, lower, 120)
	g.after(ms).hear(1, lower, 120)
	g.now = epoch + 3609375*time.Microsecond
	check(t, g.tick())
	g.ready(true, false, false)
	check(t, g.expire())
	g.ready(true, false, true)
	got := g.set.Expire(g.set.Deadline())
	rival := vrrp.Rival{Addr: lower, Priority: 120}
	change := func(id vrrp.ID, cause vrrp.Cause) vrrp.Action {
		a := vrrp.Action{Router: id, Kind: vrrp.Change, From: vrrp.Backup, To: vrrp.Master, Cause: cause, Rival: rival, Elapsed: 3609375 * time.Microsecond}
		if cause == vrrp.CauseGroup {
			a.Member, a.Of = 1, vrrp.CauseSilence
		}
		return a
	}
	want := []vrrp.Action{
		{Router: 0, Kind: vrrp.Send, Priority: 100}, {Router: 0, Kind: vrrp.Hold}, change(0, vrrp.CauseGroup),
		{Router: 1, Kind: vrrp.Send, Priority: 100}, {Router: 1, Kind: vrrp.Hold}, change(1, vrrp.CauseSilence),
		{Router: 2, Kind: vrrp.Send, Priority: 100}, {Router: 2, Kind: vrrp.Hold}, change(2, vrrp.CauseGroup),
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("actions (-want +got):\n%s", d)
	}
	g.ready(false, false, false)
	// Each of them advertises on time from then on.
	sent := make(map[vrrp.ID][]time.Duration)
	for d := g.set.Deadline(); d < epoch+8*second; d = g.set.Deadline() {
		for _, a := range g.set.Expire(d) {
			sent[a.Router] = append(sent[a.Router], (d - epoch).Truncate(ms))
		}
	}
	on := []time.Duration{5 * second, 6 * second, 7 * second}
	if d := cmp.Diff(map[vrrp.ID][]time.Duration{0: on, 1: on, 2: on}, sent); d != "" {
		t.Errorf("advertisements (-want +got):\n%s", d)
	}
}

// A ready member goes on listening.
func TestGroup_6_4_2_Ready(t *testing.T) {
	ready := func(t *testing.T, o ...option) *team {
		g := newTeam(t, 2, o...).start()
		g.after(3*second).hear(1, upper, 150)
		g.expire()
		g.ready(true, false)
		return g
	}
	t.Run("a master is heard again", func(t *testing.T) {
		g := ready(t)
		check(t, g.hear(0, upper, 150))
		g.ready(false, false)
		g.expire()
		g.ready(false, true)
	})
	t.Run("a worse master, preempt", func(t *testing.T) {
		g := ready(t)
		g.hear(0, upper, 50)
		g.ready(true, false)
	})
	t.Run("a worse master, no-preempt", func(t *testing.T) {
		g := ready(t, noPreempt)
		g.hear(0, upper, 50)
		g.ready(false, false)
	})
	t.Run("priority 0", func(t *testing.T) {
		g := ready(t)
		check(t, g.hear(0, upper, 0))
		g.ready(true, false)
	})
	t.Run("the own priority changes", func(t *testing.T) {
		g := ready(t)
		for _, p := range []uint8{50, 200} {
			check(t, g.step(0, reprioritised(p)))
			check(t, g.step(1, reprioritised(p)))
		}
		g.ready(true, false)
		check(t, g.expire(),
			"0 send priority 200", "0 hold", "0 change BACKUP to MASTER: group, silence of router 1, rival 192.0.2.11 (150), after 3.21875s",
			"1 send priority 200", "1 hold", "1 change BACKUP to MASTER: silence, rival 192.0.2.11 (150), after 3.21875s")
	})
	t.Run("the other fails and recovers", func(t *testing.T) {
		g := ready(t)
		g.step(1, faulty("test", false))
		g.ready(false, false)
		g.step(1, vrrp.Event{Kind: vrrp.Recovered})
		g.ready(false, false)
		g.are(vrrp.Backup)
	})
}

// A member in FAULT takes all there, each by its own row.
func TestGroup_Fault(t *testing.T) {
	g := newTeam(t, 3).masters()
	check(t, g.step(1, faulty("link down", true)),
		"1 release all",
		"1 change MASTER to FAULT: fault (link down)",
		"0 send priority 0",
		"0 change MASTER to FAULT: group, fault of router 1 (link down)",
		"2 send priority 0",
		"2 change MASTER to FAULT: group, fault of router 1 (link down)")
	for i, want := range []vrrp.AddressState{vrrp.AddressesLent, vrrp.AddressesOff, vrrp.AddressesLent} {
		if got := g.state(i).Addresses; got != want {
			t.Errorf("member %d: addresses %d, want %d", i, got, want)
		}
	}
	g = newTeam(t, 2).masters()
	check(t, g.step(0, vrrp.Event{Kind: vrrp.Faulty, Mute: true, Reason: "no address"}),
		"0 change MASTER to FAULT: fault (no address)",
		"1 send priority 0",
		"1 change MASTER to FAULT: group, fault of router 0 (no address)")
	g = newTeam(t, 2).start()
	check(t, g.step(0, faulty("test", false)),
		"0 change BACKUP to FAULT: fault (test)",
		"1 change BACKUP to FAULT: group, fault of router 0 (test)")
	g = newTeam(t, 2)
	check(t, g.step(0, faulty("test", false)),
		"0 change INIT to FAULT: fault (test)",
		"1 change INIT to FAULT: group, fault of router 0 (test)")
}

// A group that is cut off lends nothing on any link, and calls for no successor
// while its services stop.
func TestGroup_Alone(t *testing.T) {
	alone := vrrp.Event{Kind: vrrp.Faulty, Reason: "1 of 3 nodes", Alone: true}
	check(t, newTeam(t, 2).masters().step(0, alone),
		"0 send priority 0",
		"0 release all",
		"0 change MASTER to FAULT: fault (1 of 3 nodes)",
		"1 send priority 0",
		"1 release all",
		"1 change MASTER to FAULT: group, fault of router 0 (1 of 3 nodes)")
	check(t, newTeam(t, 2, bound).masters().step(0, alone),
		"0 release all",
		"0 change MASTER to FAULT: fault (1 of 3 nodes)",
		"1 release all",
		"1 change MASTER to FAULT: group, fault of router 0 (1 of 3 nodes)")
}

// The group leaves FAULT when no member has a reason for it, and when all
// have started.
func TestGroup_FaultEnds(t *testing.T) {
	recovered := vrrp.Event{Kind: vrrp.Recovered}
	g := newTeam(t, 3).start()
	g.step(0, faulty("test", false))
	check(t, g.step(2, faulty("another", false)))
	check(t, g.step(1, recovered))
	check(t, g.step(0, recovered))
	g.are(vrrp.Fault)
	check(t, g.step(2, recovered),
		"0 change FAULT to BACKUP: group, recovered of router 2",
		"1 change FAULT to BACKUP: group, recovered of router 2",
		"2 change FAULT to BACKUP: recovered")

	g = newTeam(t, 2)
	g.step(0, faulty("test", false))
	check(t, g.step(0, recovered))
	check(t, g.step(1, recovered)) // it has not started
	g.are(vrrp.Fault)
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Startup}),
		"0 change FAULT to BACKUP: group, startup of router 1",
		"1 change FAULT to BACKUP: startup")

	g = newTeam(t, 2, priority(255)).start()
	g.step(0, faulty("test", false))
	check(t, g.step(0, recovered),
		"0 send priority 255", "0 hold", "0 change FAULT to MASTER: owner",
		"1 send priority 255", "1 hold", "1 change FAULT to MASTER: group, owner of router 0")
}

// A group in FAULT is told of a vacant link when all its links are, and none
// of them is deaf. A member that hears again begins to listen anew.
func TestGroup_Vacant(t *testing.T) {
	g := newTeam(t, 2).start()
	g.step(0, faulty("test", false))
	g.after(second).hear(1, upper, 150)
	g.now = epoch + 3609375*time.Microsecond
	check(t, g.tick())
	check(t, g.expire(), "1 vacant, after 3.609375s")
	check(t, g.expire(), "0 vacant, after 7.21875s")

	g.step(1, faulty("link down", true))
	for range 4 {
		check(t, g.expire())
	}
	check(t, g.after(second).step(1, vrrp.Event{Kind: vrrp.Recovered}))
	g.are(vrrp.Fault)
	heard := g.now
	for got := g.expire(); len(got) == 0; got = g.expire() {
		if g.now > heard+10*second {
			t.Fatal("never vacant")
		}
	}
	if d := g.now - heard; d != 3609375*time.Microsecond {
		t.Errorf("vacant %s after it could be heard again, want a master down interval", d)
	}
}

// Who meets its better on one link steps back on all. The others say so, keep
// their addresses for a successor that is still to be heard, and tell it once
// that they were masters beside it.
func TestGroup_6_4_3_PulledDown(t *testing.T) {
	g := newTeam(t, 2).masters()
	check(t, g.after(300*ms).hear(1, lower, 150),
		"1 send priority 100",
		"1 change MASTER to BACKUP: better, rival 192.0.2.9 (150)",
		"0 send priority 0",
		"0 change MASTER to BACKUP: group, better of router 1, rival 192.0.2.9 (150)")
	if got := g.state(0).Addresses; got != vrrp.AddressesLent {
		t.Errorf("addresses %d, want lent", got)
	}
	g.due(second) // those of member 1, whose successor was heard
	check(t, g.hear(0, lower, 150), "0 send priority 100")
	check(t, g.after(300*ms).hear(0, lower, 150))
	g.due(700 * ms)
}

// The last word is for who wins: a worse one would step back for it, and
// where a priority 0 has been said before, nobody was master beside it.
func TestGroup_LastWordForTheBetter(t *testing.T) {
	for _, tt := range []struct {
		name     string
		src      netip.Addr
		priority uint8
		want     bool
	}{
		{"higher", lower, 101, true},
		{"lower", upper, 99, false},
		{"equal, greater address", upper, 100, true},
		{"equal, lower address", lower, 100, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newTeam(t, 2, noPreempt).masters()
			g.after(300*ms).hear(1, lower, 150)
			told := false
			for _, a := range g.hear(0, tt.src, tt.priority) {
				told = told || a == "0 send priority 100"
			}
			if told != tt.want {
				t.Errorf("last word is %t", told)
			}
		})
	}
	t.Run("not after another role", func(t *testing.T) {
		g := newTeam(t, 2).masters()
		g.after(300*ms).hear(1, lower, 150)
		g.step(0, faulty("test", false))
		g.step(0, vrrp.Event{Kind: vrrp.Recovered})
		check(t, g.hear(0, lower, 150))
	})
	t.Run("not of one that yields", func(t *testing.T) {
		g := newTeam(t, 2, priority(200)).masters()
		g.after(300*ms).step(0, reprioritised(100))
		g.step(1, reprioritised(100))
		g.after(100*ms).hear(1, lower, 150)
		check(t, g.hear(0, lower, 150))
	})
	t.Run("not of one that began at the same moment", func(t *testing.T) {
		g := newTeam(t, 2).start()
		for g.state(0).Role != vrrp.Master {
			g.expire()
		}
		check(t, g.after(49*ms).hear(1, lower, 150),
			"1 release all",
			"1 change MASTER to BACKUP: better, rival 192.0.2.9 (150)",
			"0 send priority 0",
			"0 release all",
			"0 change MASTER to BACKUP: group, better of router 1, rival 192.0.2.9 (150)")
		check(t, g.hear(0, lower, 150))
	})
}

// Priority 0 heard by one member is for all: where the group left because of
// its link to another member, nothing can be heard there.
func TestGroup_LeftIsLeft(t *testing.T) {
	follow := func(t *testing.T) *team {
		g := newTeam(t, 2).start()
		g.after(second).hear(0, upper, 150)
		g.hear(1, upper, 150)
		return g
	}
	t.Run("silence follows", func(t *testing.T) {
		g := follow(t)
		check(t, g.after(300*ms).hear(0, upper, 0))
		check(t, g.expire())
		g.ready(true, false)
		// An interval from its last advertisement, and the skew.
		check(t, g.expire(),
			"0 send priority 100", "0 hold", "0 change BACKUP to MASTER: left, rival 192.0.2.11 (0), after 1.309375s",
			"1 send priority 100", "1 hold", "1 change BACKUP to MASTER: group, left of router 0, rival 192.0.2.11 (0), after 1.309375s")
		if d := g.now - epoch; d != 2609375*time.Microsecond {
			t.Errorf("at %s", d)
		}
	})
	t.Run("not less than the skew", func(t *testing.T) {
		g := follow(t)
		g.after(1900*ms).hear(0, upper, 0)
		g.are(vrrp.Backup)
		g.due(609375 * time.Microsecond)
		g.expire()
		g.are(vrrp.Master)
	})
	t.Run("never later than it would have been", func(t *testing.T) {
		g := follow(t)
		g.after(3500*ms).hear(0, upper, 0)
		g.expire()
		g.ready(false, true)
		if d := g.now - epoch; d != 4609375*time.Microsecond {
			t.Errorf("ready at %s", d)
		}
	})
	t.Run("a peer without a group goes on with the other", func(t *testing.T) {
		g := follow(t)
		g.after(300*ms).hear(0, upper, 0)
		for range 20 {
			g.after(300 * ms).tick()
			g.after(400*ms).hear(1, upper, 150)
			g.after(300 * ms).tick()
			g.are(vrrp.Backup)
			g.hear(0, upper, 0)
		}
		g.ready(true, false)
		// Its silence later is another matter, and not what it left for.
		for len(g.expire()) == 0 {
		}
		g.are(vrrp.Master)
	})
	t.Run("one that is ready waits for nothing", func(t *testing.T) {
		g := newFastAndSlow(t).start()
		g.now = epoch + 400*ms
		for i := range 3 {
			g.hear(i, upper, 250)
		}
		g.expire()
		g.ready(true, false, false)
		g.after(500*ms).hear(1, upper, 0)
		g.due(218750 * time.Microsecond) // of member 1
	})
	t.Run("nor one that is held in INIT", func(t *testing.T) {
		g := newTeam(t, 2).start()
		g.step(1, unelectable)
		g.hear(0, upper, 150)
		g.after(100*ms).hear(0, upper, 0)
		g.expire()
		g.are(vrrp.Backup, vrrp.Init)
		g.due(2290625 * time.Microsecond)
	})
	t.Run("its silence later", func(t *testing.T) {
		g := follow(t)
		g.after(300*ms).hear(0, upper, 0)
		g.after(700*ms).hear(1, upper, 150)
		g.expire()
		got := g.expire()
		if len(got) != 6 || got[5] != "1 change BACKUP to MASTER: silence, rival 192.0.2.11 (150), after 3.609375s" {
			t.Errorf("%q", got)
		}
	})
	t.Run("a member that heard it itself keeps its skew", func(t *testing.T) {
		g := follow(t)
		g.after(300*ms).hear(0, upper, 0)
		g.after(100*ms).hear(1, upper, 0)
		g.expire()
		got := g.expire()
		if len(got) != 6 || got[5] != "1 change BACKUP to MASTER: left, rival 192.0.2.11 (0), after 609.375ms" {
			t.Errorf("%q", got)
		}
	})
}

// The yield of one is of all; the silence ends for all at once, when the last
// of them would have heard a better one.
func TestGroup_Yield(t *testing.T) {
	g := newFastAndSlow(t).masters()
	check(t, g.step(1, reprioritised(100)), "0 send priority 0", "1 send priority 0", "2 send priority 0")
	check(t, g.step(0, reprioritised(100)))
	check(t, g.step(2, reprioritised(100)))
	g.due(599 * ms)
	check(t, g.expire(),
		"0 yielded, after 599ms", "0 send priority 100",
		"1 yielded, after 599ms", "1 send priority 100",
		"2 yielded, after 599ms", "2 send priority 100")
	// A second fall, and a rise.
	for g.now < epoch+10*second {
		g.expire()
	}
	for i := range 3 {
		g.step(i, reprioritised(80))
	}
	g.now += 200 * ms
	for i := range 3 {
		check(t, g.step(i, reprioritised(50)))
	}
	g.due(599 * ms)
	for i := range 3 {
		check(t, g.step(i, reprioritised(150)))
	}
	g.due(209 * ms)

	// A member that was late listens as long as it would.
	g = newFastAndSlow(t).masters()
	check(t, g.after(500*ms).tick(), "0 notice: late, after 400ms")
	check(t, g.step(1, reprioritised(1)), "1 send priority 0", "2 send priority 0")
	g.due(100 * ms)
}

// newFastAndSlow returns three members with priority 200, the first of which
// has a short interval.
func newFastAndSlow(t *testing.T) *team {
	t.Helper()
	g := newTeam(t, 0)
	for i, every := range []time.Duration{100 * ms, second, second} {
		c := config(priority(200), interval(every))
		c.Link, c.VRID, c.Group = 16*i, uint8(10*(i+1)), 7
		g.add(c)
	}
	return g
}

// Peers without preempt mode take over all members of a master that yields,
// and of one that fails.
func TestGroup_GivesWayToNoPreempt(t *testing.T) {
	g := newTeam(t, 2, noPreempt).start()
	g.hear(0, upper, 150)
	g.hear(1, upper, 150)
	g.after(second).hear(0, upper, 0)
	g.hear(1, upper, 0)
	g.expire()
	g.are(vrrp.Master)
	if d := g.now - epoch; d != 1609375*time.Microsecond {
		t.Errorf("at %s, want a skew later", d)
	}
}

// A lost tie is decided by the first member at once, by the next one when the
// first has not within two intervals.
func TestGroup_Tie(t *testing.T) {
	g := newTeam(t, 3).masters()
	check(t, g.after(300*ms).hear(0, upper, 100)[:3],
		"0 notice: equal priority, rival 192.0.2.11 (100)",
		"0 send priority 100",
		"0 change MASTER to BACKUP: tie, rival 192.0.2.11 (100)")
	g.are(vrrp.Backup)

	for member, wait := range []time.Duration{0, 2 * second, 4 * second} {
		g := newTeam(t, 3).masters()
		start := g.now
		for g.state(0).Role == vrrp.Master {
			g.hear(member, upper, 100)
			g.after(500 * ms).tick()
			if g.now > start+20*second {
				t.Fatalf("member %d never decides", member)
			}
		}
		if d := g.now - 500*ms - start; d != wait {
			t.Errorf("member %d decides after %s, want %s", member, d, wait)
		}
	}
}

// A tie that another member may still decide is not answered, or two nodes
// would answer one another without end; a won one is.
func TestGroup_TieIsNotAnswered(t *testing.T) {
	g := newTeam(t, 2).masters()
	check(t, g.after(300*ms).hear(1, upper, 100),
		"1 notice: equal priority, rival 192.0.2.11 (100)",
		"1 notice: two masters, rival 192.0.2.11 (100)")
	check(t, g.after(300*ms).hear(1, upper, 100))
	g.are(vrrp.Master)
	check(t, g.hear(1, lower, 100),
		"1 notice: equal priority, rival 192.0.2.9 (100)",
		"1 send priority 100",
		"1 announce")
}

// A tie that was silent for three intervals begins anew.
func TestGroup_TieBeginsAnew(t *testing.T) {
	g := newTeam(t, 2).masters()
	lose := func(after time.Duration) {
		t.Helper()
		for end := g.now + after; g.now < end; {
			g.after(500 * ms).tick()
		}
		g.hear(1, upper, 100)
	}
	lose(0)
	lose(3500 * ms)
	g.are(vrrp.Master)
	lose(1500 * ms)
	g.are(vrrp.Master)
	lose(500 * ms)
	g.are(vrrp.Backup)

	// Nor does a new role begin where the last one ended.
	g = newTeam(t, 2).masters()
	lose(0)
	lose(1500 * ms)
	for i := range 2 {
		g.hear(i, upper, 150)
		g.hear(i, upper, 0)
	}
	for g.state(0).Role != vrrp.Master {
		g.expire()
	}
	g.hear(1, upper, 100)
	g.are(vrrp.Master)
}

// Which member is the first is the same on every node, whatever the order in
// which they were added: the VRIDs tell, then the family, then the addresses.
func TestGroup_TieOrder(t *testing.T) {
	base := config(func(c *vrrp.Config) { c.Group = 7 })
	with := func(link int, vrid uint8, family vrrp.Family, a string) vrrp.Config {
		c := base
		c.Link, c.VRID, c.Family, c.Addresses = link, vrid, family, []netip.Addr{addr(a)}
		return c
	}
	for _, tt := range []struct {
		name          string
		first, second vrrp.Config
	}{
		{"VRID", with(1, 10, vrrp.IPv4, "192.0.2.102"), with(0, 20, vrrp.IPv4, "192.0.2.101")},
		{"family", with(1, 10, vrrp.IPv4, "192.0.2.102"), with(1, 10, vrrp.IPv6, "2001:db8::1")},
		{"address", with(1, 10, vrrp.IPv4, "192.0.2.101"), with(0, 10, vrrp.IPv4, "192.0.2.102")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, swapped := range []bool{false, true} {
				g := newTeam(t, 0)
				order := []vrrp.Config{tt.first, tt.second}
				first := 0
				if swapped {
					order[0], order[1] = order[1], order[0]
					first = 1
				}
				for i, c := range order {
					g.add(c)
					if c.Family == vrrp.IPv6 {
						g.set.Step(g.now, g.ids[i], vrrp.Event{Kind: vrrp.Readdressed, Addr: addr("fe80::1")})
					}
				}
				g.masters()
				greater := func(i int) netip.Addr {
					if g.cfgs[i].Family == vrrp.IPv6 {
						return addr("fe80::2")
					}
					return upper
				}
				g.after(300*ms).hear(1-first, greater(1-first), 100)
				g.are(vrrp.Master)
				g.hear(first, greater(first), 100)
				g.are(vrrp.Backup)
			}
		})
	}
}

// A process that stood still listens with every member; without preempt mode
// whom one of them finds has the group.
func TestGroup_2_5_Stalled(t *testing.T) {
	g := newTeam(t, 2, noPreempt).masters()
	g.after(10 * second).tick()
	g.are(vrrp.Master)
	check(t, g.after(500*ms).hear(1, upper, 50),
		"1 change MASTER to BACKUP: stalled, rival 192.0.2.11 (50), after 10.5s",
		"0 send priority 0",
		"0 change MASTER to BACKUP: group, stalled of router 1, rival 192.0.2.11 (50), after 10.5s")
}

// What a ready member had not heard before the host stood still counts no
// more: it listens again with the one that was late.
func TestGroup_2_5_LateBackup(t *testing.T) {
	g := newTeam(t, 2).start()
	g.after(3*second).hear(1, upper, 150)
	g.expire()
	g.ready(true, false)
	g.after(20 * second)
	check(t, g.tick(), "1 notice: late, after 17s")
	g.ready(false, false)
	g.due(1609375 * time.Microsecond)
	g.expire()
	g.are(vrrp.Master)
}

// Shutdown is of one member; the caller does the others in the same turn. One
// that is left behind steps back with its next advertisement, and is never
// master again.
func TestGroup_6_4_3_Shutdown(t *testing.T) {
	g := newTeam(t, 3).masters()
	stop := vrrp.Event{Kind: vrrp.Shutdown}
	check(t, g.step(0, stop), "0 send priority 0", "0 change MASTER to INIT: shutdown")
	g.are(vrrp.Init, vrrp.Master, vrrp.Master)
	check(t, g.step(1, stop), "1 send priority 0", "1 change MASTER to INIT: shutdown")
	check(t, g.step(2, stop), "2 send priority 0", "2 change MASTER to INIT: shutdown")

	g = newTeam(t, 3).masters()
	g.step(0, stop)
	check(t, g.expire(),
		"1 send priority 0",
		"1 change MASTER to BACKUP: group, shutdown of router 0",
		"2 send priority 0",
		"2 change MASTER to BACKUP: group, shutdown of router 0")
	for range 20 {
		if g.set.Deadline() == vrrp.Never {
			break
		}
		g.expire()
	}
	g.are(vrrp.Init, vrrp.Backup, vrrp.Backup)
	g.step(1, faulty("test", false))
	g.step(1, vrrp.Event{Kind: vrrp.Recovered})
	g.are(vrrp.Init, vrrp.Backup, vrrp.Backup)
}

// One that has been shut down is not pulled anywhere any more.
func TestGroup_ShutdownIsForGood(t *testing.T) {
	g := newTeam(t, 2).start()
	g.step(0, vrrp.Event{Kind: vrrp.Shutdown})
	check(t, g.step(1, faulty("test", false)), "1 change BACKUP to FAULT: fault (test)")
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Recovered}), "1 change FAULT to BACKUP: recovered")
	check(t, g.step(0, vrrp.Event{Kind: vrrp.Startup}))
	g.are(vrrp.Init, vrrp.Backup)

	// Nor does it hold up the others, whatever it was.
	g = newTeam(t, 2)
	g.step(0, vrrp.Event{Kind: vrrp.Shutdown})
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Startup}), "1 change INIT to BACKUP: startup")
	g = newTeam(t, 2).start()
	g.step(0, faulty("link down", true))
	g.step(0, vrrp.Event{Kind: vrrp.Shutdown})
	check(t, g.expire(), "1 vacant, after 3.609375s")
	check(t, g.step(1, vrrp.Event{Kind: vrrp.Recovered}), "1 change FAULT to BACKUP: recovered")
	g = newTeam(t, 3).masters()
	g.step(0, vrrp.Event{Kind: vrrp.Shutdown})
	check(t, g.step(1, reprioritised(50)), "1 send priority 0", "2 send priority 0")
}

// A member that an unelectable rival holds in INIT keeps the group from
// becoming master, no more.
func TestGroup_Unelectable(t *testing.T) {
	g := newTeam(t, 2).start()
	check(t, g.after(second).step(1, unelectable), "1 change BACKUP to INIT: unelectable, rival 192.0.2.11 (90) (test)")
	check(t, g.expire()) // member 0 is ready
	g.are(vrrp.Backup, vrrp.Init)
	g.ready(true, false)
	check(t, g.expire(), "1 change INIT to BACKUP: startup")
	g.expire()
	g.are(vrrp.Master)

	// Also an owner comes after the others.
	g = newTeam(t, 2).start()
	g.step(1, unelectable)
	for i := range 2 {
		g.step(i, reprioritised(255))
	}
	check(t, g.expire(), "1 change INIT to BACKUP: startup")
	g.expire()
	g.expire()
	g.are(vrrp.Master)
}

// An ordinary router of the same set has nothing to do with a group, and
// another group neither.
func TestGroup_OthersApart(t *testing.T) {
	g := newTeam(t, 2)
	for i, group := range []int{0, 0, 8} {
		c := config(func(c *vrrp.Config) { c.VRID, c.Group = uint8(100+i), group })
		if _, err := g.set.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	g.masters()
	for id := range vrrp.ID(5) {
		g.set.Step(g.now, id, vrrp.Event{Kind: vrrp.Startup})
	}
	for range 20 {
		g.expire()
	}
	g.step(0, faulty("test", false))
	for id := vrrp.ID(2); id < 5; id++ {
		if got := g.set.State(id).Role; got != vrrp.Master {
			t.Errorf("router %d is %s", id, got)
		}
	}
}
