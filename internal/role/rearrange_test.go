package role

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"baton/internal/service"
)

// rearrange gives the sequence other items: one that is there keeps its Control,
// "name!" has another one of the same What, "name?" is another service.
func (st *stage) rearrange(names string) {
	var items []Item
	for _, word := range strings.Fields(names) {
		name := strings.TrimRight(word, "!?")
		if name == "-" {
			items = append(items, Item{Addresses: true})
			continue
		}
		i := Item{Name: name}
		if word != name || st.actors[name] == nil {
			a := &actor{stage: st, name: word, state: service.Stopped, takes: map[string]time.Duration{}, fails: map[string]error{}}
			if strings.HasSuffix(word, "!") {
				a.state = service.Running
			}
			st.actors[word] = a
			i.Control = a
		}
		if strings.HasSuffix(word, "?") {
			i.What = "another"
		}
		items = append(items, i)
	}
	st.Rearrange(Router{Name: "web"}, items)
}

func TestSequence_Rearrange(t *testing.T) {
	tests := []struct {
		name  string
		items string
		run   func(st *stage)
	}{
		{"what is new is started in its place, what is missing is stopped first", "a b - c", func(st *stage) {
			st.Start(1, master, 0)
			st.at(s)
			st.wants("0s start a", "0s start b", "0s 1 AddressesOn", "0s start c", "0s 1 Ready")
			st.rearrange("n a - c")
			st.wants("1s stop b", "1s start n", "1s 1 Ready")
			st.rearrange("n a - c")
			st.wants()
			st.Stop(2, backup, false)
			st.wants("1s stop c", "1s stop a", "1s stop n", "1s 2 Stopped")
		}},
		{"another command of the same service leaves it alone, and is the one that stops it", "a", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s 1 Ready")
			st.rearrange("a!")
			st.wants()
			st.Stop(2, backup, false)
			st.wants("0s stop a!", "0s 2 Stopped")
		}},
		{"another service of the same name takes its place", "a", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s 1 Ready")
			st.rearrange("a?")
			st.wants("0s stop a", "0s start a?", "0s 1 Ready")
		}},
		{"what was never started is not stopped", "a b", func(st *stage) {
			st.rearrange("b")
			st.Stop(1, backup, false)
			st.wants("0s 1 Stopped")
		}},
		{"on a backup what is new and runs is stopped", "a", func(st *stage) {
			st.Stop(1, backup, false)
			st.wants("0s 1 Stopped")
			st.rearrange("a n!")
			st.wants("0s stop n!", "0s 1 Stopped")
		}},
		{"a start that is under way is cancelled with its service", "a b", func(st *stage) {
			st.actors["a"].take("start", time.Minute)
			st.Start(1, master, 0)
			st.at(s)
			st.rearrange("b")
			st.wants("0s start a", "1s cut start a", "1s stop a", "1s start b", "1s 1 Ready")
		}},
		{"what dies later is brought back no more when it was removed", "a* b", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s start b", "0s 1 Ready")
			st.rearrange("b")
			st.actors["a"].set(service.Failed)
			st.at(20 * s)
			st.wants("0s stop a")
		}},
		{"what does not stop is left to itself", "a b", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s start b", "0s 1 Ready")
			st.actors["a"].fail("stop", errors.New("no"))
			st.rearrange("b")
			st.wants("0s stop a")
			st.logs(1, "left to itself")
		}},
		{"a stop that is stuck in what is removed goes on", "a b", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start a", "0s start b", "0s 1 Ready")
			st.actors["b"].fail("stop", errors.New("no"))
			st.Stop(2, backup, false)
			st.wants("0s stop b", "0s 2 StopFailed b: b did not stop: no")
			st.rearrange("a")
			st.wants("0s stop a", "0s 2 Stopped")
		}},
		{"those of every node are left as they are", "everywhere a", func(st *stage) {
			st.Start(1, master, 0)
			st.wants("0s start everywhere", "0s start a")
			st.rearrange("everywhere n")
			st.wants("0s start n")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStage(t, tt.items, nil)
				tt.run(st)
				st.end()
			})
		})
	}
}

func TestSequence_Dissolve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, "a b", nil)
		st.Start(1, master, 0)
		synctest.Wait()
		st.actors["a"].take("stop", s)
		if err := st.Dissolve(t.Context()); err != nil {
			t.Error(err)
		}
		st.wants("0s start a", "0s start b", "0s 1 Ready", "0s stop b", "0s stop a")
		st = newStage(t, "a", nil)
		if err := st.Dissolve(t.Context()); err != nil {
			t.Error(err)
		}
		st = newStage(t, "a", nil)
		st.Start(1, master, 0)
		synctest.Wait()
		st.actors["a"].take("stop", time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), s)
		defer cancel()
		if err := st.Dissolve(ctx); err == nil {
			t.Error("a stop that takes an hour is over within a second")
		}
	})
}
