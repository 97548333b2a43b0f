package vip

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAnnounce_Following(t *testing.T) {
	for _, c := range []struct {
		policy Announce
		want   []time.Duration // of the announcements, up to ten
	}{
		{Announce{}, []time.Duration{0}},
		{Announce{Count: 1}, []time.Duration{0}},
		{Announce{Count: 3}, []time.Duration{0, 50 * ms, 100 * ms}},
		{Announce{Count: 2, AgainAfter: time.Second}, []time.Duration{0, 50 * ms, time.Second, 1050 * ms}},
		{Announce{Count: 5, AgainAfter: 5 * time.Second}, []time.Duration{0, 50 * ms, 100 * ms, 150 * ms, 200 * ms, 5000 * ms, 5050 * ms, 5100 * ms, 5150 * ms, 5200 * ms}},
		{Announce{Count: 3, AgainAfter: ms}, []time.Duration{0, 50 * ms, 100 * ms, 150 * ms, 200 * ms, 250 * ms}},
		{Announce{Count: 1, AgainAfter: time.Second, Every: 3 * time.Second}, []time.Duration{0, time.Second, 4 * time.Second, 7 * time.Second, 10 * time.Second, 13 * time.Second, 16 * time.Second, 19 * time.Second, 22 * time.Second, 25 * time.Second}},
		{Announce{Every: time.Minute}, []time.Duration{0, 1 * time.Minute, 2 * time.Minute, 3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 6 * time.Minute, 7 * time.Minute, 8 * time.Minute, 9 * time.Minute}},
	} {
		got := []time.Duration{0}
		for len(got) < 10 {
			due, ok := c.policy.following(len(got), 0, got[len(got)-1])
			if !ok {
				break
			}
			got = append(got, due)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.policy, diff)
		}
	}
}

// queued returns n addresses of a router with that policy.
func queued(n int, p Announce) []*address {
	r := &router{Router: Router{Announce: p}}
	var out []*address
	for i := range n {
		ip := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
		out = append(out, &address{router: r, Address: Address{Prefix: netip.PrefixFrom(ip, 24)}})
	}
	return out
}

// drain runs the queue from now to end and returns when each address was sent.
func drain(q *queue, now, end time.Duration) map[*address][]time.Duration {
	out := make(map[*address][]time.Duration)
	for now <= end {
		for a := q.next(now); a != nil; a = q.next(now) {
			out[a] = append(out[a], now)
			q.sent(a, now)
		}
		now = max(q.deadline(), now+1)
	}
	return out
}

func TestQueue_PacesAndAnnouncesEachOnceFirst(t *testing.T) {
	q := queue{pace: &pace{}}
	list := queued(1000, Announce{Count: 5, AgainAfter: 5 * time.Second})
	for _, a := range list {
		q.start(a)
	}
	at := drain(&q, time.Hour, time.Hour+20*time.Second)
	perInstant := make(map[time.Duration]int)
	var lastFirst, earliestSecond time.Duration
	earliestSecond = never
	for _, a := range list {
		if n := len(at[a]); n != 10 {
			t.Fatalf("announced %d times, want 10", n)
		}
		lastFirst = max(lastFirst, at[a][0]-time.Hour)
		earliestSecond = min(earliestSecond, at[a][1]-time.Hour)
		if d := at[a][5] - at[a][0]; d < 5*time.Second {
			t.Errorf("announced again after %v, want 5s", d)
		}
		for _, v := range at[a] {
			perInstant[v]++
		}
	}
	if lastFirst > 150*ms {
		t.Errorf("the last of 1,000 is announced after %v, want 150ms at most", lastFirst)
	}
	if earliestSecond < lastFirst {
		t.Errorf("one is announced again at %v while another waits until %v", earliestSecond, lastFirst)
	}
	instants := 0
	for v, n := range perInstant {
		instants++
		if n > burst {
			t.Errorf("%d frames at %v, want %d at most", n, v, burst)
		}
		for w := range perInstant {
			if d := w - v; d > 0 && d < gap && n+perInstant[w] > burst {
				t.Errorf("%d frames within %v", n+perInstant[w], d)
			}
		}
	}
	if instants < 10000/burst {
		t.Errorf("only %d instants", instants)
	}
}

func TestQueue_StopAndStartAnew(t *testing.T) {
	q := queue{pace: &pace{}}
	list := queued(3, Announce{Count: 2})
	for _, a := range list {
		q.start(a)
	}
	q.stop(list[0])
	q.start(list[1])
	at := drain(&q, time.Hour, time.Hour+10*ms)
	q.stop(list[1])
	for a, v := range drain(&q, time.Hour+11*ms, time.Hour+time.Second) {
		at[a] = append(at[a], v...)
	}
	var got []string
	for i, a := range list {
		for _, v := range at[a] {
			got = append(got, fmt.Sprintf("%d at %v", i, v-time.Hour))
		}
	}
	if diff := cmp.Diff([]string{"1 at 0s", "2 at 0s", "2 at 50ms"}, got); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
	if due := q.deadline(); due != never {
		t.Errorf("deadline %v, want none", due)
	}
}

func TestQueue_FailedIsSentLater(t *testing.T) {
	q := queue{pace: &pace{}}
	a := queued(1, Announce{})[0]
	q.start(a)
	at := time.Hour
	for _, want := range []time.Duration{resend, 2 * resend, 4 * resend, 8 * resend, 16 * resend, 32 * resend, resendLast, resendLast} {
		if q.next(at) != a {
			t.Fatal("nothing to announce")
		}
		q.failed(a, at)
		if got := q.deadline() - at; got != want {
			t.Errorf("tried again after %v, want %v", got, want)
		}
		at = q.deadline()
	}
	if got := drain(&q, at, at+time.Minute); len(got[a]) != 1 {
		t.Errorf("sent at %v, want once", got[a])
	}
}

// Whoever makes one router announce again all the time, must not make the
// queue remember all that was to be announced later, behind another router's.
func TestQueue_StartedAnewRemembersOnlyTheLastTime(t *testing.T) {
	q := queue{pace: &pace{}}
	list := queued(3, Announce{Every: 24 * time.Hour})
	began := time.Hour
	for _, a := range list {
		q.start(a)
	}
	drain(&q, began, began+time.Second)
	now := began
	for range 1000 {
		now += 5 * time.Second
		for _, a := range list[1:] {
			q.start(a)
		}
		drain(&q, now, now+time.Second)
	}
	if len(q.again) > leastFull {
		t.Errorf("%d turns are kept for %d addresses", len(q.again), len(list))
	}
	at := drain(&q, now, now+24*time.Hour)
	for _, a := range list {
		if len(at[a]) != 1 {
			t.Errorf("%s is announced %d times in the day after, want once", a.Prefix, len(at[a]))
		}
	}
}
