package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
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

// Whatever is asked out of turn: runs of a check never overlap, runs out of turn
// keep their distance, each Change begins where the last one ended, and in the end
// the check's own verdict counts.
func TestScheduler_OutOfTurnProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ms := func(name string, least, most int) time.Duration {
			return time.Duration(rapid.IntRange(least, most).Draw(rt, name)) * time.Millisecond
		}
		interval, timeout := ms("interval", 50, 300), ms("timeout", 10, 400)
		takes := rapid.SliceOfN(rapid.IntRange(0, 600), 1, 20).Draw(rt, "takes")
		oks := rapid.SliceOfN(rapid.Bool(), len(takes), len(takes)).Draw(rt, "oks")
		acts := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 30).Draw(rt, "acts")
		pause := ms("pause", 0, 100)
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			n, alive := 0, 0
			var starts []time.Time
			stir := make(chan struct{})
			last := map[string]Verdict{}
			probe := watchProbe{func(context.Context) Answer {
				if alive++; alive > 1 {
					faults = append(faults, "two runs at a time")
				}
				defer func() { alive-- }()
				starts = append(starts, time.Now())
				i := min(n, len(takes)-1)
				n++
				time.Sleep(time.Duration(takes[i]) * time.Millisecond)
				return Answer{OK: oks[i]}
			}, func(ctx context.Context, changed func()) {
				for {
					select {
					case <-ctx.Done():
						return
					case <-stir:
						changed()
					}
				}
			}}
			s := NewScheduler([]Check{
				{Name: "c", Interval: interval, Timeout: timeout, Probe: probe}, {Name: "all", Of: []string{"c"}, Least: 1},
			}, slog.New(slog.DiscardHandler), func(c Change) {
				if c.From != last[c.Check] {
					faults = append(faults, fmt.Sprintf("%s from %v after %v", c.Check, c.From, last[c.Check]))
				}
				last[c.Check] = c.To
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			for _, act := range acts {
				time.Sleep(pause)
				var err error
				switch act {
				case 0:
					stir <- struct{}{}
				case 1:
					begin := time.Now()
					var r Result
					if r, err = s.RunNow(ctx, "c"); err == nil && !r.At.After(begin) && !r.At.Equal(begin) {
						faults = append(faults, "an older answer was returned")
					}
				default:
					err = s.Force("c", Force{Verdict: Verdict(act - 2), Until: time.Now().Add(pause + 50*time.Millisecond)})
				}
				if err != nil {
					faults = append(faults, err.Error())
				}
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			c, all := s.Results()[0], s.Results()[1]
			own := Fail
			if c.OK {
				own = Pass
			}
			if c.Verdict != own || c.Forced != (Force{}) || all.Verdict != c.Verdict || last["c"] != own || last["all"] != own {
				faults = append(faults, fmt.Sprintf("in the end: %+v, %+v, told %v", c, all, last))
			}
			// Two in a row may be near, where the second has its slot; three are not.
			for i := 2; i < len(starts); i++ {
				if d := starts[i].Sub(starts[i-2]); d < MinInterval {
					faults = append(faults, fmt.Sprintf("three runs within %v", d))
				}
			}
			cancel()
			<-ended
		})
		if len(faults) > 0 {
			rt.Fatal(faults)
		}
	})
}
