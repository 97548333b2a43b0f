package health

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What another process knew holds, without a word, until rise or fall say otherwise.
func TestScheduler_Resume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := time.Now().Add(-time.Hour)
		w := &watched{}
		checks := []Check{
			{Name: "well", Interval: time.Second, Fall: 2, Probe: sequence("ff")},
			{Name: "ill", Interval: time.Second, Rise: 3, Probe: sequence("p")},
			{Name: "forced", Interval: time.Second, Probe: sequence("f")},
			{Name: "was forced", Interval: time.Second, Probe: sequence("f")},
			{Name: "weighed", Interval: time.Second, Probe: sequence("f")},
		}
		w.resume = func(s *Scheduler) {
			s.Resume("well", Reading{Verdict: Pass}, "pid 4338", "", before, Force{})
			s.Resume("ill", Reading{Verdict: Fail}, "refused", "look", before, Force{})
			s.Resume("forced", Reading{Verdict: Pass}, "", "", before, Force{Verdict: Pass, Until: time.Now().Add(1500 * time.Millisecond), Reason: "drill"})
			s.Resume("was forced", Reading{Verdict: Pass}, "", "", before, Force{Verdict: Pass, Until: before})
			s.Resume("weighed", Reading{Verdict: Pass, Number: 3, Numbered: true}, "", "", before, Force{})
			s.Resume("gone", Reading{Verdict: Fail}, "", "", before, Force{})
			want := Result{Check: "ill", Interval: time.Second, Verdict: Fail, Since: before, Text: "refused", Hint: "look"}
			if got, _ := s.Result("ill"); !cmp.Equal(want, got) {
				t.Errorf("before the first answer (-want +got):\n%s", cmp.Diff(want, got))
			}
			if got, _ := s.Result("weighed"); got.Number != 3 || !got.Numbered {
				t.Errorf("%+v", got)
			}
		}
		w.run(t, checks...)
		w.until(3 * time.Second)
		w.end(t)
		want := map[string]string{ // the time of a first answer depends on the others
			"well":       "pass to fail after 2: answer 2",
			"ill":        "fail to pass after 3: answer 3",
			"forced":     "pass to fail after 2: no longer forced to pass: answer 2",
			"was forced": "pass to fail after 1: answer 1",
			"weighed":    "pass to fail after 1: answer 1",
		}
		got := make(map[string]string)
		for _, c := range w.told {
			got[c.Check] += fmt.Sprintf("%v to %v after %d: %s", c.From, c.To, c.Runs, c.Text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestHold_Resume(t *testing.T) {
	a := NewHold(time.Minute, time.Hour)
	a.Failed(10 * time.Second)
	a.Vacant(11 * time.Second)
	a.Served(12 * time.Second)
	a.Failed(13 * time.Second)
	b := NewHold(time.Minute, time.Hour)
	b.Resume(a.State())
	if a.Until() != b.Until() || b.Until() != 13*time.Second+2*time.Minute {
		t.Errorf("until %s, want %s", b.Until(), a.Until())
	}
	short := NewHold(time.Second, 2*time.Second) // the configuration has changed
	short.Resume(HoldState{FailedAt: time.Second, Wait: time.Hour, Early: -1})
	if short.Until() != 3*time.Second {
		t.Errorf("until %s", short.Until())
	}
}
