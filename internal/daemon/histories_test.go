package daemon

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"baton/health"
	"baton/internal/config"
	"baton/internal/control"
	"baton/internal/role"
	"baton/internal/service"
)

// Whatever happens in whatever order: what is published is true at each moment,
// nothing is started on a node that is not master, and in the end everything is in
// place that belongs to the role, or has been let go.
func TestServices_RandomHistories(t *testing.T) {
	type step struct {
		what, who string
		pause     time.Duration
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			what: rapid.SampledFrom([]string{"link down", "link up", "osc fails", "osc passes", "majority fails", "majority passes",
				"better", "worse", "gone", "dies", "start fails", "starts", "stop fails", "stops", "slow", "fast", "leave", "let",
				"standby", "standby by force", "resume", "failover", "takeover", "clear", "announce"}).Draw(t, "what"),
			who:   rapid.SampledFrom([]string{"a", "b"}).Draw(t, "who"),
			pause: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 5 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 8 * time.Second}).Draw(t, "pause"),
		}
	}), 0, 14)
	rapid.Check(t, func(rt *rapid.T) {
		plan := steps.Draw(rt, "steps")
		marked, policy := rapid.IntRange(0, 2).Draw(rt, "mark"), rapid.SampledFrom([]config.OnStopFailure{config.StopFailureHold, config.StopFailureRelease}).Draw(rt, "policy")
		var wrong, trace []string
		synctest.Test(t, func(t *testing.T) {
			cfg := served(false)
			web := &cfg.Routers[0]
			web.AddressesAt, web.OnStopFailure, web.PromoteAfter = marked, policy, time.Second
			web.Services = []config.Service{{Name: "a", StopTimeout: 5 * time.Second}, {Name: "b", StopTimeout: 5 * time.Second}}
			web.Track = append(web.Track, track("majority", config.Fault, 0, config.Always))
			cfg.Checks = []config.Check{{Name: "majority", Type: config.QuorumCheck}, {Name: "osc", Type: config.HTTPCheck}}
			h := newHistory(t, cfg)
			h.start()
			h.verdict("osc", health.Pass, "")
			h.verdict("majority", health.Pass, "")
			h.pass(8 * time.Second)
			left, let := false, false
			for _, s := range plan {
				h.say("STEP %s %s", s.what, s.who)
				h.step(s.what, s.who)
				left, let = left || s.what == "leave", let || left && s.what == "let"
				h.pass(s.pause)
			}
			for _, a := range h.actors {
				a.set(func(a *actor) { a.takes, a.startFails, a.stopFails = 0, false, false })
			}
			h.step("link up", "")
			h.step("osc passes", "")
			h.step("majority passes", "")
			h.step("resume", "")
			h.pass(4 * time.Minute) // an order that hindered that is over
			h.step("resume", "")
			h.pass(20 * time.Minute)
			h.concluded()
			h.end(left, let)
			if err := h.sequence.Close(t.Context()); err != nil {
				h.fault("%v", err)
			}
			wrong, trace = h.wrong, h.trace
		})
		for _, w := range wrong {
			rt.Error(w)
		}
		if len(wrong) > 0 {
			rt.Log(strings.Join(trace, "\n"))
		}
	})
}

func (h *history) step(what, who string) {
	a := h.actors[who]
	switch what {
	case "link down":
		h.link(eth(false, "10.0.0.1/24"))
	case "link up":
		h.link(eth(true, "10.0.0.1/24"))
	case "osc fails", "majority fails":
		h.verdict(strings.Fields(what)[0], health.Fail, "no")
	case "osc passes", "majority passes":
		h.verdict(strings.Fields(what)[0], health.Pass, "")
	case "better":
		h.hear(peerAddr, 210)
	case "worse":
		h.hear(peerAddr, 100)
	case "gone":
		h.hear(peerAddr, 0)
	case "dies":
		a.set(func(a *actor) { a.state = service.Stopped })
	case "start fails", "starts":
		a.set(func(a *actor) { a.startFails = what == "start fails" })
	case "stop fails", "stops":
		a.set(func(a *actor) { a.stopFails = what == "stop fails" })
	case "slow", "long", "fast":
		a.set(func(a *actor) {
			a.takes = map[string]time.Duration{"slow": 7 * time.Second, "long": 3 * time.Second}[what]
		})
	case "leave":
		if !h.n.leaving {
			h.n.leave(h.now)
		}
	case "let":
		if h.n.leaving {
			h.n.let(h.now)
		}
	case "standby", "standby by force", "resume", "failover", "takeover", "clear", "announce":
		kind, force, _ := strings.Cut(what, " ")
		o := control.Order{Kind: control.OrderKind(kind), By: "root", Routers: []string{"web"}, Force: force != ""}
		count, _, err := h.n.obey(h.now, o, func(out control.Outcome) {
			h.say("%s: %t, %s to %s, %s", what, out.OK, out.From, out.To, out.Text)
			h.orders--
			if what == "standby" && out.OK && out.From == "MASTER" && out.Heard == 0 {
				h.fault("a standby without a successor: %s", out.Text)
			}
		})
		h.say("%s: %v", what, err)
		h.orders += count
	}
}

// concluded compares the orders that were given with those that are over.
func (h *history) concluded() {
	if h.orders != 0 {
		h.fault("%d orders have come to no end", h.orders)
	}
}

// end looks at what is left.
func (h *history) end(left, let bool) {
	r, last := h.status.Routers[0], role.State("")
	for _, t := range h.told {
		if !t.Reassert {
			last = t.To
		}
	}
	switch {
	case let:
		if !h.n.gone() || last != role.Stop {
			h.fault("after two signals: gone %t, told %s", h.n.gone(), last)
		}
	case left && !h.n.stuck():
		if !h.n.gone() || last != role.Stop {
			h.fault("after a signal: gone %t, told %s", h.n.gone(), last)
		}
		for name, a := range h.actors {
			if a.get() != service.Stopped && !strings.Contains(strings.Join(h.trace, "\n"), "report 8") {
				h.fault("after a signal %s is %s", name, a.get())
			}
		}
	default:
		if r.Role != "MASTER" || !r.Ready || last != role.Master {
			h.fault("in the end %s, ready %t, told %s: %s", r.Role, r.Ready, last, r.Why)
		}
	}
}

// historyPair is the nodes a and b on one link, with services whose addresses come
// between them. Each asks the other before promoteAfter is over.
func historyPair(t *testing.T, promoteAfter time.Duration) (a, b *history) {
	return preemptingPair(t, promoteAfter, false)
}

func preemptingPair(t *testing.T, promoteAfter time.Duration, preempt bool) (a, b *history) {
	config := func(node string, own, other uint8) *config.Config {
		cfg := served(false)
		cfg.Node = node
		web := &cfg.Routers[0]
		web.Priority, web.BestRival, web.SlowestRival = own, other, other
		web.AddressesAt, web.PromoteAfter, web.Preempt = 1, promoteAfter, preempt
		web.Services = []config.Service{{Name: "first", StopTimeout: 5 * time.Second}, {Name: "last", StopTimeout: 5 * time.Second}}
		return cfg
	}
	a, b = newHistory(t, config("a", 200, 190)), newHistory(t, config("b", 190, 200))
	a.others, b.others = []*history{b}, []*history{a}
	for i, h := range []*history{a, b} {
		h.link(eth(true, fmt.Sprintf("10.0.0.%d/24", i+1)))
		h.n.start(h.now)
		h.verdict("osc", health.Pass, "")
	}
	return a, b
}

// Two nodes that see each other never run a service both, whatever fails, as long as
// it can be stopped.
func TestServices_RunOnce(t *testing.T) {
	type step struct {
		node      int
		what, who string
		pause     time.Duration
	}
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			node: rapid.IntRange(0, 1).Draw(t, "node"),
			what: rapid.SampledFrom([]string{"osc fails", "osc passes", "dies", "start fails", "starts", "long", "fast", "leave",
				"standby", "standby by force", "resume", "failover", "takeover", "clear", "announce"}).Draw(t, "what"),
			who:   rapid.SampledFrom([]string{"first", "last"}).Draw(t, "who"),
			pause: rapid.SampledFrom([]time.Duration{0, time.Millisecond, 300 * time.Millisecond, 2 * time.Second, 8 * time.Second, time.Minute}).Draw(t, "pause"),
		}
	}), 0, 14)
	rapid.Check(t, func(rt *rapid.T) {
		plan := steps.Draw(rt, "steps")
		promoteAfter := rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(rt, "promote_after")
		preempt := promoteAfter > 0 && rapid.Bool().Draw(rt, "preempt") // else nobody waits for the old master
		var wrong, trace []string
		synctest.Test(t, func(t *testing.T) {
			a, b := preemptingPair(t, promoteAfter, preempt)
			pass(8*time.Second, a, b)
			left := []bool{false, false}
			for _, s := range plan {
				h := []*history{a, b}[s.node]
				a.say("STEP %s %s %s", h.n.cfg.Node, s.what, s.who)
				h.step(s.what, s.who)
				left[s.node] = left[s.node] || s.what == "leave"
				pass(s.pause, a, b)
			}
			for _, h := range []*history{a, b} {
				h.step("osc passes", "")
				for _, s := range h.actors {
					s.set(func(s *actor) { s.takes, s.startFails = 0, false })
				}
				h.step("resume", "")
			}
			pass(4*time.Minute, a, b) // an order that hindered that is over
			a.step("resume", "")
			b.step("resume", "")
			pass(30*time.Minute, a, b)
			masters := 0
			for _, h := range []*history{a, b} {
				h.concluded()
				if r := h.status.Routers[0]; r.Role == "MASTER" && r.Ready {
					masters++
				}
				if err := h.sequence.Close(t.Context()); err != nil {
					h.fault("%v", err)
				}
			}
			if want := 1; masters != want && !(left[0] && left[1]) {
				a.fault("%d masters are ready in the end, want 1", masters)
			}
			wrong, trace = append(a.wrong, b.wrong...), append(a.trace, append([]string{"--"}, b.trace...)...)
		})
		for _, w := range wrong {
			rt.Error(w)
		}
		if len(wrong) > 0 {
			rt.Log(strings.Join(trace, "\n"))
		}
	})
}

// A service that starts on neither node moves the role to and fro more and more
// slowly.
func TestServices_FailOnBothNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := historyPair(t, 0)
		for _, h := range []*history{a, b} {
			h.actors["last"].set(func(s *actor) { s.startFails = true })
		}
		starts := func() int {
			return strings.Count(strings.Join(append(a.trace, b.trace...), "\n"), "start last")
		}
		pass(time.Hour, a, b)
		first := starts()
		pass(9*time.Hour, a, b)
		if more := starts() - first; first > 24 || more > 36 {
			t.Errorf("%d starts in the first hour, and %d in the nine that follow", first, more)
		}
		for _, h := range []*history{a, b} {
			h.actors["last"].set(func(s *actor) { s.startFails = false })
		}
		pass(time.Hour+time.Minute, a, b)
		if a.status.Routers[0].Ready == b.status.Routers[0].Ready {
			t.Errorf("a is ready: %t, b: %t", a.status.Routers[0].Ready, b.status.Routers[0].Ready)
		}
		for _, h := range []*history{a, b} {
			if err := h.sequence.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
