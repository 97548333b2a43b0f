package health

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lamp is a probe whose answer a test sets.
type lamp struct{ dark atomic.Bool }

func (l *lamp) Probe(context.Context) Answer { return Answer{OK: !l.dark.Load()} }

func TestCombination(t *testing.T) {
	member := func(name string, v Verdict, f Verdict) *checkState {
		return &checkState{Check: Check{Name: name}, result: Result{Verdict: v, Forced: Force{Verdict: f}}}
	}
	web, api, db := member("web", Fail, Unknown), member("api", Pass, Unknown), member("db", Unknown, Unknown)
	forced, open := member("red", Fail, Fail), member("green", Pass, Pass)
	tests := map[string]struct {
		members []*checkState
		least   int
		want    Answer
	}{
		"all pass":            {[]*checkState{api, open}, 2, Answer{OK: true, Text: "2 of 2 pass"}},
		"enough pass":         {[]*checkState{api, web, db}, 1, Answer{OK: true, Text: "1 of 3 pass, 1 needed: web fails, db has no verdict"}},
		"too many fail":       {[]*checkState{api, web, forced}, 2, Answer{Text: "1 of 3 pass, 2 needed: web fails, red is forced to fail"}},
		"nobody can tell":     {[]*checkState{api, web, db}, 2, Answer{None: true, Text: "1 of 3 pass, 2 needed: web fails, db has no verdict"}},
		"no verdict at all":   {[]*checkState{db}, 1, Answer{None: true, Text: "0 of 1 pass, 1 needed: db has no verdict"}},
		"more than there are": {[]*checkState{api}, 2, Answer{Text: "1 of 1 pass, 2 needed"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &checkState{Check: Check{Least: tt.least, Of: make([]string, len(tt.members))}, members: tt.members}
			if got := c.combination(); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestScheduler_Combination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		web, api, db := &lamp{}, &lamp{}, &lamp{}
		w := watch(t,
			Check{Name: "site", Of: []string{"two", "db"}, Least: 2},
			Check{Name: "web", Interval: time.Second, Probe: web},
			Check{Name: "api", Interval: time.Second, Probe: api},
			Check{Name: "db", Interval: time.Second, Probe: db},
			Check{Name: "two", Of: []string{"web", "api", "db"}, Least: 2})
		for i, step := range []func(){
			func() { api.dark.Store(true) }, // from 1s
			func() { web.dark.Store(true) }, // from 2s: two, and so site, at once
			func() { web.dark.Store(false) },
			func() {
				if err := w.Force("db", Force{Verdict: Fail, Until: time.Now().Add(time.Second)}); err != nil {
					t.Error(err)
				}
			},
		} {
			w.until(time.Duration(i)*time.Second + 900*time.Millisecond)
			step()
		}
		w.until(4500 * time.Millisecond)
		r, err := w.RunNow(t.Context(), "two")
		if err != nil || r.Verdict != Fail || r.Text != "1 of 3 pass, 2 needed: api fails, db is forced to fail" {
			t.Errorf("%+v, %v", r, err)
		}
		w.until(6 * time.Second)
		w.end(t)
		w.lines = w.lines[5:] // the first answers, in whatever order
		w.expect(t,
			"1.6s api pass to fail after 1: ",
			"2.4s web pass to fail after 1: ",
			"2.4s two pass to fail after 1: 1 of 3 pass, 2 needed: web fails, api fails",
			"2.4s site pass to fail after 1: 1 of 2 pass, 2 needed: two fails",
			"3.4s web fail to pass after 1: ",
			"3.4s two fail to pass after 1: 2 of 3 pass, 2 needed: api fails",
			"3.4s site fail to pass after 1: 2 of 2 pass",
			"3.9s db pass to fail after 0: forced to fail until 00:00:04",
			"3.9s site pass to fail after 1: 1 of 2 pass, 2 needed: db is forced to fail",
			"3.9s two pass to fail after 1: 1 of 3 pass, 2 needed: api fails, db is forced to fail",
			"4.9s db fail to pass after 6: no longer forced to fail",
			"4.9s two fail to pass after 1: 2 of 3 pass, 2 needed: api fails",
			"4.9s site fail to pass after 1: 2 of 2 pass",
		)
	})
}

// A combination that leads back to itself, or names what is not there, fails, and
// ends.
func TestScheduler_CombinationOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t,
			Check{Name: "a", Of: []string{"b", "well"}, Least: 2},
			Check{Name: "b", Of: []string{"c"}, Least: 1},
			Check{Name: "c", Of: []string{"a", "c"}},
			Check{Name: "d", Of: []string{"nobody", "well"}, Least: 2},
			Check{Name: "well", Interval: time.Second, Probe: sequence("p")})
		w.until(10 * time.Second)
		w.end(t)
		for _, r := range w.Results() {
			if (r.Verdict == Pass) != (r.Check == "well") || r.Verdict == Unknown {
				t.Errorf("%+v", r)
			}
		}
		if r, _ := w.Result("d"); r.Text != "1 of 2 pass, 2 needed: nobody is not there" {
			t.Errorf("%+v", r)
		}
	})
}

// Rise and fall count answers at the interval, not members that change together.
func TestScheduler_CombinationFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probe := func() Probe { return sequence("pff") }
		w := watch(t,
			Check{Name: "a", Interval: time.Second, Probe: probe()}, Check{Name: "b", Interval: time.Second, Probe: probe()}, Check{Name: "c", Interval: time.Second, Probe: probe()},
			Check{Name: "all", Of: []string{"a", "b", "c"}, Least: 3, Interval: time.Second, Fall: 3})
		w.until(10 * time.Second)
		w.end(t)
		// Their first failures are all at 250ms, 500ms and 750ms; the slots are at 1s and 2s.
		last := w.lines[len(w.lines)-1]
		if last != "2s all pass to fail after 3: 0 of 3 pass, 3 needed: a fails, b fails, c fails" {
			t.Error(last)
		}
	})
}
