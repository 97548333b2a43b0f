package role

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"baton/internal/service"
)

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
