package role

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/command"
)

// fakeRun stands in for processes: a command takes as long as its argv[0] says in takes, which is no time
// where it says nothing, and obeys its time limit and its context.
type fakeRun struct {
	takes map[string]time.Duration
	start time.Time

	mu      sync.Mutex
	begun   []string // "1s master" for argv {"master"} begun a second after start
	limits  []time.Duration
	cut     []string // commands whose context ended
	running int
	most    int // the most that ran at one time
}

func newFakeRun(takes map[string]time.Duration) *fakeRun {
	return &fakeRun{takes: takes, start: time.Now()}
}

func (f *fakeRun) run(ctx context.Context, h Hook, argv, _ []string) command.Result {
	began := time.Now()
	f.mu.Lock()
	f.begun = append(f.begun, fmt.Sprintf("%v %s", began.Sub(f.start), strings.Join(argv, " ")))
	f.limits = append(f.limits, h.Timeout)
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running--
		f.mu.Unlock()
	}()
	select {
	case <-time.After(min(f.takes[argv[0]], h.Timeout)):
		timedOut := f.takes[argv[0]] > h.Timeout
		return command.Result{TimedOut: timedOut, Took: time.Since(began)}
	case <-ctx.Done():
		f.mu.Lock()
		f.cut = append(f.cut, argv[0])
		f.mu.Unlock()
		return command.Result{Err: ctx.Err(), Took: time.Since(began)}
	}
}

// named returns a hook whose command is called name.
func named(name string) []Hook { return []Hook{{Argv: []string{name}}} }

// oneEach has a hook of its own for every state, and no `any`.
var oneEach = Hooks{Master: named("master"), Backup: named("backup"), Fault: named("fault"), Stop: named("stop"), Reassert: named("reassert")}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func to(s State) Transition { return Transition{To: s} }

var reassert = Transition{To: Master, From: Master, Reassert: true}

// told is a transition and when it is told, counted from the start.
type told struct {
	at time.Duration
	Transition
}

func TestQueue_WhatIsRunAndWhen(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name  string
		hooks Hooks
		takes map[string]time.Duration
		tell  []told
		want  []string
	}{
		{
			name: "the first state is told", hooks: oneEach,
			tell: []told{{0, Transition{To: Backup, From: Init}}},
			want: []string{"0s backup"},
		},
		{
			name: "the own list goes before any, one after the other",
			hooks: Hooks{
				Any:    []Hook{{Argv: []string{"log", "web:"}}, {Argv: []string{"mail"}}},
				Master: []Hook{{Argv: []string{"up", "1"}}, {Argv: []string{"up", "2"}}},
			},
			takes: map[string]time.Duration{"up": 2 * s, "log": s},
			tell:  []told{{0, Transition{To: Master, From: Backup, Priority: 200}}},
			want:  []string{"0s up 1", "2s up 2", "4s log web: INSTANCE web MASTER 200", "5s mail INSTANCE web MASTER 200"},
		},
		{
			name: "any is told of every state but INIT", hooks: Hooks{Any: named("any")},
			tell: []told{{0, to(Init)}, {1, to(Backup)}, {2, to(Master)}, {3, to(Fault)}, {4, to(Init)}, {5, to(Stop)}, {6, to("")}, {7, to("DELETED")}},
			want: []string{"1ns any INSTANCE web BACKUP 0", "2ns any INSTANCE web MASTER 0", "3ns any INSTANCE web FAULT 0", "5ns any INSTANCE web STOP 0"},
		},
		{
			name: "a state told twice is run once", hooks: oneEach,
			tell: []told{{0, to(Fault)}, {s, to(Fault)}, {2 * s, to(Backup)}, {3 * s, to(Fault)}},
			want: []string{"0s fault", "2s backup", "3s fault"},
		},
		{
			name: "a running hook is not interrupted", hooks: oneEach, takes: map[string]time.Duration{"master": 10 * s},
			tell: []told{{0, to(Master)}, {s, to(Backup)}},
			want: []string{"0s master", "10s backup"},
		},
		{
			name: "the newest state wins", hooks: oneEach, takes: map[string]time.Duration{"master": 10 * s},
			tell: []told{{0, to(Master)}, {s, to(Backup)}, {2 * s, to(Fault)}, {3 * s, to(Backup)}, {4 * s, to(Fault)}},
			want: []string{"0s master", "10s fault"},
		},
		{
			name: "a state that comes back is told again", hooks: oneEach, takes: map[string]time.Duration{"master": 10 * s},
			tell: []told{{0, to(Master)}, {s, to(Backup)}, {2 * s, to(Master)}},
			want: []string{"0s master", "10s master"},
		},
		{
			name: "a newer state without hooks still replaces the one that waits", hooks: Hooks{Master: named("master"), Backup: named("backup")},
			takes: map[string]time.Duration{"backup": 10 * s},
			tell:  []told{{0, to(Backup)}, {s, to(Master)}, {2 * s, to(Fault)}},
			want:  []string{"0s backup"},
		},
		{
			name:  "hooks of a state that has passed are not begun",
			hooks: Hooks{Any: named("any"), Master: slices.Concat(named("slow"), named("next")), Backup: named("backup")},
			takes: map[string]time.Duration{"slow": 3 * s},
			tell:  []told{{0, to(Master)}, {s, to(Backup)}},
			want:  []string{"0s slow", "3s backup", "3s any INSTANCE web BACKUP 0"},
		},
		{
			name: "at its time limit a hook makes room", hooks: Hooks{Any: []Hook{{Argv: []string{"hangs"}, Timeout: 5 * s}}, Fault: named("hangs")},
			takes: map[string]time.Duration{"hangs": time.Hour},
			tell:  []told{{0, to(Fault)}},
			want:  []string{"0s hangs", "30s hangs INSTANCE web FAULT 0"},
		},
		{
			name: "a reassertion runs its own hooks only", hooks: Hooks{Any: named("any"), Master: named("master"), Reassert: named("reassert")},
			tell: []told{{0, to(Master)}, {s, reassert}, {2 * s, reassert}},
			want: []string{"0s master", "0s any INSTANCE web MASTER 0", "1s reassert", "2s reassert"},
		},
		{
			name: "reassertions do not pile up", hooks: oneEach, takes: map[string]time.Duration{"reassert": 10 * s},
			tell: []told{{0, to(Master)}, {s, reassert}, {2 * s, reassert}, {3 * s, reassert}, {4 * s, reassert}},
			want: []string{"0s master", "1s reassert", "11s reassert"},
		},
		{
			name: "a reassertion waits for the master hook", hooks: oneEach, takes: map[string]time.Duration{"backup": 10 * s, "master": s},
			tell: []told{{0, to(Backup)}, {s, to(Master)}, {2 * s, reassert}},
			want: []string{"0s backup", "10s master", "11s reassert"},
		},
		{
			name: "a newer state drops the reassertion that waits", hooks: oneEach, takes: map[string]time.Duration{"master": 10 * s},
			tell: []told{{0, to(Master)}, {s, reassert}, {2 * s, to(Backup)}},
			want: []string{"0s master", "10s backup"},
		},
		{
			name: "a newer state leaves out the rest of a reassertion", hooks: Hooks{Reassert: slices.Concat(named("slow"), named("next"))},
			takes: map[string]time.Duration{"slow": 3 * s},
			tell:  []told{{0, to(Master)}, {s, reassert}, {2 * s, to(Backup)}},
			want:  []string{"1s slow"},
		},
		{
			name: "only a master reasserts", hooks: oneEach,
			tell: []told{{0, reassert}, {s, to(Backup)}, {2 * s, reassert}},
			want: []string{"1s backup"},
		},
		{
			name: "stop is told after what runs", hooks: oneEach, takes: map[string]time.Duration{"master": 2 * s},
			tell: []told{{0, to(Master)}, {s, to(Stop)}},
			want: []string{"0s master", "2s stop"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeRun(tt.takes)
				q := New(Router{Name: "web", Hooks: tt.hooks}, f.run, quiet(), nil)
				f.wants(t, q, tt.tell, tt.want)
			})
		})
	}
}

// wants tells the queue of changes, each at its time, and compares which hooks were
// begun.
func (f *fakeRun) wants(t *testing.T, q *Queue, tell []told, want []string) {
	t.Helper()
	for _, tr := range tell {
		time.Sleep(tr.at - time.Since(f.start))
		q.Tell(tr.Transition)
		synctest.Wait()
	}
	if err := q.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if diff := cmp.Diff(want, f.begun); diff != "" {
		t.Errorf("hooks begun (-want +got):\n%s", diff)
	}
}

func TestQueue_TimeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(nil)
		q := New(Router{Name: "web", Hooks: Hooks{
			Master: []Hook{{Argv: []string{"a"}}, {Argv: []string{"b"}, Timeout: time.Minute}, {Argv: []string{"c"}, Timeout: -1}},
		}}, f.run, quiet(), nil)
		q.Tell(to(Master))
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{DefaultTimeout, time.Minute, DefaultTimeout}, f.limits); diff != "" {
			t.Errorf("time limits (-want +got):\n%s", diff)
		}
	})
}

// Nobody closes these queues: a goroutine that outlived its hooks would fail the test by itself.
func TestQueue_NoGoroutineWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"master": time.Second})
		q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
		New(Router{Name: "unused", Hooks: oneEach}, f.run, quiet(), nil)
		for range 3 {
			q.Tell(to(Master))
			time.Sleep(time.Minute)
			q.Tell(to(Backup))
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		if got := len(f.begun); got != 6 {
			t.Errorf("%d hooks were begun, want 6", got)
		}
	})
}

func TestQueue_OneRouterDoesNotDelayAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"hangs": time.Hour})
		bad := New(Router{Name: "bad", Hooks: Hooks{Master: []Hook{{Argv: []string{"hangs"}, Timeout: time.Hour}}}}, f.run, quiet(), nil)
		good := New(Router{Name: "good", Hooks: oneEach}, f.run, quiet(), nil)
		bad.Tell(to(Master))
		defer bad.Close(t.Context())
		synctest.Wait()
		good.Tell(to(Master))
		if err := good.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if diff := cmp.Diff([]string{"0s hangs", "0s master"}, f.begun); diff != "" {
			t.Errorf("hooks begun (-want +got):\n%s", diff)
		}
	})
}

func TestQueue_Storm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"backup": time.Hour})
		q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
		q.Tell(to(Backup))
		synctest.Wait()
		states := []State{Master, Backup, Fault}
		for i := range 10_000 {
			q.Tell(to(states[i%3])) // the last is 9,999: Master
			if i%5 == 0 {
				q.Tell(reassert)
			}
		}
		if waited := time.Since(f.start); waited != 0 {
			t.Errorf("Tell took %v of the hook's time", waited)
		}
		if err := q.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if diff := cmp.Diff([]string{"0s backup", "30s master"}, f.begun); diff != "" {
			t.Errorf("hooks begun (-want +got):\n%s", diff)
		}
	})
}

// Whatever the order of events: never two hooks at once, and in the end the hooks of the newest state, all of
// them and in order, are the last that ran.
func TestQueue_RandomHistories(t *testing.T) {
	states := []State{Master, Backup, Fault, Stop}
	for seed := range uint64(300) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			hooks := Hooks{Any: []Hook{{Argv: []string{"any1"}}, {Argv: []string{"any2"}}}}
			for _, list := range []*[]Hook{&hooks.Master, &hooks.Backup, &hooks.Fault, &hooks.Stop} {
				*list = []Hook{{Argv: []string{"own1", "$role"}}, {Argv: []string{"own2", "$role"}}}
			}
			takes := map[string]time.Duration{}
			for _, name := range []string{"own1", "own2", "any1", "any2"} {
				takes[name] = time.Duration(r.IntN(40)) * time.Millisecond
			}
			f := newFakeRun(takes)
			f.begun = nil
			var newest State
			stale := 0
			q := New(Router{Name: "web", Hooks: hooks}, func(ctx context.Context, h Hook, argv, env []string) command.Result {
				if !strings.Contains(strings.Join(argv, " "), string(newest)) {
					stale++
				}
				f.start = time.Now() // no times in what is recorded
				return f.run(ctx, h, argv, env)
			}, quiet(), nil)
			for range 1 + r.IntN(20) {
				newest = states[r.IntN(len(states))]
				q.Tell(to(newest))
				synctest.Wait()
				time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
				synctest.Wait()
			}
			if err := q.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			want := []string{"0s own1 " + string(newest), "0s own2 " + string(newest),
				"0s any1 INSTANCE web " + string(newest) + " 0", "0s any2 INSTANCE web " + string(newest) + " 0"}
			if diff := cmp.Diff(want, f.begun[max(0, len(f.begun)-4):]); diff != "" {
				t.Errorf("seed %d: the last hooks (-want +got):\n%s", seed, diff)
			}
			if f.most != 1 {
				t.Errorf("seed %d: %d hooks ran at once", seed, f.most)
			}
			if stale != 0 {
				t.Errorf("seed %d: %d hooks were begun for a state that had passed", seed, stale)
			}
		})
	}
}

// Tell and Close from their own goroutines, in real time: for the race detector.
func TestQueue_Concurrent(t *testing.T) {
	f := newFakeRun(nil)
	q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5000 {
			q.Tell(to([]State{Master, Backup}[i%2]))
			q.Tell(reassert)
		}
	}()
	<-done
	if err := q.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if last := f.begun[len(f.begun)-1]; !strings.HasSuffix(last, " backup") || f.most != 1 {
		t.Errorf("the last hook was %q and %d ran at once, want backup and 1", last, f.most)
	}
}

func TestQueue_Close(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		q := New(Router{Name: "web", Hooks: oneEach}, nil, quiet(), nil)
		if err := q.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("waits for what is queued and takes no more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeRun(map[string]time.Duration{"master": 3 * time.Second, "stop": 2 * time.Second})
			q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
			q.Tell(to(Master))
			synctest.Wait()
			q.Tell(to(Stop))
			go func() {
				time.Sleep(time.Second)
				q.Tell(to(Backup))
			}()
			if err := q.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			if took := time.Since(f.start); took != 5*time.Second {
				t.Errorf("Close returned after %v, want 5s", took)
			}
			q.Tell(to(Backup))
			synctest.Wait()
			if diff := cmp.Diff([]string{"0s master", "3s stop"}, f.begun); diff != "" {
				t.Errorf("hooks begun (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("gives up with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeRun(map[string]time.Duration{"master": 20 * time.Second})
			q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
			q.Tell(to(Master))
			synctest.Wait()
			q.Tell(to(Stop))
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
			defer cancel()
			err := q.Close(ctx)
			if want := "finish hooks of router web: those for STOP were not begun: context deadline exceeded"; err == nil || err.Error() != want {
				t.Errorf("Close: %v, want %s", err, want)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v does not wrap the context's error", err)
			}
			if took := time.Since(f.start); took != 4*time.Second {
				t.Errorf("Close returned after %v, want 4s", took)
			}
			if diff := cmp.Diff([]string{"master"}, f.cut); diff != "" {
				t.Errorf("hooks ended (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"0s master"}, f.begun); diff != "" {
				t.Errorf("hooks begun (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("says that hooks were cut short", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeRun(map[string]time.Duration{"stop": 20 * time.Second})
			q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
			q.Tell(to(Stop))
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := q.Close(ctx)
			if want := "finish hooks of router web: those for STOP were cut short: context canceled"; err == nil || err.Error() != want {
				t.Errorf("Close: %v, want %s", err, want)
			}
		})
	})
	t.Run("does not wait for a command that cannot be killed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			stuck := func(context.Context, Hook, []string, []string) command.Result {
				<-release
				return command.Result{}
			}
			q := New(Router{Name: "web", Hooks: oneEach}, stuck, quiet(), nil)
			start := time.Now()
			q.Tell(to(Stop))
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := q.Close(ctx); err == nil {
				t.Error("Close returned no error")
			}
			if took := time.Since(start); took != time.Second+reapTime {
				t.Errorf("Close returned after %v, want %v", took, time.Second+reapTime)
			}
			close(release)
		})
	})
}

func TestQueue_Log(t *testing.T) {
	var out bytes.Buffer
	results := map[string]command.Result{
		"good": {Took: 41 * time.Millisecond, Output: []byte("moved\x1b[31m it\nsecond line\n")},
		"bad":  {Exit: 3, Took: time.Second, Output: []byte("no such volume\n")},
		"slow": {Exit: -1, Signal: "SIGTERM", TimedOut: true, Timeout: time.Minute, Took: time.Minute},
	}
	synctest.Test(t, func(t *testing.T) {
		run := func(_ context.Context, _ Hook, argv, _ []string) command.Result { return results[argv[0]] }
		q := New(Router{Name: "web", Hooks: Hooks{Master: named("good"), Any: slices.Concat(named("bad"), named("slow"))}}, run,
			slog.New(slog.NewJSONHandler(&out, nil)), nil)
		q.Tell(to(Master))
		synctest.Wait()
	})
	type line struct {
		Level, Msg, Router, State, Hook, Command, Output, Err string

		Exit int
		Took time.Duration
	}
	var got []line
	for d := json.NewDecoder(&out); d.More(); {
		var l line
		if err := d.Decode(&l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	want := []line{
		{Level: "INFO", Msg: "hook ran", Router: "web", State: "MASTER", Hook: "master", Command: "good", Output: `moved\x1b[31m it`, Took: 41 * time.Millisecond},
		{Level: "WARN", Msg: "hook failed", Router: "web", State: "MASTER", Hook: "any", Command: "bad", Output: "no such volume", Exit: 3, Took: time.Second},
		{Level: "WARN", Msg: "hook failed", Router: "web", State: "MASTER", Hook: "any", Command: "slow", Err: "timed out after 1m0s", Took: time.Minute},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestQueue_LogsWhatWasNotTold(t *testing.T) {
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"one": time.Second})
		q := New(Router{Name: "web", Hooks: Hooks{Master: slices.Concat(named("one"), named("two"))}}, f.run,
			slog.New(slog.NewTextHandler(&out, nil)), nil)
		q.Tell(to(Master))
		synctest.Wait()
		q.Tell(to(Backup))
		q.Tell(to(Fault))
		q.Tell(to(Stop))
		time.Sleep(time.Minute)
		q.Tell(to(Backup))
		if err := q.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	for _, want := range []string{"state=MASTER hook=master", "state=STOP changes=2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, &out)
		}
	}
	if got := strings.Count(out.String(), "changes="); got != 1 {
		t.Errorf("the log tells %d times of replaced changes, want once:\n%s", got, &out)
	}
}

// A queue that goes on where another one ended tells nothing twice, and what hooks have been told is known.
func TestQueue_Resume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeRun(map[string]time.Duration{"backup": time.Second})
		q := New(Router{Name: "web", Hooks: oneEach}, f.run, quiet(), nil)
		var finished []string
		q.Finished = func(s State) { finished = append(finished, fmt.Sprintf("%v %s", time.Since(f.start), s)) }
		q.Resume(Master)
		q.Tell(to(Master))
		q.Tell(reassert)
		synctest.Wait()
		time.Sleep(time.Second)
		q.Tell(to(Backup))
		if synctest.Wait(); !q.Busy() {
			t.Error("a hook runs, and the queue is not busy")
		}
		time.Sleep(time.Minute)
		if q.Busy() {
			t.Error("busy with nothing")
		}
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"0s reassert", "1s backup"}, f.begun); diff != "" {
			t.Errorf("run (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"0s MASTER", "0s MASTER", "2s BACKUP"}, finished); diff != "" {
			t.Errorf("finished (-want +got):\n%s", diff)
		}
	})
}
