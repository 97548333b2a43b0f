package vrrp_test

import (
	"testing"

	"baton/vrrp"
)

var (
	toBackup = vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Backup}
	toFault  = vrrp.Event{Kind: vrrp.HandOver, To: vrrp.Fault, Reason: "standby"}
)

// The bound is the one that a stop has: a slower successor is not possible.
func TestHandOver_NobodyHeard(t *testing.T) {
	n := newMaster(t)
	check(t, n.step(toFault), "send priority 0")
	n.due(n.set.HandoverBound(n.id))
	check(t, n.expire(), "unheard, after 3.99609375s", "send priority 100")
	n.is(vrrp.Master)
	n.holds(vrrp.AddressesHeld)
	for range 5 {
		check(t, n.expire(), "send priority 100")
	}
}

// What somebody has announced, and nobody advertised, is put back.
func TestHandOver_AnnouncedAndNobodyHeard(t *testing.T) {
	for name, together := range map[string]bool{"one of two": false, "a virtual MAC": true} {
		n := newMaster(t, addresses(vip, vip2), func(c *vrrp.Config) { c.Together = together })
		n.step(toBackup)
		want := "release 192.0.2.101"
		if together {
			want = "release all"
		}
		check(t, n.after(100*ms).step(vrrp.Event{Kind: vrrp.Announced, Addr: vip2}), want)
		n.is(vrrp.Master)
		check(t, n.expire(), "unheard, after 3.99609375s", "hold", "send priority 100")
		n.holds(vrrp.AddressesHeld)
		if n.state().Role != vrrp.Master {
			t.Errorf("%s: role %s", name, n.state().Role)
		}
	}
}

// Whoever is heard is the successor, better or worse; priority 0 is nobody.
func TestHandOver_Heard(t *testing.T) {
	for _, p := range []uint8{1, 99, 100, 254} {
		n := newMaster(t)
		n.step(toFault)
		check(t, n.after(100*ms).hear(lower, 0))
		n.is(vrrp.Master)
		n.after(100*ms).hear(lower, p)
		n.is(vrrp.Fault)
		n.holds(vrrp.AddressesLent)
		if after, _ := n.releasedAt(); after != second {
			t.Errorf("priority %d: kept for %s after the successor was heard, want 1s", p, after)
		}
	}
}

// Only the end of the reason ends a FAULT that a hand-over led to.
func TestHandOver_ToFaultStays(t *testing.T) {
	n := newMaster(t)
	n.step(toFault)
	n.hear(lower, 50)
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.is(vrrp.Fault)
	n.step(vrrp.Event{Kind: vrrp.Recovered})
	n.is(vrrp.Backup)
}

// A preferred node that handed over follows a worse one, also when it was in FAULT
// meanwhile, until it has been master.
func TestHandOver_Waived(t *testing.T) {
	n := newMaster(t)
	n.step(toBackup)
	for range 20 {
		n.after(second/2).hear(lower, 50)
		n.tick()
	}
	n.is(vrrp.Backup)
	n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "test"})
	n.step(vrrp.Event{Kind: vrrp.Recovered})
	for range 20 {
		n.after(second/2).hear(lower, 50)
		n.tick()
	}
	n.is(vrrp.Backup)
	if !n.state().Waived {
		t.Error("not waived")
	}
	n.hear(lower, 0)
	n.expire()
	n.expire() // the addresses that are lent
	n.is(vrrp.Master)
	if n.state().Waived {
		t.Error("waived though it was master again")
	}
	n.hear(upper, 150)
	for n.state().Role == vrrp.Backup && n.now < epoch+200*second {
		n.after(second/2).hear(upper, 50)
		n.tick()
	}
	n.is(vrrp.Master)
}

// Who owns the addresses would be master again at once.
func TestHandOver_Owner(t *testing.T) {
	n := newNode(t, priority(255))
	n.step(vrrp.Event{Kind: vrrp.Startup})
	n.is(vrrp.Master)
	check(t, n.step(toBackup))
	check(t, n.step(toFault), "send priority 0")
	n.hear(lower, 50)
	n.is(vrrp.Fault)
}

// What happens meanwhile counts more.
func TestHandOver_Meanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		event vrrp.Event
		want  vrrp.Role
		lent  bool
	}{
		"fault":    {vrrp.Event{Kind: vrrp.Faulty, Reason: "test"}, vrrp.Fault, true},
		"deaf":     {vrrp.Event{Kind: vrrp.Faulty, Deaf: true, Reason: "test"}, vrrp.Fault, false},
		"shutdown": {vrrp.Event{Kind: vrrp.Shutdown}, vrrp.Init, true},
		"priority": {vrrp.Event{Kind: vrrp.Reprioritised, Priority: 1}, vrrp.Master, true},
		"again":    {toBackup, vrrp.Master, true},
	} {
		n := newMaster(t)
		n.step(toFault)
		n.after(500 * ms).step(tt.event)
		if got := n.state(); got.Role != tt.want || (got.Addresses == vrrp.AddressesLent) != tt.lent {
			t.Errorf("%s: %s, addresses %d", name, got.Role, got.Addresses)
		}
		if tt.want == vrrp.Master {
			n.due(n.set.HandoverBound(n.id) - 500*ms)
		}
	}
}

// A group goes on as one, with the slowest bound of its members.
func TestHandOver_GroupNobodyHeard(t *testing.T) {
	n := newGrouped(t)
	for n.now < epoch+5*second {
		n.expire()
	}
	n.step(toFault)
	begun := n.now
	n.expire()
	if got := n.now - begun; got != n.set.HandoverBound(n.id) {
		t.Errorf("gone on after %s", got)
	}
	for id := range vrrp.ID(2) {
		if st := n.set.State(id); st.Role != vrrp.Master || st.Addresses != vrrp.AddressesHeld {
			t.Errorf("router %d: %+v", id, st)
		}
	}
}

// A backup takes over once from a master that loses to it, and from no other.
func TestTakeOver(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(*node)
		want bool
	}{
		"a worse one":               {func(n *node) { n.hear(upper, 99) }, true},
		"one with a lower address":  {func(n *node) { n.hear(lower, 100) }, true},
		"one with a higher address": {func(n *node) { n.hear(upper, 100) }, false},
		"a better one":              {func(n *node) { n.hear(lower, 101) }, false},
		"nobody":                    {func(*node) {}, false},
		"one that has left":         {func(n *node) { n.hear(upper, 99); n.hear(upper, 0) }, false},
		"a worse one, while in FAULT": {func(n *node) {
			n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "test"})
			n.hear(upper, 99)
		}, false},
		"a worse one, before a preempt delay is over": {func(n *node) { n.hear(lower, 50) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBackup(t, noPreempt, preemptDelay(10*second))
			tt.make(n)
			if got := n.set.Wins(n.id); got != tt.want {
				t.Errorf("wins is %t", got)
			}
			n.step(vrrp.Event{Kind: vrrp.TakeOver})
			if got := n.state().Role == vrrp.Master; got != tt.want {
				t.Errorf("master is %t", got)
			}
		})
	}
}

// In a group ties are decided by one member for all, and one worse is enough.
func TestTakeOver_Group(t *testing.T) {
	n := newGrouped(t)
	n.hear(upper, 100)
	n.hearOther(lower, 100)
	if n.set.Wins(n.id) {
		t.Error("wins though the member that decides loses")
	}
	n.hear(lower, 100)
	n.hearOther(upper, 100)
	if !n.set.Wins(1) {
		t.Error("loses though the member that decides wins")
	}
	n.hearOther(upper, 101)
	n.step(vrrp.Event{Kind: vrrp.TakeOver})
	n.is(vrrp.Backup)
	n.hearOther(upper, 99)
	check(t, texts(n.set.Step(n.now, 1, vrrp.Event{Kind: vrrp.TakeOver})),
		"send priority 100", "hold", "change BACKUP to MASTER: group, takeover of router 1, rival 192.0.2.11 (99)",
		"router 1: send priority 100", "router 1: hold", "router 1: change BACKUP to MASTER: takeover, rival 192.0.2.11 (99)")
}
