package health

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func (w *watched) replace(t *testing.T, checks ...Check) {
	t.Helper()
	if err := w.Replace(checks); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

func TestScheduler_Replace(t *testing.T) {
	force := Force{Verdict: Pass, Reason: "drill", By: "root"}
	tests := map[string]struct {
		first  Check
		forced bool
		to     []Check
		want   []string
	}{
		"the same goes on": {
			Check{Interval: time.Second, Fall: 2, Probe: sequence("ppppf")}, false, []Check{{Name: "c", Interval: time.Second, Fall: 2}},
			[]string{"0s c unknown to pass after 1: answer 1", "5s c pass to fail after 2: answer 6"},
		},
		"other times": {
			Check{Interval: time.Minute, Fall: 2, Probe: sequence("pf")}, false, []Check{{Name: "c", Interval: time.Second, Fall: 3}},
			[]string{"0s c unknown to pass after 1: answer 1", "6.5s c pass to fail after 3: answer 4"},
		},
		"another probe, which decides at once": {
			Check{Interval: time.Second, Fall: 2, Probe: sequence("p")}, false, []Check{{Name: "c", Interval: time.Second, Fall: 2, Probe: sequence("f")}},
			[]string{"0s c unknown to pass after 1: answer 1", "3.5s c pass to fail after 1: answer 1"},
		},
		"another probe that says the same, and fails later": {
			Check{Interval: time.Second, Fall: 2, Probe: sequence("p")}, false, []Check{{Name: "c", Interval: time.Second, Fall: 2, Probe: sequence("pff")}},
			[]string{"0s c unknown to pass after 1: answer 1", "5.5s c pass to fail after 2: answer 3"},
		},
		"another probe that continues": {
			Check{Interval: time.Second, Fall: 3, Probe: sequence("ppff")}, false, []Check{{Name: "c", Interval: time.Second, Fall: 3, Continues: true, Probe: sequence("f")}},
			[]string{"0s c unknown to pass after 1: answer 1", "3.5s c pass to fail after 3: answer 1"},
		},
		"a forced verdict stays": {
			Check{Interval: time.Second, Fall: 2, Probe: sequence("f")}, true, []Check{{Name: "c", Interval: time.Second, Fall: 2, Probe: sequence("f")}},
			[]string{"0s c unknown to fail after 1: answer 1", "2s c fail to pass after 0: forced to pass by root until 00:00:08: drill",
				"8s c pass to fail after 5: no longer forced to pass: answer 5"},
		},
		"a new one beside it, that begins at once": {
			Check{Interval: time.Minute, Probe: sequence("p")}, false, []Check{{Name: "b", Interval: time.Minute, Probe: sequence("f")}, {Name: "c", Interval: time.Minute}},
			[]string{"0s c unknown to pass after 1: answer 1", "3.5s b unknown to fail after 1: answer 1"},
		},
		"none": {
			Check{Interval: time.Second, Fall: 2, Probe: sequence("ppppf")}, false, nil,
			[]string{"0s c unknown to pass after 1: answer 1"},
		},
		"a combination that names another": {
			Check{Interval: time.Minute, Probe: sequence("p")}, false, []Check{{Name: "c", Interval: time.Minute}, {Name: "b", Interval: time.Minute, Probe: sequence("f")},
				{Name: "all", Of: []string{"b", "c"}, Least: 2}},
			[]string{"0s c unknown to pass after 1: answer 1", "3.5s b unknown to fail after 1: answer 1",
				"3.5s all unknown to fail after 1: 1 of 2 pass, 2 needed: b fails"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.first.Name = "c"
				w := watch(t, tt.first)
				w.until(2 * time.Second)
				if tt.forced {
					f := force
					f.Until = w.start.Add(8 * time.Second)
					if err := w.Force("c", f); err != nil {
						t.Error(err)
					}
				}
				w.until(3500 * time.Millisecond)
				w.replace(t, tt.to...)
				w.until(10 * time.Second)
				w.end(t)
				w.expect(t, tt.want...)
			})
		})
	}
}

func TestScheduler_ReplaceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, Check{Name: "c", Interval: time.Second, Probe: sequence("pf")})
		synctest.Wait()
		if err := w.Replace([]Check{{Name: "new", Interval: time.Second}}); err == nil {
			t.Error("a check without a probe is accepted")
		}
		w.until(time.Second)
		w.end(t)
		if err := w.Replace(nil); err == nil {
			t.Error("checks are replaced when all has ended")
		}
		w.expect(t, "0s c unknown to pass after 1: answer 1", "1s c pass to fail after 1: answer 2")
	})
}

// A probe that is under way is ended, who waits for it is answered, and one that
// hangs does not keep its name from another one.
func TestScheduler_ReplaceOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		w := watch(t, Check{Name: "c", Interval: time.Hour, Probe: hangUntil(release)})
		synctest.Wait()
		waits := make(chan struct{})
		go func() { w.runNow("c", time.Minute); close(waits) }()
		w.until(time.Second)
		w.replace(t, Check{Name: "c", Interval: time.Second, Probe: sequence("p")})
		<-waits
		w.replace(t)
		go func() { time.Sleep(time.Second); close(release) }()
		w.end(t)
		w.expect(t, "1s c unknown to pass after 1: answer 1", "1s got pass, answer 1")
	})
}

// The watcher of a check that is replaced ends, and that of the new one is heard.
func TestScheduler_ReplaceAWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *watched
		var ended atomic.Int32
		probe := func(name string) Probe {
			return watchProbe{
				func(context.Context) Answer { w.note("%s asked", name); return Answer{OK: true} },
				func(ctx context.Context, changed func()) {
					select {
					case <-time.After(3 * time.Second):
						changed()
					case <-ctx.Done():
						ended.Add(1)
					}
				},
			}
		}
		w = &watched{}
		w.run(t, Check{Name: "c", Interval: time.Hour, Probe: probe("old")})
		w.until(time.Second)
		w.replace(t, Check{Name: "c", Interval: time.Hour, Probe: probe("new")})
		w.until(10 * time.Second)
		if n := ended.Load(); n != 1 {
			t.Errorf("%d watchers have ended, want that of the old one", n)
		}
		w.end(t)
		w.expect(t, "0s old asked", "0s c unknown to pass after 1: ", "1s new asked", "4s new asked")
	})
}

// After any sequence of replacements the checks are those of the last, each is
// asked at its interval, and none forgets its verdict.
func TestScheduler_ReplaceAnySequence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t)
			asked := map[string]int{}
			known := map[string]int{} // by name: the definition
			number := 0
			for range rapid.IntRange(1, 15).Draw(rt, "steps") {
				var checks []Check
				next := map[string]int{}
				for _, name := range []string{"a", "b", "c", "d"} {
					c := Check{Name: name, Interval: time.Duration(rapid.IntRange(1, 3).Draw(rt, "interval")) * time.Second}
					switch what := rapid.IntRange(0, 2).Draw(rt, "what"); {
					case what == 0:
						continue
					case what == 1 && known[name] > 0:
						next[name] = known[name]
					default:
						number++
						next[name] = number
						key := fmt.Sprint(name, number)
						c.Probe = probeFunc(func(context.Context) Answer { w.mu.Lock(); defer w.mu.Unlock(); asked[key]++; return Answer{OK: true} })
					}
					checks = append(checks, c)
				}
				before := w.Results()
				if err := w.Replace(checks); err != nil {
					rt.Fatal(err)
				}
				for _, r := range w.Results() {
					for _, b := range before {
						if b.Check == r.Check && b.Verdict != r.Verdict {
							rt.Fatalf("%s was %s and is %s", r.Check, b.Verdict, r.Verdict)
						}
					}
				}
				known = next
				time.Sleep(3 * time.Second)
				synctest.Wait()
				w.mu.Lock()
				clear(asked)
				w.mu.Unlock()
				time.Sleep(6 * time.Second)
				synctest.Wait()
				if got := w.Results(); len(got) != len(checks) || len(w.queue) != len(checks) {
					rt.Fatalf("%d checks, %d in the queue, want %d", len(got), len(w.queue), len(checks))
				}
				for _, c := range checks {
					if n, want := asked[fmt.Sprint(c.Name, known[c.Name])], int(6*time.Second/c.Interval); n < want-1 || n > want+1 {
						rt.Fatalf("%s was asked %d times in 6s, its interval is %s", c.Name, n, c.Interval)
					}
				}
				if len(asked) != len(checks) {
					rt.Fatalf("asked are %v, want those of %v", asked, known)
				}
			}
			w.end(t)
		})
	})
}

func TestScheduler_ReplaceAMemberOfACombination(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := Check{Name: "all", Interval: time.Hour, Of: []string{"c"}}
		w := watch(t, Check{Name: "c", Interval: time.Hour, Probe: sequence("p")}, all)
		synctest.Wait()
		w.replace(t, Check{Name: "c", Interval: time.Second, Fall: 1, Probe: sequence("pf")}, all)
		w.until(3 * time.Second)
		w.end(t)
		w.expect(t, "0s c unknown to pass after 1: answer 1", "0s all unknown to pass after 1: 1 of 1 pass",
			"1s c pass to fail after 1: answer 2", "1s all pass to fail after 1: 0 of 1 pass, 1 needed: c fails")
	})
}
