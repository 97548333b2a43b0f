package role

import (
	"errors"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/service"
)

var (
	master = Transition{To: Master, From: Backup, Takeover: "election"}
	backup = Transition{To: Backup, From: Master}
)

func TestSequence(t *testing.T) {
	tests := []struct {
		name  string
		items string
		with  func(map[string]*Item)
		run   func(st *stage)
	}{
		{"up in order, down in reverse", "a b - c", nil, func(st *stage) {
			st.actors["a"].take("start", 2*s)
			st.actors["b"].take("start", s)
			st.actors["b"].take("stop", s)
			st.Start(1, master, 0)
			st.at(10 * s)
			st.wants("0s start a", "2s start b", "3s 1 AddressesOn", "3s start c", "3s 1 Ready")
			st.Stop(2, backup, true)
			st.at(20 * s)
			st.wants("10s stop c", "10s 2 AddressesOff", "10s stop b", "11s stop a", "11s 2 Stopped")
			st.Stop(4, backup, false)
			st.at(21 * s)
			st.wants("20s 4 Stopped")
			st.Stop(5, backup, true)
			st.wants("21s 5 AddressesOff", "21s 5 Stopped")
		}},
		{"the delay of a start ends when what it was for is certain", "a", nil, func(st *stage) {
			st.Start(1, master, time.Minute)
			st.at(2 * s)
			st.StartNow(0)
			st.at(3 * s)
			st.wants()
			st.StartNow(1)
			st.wants("3s start a", "3s 1 Ready")
			st.StartNow(1)
			st.Stop(2, backup, false)
			st.wants("3s stop a", "3s 2 Stopped")
			st.StartNow(2)
			st.at(2 * time.Minute)
			st.wants()
		}},
		{"the mark alone", "-", nil, func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s 1 AddressesOn", "0s 1 Ready")
			st.Stop(2, backup, true)
			st.wants("0s 2 AddressesOff", "0s 2 Stopped")
		}},
		{"nothing at all", "", nil, func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s 1 Ready")
			st.Stop(2, backup, true)
			st.wants("0s 2 Stopped")
		}},
		{"a leave that is not chosen passes the mark silently", "a -", nil, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.wants("0s start a", "0s 1 AddressesOn", "0s 1 Ready")
			st.Stop(2, backup, false)
			st.wants("1s stop a", "1s 2 Stopped")
		}},
		{"waits at the mark as long as it takes", "a - b", nil, func(st *stage) {
			st.absent = true
			st.Start(1, master, 0)
			st.at(time.Hour)
			st.Placed(7)
			st.wants("0s start a", "0s 1 AddressesOn")
			st.Placed(1)
			st.wants("1h0m0s start b", "1h0m0s 1 Ready")
			st.Start(2, master, 0) // the addresses are asked for anew
			st.Placed(1)
			st.wants("1h0m0s 2 AddressesOn")
			st.Placed(2)
			st.wants("1h0m0s 2 Ready")
		}},
		{"promote_after", "a", nil, func(st *stage) {
			st.Start(1, master, 10*s)
			st.at(4 * s)
			st.Start(2, master, 10*s)
			st.at(11 * s)
			st.wants("10s start a", "10s 2 Ready")
			st.Stop(3, backup, false)
			st.wants("11s stop a", "11s 3 Stopped")
			st.Start(4, master, 10*s)
			st.at(15 * s)
			st.Stop(5, backup, false)
			st.at(time.Minute)
			st.wants("15s 5 Stopped")
		}},
		{"only after silence", "fence a", func(i map[string]*Item) { i["fence"].OnlyAfterSilence = true }, func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s 1 Ready")
			if states := st.States(); len(states) != 1 || states[0].Name != "a" {
				st.t.Errorf("a fence that is not wanted is shown: %+v", states)
			}
			st.Stop(2, backup, false)
			st.wants("0s stop a", "0s 2 Stopped")
			st.Start(3, Transition{To: Master, Takeover: "silence"}, 0)
			st.wants("0s start fence", "0s start a", "0s 3 Ready")
			if states := st.States(); len(states) != 2 || states[0].State != service.Running {
				st.t.Errorf("a fence that has been is not shown: %+v", states)
			}
			st.actors["a"].take("stop", 2*s)
			st.Stop(4, backup, false)
			st.at(s)
			st.Start(5, Transition{To: Master, Takeover: "silence"}, 0)
			st.at(10 * s)
			// Somebody else may have been master between the two, although the fence itself was not stopped.
			st.wants("0s stop a", "2s start fence", "2s start a", "2s 5 Ready")
			st.at(time.Hour)
			st.Stop(6, backup, false)
			st.at(2 * time.Hour)
			st.wants("1h0m0s stop a", "1h0m2s stop fence", "1h0m2s 6 Stopped")
			if log := st.log.String(); regexp.MustCompile(`service is stopped.* service=fence`).MatchString(log) {
				st.t.Errorf("a fence does not run, and is said to have stopped:\n%s", log)
			}
			st.actors["fence"].set(service.Running) // by hand: whoever did it knows why
			st.at(3 * time.Hour)
			st.wants()
			if n := st.actors["fence"].asked; n != 1 { // before the first stop
				st.t.Errorf("the fence was asked for its status %d times", n)
			}
		}},
		{"a fence that is done at once need not run until it is ready", "fence", func(i map[string]*Item) {
			i["fence"].OnlyAfterSilence = true
			i["fence"].Ready = func(after time.Time) (bool, string) { return time.Since(after) > 10*s, "" }
		}, func(st *stage) {
			st.actors["fence"].take("start", s)
			st.Start(1, Transition{To: Master, Takeover: "silence"}, 0)
			st.at(2 * s)
			st.actors["fence"].set(service.Stopped)
			st.at(time.Minute)
			st.wants("0s start fence", "11.1s 1 Ready")
		}},
		{"a fence that fails", "fence a", func(i map[string]*Item) { i["fence"].OnlyAfterSilence = true }, func(st *stage) {
			st.actors["fence"].fail("start", errors.New("start command /etc/baton/fence: exit 1: no such plug"))
			st.Start(1, Transition{To: Master, Takeover: "silence"}, 0)
			st.at(time.Hour)
			st.wants("0s start fence", "0s 1 StartFailed fence: fence did not start: start command /etc/baton/fence: exit 1: no such plug")
		}},
		{"not ready in time, and rolled back", "db osc - web", func(i map[string]*Item) {
			i["osc"].StartTimeout = 4 * time.Minute
			i["osc"].Ready = func(time.Time) (bool, string) { return false, "osc: connection refused" }
		}, func(st *stage) {
			st.Start(1, master, 0)
			st.at(5 * time.Minute)
			st.wants("0s start db", "0s start osc", "4m0s 1 StartFailed osc: osc did not start within 4m: osc: connection refused")
			st.Stop(2, backup, true)
			st.wants("5m0s 2 AddressesOff", "5m0s stop osc", "5m0s stop db", "5m0s 2 Stopped")
		}},
		{"a status that hangs is bounded while a service gets ready", "a", func(i map[string]*Item) {
			i["a"].Ready = func(after time.Time) (bool, string) { return time.Since(after) > 6*s, "" }
		}, func(st *stage) {
			st.actors["a"].take("status", time.Hour)
			st.Start(1, master, 0)
			st.at(time.Minute)
			st.wants("0s start a", "8s 1 Ready")
		}},
		{"a start that takes too long", "a", nil, func(st *stage) {
			st.actors["a"].take("start", time.Hour)
			st.Start(1, master, 0)
			st.at(time.Hour)
			st.wants("0s start a", "1m30s cut start a", "1m30s 1 StartFailed a: a did not start within 1m30s: context deadline exceeded")
			st.actors["a"].take("start", 0)
			st.Start(2, master, 0)
			st.wants("1h0m0s start a", "1h0m0s 2 Ready")
		}},
		{"ready counts from the end of the start", "a b", func(i map[string]*Item) {
			i["a"].Ready = func(after time.Time) (bool, string) { return time.Since(after) > 3*s, "" }
		}, func(st *stage) {
			st.actors["a"].take("start", 20*s)
			st.Start(1, master, 0)
			st.at(30 * s)
			st.wants("0s start a", "23.1s start b", "23.1s 1 Ready")
		}},
		{"one that dies before it is ready is not waited for", "a*", func(i map[string]*Item) {
			i["a"].Ready = func(time.Time) (bool, string) { return false, "a: connection refused" }
		}, func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.actors["a"].say("exit status 1")
			st.actors["a"].set(service.Failed)
			st.at(2 * s)
			st.wants("0s start a", "1.1s 1 StartFailed a: a did not start: it is failed before it was ready: exit status 1")
		}},
		{"a stop cancels a start", "a b - c", nil, func(st *stage) {
			st.actors["b"].take("start", time.Minute)
			st.actors["c"].state = service.Running // from before this daemon
			st.Start(1, master, 0)
			st.at(10 * s)
			st.Stop(2, backup, true)
			st.wants("0s start a", "0s start b", "10s cut start b", "10s stop c", "10s 2 AddressesOff", "10s stop b", "10s stop a", "10s 2 Stopped")
		}},
		{"a start waits for the stop under way, and goes up from there", "a b - c", nil, func(st *stage) {
			st.actors["b"].take("stop", 20*s)
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, true)
			st.at(2 * s)
			st.Start(3, master, 0)
			st.at(time.Minute)
			st.wants("0s start a", "0s start b", "0s 1 AddressesOn", "0s start c", "0s 1 Ready",
				"1s stop c", "1s 2 AddressesOff", "1s stop b", "21s start b", "21s 3 AddressesOn", "21s start c", "21s 3 Ready")
		}},
		{"a stop over a stop does not cut it short", "a b", nil, func(st *stage) {
			st.actors["b"].take("stop", 20*s)
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, false)
			st.at(2 * s)
			st.Stop(3, backup, false)
			st.at(time.Minute)
			st.wants("0s start a", "0s start b", "0s 1 Ready", "1s stop b", "21s stop a", "21s 3 Stopped")
		}},
		{"nothing more is done for a wish that was replaced a moment ago", "a - b", nil, func(st *stage) {
			st.hear = func(r Report) {
				if r.Kind == AddressesOff {
					st.Start(3, master, 0)
				}
			}
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, true)
			st.at(2 * s)
			st.wants("0s start a", "0s 1 AddressesOn", "0s start b", "0s 1 Ready",
				"1s stop b", "1s 2 AddressesOff", "1s 3 AddressesOn", "1s start b", "1s 3 Ready")
		}},
		{"a start over a start goes on where it is", "a b", nil, func(st *stage) {
			st.actors["a"].take("start", 10*s)
			st.Start(1, master, 0)
			st.at(s)
			st.Start(2, master, 0)
			st.at(time.Minute)
			st.wants("0s start a", "10s start b", "10s 2 Ready")
		}},
		{"of unknown services only those are stopped that may run", "a b c d*", nil, func(st *stage) {
			st.actors["a"].state, st.actors["b"].state, st.actors["c"].state = service.Running, service.Stopped, service.Unknown
			st.actors["d"].state = service.Failed
			st.at(time.Minute)
			st.wants()
			st.Stop(1, backup, false)
			st.wants("1m0s stop d", "1m0s stop c", "1m0s stop a", "1m0s 1 Stopped")
			st.Stop(2, backup, false)
			st.wants("1m0s 2 Stopped")
		}},
		{"at the start of the daemon", "decide first leave", func(i map[string]*Item) {
			i["first"].AtStart, i["leave"].AtStart = StopFirst, Leave
		}, func(st *stage) {
			for _, a := range st.actors {
				a.state = service.Running
			}
			st.Begin()
			st.at(time.Hour)
			st.wants("0s stop first")
			st.Stop(1, backup, false)
			st.at(2 * time.Hour)
			st.wants("1h0m0s stop decide", "1h0m0s 1 Stopped")
			st.Start(2, master, 0)
			st.wants("2h0m0s start decide", "2h0m0s start first", "2h0m0s start leave", "2h0m0s 2 Ready")
			st.Stop(3, backup, false)
			st.wants("2h0m0s stop leave", "2h0m0s stop first", "2h0m0s stop decide", "2h0m0s 3 Stopped")
		}},
		{"at the start after a crash", "decide first leave fence", func(i map[string]*Item) {
			i["first"].AtStart, i["leave"].AtStart, i["fence"].OnlyAfterSilence = StopFirst, Leave, true
		}, func(st *stage) {
			for _, a := range st.actors {
				a.state = service.Running
			}
			st.actors["first"].take("stop", 5*s)
			st.StopLeft()
			st.at(s)
			st.Start(1, master, 0)
			st.at(time.Minute)
			st.wants("0s stop first", "5s stop decide", "5s start decide", "5s start first", "5s start leave", "5s 1 Ready")
		}},
		{"adopted", "a first - fence b", func(i map[string]*Item) {
			i["first"].AtStart, i["fence"].OnlyAfterSilence = StopFirst, true
			i["b"].Revive = Revive{Tries: 1, Within: time.Hour, Backoff: s}
		}, func(st *stage) {
			st.actors["a"].state, st.actors["first"].state = service.Running, service.Running
			st.actors["b"].state = service.Stopped // it died with the daemon
			silence := master
			silence.Takeover = "silence"
			st.Adopt(1, silence)
			st.at(500 * time.Millisecond)
			st.wants("0s 1 Died b: b died: it is stopped")
			st.at(time.Minute)
			st.wants("1s start b", "1s 1 Ready")
			st.actors["a"].set(service.Stopped)
			st.at(2 * time.Minute)
			st.wants("1m5s 1 Lost a: a died: it is stopped")
			st.Stop(2, backup, false)
			st.at(3 * time.Minute)
			st.wants("2m0s stop b", "2m0s stop fence", "2m0s stop first", "2m0s stop a", "2m0s 2 Stopped")
		}},
		{"the beginning does not wait, nor try again", "first b", func(i map[string]*Item) { i["first"].AtStart = StopFirst }, func(st *stage) {
			st.actors["first"].state = service.Running
			st.actors["first"].take("stop", 10*s)
			st.actors["first"].fail("stop", errors.New("no"))
			st.Begin()
			st.at(s)
			st.Start(1, master, 0)
			st.at(time.Minute)
			st.wants("0s stop first", "10s start first", "10s start b", "10s 1 Ready")
			st.logs(1, "service was not stopped at the start of baton")
		}},
		{"a stop that fails: hold", "a b - c", nil, func(st *stage) {
			st.actors["b"].fail("stop", errors.New("device is busy"))
			st.Stop(2, backup, true)
			st.Placed(2)
			st.wants("0s 2 AddressesOff", "0s 2 Stopped")
			st.Start(3, master, 0)
			st.wants("0s start a", "0s start b", "0s 3 AddressesOn", "0s start c", "0s 3 Ready")
			st.Stop(4, backup, true)
			st.at(time.Hour)
			st.wants("0s stop c", "0s 4 AddressesOff", "0s stop b", "0s 4 StopFailed b: b did not stop: device is busy")
			st.Start(5, master, 0)
			st.wants("1h0m0s start b", "1h0m0s 5 AddressesOn", "1h0m0s start c", "1h0m0s 5 Ready")
		}},
		{"a stop that fails: release", "a b c", nil, func(st *stage) {
			st.actors["b"].take("stop", time.Hour)
			st.actors["c"].fail("stop", errors.New("no"))
			st.Start(1, master, 0)
			st.Abandon() // of nothing
			st.at(s)
			st.wants("0s start a", "0s start b", "0s start c", "0s 1 Ready")
			st.actors["c"].take("stop", s)
			st.Stop(2, backup, false)
			st.Abandon() // still of nothing: no stop has failed yet
			st.at(3 * s)
			st.wants("1s stop c", "2s 2 StopFailed c: c did not stop: no")
			st.Abandon()
			st.at(time.Hour)
			st.Abandon()
			st.at(time.Hour + s)
			st.wants("3s stop b", "1m33s cut stop b", "1m33s 2 StopFailed b: b did not stop within 1m30s: context deadline exceeded",
				"1h0m0s stop a", "1h0m0s 2 Stopped", "1h0m0s stop c") // c runs still, and is tried again as any that runs
		}},
		{"another stop tries again", "a", nil, func(st *stage) {
			st.actors["a"].fail("stop", errors.New("no"))
			st.Start(1, master, 0)
			st.at(s)
			st.Stop(2, backup, false)
			st.at(2 * s)
			st.Stop(3, backup, false)
			st.wants("0s start a", "0s 1 Ready", "1s stop a", "1s 2 StopFailed a: a did not stop: no", "2s stop a", "2s 3 StopFailed a: a did not stop: no")
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
