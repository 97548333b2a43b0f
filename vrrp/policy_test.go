package vrrp_test

import (
	"fmt"
	"testing"
	"time"

	"baton/vrrp"
)

func missed(n uint8) option { return func(c *vrrp.Config) { c.Missed = n } }
func preemptDelay(d time.Duration) option {
	return func(c *vrrp.Config) { c.PreemptDelay = d }
}
func together(c *vrrp.Config) { c.Together = true }

// A backup waits for as many intervals as it is told, and its skew; so does
// whoever reckons with its patience.
func TestMissed_6_1(t *testing.T) {
	for n, intervals := range map[uint8]time.Duration{0: 3, 1: 1, 2: 2, 5: 5, 255: 255} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			b := newBackup(t, missed(n))
			b.due(intervals*second + 609375*time.Microsecond)
			b.hear(upper, 150, every(2*second))
			b.due(intervals*2*second + 1218750*time.Microsecond)

			m := newMaster(t, missed(n))
			m.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "no address", Mute: true})
			bound := m.now + intervals*second + m.set.HandoverBound(m.id)
			for m.state().Addresses == vrrp.AddressesLent {
				m.expire()
			}
			if m.now != bound {
				t.Errorf("a mute master let go %s too late", m.now-bound)
			}
		})
	}
}

// A master has stood still when its peers' patience is over. Where they miss
// one advertisement only, a timer that is served a little late is no stall.
func TestMissed_Stalled(t *testing.T) {
	for n, intervals := range map[uint8]time.Duration{0: 3, 1: 2, 2: 2, 5: 5} {
		m := newMaster(t, missed(n))
		check(t, m.after(intervals*second).tick(), "send priority 100")
		check(t, m.after(intervals*second+1).tick(), "notice: late, after "+((intervals-1)*second+1).String())
	}
}

// A worse master is followed until the delay after its first advertisement is
// over; then the timer runs out.
func TestPreemptDelay(t *testing.T) {
	n := newBackup(t, preemptDelay(10*second))
	if got := n.state().PreemptAt; got != vrrp.Never {
		t.Errorf("preempts at %s before anybody was heard", got)
	}
	first := n.after(500 * ms).now
	for n.now < first+10*second {
		n.hear(upper, 50)
		n.due(3609375 * time.Microsecond)
		if got := n.state().PreemptAt; got != first+10*second {
			t.Errorf("preempts at %s, want %s", got, first+10*second)
		}
		n.now += second
	}
	for range 2 {
		n.hear(upper, 50)
		n.now += second
	}
	n.hear(upper, 50)
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: preempt, rival 192.0.2.11 (50)")
	if d := n.now - first; d != 12609375*time.Microsecond {
		t.Errorf("master %s after the first advertisement", d)
	}
	if got := n.state().PreemptAt; got != vrrp.Never {
		t.Errorf("a master preempts at %s", got)
	}
}

// The delay counts from the last master that was not worse, and anew in each
// role.
func TestPreemptDelay_BeginsAnew(t *testing.T) {
	delayed := func(t *testing.T, want time.Duration, n *node) {
		t.Helper()
		n.hear(upper, 50)
		if got := n.state().PreemptAt - n.now; got != want {
			t.Errorf("preempts in %s, want %s", got, want)
		}
	}
	n := newBackup(t, preemptDelay(10*second))
	delayed(t, 10*second, n)
	n.after(2 * second)
	delayed(t, 8*second, n)
	n.hear(upper, 100)
	if got := n.state().PreemptAt; got != vrrp.Never {
		t.Errorf("preempts an equal master at %s", got)
	}
	n.after(second)
	delayed(t, 10*second, n)
	n.after(second).step(faulty("test", false))
	n.step(vrrp.Event{Kind: vrrp.Recovered})
	delayed(t, 10*second, n)
}

// A change of the own priority makes the master a worse one, or not.
func TestPreemptDelay_OwnPriority(t *testing.T) {
	n := newBackup(t, preemptDelay(10*second))
	n.hear(upper, 150)
	n.step(reprioritised(200))
	n.after(second).hear(upper, 150)
	if got := n.state().PreemptAt - n.now; got != 10*second {
		t.Errorf("preempts in %s, want 10s", got)
	}
	n.after(second).step(reprioritised(100))
	n.hear(upper, 150)
	if got := n.state().PreemptAt; got != vrrp.Never {
		t.Errorf("preempts a better master at %s", got)
	}
}

// What is no preemption is not put off.
func TestPreemptDelay_NotWithoutMaster(t *testing.T) {
	n := newBackup(t, preemptDelay(10*second))
	n.hear(upper, 50)
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: silence, rival 192.0.2.11 (50), after 3.609375s")

	n = newBackup(t, preemptDelay(10*second))
	n.hear(upper, 50)
	n.hear(upper, 0)
	n.due(609375 * time.Microsecond)
	// Another worse one takes over first: it is followed for the rest.
	n.after(100*ms).hear(lower, 60)
	n.due(3609375 * time.Microsecond)
	n.after(second).hear(lower, 0)
	n.due(609375 * time.Microsecond)
}

// An owner does not wait, and where nobody preempts there is nothing to delay.
func TestPreemptDelay_OwnerAndNoPreempt(t *testing.T) {
	n := newBackup(t, preemptDelay(10*second))
	n.step(reprioritised(255))
	due := n.set.Deadline()
	n.after(second).hear(upper, 50)
	if n.set.Deadline() != due || n.state().PreemptAt != vrrp.Never {
		t.Error("an owner waits")
	}
	n = newBackup(t, preemptDelay(10*second), noPreempt)
	for range 30 {
		n.hear(upper, 50)
		if n.after(second).state().PreemptAt != vrrp.Never {
			t.Error("no-preempt preempts")
		}
	}
}

// With a virtual MAC all addresses go with the first that the successor
// announces.
func TestLend_Together(t *testing.T) {
	n := newMaster(t, addresses(vip, vip2), together)
	n.hear(upper, 150)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: addr("192.0.2.102")}))
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip2}), "release all")
	n.holds(vrrp.AddressesOff)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}))
	n = newMaster(t, addresses(vip, vip2), together)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}))
	n.holds(vrrp.AddressesHeld)
}

// Priority 0 from another one than the master that we hear says nothing of that
// one: it is waited for until its next advertisement is due.
func TestBackup_AnotherOneLeaves(t *testing.T) {
	skew := 609375 * time.Microsecond
	n := newBackup(t)
	n.hear(upper, 150)
	check(t, n.after(400*ms).hear(lower, 0))
	n.due(600*ms + skew)
	check(t, n.hear(lower, 0)) // a flood of them does not put it off
	n.due(600*ms + skew)
	n.after(600*ms).hear(upper, 150)
	n.due(3*second + skew)

	// The master is silent meanwhile: that is why it is taken over from.
	n.after(300*ms).hear(lower, 0)
	n.due(700*ms + skew)
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: silence, rival 192.0.2.11 (150), after 1.609375s")
}
