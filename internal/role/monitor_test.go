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
	"pgregory.net/rapid"

	"baton/internal/service"
)

// revive is how most services of these tests are brought back.
func revive(i map[string]*Item) {
	for _, item := range i {
		item.Revive = Revive{Tries: 3, Within: 10 * time.Minute, Backoff: 5 * time.Second}
	}
}

func TestSequence_Monitor(t *testing.T) {
	tests := []struct {
		name  string
		items string
		with  func(map[string]*Item)
		run   func(st *stage)
	}{
		{"one that is polled is found dead, and brought back", "a b", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(7 * s)
			st.actors["a"].set(service.Failed)
			st.at(time.Minute)
			st.wants("0s start a", "0s start b", "0s 1 Ready", "10s 1 Died a: a died: it is failed", "15s start a", "15s 1 Ready")
			st.logs(1, `msg="service died, it is started again" router=web service=a why="a died: it is failed" try="1 of 3" in=5s`)
			st.logs(1, `msg="service is back" router=web service=a tries=1`)
		}},
		{"one that is watched is found dead at once", "a* b", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(7 * s)
			st.actors["a"].set(service.Stopped)
			st.at(8 * s)
			if got := st.States()[0].State; got != service.Stopped {
				st.t.Errorf("a is %v, want stopped", got)
			}
			st.at(time.Minute)
			st.wants("0s start a", "0s start b", "0s 1 Ready", "7s 1 Died a: a died: it is stopped", "12s start a", "12s 1 Ready")
			if got := st.actors["a"].asked; got > 4 { // its own changes are told, too
				st.t.Errorf("a was asked %d times although it tells", got)
			}
		}},
		{"one that starts or stops is not dead", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].set(service.Starting)
			st.at(time.Minute)
			st.actors["a"].set(service.Stopping)
			st.at(2 * time.Minute)
			st.wants("0s start a", "0s 1 Ready")
		}},
		{"lost when the tries are used up", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].fail("start", errors.New("exit 1"))
			st.actors["a"].set(service.Failed)
			st.at(time.Hour)
			// 5 s after the poll, then 10 s and 20 s.
			st.wants("0s start a", "0s 1 Ready", "5s 1 Died a: a died: it is failed", "10s start a", "10s 1 Died a: a did not start: exit 1",
				"20s start a", "20s 1 Died a: a did not start: exit 1", "40s start a",
				"40s 1 Lost a: a did not start: exit 1 (tried to bring it back 3 times within 10m)")
			st.Stop(2, backup, false)
			st.wants("1h0m0s stop a", "1h0m0s 2 Stopped")
		}},
		{"lost when it dies too often", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			for n := range 4 {
				st.at(time.Duration(n+1) * 2 * time.Minute)
				st.actors["a"].set(service.Stopped)
			}
			st.at(time.Hour)
			st.wants("0s start a", "0s 1 Ready", "2m5s 1 Died a: a died: it is stopped", "2m10s start a", "2m10s 1 Ready",
				"4m5s 1 Died a: a died: it is stopped", "4m15s start a", "4m15s 1 Ready",
				"6m5s 1 Died a: a died: it is stopped", "6m25s start a", "6m25s 1 Ready",
				"8m5s 1 Lost a: a died: it is stopped (tried to bring it back 3 times within 10m)")
		}},
		{"tries that are long past do not count", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			for n := range 20 {
				st.at(time.Duration(n+1) * 6 * time.Minute)
				st.actors["a"].set(service.Stopped)
			}
			st.at(3 * time.Hour)
			st.logs(20, `msg="service is back"`)
		}},
		{"lost at once without a try", "a", nil, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].say("killed")
			st.actors["a"].set(service.Failed)
			st.at(time.Hour)
			st.wants("0s start a", "0s 1 Ready", "5s 1 Lost a: a died: it is failed, killed")
		}},
		{"one that must get ready again", "a", func(i map[string]*Item) {
			revive(i)
			i["a"].Ready = func(after time.Time) (bool, string) { return time.Since(after) >= 3*s, "" }
		}, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.wants("0s start a")
			st.at(4 * s)
			st.actors["a"].set(service.Stopped)
			st.at(15 * s)
			st.logs(0, "service is back")
			st.at(time.Minute)
			st.wants("3s 1 Ready", "8s 1 Died a: a died: it is stopped", "13s start a", "16s 1 Ready")
			st.logs(1, `msg="service is back"`)
		}},
		{"a new start has all its tries", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].fail("start", errors.New("exit 1"))
			st.actors["a"].set(service.Failed)
			st.at(30 * s) // the third try would be at 40s
			st.Stop(2, backup, false)
			st.actors["a"].fail("start", nil)
			st.at(31 * s)
			st.Start(3, master, 0)
			st.at(32 * s)
			st.wants("0s start a", "0s 1 Ready", "5s 1 Died a: a died: it is failed", "10s start a", "10s 1 Died a: a did not start: exit 1",
				"20s start a", "20s 1 Died a: a did not start: exit 1", "30s stop a", "30s 2 Stopped", "31s start a", "31s 3 Ready")
			st.actors["a"].set(service.Failed)
			st.at(time.Minute)
			st.wants("36s 3 Died a: a died: it is failed", "41s start a", "41s 3 Ready")
			st.logs(2, `try="1 of 3"`)
		}},
		{"a death that is being looked into is not forgotten", "a*", revive, func(st *stage) {
			st.actors["a"].take("status", s)
			st.Begin() // it is watched from now on
			st.at(s)
			st.Start(1, master, 0)
			st.at(10 * s)
			st.actors["a"].set(service.Stopped)
			st.at(10*s + 500*time.Millisecond)
			st.Start(2, master, 0)
			st.at(time.Minute)
			st.wants("1s start a", "2s 1 Ready", "11.5s 2 Died a: a died: it is stopped", "16.5s start a", "17.5s 2 Ready")
		}},
		{"one that nobody can be asked about is nothing to log", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].set(service.Unknown)
			st.at(time.Hour)
			st.logs(0, "WARN")
		}},
		{"a stop calls off bringing back", "a b", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].take("start", time.Minute)
			st.actors["a"].set(service.Stopped)
			st.at(30 * s)
			st.Stop(2, backup, false)
			st.at(time.Hour)
			st.wants("0s start a", "0s start b", "0s 1 Ready", "5s 1 Died a: a died: it is stopped", "10s start a", "30s cut start a", "30s stop b", "30s stop a", "30s 2 Stopped")
		}},
		{"what comes after one that died is not started", "a - b", revive, func(st *stage) {
			st.absent = true
			st.Start(1, master, 0)
			st.at(4 * s)
			st.actors["a"].set(service.Stopped)
			st.at(6 * s)
			st.Placed(1)
			st.at(8 * s)
			st.wants("0s start a", "0s 1 AddressesOn", "5s 1 Died a: a died: it is stopped")
			st.at(time.Minute)
			st.wants("10s start a", "10s start b", "10s 1 Ready")
		}},
		{"one whose state nobody knows is not dead", "a", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].fail("status", errors.New("no answer from D-Bus"))
			st.at(time.Hour)
			st.logs(1, `msg="status of the service is unknown: nothing is done about it" router=web service=a status="no answer from D-Bus"`)
			st.actors["a"].fail("status", nil)
			st.at(2 * time.Hour)
			st.logs(1, `msg="status of the service is known again" router=web service=a state=running`)
			st.wants("0s start a", "0s 1 Ready")
		}},
		{"one that is watched is asked again when it did not answer", "a*", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].fail("status", errors.New("no answer from D-Bus"))
			st.actors["a"].set(service.Stopped)
			st.at(9 * s)
			st.actors["a"].fail("status", nil)
			st.at(time.Minute)
			st.wants("0s start a", "0s 1 Ready", "11s 1 Died a: a died: it is stopped", "16s start a", "16s 1 Ready")
		}},
		{"a status that hangs is bounded", "a b", revive, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].take("status", time.Hour)
			st.at(6 * s)
			st.actors["b"].set(service.Stopped)
			st.at(time.Minute)
			// Found dead at 8s: answers of a were waited for.
			st.wants("0s start a", "0s start b", "0s 1 Ready", "8s 1 Died b: b died: it is stopped", "16s start b", "16s 1 Ready")
			st.Stop(2, backup, false)
			st.wants("1m0s stop b", "1m0s stop a", "1m0s 2 Stopped")
		}},
		{"one that others start is stopped, and not in a busy loop", "a b*", nil, func(st *stage) {
			st.Stop(1, backup, false)
			st.at(s)
			st.wants("0s 1 Stopped")
			st.actors["a"].set(service.Running)
			st.at(7 * s)
			st.actors["b"].set(service.Starting)
			st.wants("5s stop a", "7s stop b")
			st.logs(1, "although this node is not master, it is stopped: is it enabled at boot, or started by something else?\" router=web service=a")
			st.logs(1, "although this node is not master, it is stopped: is it enabled at boot, or started by something else?\" router=web service=b")
			st.at(8 * s)
			st.actors["b"].set(service.Running)
			st.at(11 * s)
			st.wants()
			st.at(12 * s)
			st.wants("12s stop b")
			st.actors["b"].set(service.Running)
			st.at(21 * s)
			st.wants()
			st.at(time.Minute)
			st.wants("22s stop b")
			st.actors["b"].set(service.Running) // a quiet while later it is stopped at once again
			st.wants("1m0s stop b")
			st.actors["b"].set(service.Running)
			st.at(64 * s)
			st.wants()
			st.at(66 * s)
			st.wants("1m5s stop b") // and not 20s later
		}},
		{"one that is left alone may come up", "a*", func(i map[string]*Item) { i["a"].AtStart = Leave }, func(st *stage) {
			st.Stop(1, backup, false)
			st.at(s)
			st.actors["a"].set(service.Running)
			st.at(time.Minute)
			st.wants("0s 1 Stopped")
		}},
		{"one that others start and that does not stop", "a*", nil, func(st *stage) {
			st.actors["a"].fail("stop", errors.New("no"))
			st.Stop(1, backup, false)
			st.at(s)
			st.actors["a"].set(service.Running)
			st.at(30 * s)
			st.wants("0s 1 Stopped", "1s stop a", "6s stop a", "16s stop a") // no report: nobody waits for it
			st.Stop(2, backup, false)
			st.wants("30s stop a", "30s 2 StopFailed a: a did not stop: no")
			st.Abandon()
			st.at(39 * s)
			st.wants("30s 2 Stopped", "35s stop a")
			st.actors["a"].set(service.Stopped) // by hand
			st.at(time.Minute)
			st.Stop(3, backup, false)
			st.wants("1m0s 3 Stopped")
		}},
		{"one that has failed is not stopped again", "a*", nil, func(st *stage) {
			st.Stop(1, backup, false)
			st.at(s)
			st.actors["a"].set(service.Failed)
			st.at(time.Minute)
			st.wants("0s 1 Stopped")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, tt.items, tt.with)
				tt.run(st)
				st.end()
			})
		})
	}
}

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

// Whatever comes in whatever order: the newest wish holds in the end, and is reported; nothing is started after a Stop
// before the next Start; items are stopped in reverse; and no two calls of one overlap (which the actors see).
func TestSequence_RandomHistories(t *testing.T) {
	takes := rapid.SampledFrom([]time.Duration{0, 0, s, 7 * s, 2 * time.Minute})
	type step struct {
		pause  time.Duration
		what   string
		delay  time.Duration
		chosen bool
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			pause:  rapid.SampledFrom([]time.Duration{0, 0, s, 3 * s, 10 * s, time.Minute}).Draw(t, "pause"),
			what:   rapid.SampledFrom([]string{"Start", "Stop", "Start", "Stop", "Follow", "dies", "appears"}).Draw(t, "what"),
			delay:  rapid.SampledFrom([]time.Duration{0, 2 * s}).Draw(t, "delay"),
			chosen: rapid.Bool().Draw(t, "chosen"),
		}
	}), 0, 12)
	rapid.Check(t, func(rt *rapid.T) {
		plan := append(steps.Draw(rt, "steps"), step{what: rapid.SampledFrom([]string{"Start", "Stop"}).Draw(rt, "last")})
		took := rapid.MapOfN(rapid.SampledFrom([]string{"a start", "a stop", "a status", "b start", "b stop", "b status", "c start", "c stop",
			"d start", "d stop", "d follow"}), takes, 0, 11).Draw(rt, "takes")
		states := rapid.SliceOfN(rapid.IntRange(0, 5), 4, 4).Draw(rt, "states")
		var wrong []string
		synctest.Test(t, func(t *testing.T) {
			st := newStage(t, "a b* - c d>", revive)
			for i, name := range []string{"a", "b", "c", "d"} {
				a := st.actors[name]
				a.state = service.State(states[i])
				for _, verb := range []string{"start", "stop", "status", "follow"} {
					a.take(verb, took[name+" "+verb])
				}
			}
			for n, step := range plan {
				st.at(time.Since(st.start) + step.pause)
				if n == len(plan)-1 { // what hangs would leave the end open
					for _, a := range st.actors {
						for _, verb := range []string{"start", "stop", "status", "follow"} {
							a.take(verb, 0)
						}
					}
				}
				st.event(step.what)
				switch step.what {
				case "Start":
					st.Start(uint64(n), master, step.delay)
				case "Stop":
					st.Stop(uint64(n), backup, step.chosen)
				case "Follow":
					st.Follow(Transition{Master: "lb2"})
				case "dies":
					st.actors["b"].set(service.Stopped)
				default:
					st.actors["c"].set(service.Running)
				}
			}
			st.at(time.Since(st.start) + time.Hour)
			wrong = st.verify(len(plan)-1, plan[len(plan)-1].what)
			if len(wrong) > 0 {
				wrong = append(wrong, strings.Join(st.events, "\n"), st.log.String())
			}
			st.end()
		})
		for _, w := range wrong {
			rt.Error(w)
		}
	})
}

// verify says what is wrong in the end, and was on the way to it.
func (st *stage) verify(order int, last string) (wrong []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	want, report := service.Stopped, fmt.Sprintf(" %d Stopped", order)
	if last == "Start" {
		want, report = service.Running, fmt.Sprintf(" %d Ready", order)
	}
	for name, a := range st.actors {
		if a.state != want {
			wrong = append(wrong, fmt.Sprintf("%s is %v in the end, want %v", name, a.state, want))
		}
	}
	// Ready comes again where something died after it.
	if n := strings.Count(strings.Join(st.events, "\n")+"\n", report+"\n"); n == 0 || n > 1 && last == "Stop" {
		wrong = append(wrong, fmt.Sprintf("%q was reported %d times", report, n))
	}
	wished, lowest, done := "", len("abcd"), false
	for _, e := range st.events {
		_, what, _ := strings.Cut(e, " ")
		verb, name, _ := strings.Cut(what, " ")
		switch {
		case verb == "Start" || verb == "Stop":
			wished, lowest, done = verb, len("abcd"), false
		case name == "Stopped":
			done = true // what is stopped from now on came up by other hands
		case verb == "start" && wished != "Start":
			wrong = append(wrong, name+" was started after a Stop, or before any Start")
		case verb == "stop" && wished == "Stop" && !done:
			if i := strings.Index("abcd", name); i >= lowest {
				wrong = append(wrong, name+" was stopped after one below it")
			} else {
				lowest = i
			}
		}
	}
	return wrong
}

// What died and is back makes all ready once more.
func TestSequence_ReadyAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "db* web*", func(items map[string]*Item) {
			items["db"].Revive = Revive{Tries: 2, Within: time.Minute, Backoff: s}
		})
		st.Start(1, master, 0)
		st.wants("0s start db", "0s start web", "0s 1 Ready")
		st.at(10 * s)
		st.actors["db"].set(service.Failed)
		st.wants("10s 1 Died db: db died: it is failed")
		st.at(20 * s)
		st.wants("11s start db", "11s 1 Ready")
		st.end()
	})
}

// Of what nothing is known, and with which nothing was done, a stop that fails says
// nothing: there may be nothing to stop. So it costs no reboot.
func TestSequence_StopOfNothingKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "db web", nil)
		st.actors["web"].set(service.Unknown)
		st.actors["web"].fail("stop", errors.New("not mounted"))
		st.Stop(1, backup, false)
		st.wants("0s stop web", "0s 1 Stopped")
		st.logs(1, "service of which nothing is known was not stopped")

		st.Start(2, master, 0)
		st.wants("0s start db", "0s start web", "0s 2 Ready")
		st.actors["web"].set(service.Unknown)
		st.Stop(3, backup, false)
		st.wants("0s stop web", "0s 3 StopFailed web: web did not stop: not mounted")
		st.end()
	})
}
