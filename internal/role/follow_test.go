package role

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/internal/service"
)

func TestSequence_Follow(t *testing.T) {
	tests := []struct {
		name string
		run  func(st *stage)
	}{
		{"once it is stopped, and who is master now", func(st *stage) {
			st.actors["redis"].state = service.Running
			st.actors["redis"].take("stop", 3*s)
			st.Follow(Transition{Master: "lb2"})
			st.at(s)
			st.wants() // whether it runs is not certain yet
			st.Stop(1, backup, false)
			st.at(2 * s)
			st.Follow(Transition{Master: "lb3"})
			st.at(time.Minute)
			st.wants("1s stop redis", "4s 1 Stopped", "4s follow redis lb3")
			st.Follow(Transition{Master: "lb2"})
			st.wants("1m0s follow redis lb2")
		}},
		{"not while it is started, nor whom it followed before", func(st *stage) {
			st.Stop(1, backup, false)
			st.Follow(Transition{Master: "lb2"})
			st.wants("0s 1 Stopped", "0s follow redis lb2")
			st.Start(2, master, 0)
			st.at(s)
			st.wants("0s start redis", "0s 2 Ready")
			st.Stop(3, backup, false)
			st.at(time.Minute)
			st.wants("1s stop redis", "1s 3 Stopped")
			st.Start(4, master, 0)
			st.Follow(Transition{Master: "lb3"}) // just before the stop that belongs with it
			st.at(2 * time.Minute)
			st.Stop(5, backup, false)
			st.wants("1m0s start redis", "1m0s 4 Ready", "2m0s stop redis", "2m0s 5 Stopped", "2m0s follow redis lb3")
		}},
		{"again until it is done", func(st *stage) {
			st.actors["redis"].fail("follow", errors.New("no"))
			st.Stop(1, backup, false)
			st.Follow(Transition{Master: "lb2"})
			st.at(10 * s)
			st.wants("0s 1 Stopped", "0s follow redis lb2", "1s follow redis lb2", "3s follow redis lb2", "7s follow redis lb2")
			st.Follow(Transition{Master: "lb3"}) // by itself, and with a fresh back-off
			st.at(14 * s)
			st.wants("10s follow redis lb3", "11s follow redis lb3", "13s follow redis lb3")
			st.actors["redis"].fail("follow", nil)
			st.at(time.Hour)
			st.wants("17s follow redis lb3")
		}},
		{"the newest ends the one that runs", func(st *stage) {
			st.actors["redis"].take("follow", 20*s)
			st.Stop(1, backup, false)
			st.Follow(Transition{Master: "lb2"})
			st.at(s)
			st.Follow(Transition{Master: "lb3"})
			st.at(2 * s)
			st.Stop(2, backup, false)
			st.at(3 * s)
			st.Start(3, master, 0)
			st.wants("0s 1 Stopped", "0s follow redis lb2", "1s cut follow redis lb2", "1s follow redis lb3", "2s cut follow redis lb3",
				"2s 2 Stopped", "2s follow redis lb3", "3s cut follow redis lb3", "3s start redis", "3s 3 Ready")
		}},
		{"a master that is no node", func(st *stage) {
			st.Stop(1, backup, false)
			st.Follow(Transition{Master: "stranger"})
			st.at(time.Hour)
			st.wants("0s 1 Stopped")
			st.logs(1, `msg="service is not told whom to follow" router=web service=redis err="nobody to follow: needs $master.cluster"`)
			st.Follow(Transition{Master: "lb2"})
			st.wants("1h0m0s follow redis lb2")
		}},
		{"demoted while nobody is there to follow, it is not demoted again", func(st *stage) {
			st.Stop(8, backup, false)
			st.Follow(Transition{Master: "lb2"})
			st.wants("0s 8 Stopped", "0s follow redis lb2")
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, false)
			st.at(2 * s)
			st.wants("0s start redis", "0s 1 Ready", "1s stop redis", "1s 2 Stopped")
			st.actors["redis"].set(service.Running) // a demoted Redis stays a master until it has another
			st.at(time.Minute)
			st.wants()
			st.Follow(Transition{Master: "lb2"})
			st.wants("1m0s follow redis lb2")
			st.at(2 * time.Minute)
			st.actors["redis"].set(service.Running) // restarted, it has forgotten its master
			st.at(3 * time.Minute)
			st.wants("2m1s stop redis", "2m1s follow redis lb2")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, "redis>", nil)
				tt.run(st)
				st.end()
			})
		})
	}
}

func TestSequence_Everywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "everywhere b once", func(i map[string]*Item) {
			i["everywhere"].Revive = Revive{Tries: 2, Within: 5 * time.Minute, Backoff: 2 * s}
			i["b"].Revive = Revive{Tries: 2, Within: 5 * time.Minute, Backoff: 2 * s}
		})
		st.actors["everywhere"].fail("start", errors.New("exit 1"))
		st.Start(1, Transition{}, 0)
		st.at(11 * time.Minute)
		st.wants("0s start everywhere", "0s start b", "0s start once", // the others do not wait for it
			"2s start everywhere", "6s start everywhere", // two tries
			"5m6s start everywhere", "5m10s start everywhere", "10m10s start everywhere", "10m14s start everywhere")
		st.actors["everywhere"].fail("start", nil)
		st.actors["once"].set(service.Stopped)
		st.at(time.Hour)
		st.wants("15m14s start everywhere")
		st.logs(1, `msg="service is back" router=web service=everywhere`)
		st.logs(1, `msg="service does not run, and is not to be brought back (revive)" router=web service=once`)
		st.actors["once"].set(service.Running) // by somebody
		st.at(time.Hour + 10*s)
		st.logs(1, `msg="service is back" router=web service=once`)
		want := []ItemState{{Name: "everywhere", State: service.Running}, {Name: "b", State: service.Running}, {Name: "once", State: service.Running}}
		got := st.States()
		for i := range got {
			got[i].Since = time.Time{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		st.end()
		st.wants()
	})
}

func TestSequence_States(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "a - b", nil)
		began := time.Now()
		a, b := st.actors["a"], st.actors["b"]
		a.takes["start"], b.takes["stop"], b.fails["stop"] = 2*s, s, errors.New("no")
		for _, step := range []struct {
			at   time.Duration
			do   func()
			want string
		}{
			{0, func() {}, "a unknown since 0s, b unknown since 0s"},
			{s, func() { st.Start(1, master, 0) }, "a starting since 1s, b unknown since 0s"},
			{3 * s, func() {}, "a running since 3s, b running since 3s"},
			{9 * s, func() { a.say("pid 17") }, "a running since 3s, b running since 3s"},
			{20 * s, func() {}, "a running since 3s: pid 17, b running since 3s"},
			{21 * s, func() { st.Stop(2, backup, false) }, "a running since 3s: pid 17, b stopping since 21s"},
			{22 * s, func() {}, "a running since 3s: pid 17, b unknown since 22s: b did not stop: no"},
			{23 * s, func() { st.Abandon() }, "a stopped since 23s, b unknown since 22s: b did not stop: no"},
		} {
			st.at(step.at)
			step.do()
			synctest.Wait()
			var got []string
			for _, i := range st.States() {
				line := fmt.Sprintf("%s %s since %v", i.Name, i.State, i.Since.Sub(began))
				if i.Text != "" {
					line += ": " + i.Text
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(step.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("at %v (-want +got):\n%s", step.at, diff)
			}
		}
		st.end()
	})
}

func TestSequence_Close(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a*", nil)
			st.Follow(Transition{Master: "lb2"})
			st.end()
			st.Start(1, master, 0)
			st.end()
			st.wants()
		})
	})
	t.Run("ends a start and stops nothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a* b", nil)
			st.actors["b"].take("start", time.Hour)
			st.Start(1, master, 0)
			st.at(s)
			st.end()
			st.wants("0s start a", "0s start b", "1s cut start b")
			st.actors["a"].set(service.Stopped)
			st.at(time.Hour)
			st.wants()
		})
	})
	t.Run("lets a stop finish", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a b", nil)
			st.actors["b"].take("stop", 3*s)
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, false)
			st.at(2 * s)
			st.end()
			if took := time.Since(st.start); took != 4*s {
				t.Errorf("Close returned at %v, want 4s", took)
			}
			st.wants("0s start a", "0s start b", "0s 1 Ready", "1s stop b")
		})
	})
	t.Run("gives up with its context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a", nil)
			st.actors["a"].take("stop", time.Minute)
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, false)
			st.at(2 * s)
			ctx, cancel := context.WithTimeout(t.Context(), 3*s)
			defer cancel()
			err := st.Close(ctx)
			if want := "end the services of web: cut short: context deadline exceeded"; err == nil || err.Error() != want {
				t.Errorf("Close: %v, want %s", err, want)
			}
			if took := time.Since(st.start); took != 5*s {
				t.Errorf("Close returned at %v, want 5s", took)
			}
			st.wants("0s start a", "0s 1 Ready", "1s stop a", "5s cut stop a") // and no report
		})
	})
	t.Run("does not wait for what never returns", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a", nil)
			st.actors["a"].takes["start"], st.actors["a"].deaf = time.Hour, true
			st.Start(1, master, 0)
			st.at(s)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := st.Close(ctx)
			if want := "end the services of web: a does not return: context canceled"; err == nil || err.Error() != want {
				t.Errorf("Close: %v, want %s", err, want)
			}
			if took := time.Since(st.start); took != 2*s {
				t.Errorf("Close returned at %v, want 2s", took)
			}
			time.Sleep(time.Hour)
		})
	})
}
