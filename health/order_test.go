package health

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hangUntil makes a probe that hangs, whatever its context says.
func hangUntil(release <-chan struct{}) probeFunc {
	return func(context.Context) Answer { <-release; return Answer{OK: true, Text: "late"} }
}

// sinceStart is what the notes show as the time.
func (w *watched) sinceStart() time.Duration { return time.Since(w.start) }

// runNow runs a check with patience, and notes what it got and when.
func (w *watched) runNow(check string, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := w.RunNow(ctx, check)
	if err != nil {
		w.note("error: %v", err)
		return
	}
	w.note("got %v, %s", r.Verdict, r.Text)
}

func TestScheduler_RunNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		n := 0
		w.run(t, Check{Name: "c", Interval: time.Second, Fall: 2, Rise: 1, Probe: probeFunc(func(context.Context) Answer {
			n++
			w.note("run %d", n)
			time.Sleep(100 * time.Millisecond)
			return Answer{OK: n == 1, Text: fmt.Sprint(n)}
		})})
		w.until(500 * time.Millisecond)
		w.runNow("c", time.Second)
		w.until(1050 * time.Millisecond)
		w.runNow("c", time.Second) // during run 3
		w.until(2500 * time.Millisecond)
		w.end(t)
		w.expect(t,
			"0s run 1",
			"100ms c unknown to pass after 1: 1",
			"500ms run 2",
			"600ms got pass, 2", // it counts one failure
			"1s run 3",          // its slot is kept
			"1.1s c pass to fail after 2: 3",
			"1.1s run 4",
			"1.2s got fail, 4",
			"2s run 5",
		)
	})
}

// Those who wait for the same run share it; runs stay MinInterval apart.
func TestScheduler_RunNowTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := watch(t, Check{Name: "c", Interval: time.Hour, Probe: probeFunc(func(context.Context) Answer { n++; return Answer{OK: true} })})
		w.until(time.Second)
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() {
				for range 3 {
					w.runNow("c", time.Minute)
				}
			})
		}
		wg.Wait()
		if took := w.sinceStart() - time.Second; n > 5 || took != time.Duration(n-2)*MinInterval {
			t.Errorf("%d runs within %v", n, took)
		}
		w.end(t)
	})
}

func TestScheduler_RunNowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := watch(t, Check{Name: "hangs", Interval: time.Hour, Timeout: time.Second, Probe: hangUntil(release)}, Check{Name: "web", Interval: time.Hour, Probe: sequence("p")})
		w.until(time.Minute)
		w.runNow("web", 0)
		w.runNow("wbe", time.Second)
		w.runNow("hangs", 500*time.Millisecond)
		w.runNow("hangs", time.Minute) // the run that the last one has begun is no run of its own
		err := w.order(t.Context(), func(time.Time) {
			if c := w.byName["hangs"]; c.asked != nil || c.answers != nil {
				t.Error("who does not wait any more is remembered")
			}
		})
		if err != nil {
			t.Error(err)
		}
		w.until(2 * time.Minute)
		ended := make(chan struct{})
		go func() { w.runNow("hangs", time.Minute); close(ended) }()
		synctest.Wait()
		w.cancel()
		<-ended
		close(release)
		if err := <-w.ended; err != nil {
			t.Error(err)
		}
		w.runNow("web", time.Minute)
		w.expect(t,
			"0s web unknown to pass after 1: answer 1",
			"1s hangs unknown to fail after 1: no answer within 1s",
			"1m0s error: run check web: context deadline exceeded",
			`1m0s error: run a check: there is no check "wbe"; there is web, hangs`,
			"1m0.5s error: run check hangs: wait for its answer: context deadline exceeded",
			"1m2s got fail, no answer within 1s: an earlier run hangs",
			"2m0s error: run check hangs: wait for its answer: the checks are ending",
			"2m0s error: run check web: the checks are ending",
		)
	})
}

// A hundred checks that hang, and callers for each of them, leave the rest alone.
func TestScheduler_AHundredHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var checks []Check
		for i := range 100 {
			checks = append(checks, Check{Name: fmt.Sprint(i), Interval: time.Second, Probe: watchProbe{hangUntil(release), tell(time.Second, 2*time.Second)}})
		}
		n := 0
		checks = append(checks, Check{Name: "well", Interval: time.Second, Probe: probeFunc(func(context.Context) Answer { n++; return Answer{OK: true} })},
			Check{Name: "any", Of: []string{"0", "well"}, Least: 1})
		w := watch(t, checks...)
		w.until(10 * time.Second)
		for i := range 100 {
			go w.runNow(fmt.Sprint(i), time.Minute)
		}
		w.until(11100 * time.Millisecond)
		w.runNow("well", time.Second)
		if got := w.lines[len(w.lines)-1]; got != "11.1s got pass, " {
			t.Errorf("got %s", got)
		}
		if r, _ := w.Result("any"); r.Verdict != Pass || n != 13 {
			t.Errorf("%d runs, %+v", n, r)
		}
		for _, r := range w.Results()[:100] {
			if r.Verdict != Fail || !r.Hung {
				t.Fatalf("%+v", r)
			}
		}
		close(release)
		w.end(t)
	})
}

// An order given before Run waits for it.
func TestScheduler_OrderBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		s := NewScheduler([]Check{{Name: "c", Probe: sequence("p")}}, nil, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.RunNow(ctx, "c"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		w.start = time.Now()
		if w.sinceStart() != 0 {
			t.Error("time passed")
		}
	})
}
