package vrrp_test

import (
	"testing"
	"time"

	"baton/vrrp"
)

// A backup that is served a whole interval late listens once more, for an
// interval and its skew.
func TestLate_2_5_Backup(t *testing.T) {
	n := newBackup(t)
	n.now = n.set.Deadline() + second
	got := n.tick()
	check(t, got, "send priority 100", "hold", "change BACKUP to MASTER: silence, after 4.609375s")

	n = newBackup(t)
	n.now = n.set.Deadline() + second + 1
	check(t, n.tick(), "notice: late, after 1.000000001s")
	n.due(1609375 * time.Microsecond)
	check(t, n.expire(), "send priority 100", "hold", "change BACKUP to MASTER: silence, after 6.218750001s")
}

// It is not put off for ever by being late again, and follows a master that
// it hears.
func TestLate_2_5_BackupOnce(t *testing.T) {
	n := newBackup(t)
	n.after(10 * second).tick()
	n.after(10 * second).tick()
	n.is(vrrp.Master)

	n = newBackup(t)
	n.after(10 * second).tick()
	n.after(500*ms).hear(upper, 150)
	n.due(3609375 * time.Microsecond)
	check(t, n.after(10*second).tick(), "notice: late, after 6.390625s")
}

// The interval that counts is the master's.
func TestLate_2_5_BackupLearnedInterval(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150, every(10*ms))
	n.now = n.set.Deadline() + 11*ms
	check(t, n.tick(), "notice: late, after 11ms")
	n.due(10*ms + 6093750)
}

// A master that was silent for longer than three intervals listens for one
// before it speaks; until then it is late, no more.
func TestLate_2_5_Master(t *testing.T) {
	n := newMaster(t)
	check(t, n.after(3*second).tick(), "send priority 100")
	n.now += 3*second + 1
	check(t, n.tick(), "notice: late, after 2.000000001s")
	n.is(vrrp.Master)
	n.holds(vrrp.AddressesHeld)
	n.due(second)
	check(t, n.expire(), "send priority 100")
	if d := n.set.Deadline() - n.now; d <= 0 || d > second {
		t.Errorf("next advertisement is in %s", d)
	}
}

// Who is heard meanwhile, and what waited in the socket, which is read before
// a timer is looked at.
func TestLate_2_5_MasterHears(t *testing.T) {
	stalled := "change MASTER to BACKUP: stalled, rival 192.0.2.11 (99), after "
	for _, tt := range []struct {
		name    string
		options []option
		expired bool // the timer was served before the packet was read
		src     uint8
		want    []string
	}{
		{"preempt, after expiry", nil, true, 99, []string{"send priority 100", "notice: two masters, rival 192.0.2.11 (99)", "announce"}},
		{"preempt, from the socket", nil, false, 99, []string{"notice: late, after 9s", "send priority 100", "notice: two masters, rival 192.0.2.11 (99)", "announce"}},
		{"no-preempt, after expiry", []option{noPreempt}, true, 99, []string{stalled + "10.5s"}},
		{"no-preempt, from the socket", []option{noPreempt}, false, 99, []string{"notice: late, after 9s", stalled + "10s"}},
		{"higher, after expiry", nil, true, 101, []string{"change MASTER to BACKUP: better, rival 192.0.2.11 (101)"}},
		{"higher, from the socket", nil, false, 101, []string{"notice: late, after 9s", "change MASTER to BACKUP: better, rival 192.0.2.11 (101)"}},
		{"priority 0, from the socket", nil, false, 0, []string{"notice: late, after 9s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newMaster(t, tt.options...)
			n.now += 10 * second
			if tt.expired {
				n.tick()
				n.now += 500 * ms
			}
			check(t, n.hear(upper, tt.src), tt.want...)
		})
	}
}

// Lateness of a silence that was meant is none.
func TestLate_2_5_YieldingIsNotLate(t *testing.T) {
	n := newMaster(t, priority(200))
	n.step(reprioritised(1))
	n.now += 5 * second
	check(t, n.tick(), "yielded, after 5s", "send priority 1")
}

// Each silence is listened to twice, not only the first.
func TestLate_2_5_BackupEachTime(t *testing.T) {
	n := newBackup(t)
	n.after(10 * second).tick()
	n.expire()
	n.is(vrrp.Master)
	n.after(second).hear(upper, 150)
	n.is(vrrp.Backup)
	check(t, n.after(10*second).tick(), "notice: late, after 6.390625s", "release all")
}
