package vrrp_test

import (
	"fmt"
	"testing"
	"time"

	"baton/vrrp"
)

func reprioritised(p uint8) vrrp.Event { return vrrp.Event{Kind: vrrp.Reprioritised, Priority: p} }

// A master whose priority falls sends priority 0, keeps its addresses and is
// silent for its new skew less half a step, at most the skew cut to 10 ms
// less 1 ms, and not less than nothing.
func TestYield_Time(t *testing.T) {
	tests := []struct {
		priority uint8
		interval time.Duration
		want     time.Duration
	}{
		{100, second, 599 * ms},        // skew 609.375 ms: as FRR cuts it, 600 ms
		{99, second, 609 * ms},         // 613.281 ms
		{102, second, 599 * ms},        // 601.5625 ms: half a step less is 599.609
		{1, second, 989 * ms},          // 996.094 ms
		{253, second, 9 * ms},          // 11.719 ms
		{254, second, 0},               // 7.8125 ms is cut to nothing
		{100, 100 * ms, 59 * ms},       // 60.9375 ms
		{25, 100 * ms, 89 * ms},        // 90.234 ms
		{100, 10 * ms, 0},              // 6 ms is cut to nothing
		{200, 40950 * ms, 8949 * ms},   // 8957.8125 ms less half a step of 80 ms is 8877.8
		{100, 4 * second, 2429 * ms},   // 2437.5 ms less half a step is 2429.6875
		{100, 10 * second, 6074218750}, // half a step is 19.5 ms, more than the cut
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d at %s", tt.priority, tt.interval), func(t *testing.T) {
			n := newMaster(t, priority(254), interval(tt.interval))
			if tt.priority == 254 {
				n.step(reprioritised(255))
			}
			if tt.interval == 40950*ms {
				tt.want = 8957812500 - 40950*ms/512
			}
			check(t, n.step(reprioritised(tt.priority)), "send priority 0")
			n.is(vrrp.Master)
			n.holds(vrrp.AddressesHeld)
			n.due(tt.want)
			want := "yielded, after " + tt.want.String()
			if tt.want == 0 {
				want = "yielded"
			}
			check(t, n.expire(), want, fmt.Sprintf("send priority %d", tt.priority))
			n.is(vrrp.Master)
			n.holds(vrrp.AddressesHeld)
		})
	}
}

// Whoever is better than our new priority speaks before our silence ends, and
// whoever is not does not.
func TestYield_BetterSpeaksFirstWorseDoesNot(t *testing.T) {
	for ours := 1; ours < 254; ours++ {
		for _, i := range []time.Duration{100 * ms, second, 10 * second} {
			n := newMaster(t, priority(254), interval(i))
			n.step(reprioritised(uint8(ours)))
			silence := n.set.Deadline() - n.now
			skew := func(p int) time.Duration { return time.Duration(256-p) * i / 256 }
			if equal := skew(ours); silence >= equal {
				t.Errorf("%d at %s: silent for %s, and an equal peer speaks after %s", ours, i, silence, equal)
			}
			// FRR's 10 ms steps make neighbours equal; a distance of 10 ms
			// and a half step must do.
			step := (20*ms-1)/(i/256) + 1
			if better := ours + int(step); better < 255 && silence <= skew(better) {
				t.Errorf("%d at %s: silent for %s, and %d speaks after %s only", ours, i, silence, better, skew(better))
			}
		}
	}
}

// What a yielding master hears.
func TestYield_Heard(t *testing.T) {
	yielding := func(t *testing.T, o ...option) *node {
		n := newMaster(t, append(o, priority(200))...)
		n.step(reprioritised(100))
		n.now += 200 * ms
		return n
	}
	t.Run("higher", func(t *testing.T) {
		n := yielding(t)
		check(t, n.hear(lower, 150), "change MASTER to BACKUP: better, rival 192.0.2.9 (150)")
		n.holds(vrrp.AddressesLent)
		n.due(second)
	})
	t.Run("equal, greater address", func(t *testing.T) {
		n := yielding(t)
		check(t, n.hear(upper, 100),
			"notice: equal priority, rival 192.0.2.11 (100)",
			"change MASTER to BACKUP: tie, rival 192.0.2.11 (100)")
		n.holds(vrrp.AddressesLent)
	})
	for _, o := range [][]option{nil, {noPreempt}} {
		t.Run("lower", func(t *testing.T) {
			n := yielding(t, o...)
			check(t, n.hear(upper, 99),
				"send priority 100",
				"notice: two masters, rival 192.0.2.11 (99)",
				"announce")
			n.holds(vrrp.AddressesHeld)
			n.due(800 * ms) // the ordinary timer again
			check(t, n.expire(), "send priority 100")
		})
	}
	t.Run("priority 0 is not answered", func(t *testing.T) {
		n := yielding(t)
		check(t, n.hear(upper, 0))
		n.due(399 * ms)
	})
}

// A second fall lengthens the silence, a rise shortens it, both counted from
// the priority 0 that the peers' skews began with.
func TestYield_PriorityChangesMeanwhile(t *testing.T) {
	tests := []struct {
		name string
		then uint8
		want time.Duration
	}{
		{"falls again", 50, 799*ms - 200*ms},
		{"rises", 150, 409*ms - 200*ms},
		{"rises above what it was", 254, -200 * ms},
		{"stays", 100, 599*ms - 200*ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newMaster(t, priority(200))
			n.step(reprioritised(100))
			n.now += 200 * ms
			check(t, n.step(reprioritised(tt.then)))
			n.due(tt.want)
			after := max(200*ms, tt.want+200*ms)
			check(t, n.expire(), "yielded, after "+after.String(), fmt.Sprintf("send priority %d", tt.then))
		})
	}
}

// Nothing is sent where it is known that the role cannot move.
func TestYield_BestRival(t *testing.T) {
	tests := []struct {
		best, priority uint8
		yields         bool
	}{
		{0, 199, true},    // not known
		{150, 199, false}, // still better than any
		{150, 151, false},
		{150, 150, false}, // an equal one hears us before its skew is over
		{150, 149, true},
		{255, 199, true},
	}
	for _, tt := range tests {
		n := newMaster(t, priority(200), rivals(tt.best, 0))
		n.now += 300 * ms
		got := n.step(reprioritised(tt.priority))
		if tt.yields {
			check(t, got, "send priority 0")
			continue
		}
		check(t, got)
		n.due(700 * ms)
		check(t, n.expire(), fmt.Sprintf("send priority %d", tt.priority))
	}
}

// A rise, the same priority and 0 make nobody yield.
func TestYield_OnlyAFall(t *testing.T) {
	n := newMaster(t)
	for _, p := range []uint8{100, 101, 101, 0, 255} {
		check(t, n.step(reprioritised(p)))
		n.due(second)
	}
}

// A backup's running timer moves with its skew.
func TestBackup_PriorityMovesTimer(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(2*second))
	n.after(second).step(reprioritised(228))
	n.due(6*second + 218750*time.Microsecond - second)
	n.step(reprioritised(100))
	n.due(6*second + 1218750*time.Microsecond - second)
	check(t, n.step(reprioritised(0)))
	n.due(6*second + 1218750*time.Microsecond - second)
}

// A raised backup preempts without waiting longer than it would have.
func TestBackup_RaisedAboveMaster(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150)
	n.after(900 * ms).step(reprioritised(200))
	n.after(100*ms).hear(upper, 150)
	n.after(second).hear(upper, 150)
	n.after(second).hear(upper, 150)
	n.due(218750 * time.Microsecond)
	check(t, n.expire(), "send priority 200", "hold", "change BACKUP to MASTER: preempt, rival 192.0.2.11 (150)")
}

// Where services are bound a lower priority is only said: nobody is asked to
// take over before they have stopped.
func TestYield_Bound(t *testing.T) {
	n := newMaster(t, bound)
	n.now += 300 * ms
	check(t, n.step(reprioritised(50)))
	n.due(700 * ms)
	check(t, n.expire(), "send priority 50")
	n.is(vrrp.Master)
}
