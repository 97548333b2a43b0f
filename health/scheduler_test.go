package health

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// probeFunc is a probe made of a function.
type probeFunc func(ctx context.Context) Answer

func (f probeFunc) Probe(ctx context.Context) Answer { return f(ctx) }

// watched runs checks and writes down what happens, and when.
type watched struct {
	*Scheduler
	start  time.Time
	mu     sync.Mutex
	lines  []string
	told   []Change
	log    bytes.Buffer
	cancel context.CancelFunc
	ended  chan error
	resume func(*Scheduler) // before it runs; nil: nothing
}

// watch runs checks within a synctest bubble; the bubble must call end.
func watch(t *testing.T, checks ...Check) *watched {
	w := &watched{}
	w.run(t, checks...)
	return w
}

// run is watch for probes that write notes themselves.
func (w *watched) run(t *testing.T, checks ...Check) {
	w.start, w.ended = time.Now(), make(chan error, 1)
	log := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.Scheduler = NewScheduler(checks, log, func(c Change) {
		w.note("%s %v to %v after %d: %s", c.Check, c.From, c.To, c.Runs, c.Text)
		w.told = append(w.told, c)
	})
	if w.resume != nil {
		w.resume(w.Scheduler)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { w.ended <- w.Run(ctx) }()
}

func (w *watched) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%v ", time.Since(w.start))+fmt.Sprintf(format, args...))
}

// until lets time pass until d after the start; what is due then has happened.
func (w *watched) until(d time.Duration) {
	time.Sleep(time.Until(w.start.Add(d)))
	synctest.Wait()
}

func (w *watched) end(t *testing.T) {
	t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
}

func (w *watched) expect(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.lines); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// sequence answers from a string, one letter a run: p passes, f fails, the last
// letter for ever.
func sequence(answers string) Probe {
	n := 0
	return probeFunc(func(context.Context) Answer {
		c := answers[min(n, len(answers)-1)]
		n++
		return Answer{OK: c == 'p', Text: fmt.Sprintf("answer %d", n)}
	})
}

func TestScheduler_RiseAndFall(t *testing.T) {
	tests := map[string]struct {
		rise, fall int
		answers    string
		want       []string
	}{
		"one pass decides":           {5, 5, "p", []string{"0s c unknown to pass after 1: answer 1"}},
		"one failure decides":        {5, 5, "f", []string{"0s c unknown to fail after 1: answer 1"}},
		"fall":                       {2, 3, "pfff", []string{"0s c unknown to pass after 1: answer 1", "3s c pass to fail after 3: answer 4"}},
		"interrupted fall":           {2, 3, "pffpffp", []string{"0s c unknown to pass after 1: answer 1"}},
		"rise":                       {2, 3, "fpfppp", []string{"0s c unknown to fail after 1: answer 1", "4s c fail to pass after 2: answer 5"}},
		"1 and 1":                    {1, 1, "pfpp", []string{"0s c unknown to pass after 1: answer 1", "1s c pass to fail after 1: answer 2", "2s c fail to pass after 1: answer 3"}},
		"nonsense is 1":              {0, -1, "pfpp", []string{"0s c unknown to pass after 1: answer 1", "1s c pass to fail after 1: answer 2", "2s c fail to pass after 1: answer 3"}},
		"the first failure counts 1": {1, 2, "pffff", []string{"0s c unknown to pass after 1: answer 1", "2s c pass to fail after 2: answer 3"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, Check{Name: "c", Interval: time.Second, Rise: tt.rise, Fall: tt.fall, Probe: sequence(tt.answers)})
				w.until(10 * time.Second)
				w.end(t)
				w.expect(t, tt.want...)
			})
		})
	}
}

func TestScheduler_FirstRunsAtOnceThenSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		var checks []Check
		for i := range 4 {
			checks = append(checks, Check{Name: fmt.Sprint(i), Interval: 400 * time.Millisecond, Probe: probeFunc(func(context.Context) Answer {
				w.note("run %d", i)
				time.Sleep(10 * time.Millisecond)
				return Answer{OK: true}
			})})
		}
		var starts = map[string][]time.Duration{}
		w.run(t, checks...)
		w.until(950 * time.Millisecond)
		w.end(t)
		for _, line := range w.lines {
			at, what, _ := strings.Cut(line, " ")
			if d, err := time.ParseDuration(at); err == nil && strings.HasPrefix(what, "run") {
				starts[what] = append(starts[what], d/time.Millisecond)
			}
		}
		want := map[string][]time.Duration{"run 0": {0, 100, 500, 900}, "run 1": {0, 200, 600}, "run 2": {0, 300, 700}, "run 3": {0, 400, 800}}
		if diff := cmp.Diff(want, starts); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestScheduler_Hung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		var runs, alive atomic.Int32
		release := make(chan struct{})
		w.run(t, Check{Name: "c", Interval: time.Second, Timeout: 600 * time.Millisecond, Rise: 2, Fall: 3, Probe: probeFunc(func(context.Context) Answer {
			n := runs.Add(1)
			if alive.Add(1) > 1 {
				t.Error("two runs at a time")
			}
			defer alive.Add(-1)
			w.note("run %d", n)
			if n == 2 {
				<-release // whatever the context says
				return Answer{OK: true, Text: "far too late"}
			}
			return Answer{OK: true, Text: "well"}
		})})
		w.until(1600 * time.Millisecond)
		if r := w.Results()[0]; r.OK || !r.Hung || r.Runs != 1 || r.Verdict != Pass || r.Text != "no answer within 600ms" || r.Took != 600*time.Millisecond {
			t.Errorf("after the first timeout: %+v", r)
		}
		w.until(4100 * time.Millisecond)
		if runs.Load() != 2 {
			t.Errorf("%d runs while one hangs", runs.Load())
		}
		w.until(4300 * time.Millisecond) // within the run that starts at 4s
		close(release)
		w.until(6 * time.Second)
		w.end(t)
		w.expect(t,
			"0s run 1",
			"0s c unknown to pass after 1: well",
			"1s run 2",
			"3.6s c pass to fail after 3: no answer within 600ms: an earlier run hangs",
			"4.3s run 3", // the skipped run begins when it can
			"5.3s run 4",
			"5.3s c fail to pass after 2: well",
		)
	})
}

// A killed command is gone a moment after its deadline, which is the next run's
// start when timeout and interval are equal. That run must not be lost.
func TestScheduler_TimeoutIsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		w := watch(t, Check{Name: "c", Interval: time.Second, Fall: 3, Rise: 1, Probe: probeFunc(func(ctx context.Context) Answer {
			if runs.Add(1) > 1 {
				<-ctx.Done()
				time.Sleep(time.Millisecond)
				return Answer{Text: "timed out, says the probe"}
			}
			return Answer{OK: true}
		})})
		w.until(4002*time.Millisecond + 500*time.Microsecond)
		if r := w.Results()[0]; r.Text != "no answer within 1s" || runs.Load() != 4 {
			t.Errorf("%d runs, %+v", runs.Load(), r)
		}
		w.until(4100 * time.Millisecond)
		if r := w.Results()[0]; r.Text != "timed out, says the probe" || r.Hung || r.Runs != 3 {
			t.Errorf("%+v", r) // its own words come late, and are shown
		}
		w.end(t)
		w.expect(t, "0s c unknown to pass after 1: ", "4.002s c pass to fail after 3: no answer within 1s")
	})
}

// An answer at the very deadline is too late, in whatever order the two are seen.
func TestScheduler_AnswerAtDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Timeout: 500 * time.Millisecond, Probe: probeFunc(func(context.Context) Answer {
			time.Sleep(500 * time.Millisecond)
			return Answer{OK: true}
		})})
		w.until(2700 * time.Millisecond)
		w.end(t)
		w.expect(t, "500ms c unknown to fail after 1: no answer within 500ms")
	})
}

// The two coincidences in which the order of events is the runtime's choice.
func TestScheduler_Coincidences(t *testing.T) {
	tests := map[string]struct {
		cancelled bool
		at        time.Duration // of the answer, after the deadline
		want      Verdict
	}{
		"answer before its deadline":     {false, -1, Pass},
		"answer at its deadline":         {false, 0, Fail},
		"answer when told to end":        {true, -1, Unknown},
		"late answer, when told to end":  {true, 1, Unknown},
		"late answer, deadline not seen": {false, 1, Fail},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := NewScheduler([]Check{{Name: "c"}}, slog.New(slog.DiscardHandler), func(Change) {})
			c := s.checks[0]
			s.queue = byTime{c}
			now := time.Now()
			c.running, c.alive, c.cancel, c.start, c.slot, c.deadline = true, true, func() {}, now, now, now.Add(time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.cancelled {
				cancel()
			}
			s.returned(ctx, ended{c, Answer{OK: true}}, c.deadline.Add(tt.at))
			if got := s.Results()[0].Verdict; got != tt.want {
				t.Errorf("verdict %v, want %v", got, tt.want)
			}
		})
	}
}

// The words of an answer that came too late are kept, as those of a hung run are.
func TestScheduler_LateWords(t *testing.T) {
	s := NewScheduler([]Check{{Name: "c"}}, slog.New(slog.DiscardHandler), func(Change) {})
	c := s.checks[0]
	s.queue = byTime{c}
	now := time.Now()
	c.running, c.alive, c.cancel, c.start, c.slot, c.deadline = true, true, func() {}, now, now, now.Add(time.Second)
	s.returned(t.Context(), ended{c, Answer{Text: "the server hangs"}}, c.deadline)
	if r := s.Results()[0]; r.Text != "the server hangs" || r.Verdict != Fail || r.Hung {
		t.Errorf("got %+v", r)
	}
}

// A run longer than the interval delays the next one; it does not overlap it.
func TestScheduler_TimeoutBeyondInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{}
		n := 0
		w.run(t, Check{Name: "c", Interval: 100 * time.Millisecond, Timeout: time.Second, Probe: probeFunc(func(context.Context) Answer {
			w.note("run")
			if n++; n < 3 {
				time.Sleep(250 * time.Millisecond)
			}
			return Answer{OK: true}
		})})
		w.until(750 * time.Millisecond)
		w.end(t)
		// The slots missed meanwhile are not made up for.
		w.expect(t, "0s run", "250ms c unknown to pass after 1: ", "250ms run", "500ms run", "600ms run", "700ms run")
	})
}

func TestScheduler_Panic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t,
			Check{Name: "bad", Interval: time.Second, Probe: probeFunc(func(context.Context) Answer { panic("oh") })},
			Check{Name: "none", Interval: time.Second},
			Check{Name: "good", Interval: time.Second, Probe: sequence("p")})
		w.until(3 * time.Second)
		w.end(t)
		for i, want := range []Verdict{Fail, Fail, Pass} {
			if r := w.Results()[i]; r.Verdict != want || r.Runs < 3 {
				t.Errorf("%+v", r)
			}
		}
		if r := w.Results()[0]; r.Text != "panic: oh" {
			t.Errorf("text %q", r.Text)
		}
	})
}

func TestScheduler_Log(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := watch(t, Check{Name: "web", Interval: time.Second, Fall: 1, Rise: 1, Probe: probeFunc(func(context.Context) Answer {
			n++
			return []Answer{{OK: true, Text: "fine"}, {Text: "down", Hint: "start it"}, {Text: "down"}, {Text: "still down"}, {OK: true, Text: "fine"}}[min(n-1, 4)]
		})})
		w.until(6 * time.Second)
		w.end(t)
		var got []string
		for line := range strings.Lines(w.log.String()) {
			_, rest, _ := strings.Cut(strings.TrimSpace(line), " level=")
			got = append(got, rest)
		}
		want := []string{
			`INFO msg="check changed" check=web from=unknown to=pass runs=1 text=fine`,
			`WARN msg="check changed" check=web from=pass to=fail runs=1 text=down hint="start it"`,
			`DEBUG msg="check fails" check=web verdict=fail runs=3 text="still down"`,
			`INFO msg="check changed" check=web from=fail to=pass runs=1 text=fine`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// Probes that end because they are told to are no failures.
func TestScheduler_Shutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		w := watch(t, Check{Name: "c", Interval: time.Hour, Probe: probeFunc(func(ctx context.Context) Answer {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended++
			return Answer{Text: "cancelled"}
		})})
		w.until(time.Minute)
		w.end(t)
		if ended != 1 || time.Since(w.start) != time.Minute+time.Second {
			t.Errorf("%d probes have ended after %v", ended, time.Since(w.start))
		}
		w.expect(t)
	})
}

func TestScheduler_ShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		stuck := probeFunc(func(context.Context) Answer { <-release; return Answer{} })
		w := watch(t, Check{Name: "one", Interval: time.Hour, Probe: stuck}, Check{Name: "good", Interval: time.Hour, Probe: sequence("p")}, Check{Name: "two", Interval: time.Hour, Probe: stuck})
		w.until(time.Minute)
		w.cancel()
		err := <-w.ended
		if want := "end checks: one, two did not end within 2s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		close(release)
	})
}

func TestScheduler_Results(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := watch(t, Check{Name: "c", Interval: time.Second, Rise: 2, Fall: 2, Probe: probeFunc(func(context.Context) Answer {
			n++
			time.Sleep(20 * time.Millisecond)
			return Answer{OK: n < 3, Text: fmt.Sprint(n)}
		})})
		if diff := cmp.Diff([]Result{{Check: "c", Interval: time.Second}}, w.Results()); diff != "" {
			t.Errorf("at first (-want +got):\n%s", diff)
		}
		w.until(2500 * time.Millisecond)
		first, last := w.start.Add(20*time.Millisecond), w.start.Add(2020*time.Millisecond)
		want := []Result{{Check: "c", Interval: time.Second, Verdict: Pass, Since: first, Text: "3", Runs: 1, Passed: 2, Failed: 1, At: last, Took: 20 * time.Millisecond}}
		got := w.Results()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got[0].Text = "changed"
		if w.Results()[0].Text != "3" {
			t.Error("Results is not a copy")
		}
		w.end(t)
	})
}

func TestScheduler_NoChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t)
		w.until(time.Hour)
		w.end(t)
	})
}

// Whatever the probes do, runs of a check never overlap, each verdict changes in
// turn, and a silent check fails within fall intervals and timeouts.
func TestScheduler_Properties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := Check{
			Name:     "c",
			Interval: time.Duration(rapid.IntRange(50, 300).Draw(rt, "interval")) * time.Millisecond,
			Timeout:  time.Duration(rapid.IntRange(0, 400).Draw(rt, "timeout")) * time.Millisecond,
			Rise:     rapid.IntRange(1, 3).Draw(rt, "rise"),
			Fall:     rapid.IntRange(1, 3).Draw(rt, "fall"),
		}
		takes := rapid.SliceOfN(rapid.IntRange(0, 600), 1, 20).Draw(rt, "takes")
		oks := rapid.SliceOfN(rapid.Bool(), len(takes), len(takes)).Draw(rt, "oks")
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			n, alive, last := 0, 0, Unknown
			c.Probe = probeFunc(func(context.Context) Answer {
				if alive++; alive > 1 {
					faults = append(faults, "two runs at a time")
				}
				defer func() { alive-- }()
				i := n
				if n++; i >= len(takes) {
					time.Sleep(time.Hour) // then it is silent
					return Answer{OK: true}
				}
				time.Sleep(time.Duration(takes[i]) * time.Millisecond)
				return Answer{OK: oks[i]}
			})
			s := NewScheduler([]Check{c}, slog.New(slog.DiscardHandler), func(ch Change) {
				if ch.From != last || ch.To == last || ch.To == Unknown {
					faults = append(faults, fmt.Sprintf("%v to %v after %v", ch.From, ch.To, last))
				}
				last = ch.To
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- s.Run(ctx) }()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if n <= len(takes) || last != Fail {
				faults = append(faults, fmt.Sprintf("after silence: %v, %d runs", last, n))
			}
			cancel()
			<-ended
			time.Sleep(time.Hour)
		})
		if len(faults) > 0 {
			rt.Fatal(faults)
		}
	})
}

// Many checks share the moments of their starts, since each waking costs; very
// many do not begin at once, since the protocol would have to wait.
func TestScheduler_Stride(t *testing.T) {
	tests := map[string]struct {
		checks   int
		interval time.Duration
		moments  int // within an interval, at most
		most     int // that begin at one
	}{
		"few":       {5, time.Second, 5, 1},
		"many":      {500, time.Second, 50, together},
		"very many": {5000, time.Second, 500, together},
		"often":     {100, 100 * time.Millisecond, 10, together},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				starts := map[time.Duration]int{}
				w := &watched{}
				var checks []Check
				for i := range tt.checks {
					checks = append(checks, Check{Name: fmt.Sprint(i), Interval: tt.interval, Probe: probeFunc(func(context.Context) Answer {
						mu.Lock()
						defer mu.Unlock()
						starts[w.sinceStart()]++
						return Answer{OK: true}
					})})
				}
				w.run(t, checks...)
				w.until(4*tt.interval - time.Microsecond)
				w.end(t)
				moments, most := 0, 0
				for at, n := range starts {
					switch {
					case at > 2*tt.interval:
						moments++
						most = max(most, n)
					case n > 2*together: // the first runs of some beside the second ones of others
						t.Errorf("%d begin at %v", n, at)
					}
				}
				if moments > 2*tt.moments || most > tt.most {
					t.Errorf("%d moments, at most %d at one", moments, most)
				}
			})
		})
	}
}
