package role

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
