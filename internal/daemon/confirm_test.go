package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/role"
	"baton/internal/service"
)

// Only a node that says of itself that it is not master, and that all of the services
// are stopped, confirms it.
func TestStoppedAt(t *testing.T) {
	q := confirmation{group: "osc", node: "b", services: []string{"db", "osc"}}
	tests := map[string]struct {
		change func(s *control.Status, r *control.Router)
		want   string
	}{
		"confirmed": {func(*control.Status, *control.Router) {}, ""},
		"in FAULT":  {func(_ *control.Status, r *control.Router) { r.Role = "FAULT" }, ""},
		"one more service": {func(_ *control.Status, r *control.Router) {
			r.Services = append(r.Services, control.Service{Name: "x", State: "running"})
		}, "x is running"},
		"another node":     {func(s *control.Status, _ *control.Router) { s.Node = "c" }, `its listener is that of "c"`},
		"another router":   {func(_ *control.Status, r *control.Router) { r.Name = "web" }, "it does not run osc"},
		"master":           {func(_ *control.Status, r *control.Router) { r.Role = "MASTER" }, "it is master itself"},
		"one runs":         {func(_ *control.Status, r *control.Router) { r.Services[1].State = "stopping" }, "osc is stopping"},
		"nothing is known": {func(_ *control.Status, r *control.Router) { r.Services[0].State = "unknown" }, "db is unknown"},
		"failed":           {func(_ *control.Status, r *control.Router) { r.Services[0].State = "failed" }, "db is failed"},
		"no word of one":   {func(_ *control.Status, r *control.Router) { r.Services = r.Services[:1] }, "it says nothing of osc"},
		"no services":      {func(_ *control.Status, r *control.Router) { r.Services = nil }, "it says nothing of db"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := &control.Status{Node: "b", Routers: []control.Router{{Name: "other"}, {Name: "osc", Role: "BACKUP",
				Services: []control.Service{{Name: "db", State: "stopped"}, {Name: "osc", State: "stopped"}}}}}
			tt.change(s, &s.Routers[1])
			got := ""
			if err := stoppedAt(s, q); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A node is asked until it confirms or the time is over; once for all that wait for it.
func TestConfirmations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var mu sync.Mutex
		var asked int
		var told []string
		c := newConfirmations(func(ctx context.Context, node string) (*control.Status, error) {
			mu.Lock()
			defer mu.Unlock()
			state := "stopping"
			if time.Since(begin) >= time.Second {
				state = "stopped"
			}
			if node == "dead" {
				return nil, errors.New("no route")
			}
			asked++
			var s control.Status
			s.Node = node
			for _, name := range []string{"one", "two"} {
				s.Routers = append(s.Routers, control.Router{Name: name, Role: "BACKUP", Services: []control.Service{{Name: "osc", State: state}}})
			}
			return &s, nil
		}, func(q confirmation, err error) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf("%s %s %d %v", time.Since(begin), q.group, q.order, err))
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.run(ctx) }()
		synctest.Wait()
		question := func(group, node string, order uint64) confirmation {
			return confirmation{group: group, node: node, order: order, services: []string{"osc"}}
		}
		c.add(question("one", "b", 1), time.Minute)
		c.add(question("one", "b", 2), time.Minute) // in the place of the older one
		c.add(question("two", "b", 7), time.Minute)
		c.add(question("dead", "dead", 3), 3*time.Second)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		mu.Lock()
		if len(told) != 3 || !strings.HasPrefix(told[0], "1s ") || !strings.HasPrefix(told[1], "1s ") || strings.Contains(strings.Join(told, "|"), "one 1 ") {
			t.Errorf("told %q", told)
		}
		if diff := cmp.Diff("3s dead 3 no route", told[len(told)-1]); diff != "" {
			t.Error(diff)
		}
		if asked > 8 {
			t.Errorf("asked %d times within a second", asked)
		}
		mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// promoted is a master of a router with services that has taken over from b.
func promoted(t *testing.T) *stage {
	t.Helper()
	cfg := served(false)
	cfg.Routers[0].Services = append([]config.Service{{Name: "fence", OnlyAfterSilence: true}}, cfg.Routers[0].Services...)
	s := newStage(t, cfg)
	s.start()
	s.verdict("osc", health.Pass, "")
	s.peerServes(time.Second, 190)
	s.report(role.Stopped, "", "")
	s.forget()
	s.advance(5 * time.Second)
	if s.question.node != "b" {
		t.Fatalf("asked %+v:\n%s", s.question, strings.Join(s.did, "\n"))
	}
	return s
}

// The new master asks the old one, and starts at once when it confirms: in this
// mastership, and in no other.
func TestServices_Confirmed(t *testing.T) {
	s := promoted(t)
	if want := "ask b for osc of web within 10s"; !slices.Contains(s.did, want) {
		t.Errorf("did %q, want %q among it", s.did, want)
	}
	q := s.question
	s.forget()
	old := q
	old.order--
	s.n.confirmed(s.now, old, nil)
	old = q
	old.group = "gone"
	s.n.confirmed(s.now, old, nil)
	s.wantDone()
	s.n.confirmed(s.now, q, nil)
	s.wantDone("start services of web now")
	s.wantLog("the previous master confirms that its services are stopped: promote_after is over")
	if last := s.kept[len(s.kept)-1]; last.Kind != control.ServiceEvent || last.Name != "web" || last.Text != "b confirms that its services are stopped" {
		t.Errorf("event %+v", last)
	}
	s.peerServes(time.Second, 210)
	s.forget()
	s.n.confirmed(s.now, q, nil)
	s.wantDone()

	s = promoted(t)
	q = s.question
	s.forget()
	s.n.confirmed(s.now, q, errors.New("no route"))
	s.wantDone()
	s.wantLog(`the previous master has not confirmed that its services are stopped: promote_after was waited" router=web interface=eth0 family=IPv4 vrid=51 previous_master=b err="no route"`)
}

// With promote_after an hour, the services are on the other node when those of the
// old master have stopped, and not before.
func TestServices_ConfirmedByTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := preemptingPair(t, time.Hour, true)
		pass(2*time.Hour, a, b)
		if !a.status.Routers[0].Ready {
			t.Fatalf("a is %s", a.status.Routers[0].Why)
		}
		a.actors["first"].set(func(s *actor) { s.takes = 3 * time.Second })
		a.step("osc fails", "")
		pass(2*time.Second, a, b)
		if b.actors["first"].get() == service.Running {
			t.Error("b runs it before a has stopped it")
		}
		pass(10*time.Second, a, b)
		if !b.status.Routers[0].Ready {
			t.Errorf("b is %s\n%s", b.status.Routers[0].Why, strings.Join(b.trace, "\n"))
		}
		// Who hears a better one stops at once, and that one waits until it has.
		b.actors["first"].set(func(s *actor) { s.takes = 3 * time.Second })
		a.step("osc passes", "")
		pass(5*time.Second, a, b)
		if a.status.Routers[0].Role != "MASTER" || a.actors["first"].get() == service.Running {
			t.Errorf("a is %s, and its service %s", a.status.Routers[0].Why, a.actors["first"].get())
		}
		pass(10*time.Second, a, b)
		if !a.status.Routers[0].Ready {
			t.Errorf("a is %s\n%s", a.status.Routers[0].Why, strings.Join(a.trace, "\n"))
		}
		for _, h := range []*history{a, b} {
			if err := h.sequence.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for _, w := range h.wrong {
				t.Error(w)
			}
		}
	})
}

// A node that leaves is there until it has been asked, or for as long as a successor
// may take.
func TestTold_Linger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		clock := newTold(func() time.Duration { return time.Since(begin) })
		took := func(after, within time.Duration) time.Duration {
			since := time.Now()
			clock.linger(after, within)
			return time.Since(since)
		}
		time.Sleep(10 * time.Second)
		if d := took(0, 0); d != 0 {
			t.Errorf("with nobody to wait for it lingered %s", d)
		}
		if d := took(9*time.Second, 4*time.Second); d != 3*time.Second {
			t.Errorf("unasked it lingered %s, want 3s", d)
		}
		clock.note()
		if d := took(13*time.Second, 4*time.Second); d != 0 {
			t.Errorf("asked before it lingered %s", d)
		}
		time.Sleep(time.Second)
		go func() { time.Sleep(200 * time.Millisecond); clock.note() }()
		if d := took(14*time.Second, 4*time.Second); d != 200*time.Millisecond {
			t.Errorf("asked after 200ms it lingered %s", d)
		}
	})
}

// Only a master whose services have stopped has to be asked.
func TestServices_Lingers(t *testing.T) {
	s := newStage(t, served(false))
	s.serving()
	s.n.leave(s.now)
	s.report(role.Stopped, "", "")
	if s.n.lingers == 0 || s.n.departed != s.now {
		t.Errorf("lingers %s after %s", s.n.lingers, s.n.departed)
	}
	s = newStage(t, served(false))
	s.start()
	s.verdict("osc", health.Pass, "")
	s.peerServes(time.Second, 210)
	s.report(role.Stopped, "", "")
	s.n.leave(s.now)
	if s.n.lingers != 0 {
		t.Errorf("a backup lingers %s", s.n.lingers)
	}
}
