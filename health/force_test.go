package health

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestScheduler_Force(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Rise: 1, Fall: 1, Probe: sequence("ppppffffpp")})
		w.until(1500 * time.Millisecond)
		f := Force{Verdict: Fail, Until: w.start.Add(6500 * time.Millisecond), Reason: "rehearsal", By: "root"}
		if err := w.Force("c", f); err != nil {
			t.Error(err)
		}
		want := Result{
			Check: "c", Interval: time.Second, Verdict: Fail, Since: time.Now(), OK: true, Text: "answer 2", Runs: 2, Passed: 2,
			At: w.start.Add(time.Second), Forced: f,
		}
		if r, ok := w.Result("c"); !ok || r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
		w.until(4200 * time.Millisecond)
		if r, _ := w.Result("c"); r.OK || r.Text != "answer 5" || r.Verdict != Fail {
			t.Errorf("its own goes on beside it: %+v", r)
		}
		w.until(5 * time.Second)
		// Another one in place of the first.
		if err := w.Force("c", Force{Verdict: Pass, Until: w.start.Add(7500 * time.Millisecond)}); err != nil {
			t.Error(err)
		}
		w.until(10 * time.Second)
		if r, _ := w.Result("c"); r.Forced != (Force{}) {
			t.Errorf("it did not end: %+v", r)
		}
		w.end(t)
		w.expect(t,
			"0s c unknown to pass after 1: answer 1",
			"1.5s c pass to fail after 0: forced to fail by root until 00:00:06: rehearsal",
			"5s c fail to pass after 0: forced to pass until 00:00:07",
			"7.5s c pass to fail after 4: no longer forced to pass: answer 8",
			"8s c fail to pass after 1: answer 9",
		)
		if want := `msg="forced check changes by itself" check=c forced=fail from=pass to=fail text="answer 5"`; !strings.Contains(w.log.String(), want) {
			t.Errorf("no line %s in\n%s", want, w.log.String())
		}
	})
}

// At its end a forced verdict that is the check's own changes nothing.
func TestScheduler_ForcedAsIsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: sequence("f")})
		w.until(1500 * time.Millisecond)
		if err := w.Force("c", Force{Verdict: Fail, Until: time.Now().Add(time.Second), By: "root"}); err != nil {
			t.Error(err)
		}
		w.until(5 * time.Second)
		if r, _ := w.Result("c"); !r.Since.Equal(w.start) {
			t.Errorf("the verdict is as old as ever, not since %v", r.Since)
		}
		w.end(t)
		w.expect(t, "0s c unknown to fail after 1: answer 1", "1.5s c fail to fail after 0: forced to fail by root until 00:00:02")
		if want := `msg="forced verdict ends, and is the check's own" check=c verdict=fail`; !strings.Contains(w.log.String(), want) {
			t.Errorf("no line %s in\n%s", want, w.log.String())
		}
	})
}

// The last node's way past a lost majority: a check that has never had an opinion.
func TestScheduler_ForceUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: script(Answer{None: true, Text: "stopped"})})
		w.until(1500 * time.Millisecond)
		if err := w.Force("c", Force{Verdict: Pass, Until: time.Now().Add(time.Hour)}); err != nil {
			t.Error(err)
		}
		w.until(2500 * time.Millisecond)
		for range 2 { // the second finds nothing to end
			if err := w.Force("c", Force{}); err != nil {
				t.Error(err)
			}
		}
		if r, _ := w.Result("c"); r.Verdict != Unknown || !r.Since.IsZero() || r.Forced != (Force{}) {
			t.Errorf("%+v", r)
		}
		w.until(5 * time.Second)
		w.end(t)
		if strings.Contains(w.log.String(), "forced verdict ends") {
			t.Errorf("what was not forced ended: %s", w.log.String())
		}
		w.expect(t, "1.5s c unknown to pass after 0: forced to pass until 01:00:01", "2.5s c pass to unknown after 0: no longer forced to pass: stopped")
	})
}

// A check that hangs can be forced, and its deadline does not end that.
func TestScheduler_ForceHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: probeFunc(hangUntil(release))})
		w.until(500 * time.Millisecond)
		if err := w.Force("c", Force{Verdict: Pass, Until: time.Now().Add(700 * time.Millisecond)}); err != nil {
			t.Error(err)
		}
		w.until(5 * time.Second)
		close(release)
		w.end(t)
		w.expect(t, "500ms c unknown to pass after 0: forced to pass until 00:00:01", "1.2s c pass to fail after 1: no longer forced to pass: no answer within 1s")
	})
}

func TestScheduler_ForceNumbered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: script(Answer{OK: true, Number: 3, Numbered: true})})
		for _, v := range []Verdict{Pass, Fail, Unknown} {
			w.until(w.sinceStart() + 100*time.Millisecond)
			if err := w.Force("c", Force{Verdict: v, Until: time.Now().Add(time.Hour)}); err != nil {
				t.Error(err)
			}
		}
		w.end(t)
		for i, want := range []Reading{{Pass, 3, true}, {Pass, 3, true}, {Fail, 0, true}, {Pass, 3, true}} {
			if got := w.told[i].Reading(); got != want {
				t.Errorf("change %d: got %+v, want %+v", i, got, want)
			}
		}
	})
}

func TestScheduler_ForceRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "haproxy", Interval: time.Second, Probe: sequence("p")}, Check{Name: "web", Interval: time.Second, Probe: sequence("p")})
		w.until(time.Second)
		in := time.Now().Add(time.Hour)
		tests := []struct {
			check string
			force Force
			want  string
		}{
			{"webs", Force{Verdict: Fail, Until: in}, `force a check: there is no check "webs"; there is web, haproxy`},
			{"web", Force{Verdict: Fail}, "force check web: until 0001-01-01 00:00:00: that has passed"},
			{"web", Force{Verdict: Fail, Until: time.Now()}, "force check web: until 2000-01-01 00:00:01: that has passed"},
			{"web", Force{Verdict: 7, Until: in}, "force check web: Verdict(7) is no verdict"},
		}
		for _, tt := range tests {
			if err := w.Force(tt.check, tt.force); err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		}
		w.end(t)
		if err := w.Force("web", Force{Verdict: Fail, Until: in}); err == nil || err.Error() != "force check web: the checks are ending" {
			t.Errorf("after the end: %v", err)
		}
		if len(w.told) != 2 {
			t.Errorf("%v", w.told)
		}
	})
}

func TestForce_Text(t *testing.T) {
	now := time.Date(2025, 11, 19, 14, 0, 0, 0, time.UTC)
	tests := map[string]Force{
		"forced to fail by root until 14:30:00: rehearsal": {Fail, now.Add(30 * time.Minute), "rehearsal", "root"},
		"forced to pass until 2025-11-21 14:00":            {Verdict: Pass, Until: now.Add(48 * time.Hour)},
	}
	for want, f := range tests {
		if got := f.text(now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
