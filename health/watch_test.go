package health

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watchProbe is a Watcher made of two functions.
type watchProbe struct {
	probeFunc
	watch func(ctx context.Context, changed func())
}

func (p watchProbe) Watch(ctx context.Context, changed func()) { p.watch(ctx, changed) }

// tell is a watch that tells of a change at each of some moments after its start.
func tell(at ...time.Duration) func(context.Context, func()) {
	return func(ctx context.Context, changed func()) {
		start := time.Now()
		for _, d := range at {
			time.Sleep(time.Until(start.Add(d)))
			changed()
		}
		<-ctx.Done()
	}
}

func TestScheduler_Watch(t *testing.T) {
	const ms = time.Millisecond
	tests := map[string]struct {
		told []time.Duration
		take time.Duration // by each run
		want string        // when runs begin, within 2.5s at an interval of 1s
	}{
		"no change":                   {nil, 0, "0s 1s 2s"},
		"at once, and the slots stay": {[]time.Duration{300 * ms}, 0, "0s 300ms 1s 2s"},
		"not too soon":                {[]time.Duration{10 * ms, 1020 * ms}, 0, "0s 50ms 1s 1.05s 2s"},
		"a storm is one run":          {[]time.Duration{300 * ms, 300 * ms, 301 * ms, 320 * ms, 349 * ms}, 0, "0s 300ms 350ms 1s 2s"},
		"during a run":                {[]time.Duration{300 * ms, 320 * ms, 390 * ms}, 100 * ms, "0s 300ms 400ms 1s 2s"},
		"just before a slot":          {[]time.Duration{980 * ms}, 0, "0s 980ms 1s 2s"},
		"at a slot":                   {[]time.Duration{970 * ms, 971 * ms}, 0, "0s 970ms 1s 2s"},
		"a run over a slot":           {[]time.Duration{950 * ms}, 100 * ms, "0s 950ms 1.05s 2.05s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &watched{}
				var starts []string
				w.run(t, Check{Name: "c", Interval: time.Second, Probe: watchProbe{func(context.Context) Answer {
					starts = append(starts, time.Since(w.start).String())
					time.Sleep(tt.take)
					return Answer{OK: true}
				}, tell(tt.told...)}})
				w.until(2500 * ms)
				w.end(t)
				if got := strings.Join(starts, " "); got != tt.want {
					t.Errorf("runs at %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// A change out of turn counts as an answer, and is noticed at once.
func TestScheduler_WatchCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		w := watch(t, Check{Name: "c", Interval: time.Minute, Fall: 1, Rise: 1, Probe: watchProbe{
			func(context.Context) Answer { return Answer{OK: !down.Load(), Text: fmt.Sprint(down.Load())} },
			func(ctx context.Context, changed func()) {
				time.Sleep(time.Second)
				down.Store(true)
				changed()
				<-ctx.Done()
			},
		}})
		w.until(2 * time.Second)
		w.end(t)
		w.expect(t, "0s c unknown to pass after 1: false", "1s c pass to fail after 1: true")
	})
}

// Changes that never end cost the check no more than a run each MinInterval, and
// the others nothing.
func TestScheduler_WatchStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, others int
		w := watch(t,
			Check{Name: "storm", Interval: time.Second, Probe: watchProbe{
				func(context.Context) Answer { runs++; return Answer{OK: true} },
				func(ctx context.Context, changed func()) {
					for ctx.Err() == nil {
						for range 100 {
							changed()
						}
						time.Sleep(100 * time.Microsecond)
					}
				},
			}},
			Check{Name: "calm", Interval: time.Second, Probe: probeFunc(func(context.Context) Answer { others++; return Answer{OK: true} })})
		w.until(10*time.Second - time.Millisecond)
		w.end(t)
		if most := int(10 * time.Second / MinInterval); runs < most-20 || runs > most+10 || others != 10 {
			t.Errorf("%d runs in the storm, %d beside it", runs, others)
		}
	})
}

// A check that hangs is asked no more because changes go on.
func TestScheduler_WatchHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs, others int
		release := make(chan struct{})
		w := watch(t,
			Check{Name: "c", Interval: time.Second, Rise: 1, Fall: 2, Probe: watchProbe{
				func(context.Context) Answer {
					if runs++; runs == 2 {
						<-release
					}
					return Answer{OK: true}
				},
				tell(1500*time.Millisecond, 2500*time.Millisecond, 3700*time.Millisecond),
			}},
			Check{Name: "calm", Interval: time.Second, Probe: probeFunc(func(context.Context) Answer { others++; return Answer{OK: true} })})
		w.until(6200 * time.Millisecond)
		if runs != 2 || others != 7 {
			t.Errorf("%d runs while one hangs, %d beside it", runs, others)
		}
		close(release)
		w.until(6500 * time.Millisecond)
		if r, _ := w.Result("c"); r.Verdict != Pass {
			t.Errorf("after it has come back: %+v", r)
		}
		w.end(t)
	})
}

// A watcher that panics, returns at once or does not return harms nobody.
func TestScheduler_WatchersThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		well := func(context.Context) Answer { return Answer{OK: true} }
		w := watch(t,
			Check{Name: "panics", Interval: time.Second, Probe: watchProbe{well, func(context.Context, func()) { panic("oh") }}},
			Check{Name: "returns", Interval: time.Second, Probe: watchProbe{well, func(context.Context, func()) {}}},
			Check{Name: "stays", Interval: time.Second, Probe: watchProbe{well, func(context.Context, func()) { <-release }}})
		w.until(10 * time.Second)
		for _, r := range w.Results() {
			if r.Verdict != Pass || r.Runs < 10 {
				t.Errorf("%+v", r)
			}
		}
		if !strings.Contains(w.log.String(), "watch of a check panicked") {
			t.Errorf("the log says nothing: %s", w.log.String())
		}
		w.cancel()
		err := <-w.ended
		if want := "end checks: stays did not end within 2s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		close(release)
	})
}

// What a watcher tells when all has ended goes nowhere, and does not block it.
func TestScheduler_ToldTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tell func()
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: watchProbe{
			func(context.Context) Answer { return Answer{OK: true} },
			func(ctx context.Context, changed func()) { tell = changed; <-ctx.Done() },
		}})
		w.until(time.Second)
		w.end(t)
		for range 3 {
			tell()
		}
	})
}
