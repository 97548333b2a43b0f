package vrrp_test

import (
	"testing"
	"time"

	"baton/vrrp"
)

func faulty(reason string, deaf bool) vrrp.Event {
	return vrrp.Event{Kind: vrrp.Faulty, Reason: reason, Deaf: deaf}
}

// A master that fails says so, and lends its addresses; nobody else speaks.
func TestFault_Leaving(t *testing.T) {
	n := newMaster(t)
	check(t, n.step(faulty("haproxy fails", false)),
		"send priority 0",
		"change MASTER to FAULT: fault (haproxy fails)")
	n.holds(vrrp.AddressesLent)
	check(t, n.step(faulty("another reason", false)))
	check(t, newBackup(t).step(faulty("haproxy fails", false)), "change BACKUP to FAULT: fault (haproxy fails)")
	check(t, newNode(t).step(faulty("haproxy fails", false)), "change INIT to FAULT: fault (haproxy fails)")
}

// A router in FAULT takes no part: it answers nobody and takes nothing.
func TestFault_TakesNoPart(t *testing.T) {
	n := newFaulty(t)
	for _, p := range []uint8{0, 50, 100, 255} {
		for _, a := range n.hear(lower, p) {
			if a != "notice: equal priority, rival 192.0.2.9 (100)" {
				t.Errorf("priority %d: %s", p, a)
			}
		}
	}
	n.is(vrrp.Fault)
}

// Recovery begins as a start does.
func TestFault_Recovery(t *testing.T) {
	n := newFaulty(t)
	check(t, n.after(second).step(vrrp.Event{Kind: vrrp.Recovered}), "change FAULT to BACKUP: recovered")
	n.due(3609375 * time.Microsecond)
	n = newFaulty(t)
	n.step(reprioritised(255))
	check(t, n.step(vrrp.Event{Kind: vrrp.Recovered}), "send priority 255", "hold", "change FAULT to MASTER: owner")
}

// Vacant is said after each master down interval in which nobody advertised,
// by the learned interval; priority 0 does not count as somebody.
func TestFault_Vacant(t *testing.T) {
	n := newFaulty(t)
	check(t, n.expire(), "vacant, after 3.609375s")
	check(t, n.expire(), "vacant, after 7.21875s")
	n.after(second).hear(upper, 50, every(2*second))
	n.due(7218750 * time.Microsecond)
	if got := n.state().Master; got != (vrrp.Rival{Addr: upper, Priority: 50}) {
		t.Errorf("master is %+v", got)
	}
	n.after(second).hear(upper, 0)
	n.due(6218750 * time.Microsecond)
	if got := n.state().Master; got != (vrrp.Rival{}) {
		t.Errorf("master is %+v after it left", got)
	}
	check(t, n.expire(), "vacant, after 7.21875s")
}

// Who cannot hear says nothing of the link, and begins to listen when it can.
func TestFault_DeafIsNotVacant(t *testing.T) {
	n := newMaster(t)
	n.step(faulty("link down", true))
	for range 3 {
		check(t, n.expire())
	}
	n.now += second
	check(t, n.step(faulty("haproxy fails", false)))
	n.due(3609375 * time.Microsecond)
	check(t, n.expire(), "vacant, after 3.609375s")
	n.step(faulty("link down", true))
	check(t, n.expire())
}

// State names the master that a backup follows, and forgets it with the role.
func TestState_Master(t *testing.T) {
	n := newBackup(t)
	want := func(r vrrp.Rival) {
		t.Helper()
		if got := n.state().Master; got != r {
			t.Errorf("master is %+v, want %+v", got, r)
		}
	}
	want(vrrp.Rival{})
	n.hear(upper, 150)
	want(vrrp.Rival{Addr: upper, Priority: 150})
	n.hear(lower, 50) // we are about to preempt it
	want(vrrp.Rival{Addr: lower, Priority: 50})
	n.hear(lower, 0) // the other one is still there
	want(vrrp.Rival{Addr: upper, Priority: 150})
	n.hear(upper, 0)
	want(vrrp.Rival{})
	n.hear(upper, 150)
	n.expire()
	n.is(vrrp.Master)
	want(vrrp.Rival{})
	n.after(second).hear(upper, 150)
	want(vrrp.Rival{Addr: upper, Priority: 150})
	n.step(faulty("test", false))
	want(vrrp.Rival{})
}
