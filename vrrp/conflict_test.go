package vrrp_test

import (
	"strings"
	"testing"
	"time"

	"baton/vrrp"
)

// Two masters: told once, announced at once, every 5 s and at the end.
func TestConflict_Healed(t *testing.T) {
	n := newMaster(t)
	n.now += 300 * ms
	check(t, n.hear(upper, 50), "send priority 100", "notice: two masters, rival 192.0.2.11 (50)", "announce")
	announced := 0
	for range 12 {
		n.expire() // our own advertisement
		n.now += 300 * ms
		for _, a := range n.hear(upper, 50) {
			switch a {
			case "send priority 100":
			case "announce":
				announced++
			default:
				t.Errorf("action %q", a)
			}
		}
	}
	if announced != 2 {
		t.Errorf("announced %d times in 12 s, want 2", announced)
	}
	last := n.now
	var got []string
	for n.now < last+1500*ms {
		got = append(got, n.expire()...)
	}
	check(t, got, "send priority 100",
		"announce", "reassert, rival 192.0.2.11 (50), after 12s")
	if n.now != last+1500*ms {
		t.Errorf("over %s after the rival's last word, want 1.5 of its intervals", n.now-last)
	}
	n.now += 100 * ms
	check(t, n.hear(upper, 50), "send priority 100", "notice: two masters, rival 192.0.2.11 (50)") // announced just now
}

// Whoever forges losing advertisements draws few announcements, however short
// the interval and whatever the pauses.
func TestConflict_DrawsFewAnnouncements(t *testing.T) {
	for _, pause := range []time.Duration{5 * ms, 15 * ms, 100 * ms, 1100 * ms, 3 * second} {
		n := newMaster(t)
		n.now += 300 * ms
		announced, reasserted, next := 0, 0, n.now
		count := func(actions []string) {
			for _, a := range actions {
				switch {
				case a == "announce":
					announced++
				case strings.HasPrefix(a, "reassert"):
					reasserted++
				}
			}
		}
		for start := n.now; n.now < start+60*second; {
			if next <= n.set.Deadline() {
				n.now, next = next, next+pause
				count(n.hear(upper, 50, every(10*ms)))
			} else {
				count(n.expire())
			}
		}
		if announced > 60+60/5 || reasserted > 60 || announced == 0 {
			t.Errorf("a losing advertisement every %s: %d announcements and %d reassertions in a minute", pause, announced, reasserted)
		}
	}
}

// The rival's interval says when it is over, not ours.
func TestConflict_RivalsInterval(t *testing.T) {
	n := newMaster(t, interval(100*ms))
	n.now += 30 * ms
	n.hear(upper, 50, every(4*second))
	start := n.now
	for got := n.expire(); len(got) == 1; got = n.expire() {
		if n.now > start+10*second {
			t.Fatal("never over")
		}
	}
	if after := n.now - start; after != 6*second {
		t.Errorf("over after %s, want 6s", after)
	}
}

// An advertisement that crossed our first is no conflict; from 50 ms on it is.
func TestConflict_Crossing(t *testing.T) {
	for _, tt := range []struct {
		after    time.Duration
		conflict bool
	}{{0, false}, {49 * ms, false}, {50 * ms, true}} {
		n := newBackup(t)
		n.expire()
		n.is(vrrp.Master)
		got := n.after(tt.after).hear(upper, 50)
		if conflict := len(got) > 1; conflict != tt.conflict {
			t.Errorf("%s after we became master: %v", tt.after, got)
		}
	}
}

// The loser tells the winner that it was there, unless it has just begun, has
// just spoken, or is yielding.
func TestConflict_LastWord(t *testing.T) {
	n := newBackup(t)
	n.expire()
	check(t, n.after(49*ms).hear(upper, 150), "release all", "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n = newMaster(t)
	check(t, n.after(3*ms).hear(upper, 150), "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
	n = newMaster(t)
	check(t, n.after(4*ms).hear(upper, 150), "send priority 100", "change MASTER to BACKUP: better, rival 192.0.2.11 (150)")
}

// Who steps back has nothing to reassert.
func TestConflict_EndsWithTheRole(t *testing.T) {
	for _, l := range leavings {
		t.Run(l.name, func(t *testing.T) {
			n := newMaster(t)
			n.after(300*ms).hear(lower, 50)
			l.do(n)
			for end := n.now + 3*second; n.set.Deadline() < end; {
				for _, a := range n.expire() {
					if a == "announce" {
						t.Error("announced without the role")
					}
				}
			}
		})
	}
}

// A flood of losing advertisements, or of priority 0, draws a bounded number
// of answers.
func TestFlood_6_4_3_BoundedAnswers(t *testing.T) {
	for _, p := range []uint8{0, 50} {
		n := newMaster(t)
		sent := 0
		count := func(actions []string) {
			for _, a := range actions {
				if a == "send priority 100" {
					sent++
				}
			}
		}
		for range 10000 {
			n.now += 100 * time.Microsecond
			count(n.tick())
			count(n.hear(upper, p))
		}
		if sent > 256+1 || sent < 128 {
			t.Errorf("priority %d: 10000 packets in one interval drew %d advertisements, want at most 257", p, sent)
		}
		n.is(vrrp.Master)
	}
}

// An answer that is put off comes before the best backup's skew is over: a
// priority 0 that follows an advertisement closely must not cost the role.
func TestMaster_6_4_3_AnswerPutOffComesInTime(t *testing.T) {
	for _, p := range []uint8{0, 50} {
		n := newMaster(t)
		n.now += n.set.Deadline() - n.now
		n.expire() // our own advertisement
		sent := n.now
		for _, a := range n.after(100*time.Microsecond).hear(upper, p) {
			if a == "send priority 100" {
				t.Errorf("priority %d: answered %s after an advertisement", p, n.now-sent)
			}
		}
		if due, skew := n.set.Deadline()-n.now, 2*second/256; due >= skew {
			t.Errorf("priority %d: the answer is due in %s, when a backup of 254 is master after %s", p, due, skew)
		}
		n.now = n.set.Deadline()
		check(t, n.expire(), "send priority 100")
		if due := n.set.Deadline() - n.now; due > second || due <= 0 {
			t.Errorf("priority %d: the advertisement after it is due in %s", p, due)
		}
	}
}

// A flood of priority 0 can not keep a backup from taking over.
func TestFlood_6_4_2_PriorityZero(t *testing.T) {
	n := newBackup(t)
	n.hear(upper, 150)
	start := n.now
	for n.state().Role == vrrp.Backup {
		n.now += ms
		n.hear(upper, 0)
		n.tick()
		if n.now > start+second {
			t.Fatal("no takeover within a second")
		}
	}
	if after := n.now - start; after > 611*ms {
		t.Errorf("takeover after %s, want 609.375 ms after the first", after)
	}
}

// A conflict of a former mastership is not the new one's.
func TestConflict_NotOfLastTime(t *testing.T) {
	n := newMaster(t)
	n.after(300*ms).hear(lower, 50, every(10*second))
	n.hear(upper, 150)
	n.hear(upper, 0)
	n.expire()
	n.is(vrrp.Master)
	for end := n.now + 30*second; n.now < end; {
		check(t, n.expire(), "send priority 100")
	}
}
