package vrrp_test

import (
	"net/netip"
	"testing"
	"time"

	"baton/vrrp"
)

// The ways to lose the role, and the longest that addresses are kept where
// nobody is heard.
var leavings = []struct {
	name    string
	do      func(*node)
	bound   time.Duration // with SlowestRival not known: skew of 1 + interval + 2 s
	unheard bool          // no successor is known yet
}{
	{"better master", func(n *node) { n.hear(upper, 150) }, second, false},
	{"shutdown", func(n *node) { n.step(vrrp.Event{Kind: vrrp.Shutdown}) }, 3996093750, true},
	{"fault", func(n *node) { n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "test"}) }, 3996093750, true},
}

// releasedAt lets time go on until the addresses are gone.
func (n *node) releasedAt() (after time.Duration, last []string) {
	n.t.Helper()
	start := n.now
	for n.state().Addresses == vrrp.AddressesLent {
		last = n.expire()
	}
	return n.now - start, last
}

func TestLend_Bound(t *testing.T) {
	for _, l := range leavings {
		t.Run(l.name, func(t *testing.T) {
			n := newMaster(t)
			l.do(n)
			n.holds(vrrp.AddressesLent)
			after, last := n.releasedAt()
			if after != l.bound {
				t.Errorf("kept for %s, want %s", after, l.bound)
			}
			check(t, last, "release all")
			n.holds(vrrp.AddressesOff)
		})
	}
}

// The bound follows the slowest peer that there can be.
func TestLend_BoundOfSlowestRival(t *testing.T) {
	n := newMaster(t, rivals(0, 192), interval(100*ms))
	n.step(vrrp.Event{Kind: vrrp.Shutdown})
	n.due(25*ms + 100*ms + 2*second)
}

// Addresses go one by one as the successor announces them; the last of them
// ends it.
func TestLend_ReleasedAsAnnounced(t *testing.T) {
	for _, l := range leavings {
		t.Run(l.name, func(t *testing.T) {
			n := newMaster(t, addresses(vip, vip2))
			l.do(n)
			n.now += 10 * ms
			check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip2}), "release 192.0.2.101")
			check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip2}))
			check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: addr("192.0.2.102")}))
			n.holds(vrrp.AddressesLent)
			check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}), "release 192.0.2.100")
			n.holds(vrrp.AddressesOff)
			for end := n.now + 5*second; n.set.Deadline() < end; {
				for _, a := range n.expire() {
					if a == "release all" {
						t.Error("released twice")
					}
				}
			}
		})
	}
}

// What is not announced goes 1 s after the successor's first advertisement,
// not after the last.
func TestLend_ReleasedAfterFirstAdvertisement(t *testing.T) {
	for _, l := range leavings[1:] {
		t.Run(l.name, func(t *testing.T) {
			n := newMaster(t)
			l.do(n)
			n.after(600*ms).hear(lower, 50)
			n.after(300*ms).hear(lower, 50)
			after, _ := n.releasedAt()
			if after != 700*ms {
				t.Errorf("released %s after the second advertisement, want 700ms", after)
			}
		})
	}
}

// A successor that announces before it advertises, and one that is heard at
// the last moment, have their second.
func TestLend_HeardIsAnAdvertisementOrAnAnnouncement(t *testing.T) {
	n := newMaster(t, addresses(vip, vip2))
	n.step(vrrp.Event{Kind: vrrp.Shutdown})
	n.after(3900 * ms).step(vrrp.Event{Kind: vrrp.Announced, Addr: vip})
	n.due(second)
}

// An address that is not advertised is let go as the others are, and neither
// in the advertisement nor looked for in others'.
func TestLend_Excluded(t *testing.T) {
	other := addr("2001:db8::100")
	n := newMaster(t, func(c *vrrp.Config) { c.Excluded = []netip.Addr{other} })
	check(t, n.hear(upper, 150), "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}), "release 192.0.2.100")
	n.holds(vrrp.AddressesLent)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: other}), "release 2001:db8::100")
	n.holds(vrrp.AddressesOff)
}

// Priority 0 is no successor.
func TestLend_PriorityZeroIsNoSuccessor(t *testing.T) {
	n := newMaster(t)
	n.step(vrrp.Event{Kind: vrrp.Shutdown})
	n.after(100*ms).hear(upper, 0)
	n.due(3896093750)
}

// While the addresses are held, and once they are gone, others' announcements
// are not ours to follow.
func TestLend_AnnouncedOutsideOfLending(t *testing.T) {
	n := newMaster(t)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}))
	n.holds(vrrp.AddressesHeld)
	n.hear(upper, 150)
	n.releasedAt()
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}))
	n.holds(vrrp.AddressesOff)
}

// A deaf fault lets everything go at once, also what was lent before.
func TestLend_DeafFault(t *testing.T) {
	deaf := vrrp.Event{Kind: vrrp.Faulty, Reason: "link down", Deaf: true}
	n := newMaster(t)
	check(t, n.step(deaf), "release all", "change MASTER to FAULT: fault (link down)")
	n.holds(vrrp.AddressesOff)
	for _, l := range []int{0, 2} {
		n := newMaster(t)
		leavings[l].do(n)
		if got := n.step(deaf); len(got) == 0 || got[0] != "release all" {
			t.Errorf("%s, then deaf: %v", leavings[l].name, got)
		}
		n.holds(vrrp.AddressesOff)
	}
}

// Who becomes master again while its addresses are lent holds them again,
// also those that have gone meanwhile, and keeps them.
func TestLend_MasterAgain(t *testing.T) {
	n := newMaster(t, addresses(vip, vip2))
	n.hear(upper, 150)
	n.after(100 * ms).step(vrrp.Event{Kind: vrrp.Announced, Addr: vip})
	n.after(10*ms).hear(upper, 0)
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: left, rival 192.0.2.11 (0), after 609.375ms")
	n.holds(vrrp.AddressesHeld)
	for range 10 {
		check(t, n.expire(), "send priority 100")
	}
	// The next lending begins anew.
	n.hear(upper, 150)
	check(t, n.step(vrrp.Event{Kind: vrrp.Announced, Addr: vip}), "release 192.0.2.100")
	n.holds(vrrp.AddressesLent)
}

// A stop while the addresses are lent changes nothing about them.
func TestLend_ShutdownWhileLent(t *testing.T) {
	n := newMaster(t)
	n.hear(upper, 150)
	check(t, n.after(400*ms).step(vrrp.Event{Kind: vrrp.Shutdown}), "change BACKUP to INIT: shutdown")
	after, _ := n.releasedAt()
	if after != 600*ms {
		t.Errorf("released after %s, want 600ms", after)
	}
	if d := n.set.Deadline(); d != vrrp.Never {
		t.Errorf("deadline is %s after all is over", d)
	}
}

// Who loses right after it became master lets go at once: its own, late
// announcement must not follow the winner's. Addresses that were on before are
// lent as ever.
func TestLend_NotWhereBothBegan(t *testing.T) {
	n := newBackup(t)
	n.expire()
	check(t, n.after(49*ms).hear(upper, 150), "release all", "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n.holds(vrrp.AddressesOff)

	n = newBackup(t)
	n.expire()
	check(t, n.after(50*ms).hear(upper, 150), "send priority 100", "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n.holds(vrrp.AddressesLent)

	n = newBackup(t, interval(10*ms))
	n.expire()
	check(t, n.after(5*ms).hear(upper, 150), "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n.holds(vrrp.AddressesLent)

	n = newMaster(t)
	n.hear(upper, 150)
	n.hear(upper, 0)
	n.expire()
	n.is(vrrp.Master)
	check(t, n.hear(upper, 150), "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n.holds(vrrp.AddressesLent)
}

// Who can hear and cannot send keeps its addresses until the successor, which
// waits for our silence, has them; it says no last word.
func TestLend_MuteFault(t *testing.T) {
	mute := vrrp.Event{Kind: vrrp.Faulty, Reason: "no address", Mute: true}
	n := newMaster(t)
	check(t, n.step(mute), "change MASTER to FAULT: fault (no address)")
	// The slowest peer: three intervals and a skew of almost one.
	check(t, n.after(3990*ms).hear(upper, 1))
	n.is(vrrp.Fault)
	if got := n.state().Addresses; got != vrrp.AddressesLent {
		t.Fatalf("addresses %v when the successor is heard, want lent", got)
	}
	n.now += second
	check(t, n.tick(), "release all")

	n = newMaster(t)
	n.step(mute)
	bound := n.now + 3*second + n.set.HandoverBound(n.id)
	for n.state().Addresses != vrrp.AddressesOff {
		n.expire()
		if n.now > bound {
			t.Fatal("kept for ever with nobody to take over")
		}
	}
	if n.now != bound {
		t.Errorf("let go after %s, want %s", n.now, bound)
	}
}

// Who is cut off from most of the others lends nothing: its successor need not
// be one that it hears.
func TestLend_Alone(t *testing.T) {
	alone := vrrp.Event{Kind: vrrp.Faulty, Reason: "1 of 3 nodes", Alone: true}
	n := newMaster(t)
	check(t, n.step(alone), "send priority 0", "release all", "change MASTER to FAULT: fault (1 of 3 nodes)")
	n.holds(vrrp.AddressesOff)

	n = newMaster(t)
	n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "haproxy fails"})
	n.holds(vrrp.AddressesLent)
	check(t, n.step(alone), "release all")

	n = newMaster(t, bound)
	check(t, n.step(alone), "release all", "change MASTER to FAULT: fault (1 of 3 nodes)")
}

// Whoever stops waits for HandoverBound, and no longer, whatever it had begun.
func TestLend_MuteFaultThenShutdown(t *testing.T) {
	n := newMaster(t, interval(10*second))
	n.step(vrrp.Event{Kind: vrrp.Faulty, Reason: "no address", Mute: true})
	n.step(vrrp.Event{Kind: vrrp.Shutdown})
	bound := n.now + n.set.HandoverBound(n.id)
	for n.state().Addresses != vrrp.AddressesOff {
		n.expire()
		if n.now > bound {
			t.Fatalf("kept beyond %s", bound)
		}
	}
}
